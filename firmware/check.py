"""Compares what the boards' programs say with the golden files: check.py FOLDER-OF-PROGRAMS-AND-MODELS FOLDER-OF-GOLDEN-FILES."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

work, shared = Path(sys.argv[1]), Path(sys.argv[2])
BOARDS = {"an386": ("mps2-an386", "cortex-m4"), "an500": ("mps2-an500", "cortex-m7")}


def ask(board, *words):
    machine, cpu = BOARDS[board]
    semihosting = "enable=on,target=native" + "".join(f",arg={word}" for word in ("check", *words))
    command = ["qemu-system-arm", "-M", machine, "-cpu", cpu, "-nographic", "-monitor", "none", "-serial", "none",
               "-semihosting-config", semihosting, "-kernel", str(work / f"check.{board}")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False)
    assert done.returncode == 0, (words, done.returncode, done.stdout)
    return bytes.fromhex(done.stdout.decode())


TASKS = {"kws": "kws_ref_model", "resnet": "pretrainedResnet_quant", "vww": "vww_96_int8", "ad": "ad01_int8",
         "streaming_ww": "str_ww_ref_model"}
for board in BOARDS:
    runs = json.loads((shared / "golden/micro/runs.json").read_text())
    for word in sorted({run["model"] for run in runs}):
        model, count, steps = work / f"{word}.gguf", 0, 0
        if not model.exists():
            print(f"ABSENT: {model.name}")
            continue
        # The M7 runs the same code: a part of the recordings is enough.
        chosen = [run for run in runs if run["model"] == word]
        for run in chosen if board == "an386" else chosen[:4]:
            expected = np.load(shared / f"golden/micro/runs/{word}__{run['audio']}.output.npy").tobytes()
            found = ask(board, "steps", model, shared / f"golden/micro/audio/{run['audio']}.wav")
            assert found == expected, (board, word, run["audio"], found, expected)
            count, steps = count + 1, steps + len(found)
        assert count > 0
        print(f"RAN: {board}, {word}, {count} recordings, {steps} steps, all equal")
    for task, name in TASKS.items():
        model, folder = work / f"{name}.gguf", shared / "golden/mlperf_tiny" / task
        if not model.exists() or not folder.exists():
            print(f"ABSENT: {model.name} or {folder}")
            continue
        # The device's memory holds so much of the inputs.
        inputs, expected = np.load(folder / "inputs.npy"), np.load(folder / "outputs.npy")
        few = min(len(inputs) if board == "an386" else 4, (1 << 20) // inputs[0].size - 1)
        np.save(work / "inputs.npy", inputs[:few])
        found = ask(board, "infer", model, work / "inputs.npy")
        assert found == expected[:few].tobytes(), (board, task)
        print(f"RAN: {board}, {name}, {few} inputs, all equal")
