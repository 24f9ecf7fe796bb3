#!/usr/bin/env bash
# The layout of Smidgen.xcframework, for devices and for the simulator:  examples/ios/package.sh [FOLDER] [FEATURES]
# Static libraries, for which no linker is needed, but the targets of rustup are, and Apple's SDK for whatever of them is linked later.
# Where a target is not installed, a file NOT-BUILT stands instead of its library and says so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:-$root/target/ios} features=${2:-audio,chat,encoders,language}
built=${CARGO_TARGET_DIR:-$root/target}
case $built in /*) ;; *) built=$root/$built ;; esac
framework=$out/Smidgen.xcframework
rm -rf "$framework"

library() { # target, where to
    if rustc --target "$1" --print target-libdir 2>/dev/null | xargs -r test -d; then
        (cd "$root" && cargo rustc -q -p smidgen-lib --profile release-lib --target "$1" --no-default-features --features "$features" --crate-type staticlib)
        install -m 644 "$built/$1/release-lib/libsmidgen_lib.a" "$2"
    else
        echo "libsmidgen.a for $1 was NOT BUILT: the target is not installed (rustup target add $1)." | tee "$(dirname "$2")/NOT-BUILT-$1"
    fi
}

headers() {
    mkdir -p "$framework/$1/Headers"
    cp "$root/runtime/capi/include/smidgen.h" "$framework/$1/Headers/"
    printf 'module CSmidgen {\n    header "smidgen.h"\n    export *\n}\n' >"$framework/$1/Headers/module.modulemap"
}

headers ios-arm64
library aarch64-apple-ios "$framework/ios-arm64/libsmidgen.a"
headers ios-arm64_x86_64-simulator
simulator=$framework/ios-arm64_x86_64-simulator
library aarch64-apple-ios-sim "$simulator/arm64.a"
library x86_64-apple-ios "$simulator/x86_64.a"
if [ -e "$simulator/arm64.a" ] && [ -e "$simulator/x86_64.a" ]; then
    # Xcode's, or the one of LLVM.
    $(command -v lipo || command -v llvm-lipo) -create "$simulator/arm64.a" "$simulator/x86_64.a" -output "$simulator/libsmidgen.a"
    rm "$simulator/arm64.a" "$simulator/x86_64.a"
fi
entry() { # folder, architectures, variant
    printf '    <dict>\n      <key>LibraryIdentifier</key><string>%s</string>\n' "$1"
    printf '      <key>LibraryPath</key><string>libsmidgen.a</string>\n      <key>HeadersPath</key><string>Headers</string>\n'
    printf '      <key>SupportedArchitectures</key><array>'
    printf '<string>%s</string>' $2
    printf '</array>\n      <key>SupportedPlatform</key><string>ios</string>\n'
    [ -z "$3" ] || printf '      <key>SupportedPlatformVariant</key><string>%s</string>\n' "$3"
    printf '    </dict>\n'
}
{
    printf '<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0">\n<dict>\n  <key>AvailableLibraries</key>\n  <array>\n'
    entry ios-arm64 arm64 ''
    entry ios-arm64_x86_64-simulator 'arm64 x86_64' simulator
    printf '  </array>\n  <key>CFBundlePackageType</key><string>XFWK</string>\n  <key>XCFrameworkFormatVersion</key><string>1.0</string>\n</dict>\n</plist>\n'
} >"$framework/Info.plist"
python3 -c 'import plistlib, sys; plistlib.load(open(sys.argv[1], "rb"))' "$framework/Info.plist"
find "$framework" -type f | sort
