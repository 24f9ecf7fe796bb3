"""ONNX Runtime as a peer: python3 peer.py MODEL THREADS, with the task as JSON on stdin; prints seconds of the passes as JSON.

A task is {"passes": n, "texts": [[id, …], …]} or {"passes": n, "side": pixels}. Texts of one pass are padded to the longest. With
"quantize" the weights and activations become int8 first (onnxruntime.quantization.quantize_dynamic), in a temporary file.
"""

import json
import sys
import tempfile
import time

import numpy as np
import onnxruntime

path, threads = sys.argv[1], int(sys.argv[2])
task = json.load(sys.stdin)
with tempfile.TemporaryDirectory() as folder:
    if task.get("quantize"):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(path, f"{folder}/int8.onnx", weight_type=QuantType.QInt8)
        path = f"{folder}/int8.onnx"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
names = [given.name for given in session.get_inputs()]
if "texts" in task:
    texts = task["texts"]
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    inputs = {name: known[name] for name in names}
else:
    inputs = {names[0]: np.random.default_rng(1).standard_normal((1, 3, task["side"], task["side"]), np.float32)}
session.run(None, inputs)
seconds = []
for _ in range(task["passes"]):
    start = time.perf_counter()
    session.run(None, inputs)
    seconds.append(time.perf_counter() - start)
json.dump(seconds, sys.stdout)
