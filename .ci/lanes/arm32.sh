#!/usr/bin/env bash
# 32-bit ARM under QEMU. A Cortex-A7 has the instructions of the Cortex-M4's kernels. Quick: those kernels. Full: also the law, golden and hostile tests, for sizes
# are what differs on 32 bits, overflows checked.
. "$(dirname "$0")/../common.sh"
packages arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-arm:qemu-user
rust_for $arm32
set -f
step "the Cortex-M4's kernels"
tests="--test exact"
! full || tests="--test exact --test golden"
# shellcheck disable=SC2086
targets/cross.sh $arm32 test -q -p smidgen-tests --features armv7em $tests --no-run
# shellcheck disable=SC2086
emulated cortex-a7 scalar,armv7em $arm32 "kernels:: micro::" -p smidgen-tests --features armv7em $tests
full || exit 0

# One build cannot serve both: the feature takes the portable loops of `smidgen_targets::micro` out, and with it no machine has the scalar kernels alone.
# There, whole models could be compared with nothing, but for golden outputs.
small="-p smidgen-gguf -p smidgen-quant -p smidgen-targets -p smidgen -p smidgen-tests"
step "without the Cortex-M4's kernels"
# shellcheck disable=SC2086
targets/cross.sh $arm32 test -q $small --lib --test writer --test golden --test hostile --test exact --no-run
models
# shellcheck disable=SC2086
{
    emulated cortex-a7 scalar $arm32 "" $small --lib --test writer --test golden --test hostile
    emulated cortex-a7 scalar $arm32 "kernels:: state:: micro::" $small --test exact
}
