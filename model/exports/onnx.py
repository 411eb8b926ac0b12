"""A network as an ONNX file, with what it says of itself among its metadata; quantised by onnxruntime where asked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from model.exports.about import INPUT, KEY, PLAIN
from model.onnx import PACKAGES as NEEDED
from model.onnx import write_onnx
from model.runtimes import open_onnx

INT8: tuple[str, ...] = ("static QDQ",)
PACKAGES: tuple[str, ...] = NEEDED
# Where the arithmetic is. The normalisation of the image, whose sums leave the range of 8 bits, stays as it is.
QUANTISED = ["Conv", "Gemm", "MatMul"]
BATCH = 32


def write(network: keras.Model, about: str, path: Path, quantisation: str, calibration: np.ndarray) -> None:
    """Writes the file `path`: (N, H, W, C) uint8 `image` -> `logits`, quantised as one of INT8 says, or not."""
    import onnx

    write_onnx(network, path)
    if quantisation != PLAIN:
        _quantise(path, calibration)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: about})
    onnx.save(model, path)


def load(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The function from (N, H, W, C) uint8 to logits that `path` holds, on one thread."""
    return open_onnx(path, threads=1)


def told(path: Path) -> str:
    """What the file says of itself."""
    import onnx

    return {prop.key: prop.value for prop in onnx.load(path, load_external_data=False).metadata_props}[KEY]


def _quantise(path: Path, calibration: np.ndarray) -> None:
    """Weights and activations of QUANTISED in 8 bits, with scales from images (N, H, W, C) uint8."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        """Hands out batches of the images."""

        def __init__(self) -> None:
            self._batches: Iterator[np.ndarray] = (
                calibration[start : start + BATCH] for start in range(0, len(calibration), BATCH)
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            images = next(self._batches, None)
            return None if images is None else {INPUT: images}

    prepared = path.with_name(f"{path.name}.prepared")
    quantization.quant_pre_process(path, prepared, skip_symbolic_shape=True)  # folds normalisation into convolutions
    quantization.quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    prepared.unlink()
