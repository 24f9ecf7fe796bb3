#!/usr/bin/env bash
# The reader, the law, the kernels and the core for a Cortex-M4, without a standard library. Full: also with a heap, and that big-endian machines are refused.
. "$(dirname "$0")/../common.sh"
m4=thumbv7em-none-eabihf
rust_for $m4
for crate in smidgen-gguf smidgen-quant smidgen-targets smidgen; do
    step "$crate"
    targets/cross.sh $m4 build -q -p $crate --no-default-features
done
full || exit 0
for features in armv7em alloc alloc,armv7em; do
    step "smidgen with $features"
    targets/cross.sh $m4 build -q -p smidgen --no-default-features --features $features
done
step "little-endian only"
rust_for s390x-unknown-linux-gnu
if refusal=$(targets/cross.sh s390x-unknown-linux-gnu check -q -p smidgen-gguf --no-default-features 2>&1); then
    echo "a big-endian build was not refused" >&2
    exit 1
fi
grep "little-endian" <<<"$refusal"
