#!/usr/bin/env bash
# An image of the command for containers, FROM scratch, for linux/amd64 and linux/arm64 (an OCI image layout in a tar file):
#   targets/image.sh IMAGE.tar                                  # of the commands that targets/cross.sh builds
#   targets/image.sh IMAGE.tar amd64=FILE arm64=FILE            # of static commands that are there; one platform is enough
#
#   skopeo copy --all oci-archive:IMAGE.tar docker://REGISTRY/NAME:TAG        (or: podman load -i IMAGE.tar)
#   podman run -v models:/models -p 127.0.0.1:8080:8080 IMAGE qwen3:0.6b --host 0.0.0.0 --api-key-file /run/secrets/key
#
# Needs GNU tar, gzip, sha256sum and python3; no container, no daemon, no network. The same commands give the same bytes, whoever makes them and when:
# the date is SOURCE_DATE_EPOCH (default: 0), and gzip and tar are told nothing of this machine.
#
# In the image are the command and an empty folder /models, which is its cache, its working directory and a volume. It runs `/smidgen serve` as user
# 65532. Models come by their names on hubs and in registries; those of Python's packages (`smollm2`, `minilm`) would need pip. There are no roots of
# certificates in it: those of Mozilla are compiled into the command, and count where there are none in /etc/ssl.
set -euo pipefail
usage() { echo "usage: targets/image.sh IMAGE.tar [amd64=FILE] [arm64=FILE]" >&2 && exit 2; }
case ${1:-} in '' | -*) usage ;; esac
out=$1
shift
here=$(cd "$(dirname "$0")/.." && pwd)
if [ $# = 0 ]; then
    for target in x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
        "$here/targets/cross.sh" $target
    done
    built=${CARGO_TARGET_DIR:-$here/target}/cross
    set -- "amd64=$built/x86_64-unknown-linux-gnu/x86_64-unknown-linux-gnu/release/smidgen" \
        "arm64=$built/aarch64-unknown-linux-gnu/aarch64-unknown-linux-gnu/release/smidgen"
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml" | head -1)
seconds=${SOURCE_DATE_EPOCH:-0}
created=$(date -u -d "@$seconds" +%Y-%m-%dT%H:%M:%SZ)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
layout=$work/layout
mkdir -p "$layout/blobs/sha256"

# Whether a file is a program for this architecture that needs no other file.
checked() {
    python3 - "$1" "$2" <<'EOF'
import struct, sys

architecture, name = sys.argv[1:]
try:
    data = open(name, "rb").read()
    machine, = struct.unpack_from("<H", data, 18)
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + size * number)[0] for number in range(count)]
except OSError as error:
    sys.exit(f"image.sh: {name}: {error.strerror}")
except struct.error:
    data = b""
if data[:6] != b"\x7fELF\x02\x01" or machine != {"amd64": 0x3E, "arm64": 0xB7}[architecture]:
    sys.exit(f"image.sh: {name}: this is no program for linux/{architecture}; build it with targets/cross.sh")
if 3 in kinds:
    sys.exit(f"image.sh: {name}: this program is not static, so it does not start in an image without libraries; build it with targets/cross.sh")
EOF
}

# A tar file on stdout of what is in a folder, the same for the same content.  packed FOLDER OWNER NAME…
packed() {
    local folder=$1 owner=$2
    shift 2
    tar -C "$folder" --format=ustar --sort=name --mtime="@$seconds" --owner="$owner" --group="$owner" --numeric-owner --no-recursion -cf - "$@"
}

# Puts a file among the blobs, and tells its descriptor, whose end is what else is to be in it.  blob FILE MEDIA-TYPE [MORE]
blob() {
    local digest
    digest=$(sha256sum <"$1" | cut -d' ' -f1)
    cp "$1" "$layout/blobs/sha256/$digest"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s%s}' "$2" "$digest" "$(wc -c <"$1")" "${3:-}"
}

labels=$(printf '"org.opencontainers.image.title":"smidgen","org.opencontainers.image.description":"%s","org.opencontainers.image.version":"%s","org.opencontainers.image.licenses":"MIT OR Apache-2.0"' \
    "Serves a GGUF model on CPUs over OpenAI's interface" "$version")
manifests=''
for word; do
    architecture=${word%%=*} file=${word#*=}
    case $word in amd64=* | arm64=*) ;; *) usage ;; esac
    checked "$architecture" "$file"
    root=$work/root
    rm -rf "$root"
    mkdir -p "$root/models"
    cp "$file" "$root/smidgen"
    chmod 755 "$root" "$root/models" "$root/smidgen"
    # The command is root's, the cache the user's.
    packed "$root" 0 smidgen >"$work/command.tar"
    packed "$root" 65532 models >"$work/models.tar"
    tar --concatenate -f "$work/command.tar" "$work/models.tar"
    gzip -n -9 <"$work/command.tar" >"$work/layer.gz"
    layer=$(blob "$work/layer.gz" layer.v1.tar+gzip)
    cat >"$work/config.json" <<EOF
{"created":"$created","architecture":"$architecture","os":"linux",\
"config":{"User":"65532:65532","ExposedPorts":{"8080/tcp":{}},"Env":["HOME=/models","SMIDGEN_CACHE=/models"],"Entrypoint":["/smidgen","serve"],\
"Volumes":{"/models":{}},"WorkingDir":"/models","Labels":{$labels},"StopSignal":"SIGTERM"},\
"rootfs":{"type":"layers","diff_ids":["sha256:$(sha256sum <"$work/command.tar" | cut -d' ' -f1)"]},\
"history":[{"created":"$created","created_by":"targets/image.sh"}]}
EOF
    config=$(blob "$work/config.json" config.v1+json)
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s],"annotations":{%s}}' \
        "$config" "$layer" "$labels" >"$work/manifest.json"
    manifests+=${manifests:+,}$(blob "$work/manifest.json" manifest.v1+json ",\"platform\":{\"architecture\":\"$architecture\",\"os\":\"linux\"}")
done

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s],"annotations":{%s}}' \
    "$manifests" "$labels" >"$work/index.json"
index=$(blob "$work/index.json" index.v1+json ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"$version\"}")
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}' "$index" >"$layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
chmod 755 "$layout" "$layout/blobs" "$layout/blobs/sha256"
chmod 644 "$layout/oci-layout" "$layout/index.json" "$layout/blobs/sha256/"*
(cd "$layout" && LC_ALL=C find oci-layout index.json blobs | LC_ALL=C sort) >"$work/names"
packed "$layout" 0 --files-from="$work/names" >"$work/image.tar"
mv "$work/image.tar" "$out"
echo "$out: $(wc -c <"$out") bytes, sha256 $(sha256sum <"$out" | cut -d' ' -f1)"
