#!/usr/bin/env bash
# What targets/image.sh makes is an image, as tools of others see it, and starts from nothing but itself:  tests/image.sh amd64=FILE arm64=FILE
# Needs skopeo, umoci, python3, and root for chroot; qemu-user for the architecture that this machine has not. Nothing leaves the machine.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: tests/image.sh amd64=FILE arm64=FILE" >&2 && exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
server=''
trap '[ -z "$server" ] || kill $server 2>/dev/null || true; rm -rf "$work"' EXIT
chmod 755 "$work"
fail() { echo "image: $*" >&2 && exit 1; }

"$here/targets/image.sh" "$work/image.tar" "$@"
# The same again, by somebody else, elsewhere, later.
mkdir "$work/elsewhere"
copies=()
for word; do
    cp "${word#*=}" "$work/elsewhere/copy-${word%%=*}"
    copies+=("${word%%=*}=$work/elsewhere/copy-${word%%=*}")
done
(umask 077 && cd "$work/elsewhere" && TZ=Asia/Tokyo LC_ALL=C "$here/targets/image.sh" again.tar "${copies[@]}")
cmp "$work/image.tar" "$work/elsewhere/again.tar" || fail "the same commands give another image"

# What is no static command of the platform is refused, in a line.
refused() {
    local line
    if line=$("$here/targets/image.sh" "$work/refused.tar" "$1" 2>&1); then fail "$1 is taken"; fi
    [[ $line == "image.sh: "*"$2"* && $(wc -l <<<"$line") = 1 && ! -e $work/refused.tar ]] || fail "$1: $line"
}
refused "amd64=/bin/true" "$([ "$(uname -m)" = x86_64 ] && echo "not static" || echo "no program for linux/amd64")"
refused "arm64=$here/targets/image.sh" "no program for linux/arm64"
refused "arm64=$work/none" "No such file"

(cd "$here" && cargo run -q -p smidgen-tests --example tiny_model -- "$work/tiny.gguf")
chmod 644 "$work/tiny.gguf"
for word; do
    architecture=${word%%=*}
    skopeo inspect --override-arch "$architecture" --override-os linux "oci-archive:$work/image.tar" >"$work/seen.json"
    skopeo --override-arch "$architecture" --override-os linux copy -q "oci-archive:$work/image.tar" "oci:$work/$architecture:one"
    umoci unpack --image "$work/$architecture:one" "$work/bundle-$architecture" >/dev/null 2>&1
    python3 - "$work/seen.json" "$work/bundle-$architecture/config.json" "$architecture" <<'EOF'
import json, sys

seen, runs = (json.load(open(name)) for name in sys.argv[1:3])
assert (seen["Architecture"], seen["Os"]) == (sys.argv[3], "linux"), seen
assert seen["Labels"]["org.opencontainers.image.title"] == "smidgen", seen["Labels"]
assert "SMIDGEN_CACHE=/models" in seen["Env"], seen["Env"]
process = runs["process"]
assert process["args"] == ["/smidgen", "serve"] and process["cwd"] == "/models", process
assert process["user"]["uid"] == process["user"]["gid"] == 65532, process["user"]
assert any(mount["destination"] == "/models" for mount in runs["mounts"]), runs["mounts"]
EOF
    chmod 755 "$work/bundle-$architecture"
    root=$work/bundle-$architecture/rootfs
    [ "$(cd "$root" && find . -printf '%p %m %U:%G\n' | sort)" = ". 755 0:0
./models 755 65532:65532
./smidgen 755 0:0" ] || fail "$architecture: there is something else in it: $(cd "$root" && find . -printf '%p %m %U:%G\n')"
    cmp "$root/smidgen" "${word#*=}"

    # It runs as its user, with nothing but itself; emulated, where this machine is another.
    emulator=''
    case $architecture:$(uname -m) in
    amd64:x86_64 | arm64:aarch64) ;;
    arm64:*) emulator=qemu-aarch64 ;;
    *) emulator=qemu-x86_64 ;;
    esac
    inside=(env -i HOME=/models SMIDGEN_CACHE=/models)
    if [ -z "$emulator" ]; then
        inside+=("$(command -v chroot)" --userspec=65532:65532 "$root" /smidgen)
        model=/models/tiny.gguf
    else
        inside+=("$(command -v setpriv)" --reuid=65532 --regid=65532 --clear-groups "$(command -v $emulator)" "$root/smidgen")
        model=$root/models/tiny.gguf
    fi
    cp "$work/tiny.gguf" "$root/models/"
    [[ $("${inside[@]}" --version) == "smidgen "* ]] || fail "$architecture: it does not start"
    # An address that others reach is refused without a key, in containers too.
    if line=$("${inside[@]}" serve "$model" --host 0.0.0.0 --port 0 2>&1); then fail "$architecture: anybody may ask"; fi
    [[ $line == *--host*--open* ]] || fail "$architecture: $line"
    "${inside[@]}" serve "$model" --host 0.0.0.0 --port 0 --api-key secret --context 64 2>"$work/log" &
    server=$!
    python3 - "$work/log" <<'EOF' || { kill $server && cat "$work/log" >&2 && fail "$architecture: it does not serve"; }
import json, sys, time, urllib.request

lines = []
for _ in range(600):
    lines = [json.loads(line) for line in open(sys.argv[1]) if line.endswith("\n")]
    if any(line["event"] == "ready" for line in lines):
        break
    time.sleep(0.1)
port = next(line["address"] for line in lines if line["event"] == "listening").rsplit(":", 1)[1]
body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}).encode()
headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
answer = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60))
assert answer["usage"]["completion_tokens"] == 3, answer
EOF
    kill $server
    wait $server || fail "$architecture: SIGTERM does not end it well"
    server=''
    echo "$architecture: $("${inside[@]}" --version) serves from $(wc -c <"$root/smidgen") bytes and nothing else"
done
