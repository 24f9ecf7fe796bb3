"""CLIP in numpy, from its papers: reads a checkpoint's folder, and texts and images from stdin; writes ids, embeddings and logits.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision"; Sennrich et al., "Neural Machine Translation of
Rare Words with Subword Units". Arithmetic is numpy's in float64, apart from the weights.
"""

import json
import sys
import unicodedata
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
raw = (folder / "model.safetensors").read_bytes()
end = 8 + int.from_bytes(raw[:8], "little")
tensors = {}
for name, info in json.loads(raw[8:end]).items():
    if name != "__metadata__" and info["dtype"] == "F32":
        first, last = info["data_offsets"]
        tensors[name] = np.frombuffer(raw[end + first : end + last], "<f4").reshape(info["shape"]).astype(np.float64)

model = json.loads((folder / "tokenizer.json").read_text())["model"]
ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(model["merges"])}
visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
hidden = [byte for byte in range(256) if byte not in visible]
letters = {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def words(text):
    text = "".join(c.lower() for c in unicodedata.normalize("NFC", text))
    kind = lambda c: "s" if c.isspace() else {"L": "l", "N": "n"}.get(unicodedata.category(c)[0], "p")
    at = 0
    while at < len(text):
        short = next((s for s in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d") if text.startswith(s, at)), None)
        stop = at + (len(short) if short else 1)
        if not short and kind(text[at]) in "lp":
            while stop < len(text) and kind(text[stop]) == kind(text[at]):
                stop += 1
        if kind(text[at]) != "s":
            yield text[at:stop]
        at = stop


def encode(text):
    ids = []
    for word in words(text):
        parts = [letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            best = min(zip(parts, parts[1:]), key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            joined, i = [], 0
            while i < len(parts):
                here = tuple(parts[i : i + 2]) == best
                joined.append("".join(parts[i : i + 2]) if here else parts[i])
                i += 2 if here else 1
            parts = joined
        ids += [model["vocab"][part] for part in parts]
    most = config["text_config"]["max_position_embeddings"]
    frame = [model["vocab"][token] for token in ("<|startoftext|>", "<|endoftext|>")]
    return [frame[0], *ids[: most - 2], frame[1]]


def norm(x, name):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * tensors[name + ".weight"] + tensors[name + ".bias"]


def linear(x, name):
    return x @ tensors[name + ".weight"].T + tensors.get(name + ".bias", 0)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def layers(x, tower, sizes, mask):
    count = sizes["num_attention_heads"]
    split = lambda y: y.reshape(len(y), count, -1).transpose(1, 0, 2)
    for number in range(sizes["num_hidden_layers"]):
        name = f"{tower}.encoder.layers.{number}"
        y = norm(x, name + ".layer_norm1")
        q, k, v = (split(linear(y, f"{name}.self_attn.{part}_proj")) for part in "qkv")
        found = softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1]) + mask) @ v
        x = x + linear(found.transpose(1, 0, 2).reshape(x.shape), name + ".self_attn.out_proj")
        y = linear(norm(x, name + ".layer_norm2"), name + ".mlp.fc1")
        x = x + linear(y / (1 + np.exp(-1.702 * y)), name + ".mlp.fc2")
    return x


def read(ids):
    tokens = tensors["text_model.embeddings.token_embedding.weight"][ids]
    x = tokens + tensors["text_model.embeddings.position_embedding.weight"][: len(ids)]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    x = layers(x, "text_model", config["text_config"], mask)
    return linear(norm(x[-1], "text_model.final_layer_norm"), "text_projection")


def see(image):
    kernel = tensors["vision_model.embeddings.patch_embedding.weight"]
    side, size = kernel.shape[-1], image.shape[-1]
    patches = [image[:, y : y + side, x : x + side] for y in range(0, size, side) for x in range(0, size, side)]
    x = np.stack([np.tensordot(kernel, patch, 3) for patch in patches])
    x = np.vstack([tensors["vision_model.embeddings.class_embedding"], x])
    x = norm(x + tensors["vision_model.embeddings.position_embedding.weight"], "vision_model.pre_layrnorm")
    x = layers(x, "vision_model", config["vision_config"], 0)
    return linear(norm(x[0], "vision_model.post_layernorm"), "visual_projection")


asked = json.load(sys.stdin)
ids = [encode(text) for text in asked["texts"]]
size = config["vision_config"]["image_size"]
texts = np.stack([read(text) for text in ids])
images = np.stack([see(np.array(image).reshape(3, size, size)) for image in asked["images"]])
unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
logits = np.exp(tensors["logit_scale"]) * unit(images) @ unit(texts).T
json.dump({"ids": ids, "texts": unit(texts).tolist(), "images": images.tolist(), "logits": logits.tolist()}, sys.stdout)
