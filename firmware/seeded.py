"""A small seeded language model in Q8_0, which writes printable ASCII: seeded.py OUT.gguf. Needs numpy and gguf (PyPI)."""

import sys

import gguf
import numpy as np

CONTROLS = ["<|endoftext|>", "<|start|>"]
WIDTH, HIDDEN, LAYERS, HEADS, KEYS = 64, 160, 2, 4, 2
random = np.random.default_rng(6)


def spelled(byte):
    """How byte-level BPE spells a byte: visible ones as they are, the others in order from U+0100 on."""
    def visible(b):
        return 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE

    return chr(byte if visible(byte) else 256 + sum(not visible(b) for b in range(byte)))


tokens = CONTROLS + [spelled(byte) for byte in range(256)] + ["on", "im", "up"]
writer = gguf.GGUFWriter(sys.argv[1], "llama")
writer.add_context_length(256)
writer.add_embedding_length(WIDTH)
writer.add_block_count(LAYERS)
writer.add_feed_forward_length(HIDDEN)
writer.add_head_count(HEADS)
writer.add_head_count_kv(KEYS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_vocab_size(len(tokens))
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list(tokens)
writer.add_token_types([3] * len(CONTROLS) + [1] * (len(tokens) - len(CONTROLS)))
writer.add_token_merges(["o n", "i m", "u p"])
writer.add_bos_token_id(1)
writer.add_eos_token_id(0)


def matrix(name, rows, columns, keep=None):
    values = random.standard_normal((rows, columns)).astype(np.float32) * np.float32(columns**-0.5)
    if keep is not None:
        values[~keep] = 0
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def norm(name):
    writer.add_tensor(name, (1 + random.standard_normal(WIDTH) / 8).astype(np.float32))


matrix("token_embd.weight", len(tokens), WIDTH)
# The others' logits are zero, and there is always a larger one.
printable = np.zeros(len(tokens), bool)
printable[len(CONTROLS) + 0x20 : len(CONTROLS) + 0x7F] = True
matrix("output.weight", len(tokens), WIDTH, printable)
norm("output_norm.weight")
for i in range(LAYERS):
    part = f"blk.{i}."
    norm(part + "attn_norm.weight")
    norm(part + "ffn_norm.weight")
    matrix(part + "attn_q.weight", WIDTH, WIDTH)
    matrix(part + "attn_k.weight", WIDTH // HEADS * KEYS, WIDTH)
    matrix(part + "attn_v.weight", WIDTH // HEADS * KEYS, WIDTH)
    matrix(part + "attn_output.weight", WIDTH, WIDTH)
    matrix(part + "ffn_gate.weight", HIDDEN, WIDTH)
    matrix(part + "ffn_up.weight", HIDDEN, WIDTH)
    matrix(part + "ffn_down.weight", WIDTH, HIDDEN)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
