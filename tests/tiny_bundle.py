"""A bundle whose network is one matrix: made without TensorFlow in no time, and it reads something in every picture."""

import hashlib
import json
from pathlib import Path

import numpy as np

ALPHABET, HEIGHT, WIDTH, STEPS = "0123456789", 16, 32, 8


def write_tiny_bundle(folder: Path, seed: int = 0) -> Path:
    """Writes network.onnx and bundle.json for gray images of 16x32; another seed makes another model."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    each = HEIGHT * WIDTH // STEPS
    weights = np.random.default_rng(seed).normal(0, 0.02, (each, len(ALPHABET) + 1)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["steps"]),
        helper.make_node("MatMul", ["steps", "weights"], ["logits"]),
    ]
    held = [
        numpy_helper.from_array(np.array([-1, STEPS, each]), "shape"),
        numpy_helper.from_array(weights, "weights"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", STEPS, len(ALPHABET) + 1])
    graph = helper.make_graph(nodes, "tiny", [image], [logits], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(made, folder / "network.onnx")
    bundle = {
        "format": 2,
        "alphabet": ALPHABET,
        "image": {"mode": "gray", "height": HEIGHT, "width": WIDTH},
        "checks": {"max_bytes": 100_000},
        "decode": "ctc_greedy",
        "dataset": {"fingerprint": "0123abcd"},
        "files": {"network.onnx": hashlib.sha256((folder / "network.onnx").read_bytes()).hexdigest()},
    }
    (folder / "bundle.json").write_text(json.dumps(bundle))
    return folder
