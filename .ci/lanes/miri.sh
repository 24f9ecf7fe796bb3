#!/usr/bin/env bash
# Undefined behaviour, by Miri, where a toolchain has it: rustup toolchain install nightly --component miri.
. "$(dirname "$0")/../common.sh"
if ! cargo +nightly miri --version 2>/dev/null; then
    echo "SKIPPED: Miri (no toolchain here has it)"
    exit 0
fi
# Files and clocks are the machine's. What is short is interpreted whole.
MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p smidgen-gguf -p smidgen-quant -p smidgen-targets --lib
