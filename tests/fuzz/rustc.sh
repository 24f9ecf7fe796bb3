#!/usr/bin/env bash
# rustc as run.sh has cargo call it: without counters of edges in the kernels, whose loops are hot and where no input chooses what is done, nor in
# large crates that no target comes to. That saves a third of the time to build.
set -euo pipefail
arguments=()
[[ " $* " =~ " --crate-name "([a-z0-9_]*)" " ]] || exec "$@"
for argument; do
    case ${BASH_REMATCH[1]}:$argument in
    smidgen_targets:-Cpasses=sancov-module) ;;
    clap_*:-Cpasses=sancov-module | indicatif:-Cpasses=sancov-module | moxcms:-Cpasses=sancov-module | pxfm:-Cpasses=sancov-module) ;;
    tar:-Cpasses=sancov-module | zip:-Cpasses=sancov-module) ;;
    *) arguments+=("$argument") ;;
    esac
done
exec "${arguments[@]}"
