#!/usr/bin/env bash
# Microcontrollers. Quick: a Cortex-M4: every step's byte is what it is here; flash and memory of the demo, and that no panic is linked into it. Full: all boards,
# damaged files, a language model, lints.
. "$(dirname "$0")/../common.sh"
packages arm-none-eabi-ld:binutils-arm-none-eabi qemu-system-arm:qemu-system-arm
rust_for thumbv7em-none-eabihf thumbv6m-none-eabi
python gguf numpy
command_built
export SMIDGEN=$smidgen
if full; then
    packages rust-web-clippy
    firmware/check.sh
else
    firmware/check.sh --quick
fi
