#!/usr/bin/env bash
# Instructions per token on a 64-bit ARM CPU that need not be there: counted by QEMU, exactly and repeatably.
#   tests/benches/instructions.sh CPU PROGRAM MODEL…
#   tests/benches/instructions.sh cortex-a72 target/cross/aarch64-unknown-linux-gnu/aarch64-unknown-linux-gnu/release/smidgen smollm2-Q4_0.gguf
#   tests/benches/instructions.sh cortex-a72 path/to/aarch64/llama-bench smollm2-Q4_0.gguf
#
# PROGRAM is a static smidgen or llama.cpp's llama-bench, told apart by the name. One thread. Decoding: tokens 3 to 6 of an empty context;
# prefill: tokens 33 to 96 of one prompt. Each is the difference of two runs, so that loading and repacking count for nothing.
# TARGET=scalar chooses smidgen's table of kernels; by default it is the one that smidgen chooses. Needs qemu-user and gcc.
set -euo pipefail
cpu=${1:?usage: instructions.sh CPU PROGRAM MODEL…} program=${2:?} here=$(dirname "$0")
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
gcc -O2 -shared -fPIC ${QEMU_PLUGIN_VERSION:+-DVERSION=$QEMU_PLUGIN_VERSION} -o "$scratch/count.so" "$here/instructions/count.c"

# Instructions of a run with a prompt of $2 tokens and $3 tokens decoded, of model $1.
count() {
    local words
    case $(basename "$program") in
    *llama-bench*) words="-m $1 -p $2 -n $3 -t 1 -r 1 --no-warmup" ;;
    *) words="bench $1 -p $2 -n $3 --threads 1 --repeat 1 ${TARGET:+--target $TARGET}" ;;
    esac
    # shellcheck disable=SC2086
    qemu-aarch64 -cpu "$cpu" -d plugin -D "$scratch/log" -plugin "$scratch/count.so" "$program" $words >"$scratch/out" 2>"$scratch/err" ||
        { cat "$scratch/err" >&2; return 1; }
    sed -n 's/^instructions //p' "$scratch/log"
}

printf '%-24s %-12s %-12s %12s %12s\n' model cpu program 'decode M/tok' 'prefill M/tok'
for model; do
    printf '%-24s %-12s %-12s' "$(basename "$model")" "$cpu" "$(basename "$program")"
    begun=$(count "$model" 0 2) ended=$(count "$model" 0 6)
    awk "BEGIN { printf \" %12.1f\", ($ended - $begun) / 4e6 }"
    begun=$(count "$model" 32 0) ended=$(count "$model" 96 0)
    awk "BEGIN { printf \" %12.1f\n\", ($ended - $begun) / 64e6 }"
done
