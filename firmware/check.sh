#!/usr/bin/env bash
# What runs on microcontrollers: every step's byte on emulated boards is what it is on this machine, and what the golden files say; no panic is
# linked, sizes are as promised, damaged files are refused, the log decodes, a language model writes what it writes here, the programs for real
# boards build, lints.
#   firmware/check.sh --quick    only a Cortex-M4: every step's byte, and the demo's sizes and that no panic is linked
#   firmware/check.sh            golden files are in ../shared, or SMIDGEN_SHARED; models and a voice that says their words are PyPI's
# Needs qemu-system-arm, binutils-arm-none-eabi, python3 with pip, numpy and gguf. Prints what RAN and what was ABSENT. With CI=1 it fails if
# something is absent that anybody can have: all but the golden files.
set -euo pipefail
. "$(dirname "$0")/common.sh"
quick=''
[ "${1:-}" != --quick ] || quick=1
shared=${SMIDGEN_SHARED:-$root/../shared}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lacks=0
lack() {
    echo "ABSENT: $1"
    lacks=1
}
step() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }
m4=thumbv7em-none-eabihf m0=thumbv6m-none-eabi

step "Models of wake words, and recordings of their words"
[ -d "$shared" ] || echo "ABSENT: the folder of golden files, $shared (set SMIDGEN_SHARED)"
wake_words "$work/words" || lack "pymicro-wakeword (PyPI)"
voice "$work/voice" || lack "espeakng-loader (PyPI)"
for model in "$work"/words/pymicro_wakeword/models/*.tflite "$shared"/models/{microwakeword,mlperf_tiny}/*.tflite; do
    [ -e "$model" ] || continue
    smidgen convert "$model" "$work/$(basename "$model" .tflite).gguf"
done
for word in okay_nabu alexa hey_mycroft; do
    python3 "$here/speak.py" "${word/_/ }" "$work/$word.wav" "$work/voice" || lack "a recording of $word"
done
model=$work/okay_nabu.gguf recording=$shared/golden/micro/audio/okay_nabu_1.wav
[ -e "$recording" ] || recording=$work/okay_nabu.wav
if [ ! -e "$model" ] || [ ! -e "$recording" ]; then
    echo "there is no model or no recording: nothing can be checked" >&2
    exit 1
fi

boards="an386 an500 an505 an547" only=''
[ -z "$quick" ] || boards=an386 only=--quick
step "Cortex-M4, and without --quick M7, M33 and M55: every step's byte, figures, damaged files"
for board in $boards; do
    firmware build --release -q -p smidgen-qemu --bin check --features "$board" --target $m4
    cp "$built/$m4/release/check" "$work/check.$board"
done
python3 "$here/check.py" "$work" "$SMIDGEN" "$shared" $only

# No panic is linked into a program, and what it takes: linked NAME PROGRAM [FILE-IN-FLASH…].
linked() {
    if arm-none-eabi-nm -C "$2" | grep -iE 'panic|unwrap_failed|expect_failed'; then
        echo "$1: a panic is linked" >&2
        exit 1
    fi
    python3 "$here/sizes.py" "$@"
}

step "The demo in flash, on a Cortex-M0 (microbit) too: no panic is linked, sizes, and it hears what is heard here"
export SMIDGEN_MODEL=$model SMIDGEN_WAV=$recording
if [ -n "$quick" ]; then
    # What its log says takes a decoder, which takes minutes to compile. That it ends well is what its code says.
    firmware build --release -q -p smidgen-qemu --bin demo --features an386 --target $m4
    linked an386 "$built/$m4/release/demo" "$model" "$recording"
    run_an386 "$built/$m4/release/demo" >/dev/null
    echo "RAN: an386: the demo, to its end"
    [ $lacks = 0 ] || [ -z "${CI:-}" ] || { echo "something is absent that a CI machine can have" >&2; exit 1; }
    step "done (the rest: without --quick)"
    exit
fi
heard=$(smidgen listen "$model" "$recording" --json)
number=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["step"])' "$heard")
# The second keeps its log as real boards do, and shows what a debug probe would read.
for board in an386:$m4 an386,rtt:$m4 an500:$m4 an505:$m4 an547:$m4 microbit:$m0; do
    IFS=: read -r name target <<<"$board"
    firmware build --release -q -p smidgen-qemu --bin demo --features "$name" --target "$target"
    elf=$built/$target/release/demo
    linked "$name" "$elf" "$model" "$recording"
    run_"${name%,*}" "$elf" | decode "$elf" >"$work/log"
    grep -q "Okay Nabu at .* step $number\$" "$work/log" || { cat "$work/log"; echo "$name: the word is not heard at step $number" >&2; exit 1; }
    grep -q 'pin high' "$work/log" || { cat "$work/log"; echo "$name: the pin is not high" >&2; exit 1; }
    echo "RAN: $name: $(grep "Okay Nabu at" "$work/log")"
done

step "A damaged file in flash is an error"
head -c 30000 "$model" >"$work/cut.bad"
python3 - "$model" "$work/plan.bad" <<'END'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[-700:-600] = b"\x7f" * 100
open(sys.argv[2], "wb").write(data)
END
for bad in cut plan; do
    SMIDGEN_MODEL=$work/$bad.bad firmware build --release -q -p smidgen-qemu --bin demo --features an386 --target $m4
    code=0
    run_an386 "$built/$m4/release/demo" >/dev/null || code=$?
    [ $code = 1 ] || { echo "a $bad file: exit code $code, not 1" >&2; exit 1; }
    echo "RAN: a file with a damaged $bad is refused"
done

step "Real boards: they build, no panic is linked, sizes"
for board in smidgen-nrf52840:$m4 smidgen-pico:$m0; do
    IFS=: read -r name target <<<"$board"
    firmware build --release -q -p "$name" --target "$target"
    linked "$name" "$built/$target/release/${name#smidgen-}" "$model"
done

step "A language model on a Cortex-M7 writes what it writes here"
firmware build --release -q -p smidgen-qemu --bin story --features an500,story --target $m4
python3 "$here/seeded.py" "$work/seeded.gguf" || lack "gguf (PyPI), which writes a seeded model"
for story in "$work/seeded.gguf" "$shared/models/stories260K.Q8_0.gguf"; do
    [ -e "$story" ] || { echo "ABSENT: $story"; continue; }
    smidgen run "$story" -p "Once upon a time" --raw --temp 0 -n 64 >"$work/here"
    run_an500 "$built/$m4/release/story" story "$story" >"$work/there"
    diff "$work/here" "$work/there"
    [ "$(wc -c <"$work/there")" -ge 64 ]
    echo "RAN: $(basename "$story"), $(wc -c <"$work/there") bytes of text, the same"
done

step "Format, lints, tests on this machine"
(cd "$here" && cargo fmt --check && CARGO_TARGET_DIR=$built cargo test -q -p smidgen-rtt)
if firmware clippy --version --target $m4 >/dev/null 2>&1; then
    firmware clippy --release -q -p smidgen-qemu -p smidgen-demo -p smidgen-rtt --bins --lib --features smidgen-qemu/an386 --target $m4 -- -D warnings
    firmware clippy --release -q -p smidgen-qemu --bin demo --features an386,rtt --target $m4 -- -D warnings
    firmware clippy --release -q -p smidgen-qemu --bin story --features an500,story --target $m4 -- -D warnings
    firmware clippy --release -q -p smidgen-nrf52840 --target $m4 -- -D warnings
    firmware clippy --release -q -p smidgen-pico --target $m0 -- -D warnings
    echo "RAN: lints"
else
    lack "clippy"
fi

step "done"
if [ $lacks = 1 ] && [ -n "${CI:-}" ]; then
    echo "something is absent that a CI machine can have" >&2
    exit 1
fi
