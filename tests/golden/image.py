"""Prints the table of image.rs: what Pillow 12.2 makes of images whose bytes come from a formula. Needs Pillow and numpy.

Images more than a hundred times as tall as wide, and with later versions others too, have their columns resized before their rows, which
changes some bytes by a little."""
import numpy as np
from PIL import Image

CASES = [
    # width, height, then the size resized to, then the middle that is cut out, channels
    (32, 32, 224, 224, 224, 224, 3), (640, 427, 224, 224, 224, 224, 3), (640, 427, 383, 256, 224, 224, 3), (427, 640, 256, 383, 224, 224, 3),
    (97, 61, 32, 32, 32, 32, 3), (97, 61, 28, 28, 28, 28, 1), (1, 1, 7, 5, 7, 5, 3), (6, 500, 9, 2, 9, 2, 3), (500, 2, 3, 11, 3, 11, 1),
    (224, 100, 224, 224, 224, 224, 3), (50, 224, 224, 224, 112, 98, 3), (13, 17, 13, 17, 13, 17, 1),
]


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value


for w, h, rw, rh, cw, ch, channels in CASES:
    i = np.arange(w * h * 3, dtype=np.uint64)
    noise, wave = (i * np.uint64(2654435761) % np.uint64(2**32)) >> np.uint64(24), i // np.uint64(5) % np.uint64(256)
    image = Image.fromarray(np.where(i // np.uint64(99) % np.uint64(2) == 0, noise, wave).astype(np.uint8).reshape(h, w, 3))
    image = image if channels == 3 else image.convert("L")
    sums = []
    for filter in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        left, top = (rw - cw) // 2, (rh - ch) // 2
        pixels = np.asarray(image.resize((rw, rh), filter).crop((left, top, left + cw, top + ch))).reshape(ch, cw, channels)
        sums.append(f"0x{fnv(pixels.transpose(2, 0, 1).tobytes()):016x}")
    print(f"    (({w}, {h}), ({rw}, {rh}), ({cw}, {ch}), {channels}, [{sums[0]}, {sums[1]}]),")
