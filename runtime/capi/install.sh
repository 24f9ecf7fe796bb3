#!/usr/bin/env bash
# Builds and installs libsmidgen:  runtime/capi/install.sh [--prefix DIR] [--target TRIPLE] [--features LIST] [--profile NAME] [--no-build]
#   --prefix DIR      where to (default /usr/local); DESTDIR is put before it
#   --target TRIPLE   for another machine, by targets/cross.sh
#   --features LIST   of audio,chat,encoders,language (default: all; none: "")
#   --profile NAME    default release-lib
# Installs lib/libsmidgen.so.MAJOR.MINOR with its links .so.MAJOR and .so (or .dylib), lib/libsmidgen.a, include/smidgen.h, lib/pkgconfig/smidgen.pc, lib/cmake/smidgen/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
prefix=/usr/local target='' features='' profile=release-lib build=1
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) prefix=$2 && shift ;;
    --target) target=$2 && shift ;;
    --features) features="--no-default-features --features=$2" && shift ;;
    --profile) profile=$2 && shift ;;
    --no-build) build='' ;;
    *) echo "install.sh: $1 is not known" >&2 && exit 2 ;;
    esac
    shift
done

built=${CARGO_TARGET_DIR:-$root/target}
case $built in /*) ;; *) built=$root/$built ;; esac
if [ -n "$target" ]; then
    built=$built/cross/$target/$target
    # A shared library cannot have the C library inside.
    case $target in *-linux-gnu*) export RUSTFLAGS="-C target-feature=-crt-static" ;; esac
    # shellcheck disable=SC2086
    [ -z "$build" ] || "$root/targets/cross.sh" "$target" build -p smidgen-lib --profile "$profile" $features
else
    # shellcheck disable=SC2086
    [ -z "$build" ] || (cd "$root" && cargo build -p smidgen-lib --profile "$profile" $features)
fi
[ "$profile" = dev ] && built=$built/debug || built=$built/$profile

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
number=$(sed -n '1s/.* \([0-9]*\)u$/\1/p' "$here/abi.txt")
abi=$((number / 65536)) minor=$((number % 65536))
to=${DESTDIR:-}$prefix
mkdir -p "$to/lib/pkgconfig" "$to/lib/cmake/smidgen" "$to/include"
install -m 644 "$here/include/smidgen.h" "$to/include/"
install -m 644 "$built/libsmidgen_lib.a" "$to/lib/libsmidgen.a"
if [ -e "$built/libsmidgen_lib.dylib" ]; then
    install -m 755 "$built/libsmidgen_lib.dylib" "$to/lib/libsmidgen.dylib"
else
    # The file, the name that programs ask for when they start, and the one by which they are linked.
    install -m 755 "$built/libsmidgen_lib.so" "$to/lib/libsmidgen.so.$abi.$minor"
    ln -sf "libsmidgen.so.$abi.$minor" "$to/lib/libsmidgen.so.$abi"
    ln -sf "libsmidgen.so.$abi" "$to/lib/libsmidgen.so"
fi
for file in smidgen.pc smidgen-config.cmake smidgen-config-version.cmake; do
    case $file in *.pc) folder=pkgconfig ;; *) folder=cmake/smidgen ;; esac
    sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@ABI@|$abi|" "$here/package/$file.in" >"$to/lib/$folder/$file"
done
(cd "$to/lib" && ls -l libsmidgen.*)
