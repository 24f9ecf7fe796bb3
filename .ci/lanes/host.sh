#!/usr/bin/env bash
# The README's test command, with the kernel sets that this CPU must have.
. "$(dirname "$0")/../common.sh"
python gguf numpy tflite_micro=tflite-micro==0.dev20261023182759 pymicro_wakeword=pymicro-wakeword==2.5.0 pymicro_features=pymicro-features==2.0.2
if full; then
    # Tokenizers are compared with Hugging Face's.
    python tokenizers=tokenizers==0.23.3 sentencepiece=sentencepiece==0.2.3 google.protobuf=protobuf
    export SMIDGEN_EXPECT_TOKENIZERS=1
    # Chat templates in Go's form are compared with Go's.
    packages go:golang-go
    export SMIDGEN_EXPECT_GO=1
fi
step "the tests are compiled"
cargo test -q --workspace --no-run
models
expected=scalar
grep -qw avx2 /proc/cpuinfo && expected=$expected,avx2
grep -qw avx_vnni /proc/cpuinfo && expected=$expected,avxvnni
grep -qw avx512_vnni /proc/cpuinfo && expected=$expected,avx512vnni
# A disk without room is made of memory, which not every container lets its root do.
disk=$(mktemp -d)
if mount -t tmpfs -o size=4m tmpfs "$disk" 2>/dev/null; then
    umount "$disk"
    export SMIDGEN_EXPECT_MOUNT=1
else
    echo "SKIPPED: a_disk_without_room_is_told_before_the_first_byte (no file system may be mounted here)"
fi
rmdir "$disk"
step "tests, with exactly the kernel sets $expected"
SMIDGEN_EXPECT_KERNEL_SETS=$expected cargo test --workspace -- --show-output
echo "SKIPPED: accuracy_on_the_whole_test_set (10,000 images take minutes; the first 1,000 are looked at where they are to be had)"
