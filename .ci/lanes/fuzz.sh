#!/usr/bin/env bash
# Each fuzz target, for a minute.
. "$(dirname "$0")/../common.sh"
packages g++:g++
tests/fuzz/run.sh 60
