#!/usr/bin/env bash
# Licences, sources and versions of what we depend on.
. "$(dirname "$0")/../common.sh"
tool cargo-deny 0.20.2
step "the workspace"
cargo deny check -A license-not-encountered bans licenses sources
step "the firmware"
(cd firmware && cargo deny --config ../deny.toml check -A license-not-encountered bans licenses sources)
echo "SKIPPED: advisories (their database is a repository that changes every day: cargo deny check advisories)"
