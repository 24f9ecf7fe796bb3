"""Prints the table of golden/audio.rs: features of the signals there, by PyPI pymicro-features 2.0.2."""

import struct

from pymicro_features import MicroFrontend


def noise(i):
    i = (i * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64
    i = (i ^ i >> 29) * 0xBF58476D1CE4E5B9 % 2**64
    return (i >> 40) % 2**16 - 2**15


# The highest weights of the window, for rows 1 and 4.
SIGNALS = {
    "noise": noise,
    "noise that grows": lambda i: noise(i) >> max(15 - i // 500, 0),
    "extremes": lambda i: -32768 if noise(i) < 0 else 32767,
    "lowest, once": lambda i: -32768 if i in (239, 720) else 0,
    "lowest, in silence": lambda i: -32768 if i % 480 == 239 else noise(i) >> 12,
    "lowest, then highest": lambda i: -32768 if i % 160 < 80 else 32767,
    "pairs": lambda i: (32767, -32768, -32768, 32767, 32767, 32767, -32768, -32768)[i * (i // 512 + 1) % 8],
    "on and off": lambda i: noise(i) if i // 1600 % 2 == 0 else 0,
}

for name, signal in SIGNALS.items():
    frontend, rows, hash = MicroFrontend(), 0, 0xCBF29CE484222325
    samples = struct.pack("<8000h", *(signal(i) for i in range(8000)))
    for at in range(0, len(samples), 320):
        for feature in frontend.process_samples(samples[at : at + 320]).features:
            hash = (hash ^ round(feature * 25.6)) * 0x100000001B3 % 2**64
            rows += 1 / 40
    assert round(rows) == 48
    print(f'("{name}", 0x{hash:016x}),')
