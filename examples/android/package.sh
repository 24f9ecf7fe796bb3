#!/usr/bin/env bash
# The layout of an Android library (AAR) with libsmidgen for three machines:  examples/android/package.sh [FOLDER] [FEATURES]
#   FOLDER/jni/{arm64-v8a,armeabi-v7a,x86_64}/libsmidgen.so, aligned to pages of 16 KiB; AndroidManifest.xml; headers/smidgen.h; smidgen.aar
# The NDK is looked for in ANDROID_NDK_HOME. Without it nothing is linked for Android: instead of each library a file NOT-LINKED stands there
# and says so, and, where the target is installed, the static library has been compiled to show that the sources are fine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-$root/target/android} features=${2:-audio,chat,encoders,language}
built=${CARGO_TARGET_DIR:-$root/target}
case $built in /*) ;; *) built=$root/$built ;; esac
rm -rf "$out" && mkdir -p "$out/headers"
cp "$here/AndroidManifest.xml" "$out/"
cp "$root/runtime/capi/include/smidgen.h" "$out/headers/"
linked=1
while read -r abi target clang; do
    mkdir -p "$out/jni/$abi"
    if [ -n "${ANDROID_NDK_HOME:-}" ]; then
        linker=$(ls "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/"$clang")
        export "CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER=$linker"
        (cd "$root" && cargo build -p smidgen-lib --profile release-lib --target "$target" --no-default-features --features "$features")
        install -m 755 "$built/$target/release-lib/libsmidgen_lib.so" "$out/jni/$abi/libsmidgen.so"
        # Each loadable segment is aligned to 16 KiB (0x4000) or more.
        if readelf -lW "$out/jni/$abi/libsmidgen.so" | awk '$1 == "LOAD" && strtonum($NF) < 16384 { bad = 1 } END { exit !bad }'; then
            echo "package.sh: $abi: not aligned to 16 KiB" >&2
            exit 1
        fi
    else
        linked=
        compiled="the target is not installed (rustup target add $target), so it was not compiled either"
        if rustc --target "$target" --print target-libdir 2>/dev/null | xargs -r test -d; then
            (cd "$root" && cargo rustc -q -p smidgen-lib --profile release-lib --target "$target" --no-default-features --features "$features" --crate-type staticlib)
            compiled="it was compiled: libsmidgen_lib.a of $(wc -c <"$built/$target/release-lib/libsmidgen_lib.a") bytes"
        fi
        echo "libsmidgen.so for $target was NOT LINKED, as there is no NDK (ANDROID_NDK_HOME); $compiled." | tee "$out/jni/$abi/NOT-LINKED"
    fi
done <<END
arm64-v8a aarch64-linux-android aarch64-linux-android24-clang
armeabi-v7a armv7-linux-androideabi armv7a-linux-androideabi24-clang
x86_64 x86_64-linux-android x86_64-linux-android24-clang
END
if [ -n "$linked" ]; then
    jni=$root/examples/kotlin/src/main/jniLibs
    mkdir -p "$jni" && cp -r "$out/jni/." "$jni/"
    (cd "$out" && python3 -m zipfile -c smidgen.aar AndroidManifest.xml jni headers)
fi
find "$out" -type f | sort
