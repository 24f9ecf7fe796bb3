#!/usr/bin/env bash
# Microcontrollers. Quick: the demo on a Cortex-M4: its flash, its memory, that no panic is linked, and that it hears what is heard here. Full: all boards, damaged
# files, a language model, lints.
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
