"""A small network for single characters, with the weights of the published one: 517,092 for 75x50 RGB and 36 characters."""

import keras
from keras import layers

from model.config import LetterCnnSettings
from model.networks.parts import convolution, image_in, pooled


def build(settings: LetterCnnSettings, image_shape: tuple[int, int, int], characters: int, longest: int) -> keras.Model:
    """(N, H, W, C) pixels in 0 to 255 -> (N, 1, characters + 1) float32 logits.

    The last class, no character here, has no weights: its logit is 0. As a softmax knows logits only up to a common shift,
    it says nothing less for that, and where every label has its one character it is never the answer.
    """
    image, x = image_in(image_shape)
    for width in settings.widths:
        x = pooled(convolution(x, width))
    x = layers.Dropout(settings.dropout)(layers.Flatten()(x))
    x = layers.Dense(characters, dtype="float32", name="logits_1")(x)
    x = layers.ZeroPadding1D((0, 1), dtype="float32")(layers.Reshape((characters, 1))(x))
    return keras.Model(image, layers.Reshape((1, characters + 1))(x), name=settings.name)
