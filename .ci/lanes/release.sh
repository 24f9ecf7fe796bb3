#!/usr/bin/env bash
# The README's first command as it is released, and what released files weigh and need.
. "$(dirname "$0")/../common.sh"
packages readelf:binutils aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-aarch64:qemu-user skopeo:skopeo umoci:umoci python3:python3
amd64=x86_64-unknown-linux-gnu
rust_for $arm64 $amd64
step "the README's first command"
cargo run -q --release -- run smollm2 -p "Why is the sky blue?" -n 40 --temp 0
alone pull_models "$built/release/smidgen"
at_most 8 "$built/release/smidgen" "the command"
needed=$(readelf -d "$built/release/smidgen" | grep NEEDED)
echo "$needed"
! grep -vE '\[(libc|libm|ld-linux[^]]*)\.so' <<<"$needed" || { echo "more than the C library is needed" >&2 && exit 1; }

step "the command without its features"
cargo build -q --release -p smidgen-bin --no-default-features
at_most 3 "$built/release/smidgen" "the command without its features"
# The whole command takes the file's place again.
cargo build -q --release

step "$arm64: the command, one static file"
targets/cross.sh $arm64
at_most 8 "$built/cross/$arm64/$arm64/release/smidgen" "the command for 64-bit ARM"

step "$amd64: the command, one static file"
targets/cross.sh $amd64
at_most 8 "$built/cross/$amd64/$amd64/release/smidgen" "the static command for x86-64"

step "the image of both"
tests/image.sh "amd64=$built/cross/$amd64/$amd64/release/smidgen" "arm64=$built/cross/$arm64/$arm64/release/smidgen"
