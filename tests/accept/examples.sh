#!/usr/bin/env bash
# What examples/serve says is what systemd, Kubernetes and the command take:  tests/accept/examples.sh SMIDGEN PYTHON
# PYTHON has pyyaml and kubernetes-validate. Needs systemd-analyze and systemd-socket-activate; nothing is installed or started but a server of a small model.
set -euo pipefail
smidgen=$(realpath "${1:?usage: tests/accept/examples.sh SMIDGEN PYTHON}")
python=${2:?usage: tests/accept/examples.sh SMIDGEN PYTHON}
here=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
server=''
trap '[ -z "$server" ] || kill $server 2>/dev/null || true; rm -rf "$work"' EXIT

# systemd: no warning, and next to nothing that the service may do (0 to 100, the smaller the better).
for unit in smidgen.service smidgen.socket; do
    sed "s#/usr/local/bin/smidgen#$smidgen#" "$here/examples/serve/$unit" >"$work/$unit"
done
warnings=$(systemd-analyze verify "$work/smidgen.service" "$work/smidgen.socket" 2>&1) || true
[ -z "$warnings" ] || { echo "$warnings" >&2 && exit 1; }
systemd-analyze security --offline=yes --threshold=15 --no-pager "$work/smidgen.service" >"$work/security" || { cat "$work/security" >&2 && exit 1; }
tail -1 "$work/security"

# Kubernetes: every object by its schema, no field that it does not know. The others are YAML.
"$python" - "$here/examples/serve" "$work" <<'EOF'
import re, sys, yaml, kubernetes_validate

folder, work = sys.argv[1:]
kinds = []
for thing in yaml.safe_load_all(open(f"{folder}/k3s.yaml")):
    kubernetes_validate.validate(thing, "1.37", strict=True)
    kinds.append(thing["kind"])
    if thing["kind"] == "Deployment":
        pod = thing["spec"]["template"]["spec"]
        arguments = pod["containers"][0]["args"]
        assert pod["terminationGracePeriodSeconds"] == 40
print("k3s.yaml:", ", ".join(kinds))
swap = yaml.safe_load(open(f"{folder}/llama-swap.yaml"))
commands = [["serve", *arguments]]
for name, model in swap["models"].items():
    line = model["cmd"].replace("${smidgen}", swap["macros"]["smidgen"]).replace("${PORT}", "1").replace("${MODEL_ID}", name)
    assert "$" not in line, line
    commands.append(line.split()[1:])
lite = yaml.safe_load(open(f"{folder}/litellm.yaml"))
assert len({model["model_name"] for model in lite["model_list"]}) == 1 and len(lite["model_list"]) == 2
commands += [re.sub(r"^ExecStart=\S+ ", "", line).split() for line in open(f"{folder}/smidgen.service") if line.startswith("ExecStart=")]
open(f"{work}/commands", "w").writelines(" ".join(command) + "\n" for command in commands)
EOF
# The command knows every flag that they give.
while read -ra words; do
    "$smidgen" "${words[@]}" --help >/dev/null || { echo "the command refuses: ${words[*]}" >&2 && exit 1; }
    echo "taken: ${words[*]}"
done <"$work/commands"

# The socket of systemd is taken, and the first request starts the server.
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
systemd-socket-activate -l "127.0.0.1:$port" -E HOME -E SMIDGEN_CACHE -E XDG_CACHE_HOME "$smidgen" serve smollm2 --alias assistant 2>"$work/log" &
server=$!
"$python" - "$port" <<'EOF' || { cat "$work/log" >&2 && exit 1; }
import sys, time, urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for _ in range(100):
    try:
        # The first request waits for the process, and is answered; that the model is open comes later.
        text = opener.open(f"http://127.0.0.1:{sys.argv[1]}/livez", timeout=60).read()
        assert b"ok" in text, text
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
else:
    sys.exit("nothing listens")
EOF
kill $server
wait $server
server=''
echo "socket activation: answered, and ended by SIGTERM"
