#!/usr/bin/env bash
# cargo for another machine:  targets/cross.sh TARGET CARGO-COMMAND [ARGUMENT…]
#   targets/cross.sh thumbv7em-none-eabihf build -p smidgen --no-default-features
#
# Takes rustup's copy of the target where there is one (`rustup target add TARGET`). Elsewhere it takes the distribution's toolchain
# with its sources (Debian: apt-get install rustc-web cargo-web rust-web-src) and builds the standard library as well.
# Each target has its own folder, target/cross/TARGET.
set -euo pipefail
target=${1:?usage: targets/cross.sh TARGET CARGO-COMMAND [ARGUMENT…]}
command=${2:?usage: targets/cross.sh TARGET CARGO-COMMAND [ARGUMENT…]}
shift 2
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/cross/$target

case $target in
*-none-*) libraries=core,alloc ;;
*) libraries=std,panic_abort ;;
esac

if rustc --target "$target" --print target-libdir 2>/dev/null | xargs -r test -d; then
    exec cargo "$command" --target "$target" "$@"
fi
if [ ! -x /usr/bin/cargo ] || [ ! -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src" ]; then
    echo "cross.sh: no $target here: run 'rustup target add $target', or install rustc-web, cargo-web and rust-web-src" >&2
    exit 1
fi
RUSTC_BOOTSTRAP=1 PATH=/usr/bin:$PATH exec /usr/bin/cargo "$command" -Zbuild-std=$libraries --target "$target" "$@"
