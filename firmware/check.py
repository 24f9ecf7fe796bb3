"""Asks the boards' program `check`, and compares: check.py FOLDER-OF-PROGRAMS-MODELS-AND-RECORDINGS COMMAND-SMIDGEN FOLDER-OF-GOLDEN-FILES [--quick].

Every step's byte must be what `smidgen listen --steps` says here; where there are golden files, what those say. Quick is a Cortex-M4 alone: its steps, and what they take.
"""

import json
import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

work, smidgen, shared = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
BOARDS = {"an386": ("mps2-an386", "cortex-m4"), "an500": ("mps2-an500", "cortex-m7"), "an505": ("mps2-an505", "cortex-m33"),
          "an547": ("mps3-an547", "cortex-m55")}
QUICK = sys.argv[4:] == ["--quick"]
if QUICK:
    BOARDS = {"an386": BOARDS["an386"]}
WORDS = ["alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"]
# Of TensorFlow Lite Micro with CMSIS-NN on the same emulated processor: a step of okay_nabu, 10 ms of the frontend; and what is promised of them.
STEP, FRONTEND = 261_132 * 0.5, 84_859 * 0.7
ARENA, OTHER = 20 << 10, 8 << 10


def run(board, *words):
    machine, cpu = BOARDS[board]
    semihosting = "enable=on,target=native" + "".join(f",arg={word}" for word in ("check", *words))
    command = ["qemu-system-arm", "-M", machine, "-cpu", cpu, "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0,sleep=off",
               "-semihosting-config", semihosting, "-kernel", str(work / f"check.{board}")]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False, text=True)


def ask(board, *words):
    done = run(board, *words)
    assert done.returncode == 0, (words, done.returncode, done.stdout)
    return done.stdout


def listen(model, recording):
    """Every step's byte here, or what is wrong."""
    done = subprocess.run([smidgen, "listen", model, recording, "--steps"], capture_output=True, check=False, text=True)
    return bytes(json.loads(done.stdout)) if done.returncode == 0 else done.stderr


def record(name, samples):
    with wave.open(str(work / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes())


def recordings():
    """What is spoken, and what strains integers: loud noise, a square wave, a ragged end."""
    random = np.random.default_rng(7)
    record("noise", random.standard_normal(12_000) * 20_000)
    record("square", 32_767 * np.sign(np.sin(np.arange(9_001) * 0.37)) * (np.arange(9_001) > 3_000))
    return sorted(work.glob("*.wav"))


def steps():
    found = recordings()
    for board in BOARDS:
        for word in WORDS:
            model, count, steps, most = work / f"{word}.gguf", 0, 0, 0
            if not model.exists():
                print(f"ABSENT: {model.name}")
                continue
            for recording in found:
                here, there = listen(model, recording), bytes.fromhex(ask(board, "steps", model, recording))
                assert here == there and here, (board, word, recording.name, here, there)
                count, steps, most = count + 1, steps + len(here), max(most, *here)
            print(f"RAN: {board}, {word}, {count} recordings, {steps} steps, all as here, at most {most} of 255")
            if (work / f"{word}.wav").exists():
                assert most > 128, f"{word} is not heard"


def golden():
    file = shared / "golden/micro/runs.json"
    if not file.exists():
        print("ABSENT: golden files")
        return
    tasks = {"kws": "kws_ref_model", "resnet": "pretrainedResnet_quant", "vww": "vww_96_int8", "ad": "ad01_int8", "streaming_ww": "str_ww_ref_model"}
    runs = json.loads(file.read_text())
    for board in BOARDS:
        for word in sorted({run["model"] for run in runs}):
            model, count, steps = work / f"{word}.gguf", 0, 0
            if not model.exists():
                print(f"ABSENT: {model.name}")
                continue
            # The others run the same code: a part of the recordings is enough.
            chosen = [run for run in runs if run["model"] == word]
            for run in chosen if board == "an386" else chosen[:4]:
                expected = np.load(shared / f"golden/micro/runs/{word}__{run['audio']}.output.npy").tobytes()
                found = bytes.fromhex(ask(board, "steps", model, shared / f"golden/micro/audio/{run['audio']}.wav"))
                assert found == expected, (board, word, run["audio"], found, expected)
                count, steps = count + 1, steps + len(found)
            assert count > 0
            print(f"RAN: {board}, {word}, {count} golden recordings, {steps} steps, all equal")
        for task, name in tasks.items():
            model, folder = work / f"{name}.gguf", shared / "golden/mlperf_tiny" / task
            if not model.exists() or not folder.exists():
                print(f"ABSENT: {model.name} or {folder}")
                continue
            # The device's memory holds so much of the inputs.
            inputs, expected = np.load(folder / "inputs.npy"), np.load(folder / "outputs.npy")
            few = min(len(inputs) if board == "an386" else 4, (1 << 20) // inputs[0].size - 1)
            np.save(work / "inputs.npy", inputs[:few])
            found = bytes.fromhex(ask(board, "infer", model, work / "inputs.npy"))
            assert found == expected[:few].tobytes(), (board, task)
            print(f"RAN: {board}, {name}, {few} inputs, all equal")


def figures():
    """Instructions, arena and stack on the Cortex-M4."""
    said = ask("an386", "bench", work / "okay_nabu.gguf")
    instructions, arena, stack = (int(number) for number in re.findall(r"\d+", said))
    print(f"RAN: an386, okay_nabu, {said.strip()}")
    assert instructions <= STEP and arena <= ARENA and stack <= OTHER, said
    said = ask("an386", "frontend", work / "noise.wav")
    print(f"RAN: an386, {said.strip()}")
    assert int(said.split()[1]) <= FRONTEND, said


def damaged():
    """Files with changed bytes are refused, or run as they run here."""
    whole = np.fromfile(work / "okay_nabu.gguf", np.uint8)
    random = np.random.default_rng(8)
    refused, ran = 0, 0
    for i in range(60):
        data = whole.copy()
        if i < 10:
            data = data[: random.integers(1, len(data))]
        else:
            # The beginning describes tensors, the end is the plan.
            places = random.integers(0, 3000, random.integers(1, 5))
            data[places if i % 2 else len(data) - 1 - places] = random.integers(0, 256, len(places))
        data.tofile(work / "damaged.gguf")
        here = listen(work / "damaged.gguf", work / "noise.wav")
        there = run("an386", "steps", work / "damaged.gguf", work / "noise.wav")
        if there.returncode == 1:
            # There is more memory here.
            assert isinstance(here, str) or "arena" in there.stdout, (i, here, there.stdout)
            refused += 1
        else:
            assert there.returncode == 0 and bytes.fromhex(there.stdout) == here, (i, here, there)
            ran += 1
    print(f"RAN: an386, 60 damaged files, {refused} refused, {ran} run as here")
    assert refused >= 30


steps()
figures()
if not QUICK:
    golden()
    damaged()
