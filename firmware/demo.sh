#!/usr/bin/env bash
# Listens to a recording on an emulated Cortex-M4, and prints the device's log.
#   firmware/demo.sh [MODEL RECORDING]
# MODEL is a .gguf or .tflite file of a wake word, RECORDING a WAV file (16,000 samples per second, one channel, 16 bits). Without them they
# are okay_nabu and a recording of it from ../shared (or SMIDGEN_SHARED); the model is downloaded by pip if it is not there.
# Needs qemu-system-arm (Debian: apt-get install qemu-system-arm). Installs the decoder defmt-print beside the build, if it is not there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
shared=${SMIDGEN_SHARED:-$root/../shared}
model=${1:-$shared/models/microwakeword/okay_nabu.tflite}
recording=${2:-$shared/golden/micro/audio/okay_nabu_1.wav}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -e "$model" ] && [ $# = 0 ]; then
    python3 -m pip download -q --no-deps -d "$work" pymicro-wakeword==2.5.0
    python3 -m zipfile -e "$work"/*.whl "$work"
    model=$work/pymicro_wakeword/models/okay_nabu.tflite
fi
[ -e "$recording" ] || { echo "demo.sh: $recording: no such file; give a MODEL and a RECORDING" >&2; exit 1; }
case $model in
*.tflite) smidgen convert "$model" "$work/model.gguf"; model=$work/model.gguf ;;
esac
SMIDGEN_MODEL=$(realpath "$model") SMIDGEN_WAV=$(realpath "$recording")
export SMIDGEN_MODEL SMIDGEN_WAV
print=$(command -v defmt-print || echo "$built/tools/bin/defmt-print")
[ -x "$print" ] || cargo install -q defmt-print --locked --root "$built/tools"
firmware build --release -q -p smidgen-qemu --bin demo --features an386 --target thumbv7em-none-eabihf
elf=$built/thumbv7em-none-eabihf/release/demo
run_an386 "$elf" | "$print" -e "$elf"
