"""Frames -> text, and how sure the network is. NumPy only: the downloaded bundle uses it too."""

from typing import NamedTuple

import numpy as np

from pipelines.charset import Charset


class Reading(NamedTuple):
    """A text, the probability of its frames together, and the probability of each of its characters."""

    text: str
    confidence: float
    characters: tuple[float, ...]


def greedy(classes: np.ndarray, probabilities: np.ndarray, charset: Charset) -> list[Reading]:
    """Best-path CTC decoding (Graves 2006) of the best class of each frame and its probability, both (N, T).

    Equal neighbours are one character, then blanks go. The confidence is the product over all frames, a lower
    bound of the text's probability; a character has the highest probability among its frames.
    """
    classes = np.asarray(classes)
    begins = np.ones(classes.shape, bool)
    begins[:, 1:] = classes[:, 1:] != classes[:, :-1]
    confidences = np.exp(np.log(np.clip(probabilities, 1e-30, 1)).sum(axis=1))
    readings = []
    for row, starts, sure, confidence in zip(classes, begins, probabilities, confidences, strict=True):
        firsts = np.flatnonzero(starts)
        peaks = np.maximum.reduceat(sure, firsts)
        real = row[firsts] != charset.blank
        text = charset.decode(row[firsts][real][None])[0]
        readings.append(Reading(text, float(confidence), tuple(float(p) for p in peaks[real])))
    return readings
