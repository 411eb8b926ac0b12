"""Convolutions that keep a quarter of the width as time steps, sequence layers, and logits for CTC, positions, or both.

After Shi et al. 2015 (CRNN), made for CTC to start early on two cores. What decided that, measured on faint digits: sequence
layers that look at their neighbours only (after 60 s 90% read exactly, where a BiLSTM reads nothing after 160 s). Separable
convolutions (Howard et al. 2017, arXiv 1704.04861) take less than half the time of full ones for an image, and on made images
read as much after ten minutes of training; the first of all stays full (benchmarks/RESULTS.md has the trials).

The head of positions: for each a learned slot looks over all time steps (cross-attention, Vaswani et al. 2017, arXiv
1706.03762), as in the parallel decoder of Fang et al. 2021 (ABINet, arXiv 2103.06495).
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from model.config import CrnnSettings

BLANK_BIAS = -2.0  # at the start: an untrained CTC head otherwise settles on blanks first
LOOKS = 4  # attention heads of a slot


def build(settings: CrnnSettings, image_shape: tuple[int, int, int], characters: int, longest: int) -> keras.Model:
    """(N, H, W, C) pixels in 0 to 255 -> float32 logits, of CTC (N, W / 4, characters + 1), of positions (N, P, the same).

    With both heads a mapping of `logits`, those of positions, and `ctc`.
    """
    first, *rest = settings.widths
    image = keras.Input(image_shape, name="image")
    x = layers.LayerNormalization(axis=[1, 2, 3], center=False, scale=False, epsilon=1.0)(image)
    x = _conv(x, first, size=5, strides=2)
    x = _separable(x, first, strides=2) if settings.stem == "separable" else layers.MaxPooling2D(2)(_conv(x, first))
    separable = settings.convolutions == "separable"
    for stage, width in enumerate(rest, start=1):
        x = _conv(x, width, size=1 if separable else 3)
        for _ in range(settings.last_blocks if stage == len(rest) else 1):
            x = _block(x, _separable if separable else _conv)
        if x.shape[1] > 1:
            x = layers.MaxPooling2D((2, 1))(x)
    x = _conv(x, settings.units, size=(x.shape[1], 1), padding="valid")  # one row: what stands at a time step
    x = layers.Dropout(settings.dropout)(x)
    if settings.sequence == "conv":
        for _ in range(settings.depth):
            x = layers.Add()([x, _conv(x, settings.units, size=(1, 3))])
    if settings.sequence == "lstm":
        x = ops.squeeze(x, axis=1)
        for _ in range(settings.depth):
            x = layers.Bidirectional(layers.LSTM(settings.units // 2, return_sequences=True))(x)
        x = ops.expand_dims(x, axis=1)
    x = layers.Dropout(settings.dropout)(x)
    if settings.head == "ctc":
        return keras.Model(image, _frames(x, characters, "logits"), name=settings.name)
    slots = _slots(ops.squeeze(x, axis=1), settings.positions or longest)
    logits = layers.Dense(characters + 1, dtype="float32", name="logits")(slots)
    if settings.head == "positions":
        return keras.Model(image, logits, name=settings.name)
    return keras.Model(image, {"logits": logits, "ctc": _frames(x, characters, "ctc")}, name=settings.name)


def _frames(x: keras.KerasTensor, characters: int, name: str) -> keras.KerasTensor:
    """CTC's logits (N, T, characters + 1) of (N, 1, T, units)."""
    layer = layers.Conv2D(characters + 1, 1, dtype="float32", name=name)  # of fewer operations in ONNX than a dense one
    logits = ops.squeeze(layer(x), axis=1)
    kernel, bias = layer.get_weights()
    bias[characters] = BLANK_BIAS
    layer.set_weights([kernel, bias])
    return logits


def _slots(x: keras.KerasTensor, positions: int) -> keras.KerasTensor:
    """(N, P, units) of (N, T, units): what each position's learned slot finds along the time steps.

    The scores' kernel are the slots' queries, their bias says which time steps each prefers whatever stands there.
    """
    _, steps, units = x.shape
    size = max(1, units // LOOKS)
    look = layers.EinsumDense("ntu,ulp->nlpt", (LOOKS, positions, steps), bias_axes="lpt")
    attention = layers.Softmax(axis=-1)(look(x))
    kernel, _ = look.get_weights()
    look.set_weights([kernel / np.sqrt(units), np.broadcast_to(_places(positions, steps), (LOOKS, positions, steps))])
    values = layers.EinsumDense("ntu,uls->nlts", (LOOKS, steps, size))(x)
    found = layers.EinsumDense("nlps,lsu->npu", (positions, units), bias_axes="pu")(ops.matmul(attention, values))
    found = layers.LayerNormalization()(found)
    thought = layers.Dense(units)(layers.Dense(2 * units, activation="relu")(found))
    return layers.LayerNormalization()(layers.Add()([found, thought]))


def _places(positions: int, steps: int) -> np.ndarray:
    """(P, T) where slots look at the start: each at its share of the width, and softly at its neighbours'."""
    centres, places = (np.arange(positions) + 0.5) / positions, (np.arange(steps) + 0.5) / steps
    return -0.5 * (positions * (places[None] - centres[:, None])) ** 2


def _conv(
    x: keras.KerasTensor, width: int, size: int | tuple[int, int] = 3, *, active: bool = True, **more: object
) -> keras.KerasTensor:
    options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"} | more
    x = layers.Conv2D(width, size, **options)(x)
    return layers.Activation("relu")(_norm(x)) if active else _norm(x)


def _block(x: keras.KerasTensor, convolve: Callable[..., keras.KerasTensor]) -> keras.KerasTensor:
    """Two convolutions that are added to what they come from."""
    width = x.shape[-1]
    return layers.Activation("relu")(layers.Add()([x, convolve(convolve(x, width), width, active=False)]))


def _separable(x: keras.KerasTensor, width: int, *, strides: int = 1, active: bool = True) -> keras.KerasTensor:
    """Each channel by itself, then each pixel by itself, nothing between them (as Chollet 2017, Xception, arXiv 1610.02357)."""
    x = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
    return _conv(x, width, size=1, active=active)


def _norm(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(momentum=0.9)(x)  # Keras's 0.99 lags behind the weights in short runs
