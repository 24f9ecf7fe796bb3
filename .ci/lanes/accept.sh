#!/usr/bin/env bash
# `smidgen serve` as released, under real clients; what examples/serve promises to systemd, Kubernetes and LiteLLM. Wants a machine with little else to do.
. "$(dirname "$0")/../common.sh"
groups=models,openai-chat,openai-completions,embeddings,clients,streaming,logprobs,stop,errors,auth,security,limits,cancel,concurrency,prompt-cache,metrics,health,shutdown,soak
# Checks that ask for what is not there yet, schemas of JSON and tools. One of them that passes has to be taken off.
red=(streaming.utf8-is-never-split clients.instructor clients.node-openai)
packages python3:python3 node:nodejs npm:npm systemd-analyze:systemd cc:gcc python3-venv libc6-dev
work=$built/accept
mkdir -p "$work"

step "the command"
cargo build -q --release
# The lane `release` builds another one of the same name for a while.
cp "$built/release/smidgen" "$work/smidgen"
models
smollm2=$("$work/smidgen" pull smollm2)
minilm=$("$work/smidgen" pull minilm)

step "clients"
[ -e "$work/venv/bin/pip" ] || python3 -m venv "$work/venv"
alone "$work/venv/bin/pip" install -q -r tests/accept/requirements.txt
[ -e "$work/checks/bin/pip" ] || python3 -m venv "$work/checks"
alone "$work/checks/bin/pip" install -q pyyaml==6.0.3 kubernetes-validate==1.37.0
(cd tests/accept/node && alone npm install --silent --no-package-lock --no-audit --no-fund)

step "examples"
tests/accept/examples.sh "$work/smidgen" "$work/checks/bin/python"

# Runs checks with what is there, and writes the results as JSON:  accept FILE CHECKS MORE…
accept() {
    local file=$1 checks=$2
    shift 2
    rm -f "$file"
    "$work/venv/bin/python" tests/accept/run.py --profile tests/accept/profiles/smidgen.json --set bin="$work/smidgen" --set gguf="$smollm2" \
        --set embed_gguf="$minilm" --only "$checks" --node --json "$file" "$@" || [ -s "$file" ]
}
# The checks of a file of results in a state:  those STATE FILE
those() { "$work/venv/bin/python" -c 'import json, sys
print(*(result["check"] for result in json.load(open(sys.argv[2]))["results"] if result["state"] == sys.argv[1]), sep="\n")' "$@" | grep . || true; }

more=()
# Folders of models are served by what has the flag.
if "$work/smidgen" serve --help | grep -q -- --models-dir; then
    mkdir -p "$work/models"
    ln -sf "$smollm2" "$work/models/one.gguf"
    ln -sf "$smollm2" "$work/models/other.gguf"
    more+=(--set models_dir="$work/models")
else
    echo "SKIPPED: models.several (the command has no --models-dir)"
fi
if [ -n "${SMIDGEN_RERANKER:-}" ]; then
    coproc ranks { exec "$work/smidgen" serve "$SMIDGEN_RERANKER" --alias smollm2 --port 0 2>&1; }
    # shellcheck disable=SC2154
    trap 'kill $ranks_PID 2>/dev/null || true' EXIT
    address=''
    while [ -z "$address" ]; do
        read -r line <&"${ranks[0]}" || { echo "$SMIDGEN_RERANKER is not served" >&2 && exit 1; }
        address=$(sed -n 's/.*"listening","address":"\([^"]*\)".*/\1/p' <<<"$line")
    done
    groups+=,rerank more+=(--rerank-url "http://$address")
else
    echo "SKIPPED: rerank (no cross-encoder has a short name; SMIDGEN_RERANKER=FILE.gguf)"
fi

step "checks"
accept "$work/results.json" "$groups" --soak 60 "${more[@]}"
failed=()
for check in $(those FAIL "$work/results.json"); do
    [[ " ${red[*]} " == *" $check "* ]] || failed+=("$check")
done
if [ ${#failed[@]} -gt 0 ]; then
    # Some judge times, on a machine that other lanes share.
    step "a second time: ${failed[*]}"
    accept "$work/again.json" "$(IFS=, && echo "${failed[*]}")" --soak 60 "${more[@]}"
    mapfile -t failed < <(those FAIL "$work/again.json")
fi
passed=$(those PASS "$work/results.json")
for check in "${red[@]}"; do
    if grep -qx "$check" <<<"$passed"; then
        echo "$check is no longer red: take it off the list of this lane" >&2
        failed+=("$check")
    fi
done
[ "$(wc -l <<<"$passed")" -ge 120 ] || { echo "only these have passed: $passed" >&2 && failed+=(run); }
[ ${#failed[@]} = 0 ] || { echo "red: ${failed[*]}" >&2 && exit 1; }

step "LiteLLM's proxy before two servers"
tests/accept/litellm_proxy.py --bin "$work/smidgen" --gguf "$smollm2" --venv "$work/litellm"
