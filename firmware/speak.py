"""Says something, as a recording that boards can hear: speak.py TEXT OUT.wav FOLDER.

FOLDER holds the unpacked package espeakng-loader (PyPI), whose library espeak-ng speaks. Half a second of silence is around the words.
"""

import ctypes
import sys
import wave
from pathlib import Path

import numpy as np

text, out, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3]) / "espeakng_loader"
RATE = 16000
# From speak_lib.h: audio by a callback, character set, voice's parameters.
AUDIO_OUTPUT_SYNCHRONOUS, UTF_8, SPEED, PITCH = 2, 1, 1, 3

espeak = ctypes.CDLL(str(next(path for path in sorted(folder.iterdir()) if path.name.startswith(("libespeak-ng.", "espeak-ng.dll")))))
rate = espeak.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, str(folder / "espeak-ng-data").encode(), 0)
assert rate >= RATE, rate
parts = []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
def heard(samples, count, _events):
    if count > 0:
        parts.append(np.ctypeslib.as_array(samples, (count,)).astype(np.float64))
    return 0


espeak.espeak_SetSynthCallback(heard)
assert espeak.espeak_SetVoiceByName(b"gmw/en") == 0
espeak.espeak_SetParameter(SPEED, 150, 0)
espeak.espeak_SetParameter(PITCH, 50, 0)
word = text.encode()
assert espeak.espeak_Synth(word, len(word) + 1, 0, 0, 0, UTF_8, None, None) == 0
assert espeak.espeak_Synchronize() == 0
spoken = np.concatenate(parts)

# To 16 kHz, by a low pass of 32 samples each side.
REACH = 32
at = np.arange(int(len(spoken) * RATE / rate)) * (rate / RATE)
offsets = np.arange(-REACH, REACH + 1)
places = np.floor(at).astype(int)[:, None] + offsets
distance = places - at[:, None]
filters = np.sinc(distance * RATE / rate) * (RATE / rate) * np.cos(np.pi * distance / (2 * REACH + 2)) ** 2
samples = (np.pad(spoken, REACH)[places + REACH] * filters).sum(axis=1)
silence = np.zeros(RATE // 2)
samples = np.concatenate([silence, samples, silence])
with wave.open(out, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE)
    file.writeframes(np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes())
