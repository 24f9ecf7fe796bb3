#!/usr/bin/env bash
# 64-bit ARM under QEMU. Quick: the kernels of every instruction set, and seeded models. Full: all tests, as three CPUs.
. "$(dirname "$0")/../common.sh"
packages aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-aarch64:qemu-user
rust_for $arm64
# Names of tests are words here, not patterns.
set -f
if ! full; then
    step "the tests are compiled"
    targets/cross.sh $arm64 test -q -p smidgen-tests --test exact --test golden --no-run
    emulated max scalar,neon,dotprod,i8mm $arm64 "kernels:: seeded switches::logits" -p smidgen-tests --test exact --test golden
    emulated cortex-a72 scalar,neon $arm64 "kernels::" -p smidgen-tests --test exact
    exit
fi

step "the tests are compiled, once for all CPUs"
targets/cross.sh $arm64 test -q --workspace --no-run
models
# Every exact test compares all kernel sets that its CPU has, and those of the A72 and the A76 are among max's. What is left to be seen is that nothing needs an
# instruction which the A72 lacks, whichever part of the program runs (so the command is tested there, not on max), and that both choose their own kernel sets.
# Two CPUs are emulated at a time, a test of each, since many a test keeps one processor busy for long.
export RUST_TEST_THREADS=1
(
    emulated cortex-a72 scalar,neon $arm64 "" --workspace --lib --bins --test contract
    emulated cortex-a72 scalar,neon $arm64 "kernels:: state:: seeded" --workspace --test exact --test golden
    emulated cortex-a76 scalar,neon,dotprod $arm64 "" --workspace --lib
    emulated cortex-a76 scalar,neon,dotprod $arm64 "kernels:: state::" --workspace --test exact
) &
others=$!
failed=''
emulated max scalar,neon,dotprod,i8mm $arm64 "" --workspace --exclude smidgen-bin || failed=yes
wait $others || failed=yes
[ -z "$failed" ]
