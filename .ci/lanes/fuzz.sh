#!/usr/bin/env bash
# Each fuzz target, for a minute.
. "$(dirname "$0")/../common.sh"
[ -e tests/fuzz/run.sh ] || { echo "ABSENT: tests/fuzz/run.sh" && exit 0; }
tests/fuzz/run.sh 60
