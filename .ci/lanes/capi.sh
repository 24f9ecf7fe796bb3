#!/usr/bin/env bash
# libsmidgen. Quick: the header, the snapshot of the ABI, and one story in C. Full: as C, C++, Java, Kotlin and Python see it, and as released for 64-bit ARM.
. "$(dirname "$0")/../common.sh"
packages gcc:gcc pkg-config:pkg-config readelf:binutils python3:python3 libc6-dev
if ! full; then
    runtime/capi/check.sh --quick
    exit
fi
packages g++:g++ clang:clang valgrind:valgrind libc6-dbg cmake:cmake make:make javac:default-jdk-headless kotlinc:kotlin \
    arm-linux-gnueabihf-gcc:gcc-arm-linux-gnueabihf aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu libc6-dev-arm64-cross libc6-dev-armhf-cross qemu-aarch64:qemu-user
rust_for $arm64
models
runtime/capi/check.sh --release
