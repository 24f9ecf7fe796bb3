#!/usr/bin/env bash
# The README's first command. It is optimized as the released one is, but not as a whole at its end, which takes minutes: that is in the lane `release`.
. "$(dirname "$0")/../common.sh"
step "the README's first command"
cargo run -q --profile release-quick -- run smollm2 -p "Why is the sky blue?" -n 40 --temp 0
alone pull_models "$built/release-quick/smidgen"
