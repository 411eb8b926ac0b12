"""One file for each family of networks; `build` finds them by the name in the settings."""

import keras

from model.config import NetworkSettings
from model.networks import crnn

FAMILIES = {"crnn": crnn.build}


def build(settings: NetworkSettings, image_shape: tuple[int, int, int], characters: int) -> keras.Model:
    """A network from (N, H, W, C) uint8 images to (N, T, characters + 1) float32 logits; the last class is CTC's blank."""
    return FAMILIES[settings.name](settings, image_shape, characters)
