#!/usr/bin/env bash
# cargo for another machine:  targets/cross.sh TARGET [CARGO-COMMAND [ARGUMENT…]]
#   targets/cross.sh aarch64-unknown-linux-gnu                     # the command smidgen, one static file, stripped
#   targets/cross.sh armv7-unknown-linux-gnueabihf test -p smidgen-quant
#   targets/cross.sh thumbv7em-none-eabihf build -p smidgen --no-default-features
#
# TARGET                          needs (Debian's packages)
#   aarch64-unknown-linux-gnu       gcc-aarch64-linux-gnu; to run tests: qemu-user
#   aarch64-unknown-linux-musl      nothing but rustup's target; for TLS a C compiler too, aarch64-linux-musl-gcc or the one in
#                                   CC_aarch64_unknown_linux_musl
#   armv7-unknown-linux-gnueabihf   gcc-arm-linux-gnueabihf; to run tests: qemu-user
#   x86_64-unknown-linux-gnu        nothing there; elsewhere gcc-x86-64-linux-gnu, to run tests qemu-user
#   aarch64-linux-android           Android's NDK in ANDROID_NDK_HOME (without it libraries can be built, not linked)
#   any other                       what cargo asks for
#
# Takes rustup's copy of the target where there is one (`rustup target add TARGET`). Elsewhere it takes the distribution's toolchain
# with its sources (Debian: apt-get install rustc-web cargo-web rust-web-src) and builds the standard library as well.
# TLS needs a C compiler for the target. Without one the command is built without it, and refuses https:// by name
# (`targets/cross.sh TARGET build --release -p smidgen-bin --features tls-rustcrypto` has TLS by an alpha that needs none).
# Each target has its own folder, target/cross/TARGET. Linux programs are static. Tests, and programs that tests start, run under QEMU
# as the CPU named by SMIDGEN_QEMU_CPU (default: max), or by the program in SMIDGEN_RUNNER.
set -euo pipefail
target=${1:?usage: targets/cross.sh TARGET [CARGO-COMMAND [ARGUMENT…]]}
shift
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/cross/$target

libraries=std,panic_abort
linker='' flags='' qemu=''
case $target in
*-none-*) libraries=core,alloc ;;
aarch64-unknown-linux-gnu) linker=aarch64-linux-gnu-gcc flags='-C target-feature=+crt-static' qemu=qemu-aarch64 ;;
aarch64-unknown-linux-musl) linker=rust-lld flags='-C target-feature=+crt-static' qemu=qemu-aarch64 ;;
armv7-unknown-linux-gnueabihf) linker=arm-linux-gnueabihf-gcc flags='-C target-feature=+crt-static' qemu=qemu-arm ;;
x86_64-unknown-linux-gnu)
    flags='-C target-feature=+crt-static'
    [ "$(uname -m)" = x86_64 ] || { linker=x86_64-linux-gnu-gcc qemu=qemu-x86_64; }
    ;;
aarch64-linux-android)
    if [ -n "${ANDROID_NDK_HOME:-}" ]; then
        linker=$(ls "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/aarch64-linux-android24-clang)
    fi
    ;;
esac
name=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")
[ -z "$linker" ] || export "${name}_LINKER=$linker"
[ -z "$flags" ] || export "${name}_RUSTFLAGS=$flags" RUSTDOCFLAGS="${RUSTDOCFLAGS:-} $flags"
if [ -n "$qemu" ]; then
    # The whole path, for tests that start programs without a PATH.
    export SMIDGEN_RUNNER=${SMIDGEN_RUNNER:-$(command -v $qemu || echo $qemu) -cpu ${SMIDGEN_QEMU_CPU:-max}}
    export "${name}_RUNNER=$SMIDGEN_RUNNER"
fi

build() {
    local command=$1
    shift
    if rustc --target "$target" --print target-libdir 2>/dev/null | xargs -r test -d; then
        cargo "$command" --target "$target" "$@"
    elif [ -x /usr/bin/cargo ] && [ -e "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src" ]; then
        # The standard library is not among the dependencies that the workspace's profile for development leaves as they are.
        RUSTC_BOOTSTRAP=1 PATH=/usr/bin:$PATH /usr/bin/cargo "$command" -Zbuild-std=$libraries --target "$target" \
            --config=profile.dev.package.{core,alloc,std}.opt-level=0 "$@"
    else
        echo "cross.sh: no $target here: run 'rustup target add $target', or install rustc-web, cargo-web and rust-web-src" >&2
        return 1
    fi
}

# Whether there is a C compiler by the name by which crates look for it.
has_c_compiler() {
    local compiler=CC_${target//-/_}
    case $target in
    *-linux-musl) compiler=${!compiler:-${target%%-*}-linux-musl-gcc} ;;
    *-android) compiler=${!compiler:-$linker} ;;
    *) return 0 ;;
    esac
    [ -n "$compiler" ] && command -v "$compiler" >/dev/null
}

if [ $# -gt 0 ]; then
    build "$@"
else
    features=()
    if ! has_c_compiler; then
        echo "cross.sh: no C compiler for $target, so the command is built without TLS" >&2
        features=(--no-default-features --features "completions,convert,encoders,hub,micro")
    fi
    build build --release -p smidgen-bin "${features[@]}"
    wc -c "$CARGO_TARGET_DIR/$target/release/smidgen"
fi
