#!/usr/bin/env bash
# rustc as run.sh has cargo call it: the kernels get no counters of edges, for there time is spent, and no input chooses what is done.
set -euo pipefail
arguments=("$@")
if [[ " $* " == *" --crate-name smidgen_targets "* ]]; then
    arguments=()
    for argument; do
        [ "$argument" = -Cpasses=sancov-module ] || arguments+=("$argument")
    done
fi
exec "${arguments[@]}"
