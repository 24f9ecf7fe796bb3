"""The wake words of PyPI pymicro-wakeword, what PyPI pymicro-features hears, and what PyPI tflite-micro's reference kernels answer.

Writes parts to stdout, each a line `name length` and its bytes: `samples`, `features` (uint16), and for each model `manifest`, `inputs`
(int8), and `file`, `outputs` (uint8), twice: as it is, which hears nothing in these inputs, and with its last bias raised, so that it hears
something at nearly every step. What is not installed is missing, and said on stderr.
"""

import importlib.util
import struct
import sys
from pathlib import Path

STEPS = 200
BIASES = {"alexa": -1863, "hey_jarvis": -1512, "hey_mycroft": -1144, "okay_nabu": -2361}


def part(name, data):
    sys.stdout.buffer.write(f"{name} {len(data)}\n".encode() + data)


def noise(i):
    i = (i * 0x9E3779B97F4A7C15 + 0x1234567) % 2**64
    i = (i ^ i >> 29) * 0xBF58476D1CE4E5B9 % 2**64
    return (i >> 40) % 2**16 - 2**15


def inputs(count):
    """Steps of features that rise and fall, so that models answer with more than silence."""
    rows = []
    for row in range(count):
        level = abs(noise(row // 7)) // 160
        for channel in range(40):
            wave = abs((channel * 7 + row * (noise(row // 23) % 5)) % 64 - 32) * level // 40
            rows.append(max(-128, min(127, wave - 128 + noise(row * 40 + channel) % 31)))
    return struct.pack(f"<{len(rows)}b", *rows)


def features():
    # Loud and faint noise, silence, and a tone that rises, half a second each, twice over.
    kinds = [noise, lambda i: noise(i) >> 9, lambda i: 0, lambda i: 9000 if i * (i % 8000) // 16000 % 2 else -9000]
    samples = [kinds[i // 8000 % 4](i) for i in range(64000)]
    data = struct.pack("<64000h", *samples)
    part("samples", data)
    try:
        from pymicro_features import MicroFrontend
    except ImportError as error:
        return print(f"ABSENT: {error}", file=sys.stderr)
    frontend, rows = MicroFrontend(), []
    for at in range(0, len(data), 320):
        rows.extend(round(feature * 25.6) for feature in frontend.process_samples(data[at : at + 320]).features)
    part("features", struct.pack(f"<{len(rows)}H", *rows))


def models():
    package = importlib.util.find_spec("pymicro_wakeword")
    if package is None:
        return print("ABSENT: No module named 'pymicro_wakeword'", file=sys.stderr)
    try:
        import numpy as np
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as error:
        runtime = None
        print(f"ABSENT: {error}", file=sys.stderr)
    for path in sorted((Path(package.origin).parent / "models").glob("*.tflite")):
        file = path.read_bytes()
        bias = struct.pack("<i", BIASES[path.stem])
        assert file.count(bias) == 1, path
        part("manifest", path.with_suffix(".json").read_bytes())
        # Every one of these takes three rows.
        steps = inputs(STEPS * 3)
        part("inputs", steps)
        for file in (file, file.replace(bias, struct.pack("<i", BIASES[path.stem] + 64000))):
            part("file", file)
            if runtime:
                interpreter = runtime.Interpreter.from_bytes(file)
                outputs = b""
                for step in np.frombuffer(steps, np.int8).reshape(STEPS, 1, 3, 40):
                    interpreter.set_input(step, 0)
                    interpreter.invoke()
                    outputs += interpreter.get_output(0).tobytes()
                part("outputs", outputs)


features()
models()
