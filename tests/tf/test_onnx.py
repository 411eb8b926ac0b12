"""Networks as ONNX files: the same logits as the network's own, for any number of images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model import heads
from model.config import TrainSettings
from model.exports import savedmodel
from model.exports.about import INPUT, OUTPUT
from model.networks import build
from model.onnx import check_onnx, write_onnx
from model.runtimes import open_onnx, softmax

pytestmark = pytest.mark.tf
NETWORKS = {
    "conv": {"widths": [4, 4], "units": 8, "depth": 1},
    "lstm": {"widths": [4, 4], "units": 8, "depth": 1, "sequence": "lstm"},
    "joint": {"widths": [4, 4], "units": 8, "depth": 1, "head": "joint"},
    "multihead": {"name": "multihead", "widths": [4], "units": 4, "batch_norm": "each"},
    "letter_cnn": {"name": "letter_cnn", "widths": [4]},
    "deep_multihead": {"name": "deep_multihead", "widths": [4], "sizes": [3], "dropouts": [0.1], "last": 4, "units": [4, 4]},
    "crnn_ctc": {"name": "crnn_ctc", "widths": [4], "units": 4, "lstm": [4]},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_computes_what_the_network_does(name, tmp_path):
    keras.utils.set_random_seed(0)
    network = heads.reader(build(TrainSettings.model_validate({"network": NETWORKS[name]}).network, (16, 32, 1), 10, 3))
    rng = np.random.default_rng(0)
    network(rng.uniform(0, 255, (8, 16, 32, 1)), training=True)  # statistics that are not those of the start
    write_onnx(network, tmp_path / "network.onnx")
    logits = open_onnx(tmp_path / "network.onnx", threads=1)
    for count in (1, 3):
        images = rng.integers(0, 256, (count, 16, 32, 1), np.uint8)
        np.testing.assert_allclose(logits(images), network(images.astype(np.float32), training=False), atol=1e-4)


@pytest.mark.parametrize("name", ["lstm", "crnn_ctc"])
def test_a_network_that_was_trained_on_a_gpu_has_files_for_any_machine(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: ["a GPU"])  # Keras asks it whether to call cuDNN
    network = build(TrainSettings.model_validate({"network": NETWORKS[name]}).network, (16, 32, 1), 10, 3)
    write_onnx(network, tmp_path / "network.onnx")
    check_onnx(network, tmp_path / "network.onnx")
    savedmodel.write(network, "{}", tmp_path / "saved", "float32", np.zeros((0, 16, 32, 1), np.uint8))
    assert b"CudnnRNN" not in (tmp_path / "saved" / "saved_model.pb").read_bytes()
    (layer,) = [layer for layer in network.layers if isinstance(layer, keras.layers.Bidirectional)]
    assert [part.use_cudnn for part in (layer.forward_layer, layer.backward_layer)] == ["auto", "auto"]


def test_a_file_that_computes_something_else_is_told(tmp_path, told):
    settings = TrainSettings.model_validate({"network": NETWORKS["conv"]}).network
    ours, theirs = (build(settings, (16, 32, 1), 10, 3) for _ in range(2))
    write_onnx(ours, tmp_path / "network.onnx")
    check_onnx(ours, tmp_path / "network.onnx")
    assert "from the network's" in told(check_onnx, theirs, tmp_path / "network.onnx")
    kernel, bias = ours.get_layer("logits").get_weights()
    ours.get_layer("logits").set_weights([kernel, bias + 0.01])
    assert "up to 0.01" in told(check_onnx, ours, tmp_path / "network.onnx")
    theirs.get_layer("logits").set_weights([kernel, bias * np.nan])
    write_onnx(theirs, tmp_path / "nan.onnx")
    assert "nan" in told(check_onnx, theirs, tmp_path / "nan.onnx")


def test_softmax_of_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [0.0, -1000.0]], np.float32)), [[0.5, 0.5], [1, 0]])


def test_the_file_names_its_input_and_output(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = build(TrainSettings.model_validate({"network": NETWORKS["conv"]}).network, (16, 32, 3), 10, 3)
    write_onnx(network, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == (INPUT, "tensor(uint8)", [16, 32, 3])
    assert (logits.name, logits.type, logits.shape[-1]) == (OUTPUT, "tensor(float)", 11)
