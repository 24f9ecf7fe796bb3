#!/usr/bin/env bash
# Instructions of an inference on an emulated Cortex-M4, exact and repeatable, with arena and stack: the table of docs/firmware.md.
#   firmware/bench.sh            the models are those of ../shared, or SMIDGEN_SHARED
# Needs qemu-system-arm.
set -euo pipefail
. "$(dirname "$0")/common.sh"
shared=${SMIDGEN_SHARED:-$root/../shared}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
firmware build --release -q -p smidgen-qemu --bin check --features an386 --target thumbv7em-none-eabihf
elf=$built/thumbv7em-none-eabihf/release/check
for model in microwakeword/okay_nabu microwakeword/hey_mycroft mlperf_tiny/{kws_ref_model,pretrainedResnet_quant,vww_96_int8,ad01_int8,str_ww_ref_model}; do
    name=$(basename "$model")
    [ -e "$shared/models/$model.tflite" ] || { echo "ABSENT: $model"; continue; }
    smidgen convert "$shared/models/$model.tflite" "$work/$name.gguf"
    echo "$name: $(run_an386 "$elf" check bench "$work/$name.gguf")"
done
wav=$shared/golden/micro/audio/okay_nabu_1.wav
if [ -e "$wav" ]; then run_an386 "$elf" check frontend "$wav"; else echo "ABSENT: $wav"; fi
