#!/usr/bin/env bash
# Lints of Rust and of scripts, and the documentation, all without a warning. The firmware's lints are in its lane.
. "$(dirname "$0")/../common.sh"
packages shellcheck:shellcheck
step "scripts"
find . -name 'target*' -path '*/target*' -type d ! -path ./targets -prune -o \( -name '*.sh' -o -path ./.ci/run \) -print0 | xargs -0 shellcheck -x -P SCRIPTDIR -S warning
step "lints"
cargo clippy -q --workspace --all-targets -- -D warnings
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps -q
