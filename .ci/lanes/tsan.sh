#!/usr/bin/env bash
# ThreadSanitizer over what threads share.
. "$(dirname "$0")/../common.sh"
packages gcc:gcc /usr/bin/rustc:rustc-web /usr/bin/cargo:cargo-web rust-web-src
# The sanitizer's runtime is that of the compiler's LLVM.
read -ra needed < <(tests/tsan.sh --packages)
packages "${needed[@]}"
tests/tsan.sh
