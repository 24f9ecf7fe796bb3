#!/usr/bin/env bash
# Each set of features of the no_std crates, for a Cortex-M4 and for this machine; each feature of the others.
. "$(dirname "$0")/../common.sh"
tool cargo-hack 0.6.46
m4=thumbv7em-none-eabihf no_std="-p smidgen-gguf -p smidgen-quant -p smidgen-targets -p smidgen"
rust_for $m4
# shellcheck disable=SC2086
{
    step "no_std crates, $m4"
    targets/cross.sh $m4 hack check -q $no_std --feature-powerset --exclude-features std,default
    step "no_std crates, this machine"
    cargo hack check -q $no_std --feature-powerset
}
step "the others"
cargo hack check -q --workspace --each-feature
