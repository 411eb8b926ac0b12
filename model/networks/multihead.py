"""Convolutions, flattened, and a dense layer and a softmax for each position: what most published recipes are."""

import keras
from keras import layers

from model.config import MultiheadSettings
from model.networks.parts import convolution, image_in, pooled, position_logits


def build(settings: MultiheadSettings, image_shape: tuple[int, int, int], characters: int, longest: int) -> keras.Model:
    """(N, H, W, C) pixels in 0 to 255 -> (N, P, characters + 1) float32 logits."""
    image, x = image_in(image_shape)
    for place, width in enumerate(settings.widths, start=1):
        x = pooled(convolution(x, width))
        if settings.batch_norm == "each" or (settings.batch_norm == "last" and place == len(settings.widths)):
            x = layers.BatchNormalization()(x)
    x = layers.Dropout(settings.dropout)(layers.Flatten()(x))
    branches = []
    for _ in range(settings.positions or longest):
        y = layers.Dense(settings.units, activation="relu")(x)
        branches.append(layers.Dropout(settings.unit_dropout)(y))
    return keras.Model(image, position_logits(branches, characters), name=settings.name)
