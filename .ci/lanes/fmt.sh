#!/usr/bin/env bash
# Format of the workspace and of the firmware.
. "$(dirname "$0")/../common.sh"
cargo fmt --all -- --check
(cd firmware && cargo fmt --all -- --check)
