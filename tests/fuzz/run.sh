#!/usr/bin/env bash
# Feeds damaged input to all that reads it:  tests/fuzz/run.sh SECONDS [TARGET…]
#   tests/fuzz/run.sh 60                  # every target of tests/fuzz/src/bin, a minute each
#   tests/fuzz/run.sh 3600 gguf template
#
# Each target starts from small files that the program `corpus` makes, and from what former runs have found to be new, which is kept in
# target/fuzz/found (or CARGO_TARGET_DIR). Prints for each: executions, executions per second, edges reached.
# An input that panics, takes long, takes too much memory or overflows ends the run with an error; its file and the command that
# reproduces it are printed. Needs rustup's stable toolchain and a C++ compiler. The flags are those of cargo-fuzz.
set -euo pipefail
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo "usage: tests/fuzz/run.sh SECONDS [TARGET…]" >&2 && exit 2; }
seconds=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
out=${CARGO_TARGET_DIR:-$here/../../target}/fuzz
mkdir -p "$out"
out=$(cd "$out" && pwd)
targets=("$@")
[ $# -gt 0 ] || for file in "$here"/src/bin/*.rs; do targets+=("$(basename "$file" .rs)"); done

machine=$(rustc -vV | sed -n 's/^host: //p')
flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-sanitizer-coverage-stack-depth
    -Zsanitizer=address
)
# The flags are not stable, but they are the stable compiler's.
export RUSTC_BOOTSTRAP=1 RUSTC_WRAPPER=$here/rustc.sh CARGO_TARGET_DIR=$out CARGO_ENCODED_RUSTFLAGS
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
bins=(--bin corpus)
for target in "${targets[@]}"; do
    [ -e "$here/src/bin/$target.rs" ] || { echo "there is no target $target" >&2 && exit 2; }
    bins+=(--bin "$target")
done
cargo build -q --manifest-path "$here/Cargo.toml" --target "$machine" "${bins[@]}"
echo "built in $SECONDS s"
programs=$out/$machine/debug
# Leaks are no danger from input, and what Rust's borrows forbid need not be looked for at every call.
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0:detect_stack_use_after_return=0} RAYON_NUM_THREADS=1 SMIDGEN_CACHE=$out/cache
"$programs/corpus" "$out/corpus"

failed=0
for target in "${targets[@]}"; do
    # Most bytes of one allocation, in MiB, and of all memory, and seconds: an image that is small as a file may be large as pixels.
    case $target in
    image) most=700 all=2048 patience=60 ;;
    *) most=48 all=1024 patience=10 ;;
    esac
    # What the server logs is not kept: a line for each request.
    more=()
    [ "$target" != serve ] || more=(-close_fd_mask=2)
    mkdir -p "$out/artifacts/$target" "$out/found/$target"
    log=$out/$target.log
    if ! "$programs/$target" "$out/found/$target" "$out/corpus/$target" -max_total_time="$seconds" -timeout=$patience -malloc_limit_mb=$most -rss_limit_mb=$all "${more[@]}" \
        -artifact_prefix="$out/artifacts/$target/" -print_final_stats=1 >"$log" 2>&1; then
        failed=1
        tail -60 "$log" >&2
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
        echo "$target: FAILED; the input is ${input:-unknown}; again:" >&2
        echo "  ASAN_OPTIONS=$ASAN_OPTIONS $programs/$target -timeout=$patience -malloc_limit_mb=$most -rss_limit_mb=$all ${input:-}" >&2
        continue
    fi
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    executions=$(stat number_of_executed_units)
    if [ "${executions:-0}" = 0 ] || [ "${edges:-0}" = 0 ]; then
        echo "$target: executed nothing" >&2
        failed=1
    fi
    echo "$target: $executions executions, $(stat average_exec_per_sec) a second, $edges edges, at most $(stat peak_rss_mb) MiB"
done
exit $failed
