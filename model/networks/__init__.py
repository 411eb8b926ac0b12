"""One file for each family of networks; `build` finds them by the name in the settings."""

from collections.abc import Callable
from typing import Any

import keras

from model.config import NetworkSettings
from model.networks import crnn, crnn_ctc, deep_multihead, letter_cnn, multihead

FAMILIES: dict[str, Callable[[Any, tuple[int, int, int], int, int], keras.Model]] = {
    "crnn": crnn.build,
    "crnn_ctc": crnn_ctc.build,
    "deep_multihead": deep_multihead.build,
    "letter_cnn": letter_cnn.build,
    "multihead": multihead.build,
}


def build(settings: NetworkSettings, image_shape: tuple[int, int, int], characters: int, longest: int) -> keras.Model:
    """A network from (N, H, W, C) pixels in 0 to 255 to (N, T, characters + 1) float32 logits, as `model.heads` has them.

    `longest` is how many characters the longest label has: the number of positions, where the settings leave it open. The
    layers that know the classes are named logits..., and ctc where a network has both heads (`model.warmstart` goes by that).
    """
    return FAMILIES[settings.name](settings, image_shape, characters, longest)
