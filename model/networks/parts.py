"""What several families share: the input in a fixed range, and logits of positions."""

from collections.abc import Sequence

import keras
from keras import layers


def image_in(shape: tuple[int, int, int]) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """The input, (N, H, W, C) pixels in 0 to 255, and the same in 0 to 1."""
    image = keras.Input(shape, name="image")
    return image, layers.Rescaling(1 / 255)(image)


def convolution(x: keras.KerasTensor, width: int, size: int = 3) -> keras.KerasTensor:
    """A convolution with ReLU that keeps height and width, as the published recipes have it."""
    return layers.Conv2D(width, size, padding="same", activation="relu")(x)


def pooled(x: keras.KerasTensor) -> keras.KerasTensor:
    """Half of the height and width, by the largest of each 2x2; of a side that is 1 already, all."""
    return layers.MaxPooling2D((min(2, x.shape[1]), min(2, x.shape[2])))(x)


def position_logits(branches: Sequence[keras.KerasTensor], characters: int) -> keras.KerasTensor:
    """(N, P, characters + 1) float32 from P tensors (N, units), each with a dense layer of its own."""
    logits = [
        layers.Dense(characters + 1, dtype="float32", name=f"logits_{place}")(branch)
        for place, branch in enumerate(branches, start=1)
    ]
    rows = [layers.Reshape((1, characters + 1))(one) for one in logits]
    return layers.Concatenate(axis=1, dtype="float32")(rows) if len(rows) > 1 else rows[0]
