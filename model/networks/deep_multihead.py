"""Blocks of two convolutions, an average over the image, and dense layers and a softmax for each position."""

import keras
from keras import layers

from model.config import DeepMultiheadSettings
from model.networks.parts import image_in, pooled, position_logits


def build(settings: DeepMultiheadSettings, image_shape: tuple[int, int, int], characters: int, longest: int) -> keras.Model:
    """(N, H, W, C) pixels in 0 to 255 -> (N, P, characters + 1) float32 logits.

    The recipe leaves the order within a layer open: here it is convolution, batch normalisation, ReLU (Ioffe & Szegedy 2015).
    """
    image, x = image_in(image_shape)
    for width, size, dropout in zip(settings.widths, settings.sizes, settings.dropouts, strict=True):
        x = _normed(layers.Conv2D(width, size, padding="same")(x))
        x = _normed(layers.Conv2D(width, size, padding="same")(x))
        x = layers.Dropout(dropout)(pooled(x))
    x = _normed(layers.Conv2D(settings.last, 3, padding="same")(x))
    x = layers.Dropout(settings.dropout)(layers.GlobalAveragePooling2D()(x))
    branches = [_branch(x, settings) for _ in range(settings.positions or longest)]
    return keras.Model(image, position_logits(branches, characters), name=settings.name)


def _branch(x: keras.KerasTensor, settings: DeepMultiheadSettings) -> keras.KerasTensor:
    for units, dropout in zip(settings.units, settings.unit_dropouts, strict=True):
        x = layers.Dropout(dropout)(_normed(layers.Dense(units)(x)))
    return x


def _normed(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Activation("relu")(layers.BatchNormalization()(x))
