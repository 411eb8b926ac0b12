"""A plain CRNN: convolutions and pooling, a dense layer on each time step, BiLSTMs, and logits for CTC (Shi et al. 2015)."""

import keras
from keras import layers

from model.config import CrnnCtcSettings
from model.networks.parts import image_in, pooled


def build(settings: CrnnCtcSettings, image_shape: tuple[int, int, int], characters: int, longest: int) -> keras.Model:
    """(N, H, W, C) pixels in 0 to 255 -> (N, W / 2 ** convolutions, characters + 1) float32 logits.

    The recipe says no more than CRNN with CTC: the layers and their sizes are those of Keras's example of captchas and CTC.
    """
    image, x = image_in(image_shape)
    for width in settings.widths:
        x = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
        x = pooled(x)
    x = layers.Permute((2, 1, 3))(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.Dropout(settings.dropout)(layers.Dense(settings.units, activation="relu")(x))
    for units in settings.lstm:
        x = layers.Bidirectional(layers.LSTM(units, return_sequences=True, dropout=settings.lstm_dropout))(x)
    return keras.Model(image, layers.Dense(characters + 1, dtype="float32", name="logits")(x), name=settings.name)
