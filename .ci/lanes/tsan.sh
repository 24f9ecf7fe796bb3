#!/usr/bin/env bash
# ThreadSanitizer over what threads share.
. "$(dirname "$0")/../common.sh"
[ -e tests/tsan.sh ] || { echo "ABSENT: tests/tsan.sh" && exit 0; }
tests/tsan.sh
