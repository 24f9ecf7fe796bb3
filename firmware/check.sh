#!/usr/bin/env bash
# Models on emulated microcontrollers give the bytes of the golden files, no panic is linked, sizes are as promised.
#   firmware/check.sh            the folder of golden files is ../shared, or SMIDGEN_SHARED
# Needs qemu-system-arm, python3 with numpy, arm-none-eabi-nm and -size (binutils-arm-none-eabi). Prints what RAN and what was ABSENT.
set -euo pipefail
. "$(dirname "$0")/common.sh"
shared=${SMIDGEN_SHARED:-$root/../shared}
[ -d "$shared" ] || { echo "ABSENT: the folder of golden files, $shared (set SMIDGEN_SHARED)"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for model in "$shared"/models/microwakeword/*.tflite "$shared"/models/mlperf_tiny/*.tflite; do
    [ -e "$model" ] || { echo "ABSENT: $model"; continue; }
    smidgen convert "$model" "$work/$(basename "$model" .tflite).gguf"
done

echo "== Cortex-M4 (mps2-an386) and Cortex-M7 (mps2-an500): the golden bytes"
for board in an386 an500; do
    firmware build --release -q -p smidgen-qemu --bin check --features $board --target thumbv7em-none-eabihf
    cp "$built/thumbv7em-none-eabihf/release/check" "$work/check.$board"
done
python3 "$here/check.py" "$work" "$shared"

echo "== No panic is linked, and sizes"
export SMIDGEN_MODEL=$work/okay_nabu.gguf SMIDGEN_WAV=$shared/golden/micro/audio/okay_nabu_1.wav
if [ ! -e "$SMIDGEN_MODEL" ] || [ ! -e "$SMIDGEN_WAV" ]; then
    echo "ABSENT: okay_nabu or its recording"
    exit 0
fi
for board in an386:thumbv7em-none-eabihf an500:thumbv7em-none-eabihf microbit:thumbv6m-none-eabi; do
    IFS=: read -r name target <<<"$board"
    firmware build --release -q -p smidgen-qemu --bin demo --features "$name" --target "$target"
    elf=$built/$target/release/demo
    if arm-none-eabi-nm -C "$elf" | grep -iE 'panic|unwrap_failed|expect_failed'; then
        echo "$name: a panic is linked" >&2
        exit 1
    fi
    python3 "$here/sizes.py" "$name" "$elf" "$SMIDGEN_MODEL" "$SMIDGEN_WAV"
    run_"$name" "$elf" >"$work/log.$name"
    cp "$elf" "$work/demo.$name"
done

echo "== A damaged file in flash is an error"
head -c 30000 "$SMIDGEN_MODEL" >"$work/cut.gguf"
python3 - "$SMIDGEN_MODEL" "$work/plan.gguf" <<'END'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[-700:-600] = b"\x7f" * 100
open(sys.argv[2], "wb").write(data)
END
for bad in cut plan; do
    SMIDGEN_MODEL=$work/$bad.gguf firmware build --release -q -p smidgen-qemu --bin demo --features an386 --target thumbv7em-none-eabihf
    code=0
    run_an386 "$built/thumbv7em-none-eabihf/release/demo" >/dev/null || code=$?
    [ $code = 1 ] || { echo "$bad.gguf: exit code $code, not 1" >&2; exit 1; }
    echo "RAN: $bad.gguf is refused"
done

echo "== A language model on a Cortex-M7 writes what it writes here"
story=$shared/models/stories260K.Q8_0.gguf
if [ -e "$story" ]; then
    firmware build --release -q -p smidgen-qemu --bin story --features an500,story --target thumbv7em-none-eabihf
    smidgen run "$story" -p "Once upon a time" --raw --temp 0 -n 64 >"$work/here"
    run_an500 "$built/thumbv7em-none-eabihf/release/story" story "$story" >"$work/there"
    diff "$work/here" "$work/there"
    echo "RAN: stories260K, $(wc -c <"$work/there") bytes of text, the same"
else
    echo "ABSENT: $story"
fi
