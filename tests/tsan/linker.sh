#!/usr/bin/env bash
# cc for tests/tsan.sh: where the compiler asks for its own ThreadSanitizer, which the distribution's has not, it gets clang's.
set -euo pipefail
arguments=()
for argument; do
    case $argument in
    */librustc*_rt.tsan.a) arguments+=("$SMIDGEN_TSAN_RUNTIME") ;;
    *) arguments+=("$argument") ;;
    esac
done
exec cc "${arguments[@]}"
