# What the lanes share: packages, models, tests under QEMU. Sourced, not run: it begins in the repository's root.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Nothing is changed here and compiled again, nor looked at in a debugger.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 CI=1
built=${CARGO_TARGET_DIR:-$PWD/target}
# shellcheck disable=SC2034
arm64=aarch64-unknown-linux-gnu arm32=armv7-unknown-linux-gnueabihf
# What the lanes of one run tell each other. .ci/run makes the folder.
run=${SMIDGEN_CI_RUN:-}
[ -n "$run" ] || { echo "lanes are run by .ci/run LANE" >&2 && exit 2; }

step() { printf '== %s (%ss)\n' "$*" "$SECONDS"; }
full() { [ "$SMIDGEN_CI_TIER" = full ]; }

# Two lanes do not install at the same time.
alone() {
    (
        flock 9
        "$@"
    ) 9>"$run/lock"
}

# Installs what is not there, each a command with its Debian package, or a package alone:  packages COMMAND:PACKAGE PACKAGE…
packages() { alone install_packages "$@"; }
install_packages() {
    local missing=() word
    for word in "$@"; do
        case $word in
        *:*) command -v "${word%%:*}" >/dev/null || missing+=("${word#*:}") ;;
        *) [ "$(dpkg-query -Wf '${db:Status-Status}' "$word" 2>/dev/null)" = installed ] || missing+=("$word") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installs ${missing[*]}"
    [ -e "$run/updated" ] || apt-get update -q >/dev/null
    touch "$run/updated"
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -yq --no-install-recommends "${missing[@]}" >/dev/null
}

# Installs what a target's standard library is built from, if rustup has no copy of it:  rust_for TARGET…
rust_for() {
    local target
    for target in "$@"; do
        if ! rustc --target "$target" --print target-libdir 2>/dev/null | xargs -r test -d && ! alone rustup -q target add "$target" 2>/dev/null; then
            packages /usr/bin/rustc:rustc-web /usr/bin/cargo:cargo-web rust-web-src
        fi
    done
}

# Installs Python's packages, and sees that each can be imported:  python MODULE[=PACKAGE==VERSION]…
python() {
    packages python3:python3 pip3:python3-pip
    local wanted=() word
    for word in "$@"; do
        wanted+=("${word#*=}")
    done
    PIP_BREAK_SYSTEM_PACKAGES=1 alone python3 -m pip install -q --root-user-action=ignore "${wanted[@]}"
    for word in "$@"; do
        python3 -c "import ${word%%=*}"
    done
}

# Builds a cargo subcommand beside the build, if there is none:  tool NAME VERSION
tool() {
    export PATH=$built/tools/bin:$PATH
    cargo "${1#cargo-}" --version 2>/dev/null || cargo install -q "$1" --version "$2" --locked --root "$built/tools"
}

# The command for this machine, as `cargo test --workspace` builds it: after that, nothing is left to do.
command_built() {
    cargo build -q --workspace --lib --bins --examples
    smidgen=$built/debug/smidgen
}

# Pulls the models that tests look for with the command smidgen, and tells the other lanes.
pull_models() {
    "$1" pull smollm2
    "$1" pull minilm
    touch "$run/models"
}

# Has the models: waits for the lane that pulls them, if there is one in this run.
models() {
    if [ -e "$run/pulls" ]; then
        until [ -e "$run/models" ]; do sleep 1; done
    else
        command_built
        alone pull_models "$smidgen"
    fi
}

# Tests under QEMU, with the kernel sets that the CPU must have. A name that no test has is a failure.
#   emulated CPU SETS TARGET NAMES-OF-TESTS ARGUMENT-OF-CARGO-TEST…
emulated() {
    local cpu=$1 sets=$2 target=$3 names=$4 name
    local -x SMIDGEN_QEMU_CPU=$cpu SMIDGEN_EXPECT_KERNEL_SETS=$sets
    # Emulated, long texts are shortened: the bits are pinned by tests that run whole.
    local -x SMIDGEN_SHORT=1
    shift 4
    step "$target, $cpu: tests ${names:-(all)} of $*, with exactly the kernel sets $sets"
    for name in $names; do
        targets/cross.sh "$target" test -q "$@" -- --list "$name" | grep ': test$' >/dev/null || { echo "no test is called $name" >&2 && return 1; }
    done
    # shellcheck disable=SC2086
    targets/cross.sh "$target" test "$@" -- --show-output $names 2>&1 | sed -u "s/^/$cpu: /"
}

# Fails if a file has more bytes than are promised:  at_most MEGABYTES FILE WHAT
at_most() {
    local bytes
    bytes=$(wc -c <"$2")
    echo "$3: $bytes bytes, of at most $1 MB"
    awk -v bytes="$bytes" -v most="$1" 'BEGIN { exit bytes > most * 1000000 }' || { echo "$3 is too large" >&2 && return 1; }
}
