#!/usr/bin/env bash
# Checks libsmidgen as C, C++, Java, Kotlin and Python see it:  runtime/capi/check.sh [--release]
# Prints what ran and what is ABSENT. With CI=1 (or SMIDGEN_EXPECT_ALL=1) something absent is a failure, but for what cannot be had here.
# Debian's packages: gcc g++ clang valgrind cmake pkg-config default-jdk-headless kotlin python3 binutils
#   gcc-aarch64-linux-gnu and rustup's aarch64-unknown-linux-gnu for the size
# --release: also builds the profile release-lib and measures the shared object for arm64 (some minutes).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cd "$root"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
warn="-Wall -Wextra -Wpedantic -Werror"
missing=''
ran() { echo "RAN: $*"; }
absent() {
    echo "ABSENT: $*"
    missing="$missing; $*"
}
have() { command -v "$1" >/dev/null || { absent "$1" && return 1; }; }

# What the stories are told by: a model that is there in any case is the one that is given.
shared=${SMIDGEN_SHARED:-$root/../shared}
cache=${SMIDGEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/smidgen}
vit=runtime/commands/assets/vit-cifar10.gguf
story=$shared/models/stories15M.Q4_0.gguf small=$shared/models/stories260K.Q8_0.gguf
smollm=$(ls "$cache"/SmolLM2-135M-Instruct.Q4_1*.gguf 2>/dev/null | head -1 || true)
minilm=$(ls "$cache"/all-MiniLM-L6-v2*.gguf 2>/dev/null | head -1 || true)
[ -e "$story" ] && [ -e "$small" ] || { absent "the models stories15M, stories260K (SMIDGEN_SHARED)" && story=$smollm small=$smollm; }
[ -n "$smollm" ] || absent "the model smollm2 (smidgen pull smollm2)"
[ -n "$minilm" ] || { absent "the model minilm (smidgen pull minilm)" && minilm=-; }
[ -n "$story" ] || { echo "check.sh: no language model: nothing can be told" >&2 && exit 1; }

echo "== build and install"
cargo build -q -p smidgen-capi -p smidgen-cli
cargo build -q -p smidgen-examples --example story
cargo test -q -p smidgen-capi
runtime/capi/install.sh --profile dev --no-build --prefix "$stage"
export LD_LIBRARY_PATH=$stage/lib PKG_CONFIG_PATH=$stage/lib/pkgconfig
static="$stage/lib/libsmidgen.a -lpthread -ldl -lm"
ran "header, snapshot of the ABI, floating-point environment"

echo "== symbols"
exported=$(nm -D --defined-only "$stage/lib/libsmidgen.so" | awk '{ print $NF }' | sort)
declared=$(sed -n 's/^function \(smidgen_[a-z_]*\) .*/\1/p' runtime/capi/abi.txt | sort)
diff <(echo "$exported") <(echo "$declared")
ran "nm -D: exactly the $(wc -l <<<"$declared") functions of the header"

echo "== layouts"
for compiler in gcc clang arm-linux-gnueabihf-gcc aarch64-linux-gnu-gcc; do
    have $compiler || continue
    # shellcheck disable=SC2086
    $compiler -std=c99 $warn -I"$stage/include" -c runtime/capi/tests/layout.c -o "$work/layout.o"
    ran "layouts of structs by $compiler"
done

echo "== the same story"
text="Once upon a time"
"$CARGO_TARGET_DIR/debug/smidgen" run "$story" --raw -p "$text" -n 60 --temp 0 >"$work/wanted"
tells() { # who, command
    local who=$1
    shift
    "$@" "$story" "$text" 60 >"$work/told"
    cmp "$work/wanted" "$work/told" || { echo "check.sh: $who tells another story" >&2 && exit 1; }
    ran "the story of $(wc -c <"$work/told") bytes by $who"
}
tells "Rust" "$CARGO_TARGET_DIR/debug/examples/story"
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

echo "== Java and Kotlin"
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

echo "== abuse"
# shellcheck disable=SC2046,SC2086
gcc -std=c99 $warn -g -O1 runtime/capi/tests/c/abuse.c $(pkg-config --cflags --libs smidgen) -lpthread -lm -o "$work/abuse"
"$work/abuse" "$small" $vit "$minilm" -
ran "abuse.c, 1,000 openings"
if have gcc; then
    # shellcheck disable=SC2086
    gcc -std=c99 $warn -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -I"$stage/include" runtime/capi/tests/c/abuse.c $static -o "$work/abuse-asan"
    "$work/abuse-asan" "$small" $vit "$minilm" - short
    # shellcheck disable=SC2086
    gcc -std=c99 $warn -g -O1 -fsanitize=address -I"$stage/include" examples/c/chat.c $static -o "$work/chat-asan"
    ran "abuse.c under AddressSanitizer and UndefinedBehaviorSanitizer"
fi
ear=-
if [ -e "$shared/models/microwakeword/okay_nabu.tflite" ]; then
    ear=$work/nabu.gguf
    "$CARGO_TARGET_DIR/debug/smidgen" convert "$shared/models/microwakeword/okay_nabu.tflite" "$ear" >/dev/null
    "$work/abuse" "$small" $vit - "$ear" short
    ran "abuse.c with a wake word"
else
    absent "the model okay_nabu (SMIDGEN_SHARED)"
fi
if have valgrind; then
    quiet="valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect"
    $quiet "$work/abuse" "$small" $vit - - short
    ran "abuse.c under valgrind"
fi
if [ -n "$smollm" ]; then
    "$work/chat-gcc" "$smollm" "Why is the sky blue?" >"$work/answer"
    for other in "$work"/chat-*; do
        "$other" "$smollm" "Why is the sky blue?" | cmp - "$work/answer"
    done
    printf 'My name is Ada.\nWhat is my name?\n' | "$work/chat-gcc" "$smollm" >"$work/turns"
    [ "$(wc -c <"$work/turns")" -gt 20 ]
    ran "chat with SmolLM2: gcc and clang, shared and static, AddressSanitizer; two turns"
    if have valgrind; then
        # A whole answer takes some minutes there.
        $quiet "$work/story-gcc" "$smollm" "Hi" 4 >"$work/told"
        ran "four tokens of SmolLM2 under valgrind"
    fi
fi

if [ "${1:-}" = --release ]; then
    echo "== size"
    target=aarch64-unknown-linux-gnu
    if have aarch64-linux-gnu-gcc; then
        runtime/capi/install.sh --target $target --prefix "$work/arm64" >/dev/null
        aarch64-linux-gnu-strip -o "$work/stripped.so" "$work/arm64/lib/libsmidgen.so"
        bytes=$(wc -c <"$work/stripped.so")
        echo "stripped shared object for arm64: $bytes bytes"
        [ "$bytes" -le 2000000 ]
        ran "the shared object for arm64 has at most 2,000,000 bytes"
    fi
fi

if [ -n "$missing" ] && { [ -n "${CI:-}" ] || [ -n "${SMIDGEN_EXPECT_ALL:-}" ]; }; then
    echo "check.sh: absent, but expected$missing" >&2
    exit 1
fi
echo "check.sh: all that ran is well"
