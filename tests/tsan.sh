#!/usr/bin/env bash
# Looks for races, with ThreadSanitizer, in what shares memory between threads: the pool, parallel loops, memory that begins as zeros, and the
# handles of the ABI.
#   tests/tsan.sh                # builds the tests and runs them; a report is a failure
#   tests/tsan.sh --packages     # Debian's packages that it needs
#
# The standard library is built with the sanitizer too, for a lock in a library that the sanitizer does not see looks like a race. That takes the
# library's sources, which the distribution's compiler has, and a runtime of the same LLVM, which clang has: `tests/tsan/linker.sh` links it.
set -euo pipefail
cd "$(dirname "$0")/.."
rustc=/usr/bin/rustc cargo=/usr/bin/cargo
llvm=$({ $rustc -vV || apt-cache depends rustc-web; } 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p; s/.*libllvm\([0-9]*\)$/\1/p' | head -1)
packages="gcc rustc-web cargo-web rust-web-src libclang-rt-${llvm:-22}-dev"
if [ "${1:-}" = --packages ]; then
    echo "$packages"
    exit
fi
machine=$(uname -m)
SMIDGEN_TSAN_RUNTIME=/usr/lib/llvm-$llvm/lib/clang/$llvm/lib/linux/libclang_rt.tsan-$machine.a
if [ ! -x $cargo ] || [ ! -e "$($rustc --print sysroot)/lib/rustlib/src" ] || [ ! -e "$SMIDGEN_TSAN_RUNTIME" ] || ! command -v cc >/dev/null; then
    echo "tsan.sh: something is missing: apt-get install $packages" >&2
    exit 1
fi
export SMIDGEN_TSAN_RUNTIME RUSTC_BOOTSTRAP=1 RUSTC=$rustc CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/tsan
export CARGO_ENCODED_RUSTFLAGS="-Zsanitizer=thread"$'\x1f'"-Clinker=$PWD/tests/tsan/linker.sh"
# A test asks for more memory than there is, and is refused it as without the sanitizer. Binutils' addr2line names the lines of a report.
TSAN_OPTIONS="allocator_may_return_null=1 external_symbolizer_path=$(command -v addr2line) ${TSAN_OPTIONS:-}"
export TSAN_OPTIONS

# The tests whose names begin so, of which there must be some.
run() { # name, arguments for cargo…, --, names
    local name=$1 log=$CARGO_TARGET_DIR/${1// /-}.log
    shift
    mkdir -p "$CARGO_TARGET_DIR"
    if ! $cargo test -q -Zbuild-std=std,panic_abort --target "$machine-unknown-linux-gnu" "$@" --show-output >"$log" 2>&1 || grep -q 'WARNING: ThreadSanitizer: ' "$log"; then
        cat "$log" >&2
        echo "tsan.sh: $name: FAILED" >&2
        return 1
    fi
    local passed
    passed=$(sed -n 's/^test result: ok. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    [ "$passed" -gt 0 ] || { echo "tsan.sh: $name: no test ran" >&2 && return 1; }
    echo "RAN with ThreadSanitizer: $name, $passed tests"
}

run "parallel loops and zeros" -p smidgen-targets --lib -- schedule:: zeroed::
run "the pool" -p smidgen-host --lib -- pool::
run "handles" -p smidgen-capi --features language --test threads --
run "the engine" -p smidgen-serve --lib -- engine::
