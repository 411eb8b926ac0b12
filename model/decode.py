"""Frames -> text, and how sure the network is. NumPy only: the downloaded bundle uses it too."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from model.likelihood import ctc_probability
from pipelines.charset import Charset


class Reading(NamedTuple):
    """A text, its probability, and of each of its characters the probability and the frame.

    The frame is an index along T: of CTC the most probable one of the character, of positions the position.
    """

    text: str
    confidence: float
    characters: tuple[float, ...]
    frames: tuple[int, ...] = ()


def readings(rule: str, classes: np.ndarray, probabilities: np.ndarray, charset: Charset) -> list[Reading]:
    """What the best class of each frame and its probability, both (N, T), say by a bundle's `decode` rule."""
    return RULES[rule](classes, probabilities, charset)


def sure_readings(rule: str, distributions: np.ndarray, charset: Charset) -> list[Reading]:
    """The same of (N, T, characters + 1) probabilities of every class, the last of which is the blank.

    The confidence of CTC is the probability of the text, over all paths that decode to it: the best one is often a third.
    """
    found = readings(rule, distributions.argmax(-1), distributions.max(-1), charset)
    if rule != RULE_OF["ctc"]:
        return found
    lengths = np.fromiter((len(one.text) for one in found), np.int64, len(found))
    sure = ctc_probability(distributions, charset.encode([one.text for one in found]), lengths)
    return [one._replace(confidence=float(each)) for one, each in zip(found, sure, strict=True)]


def greedy(classes: np.ndarray, probabilities: np.ndarray, charset: Charset) -> list[Reading]:
    """Best-path CTC decoding (Graves 2006) of the best class of each frame and its probability, both (N, T).

    Equal neighbours are one character, then blanks go. The confidence is the product over all frames, a lower
    bound of the text's probability; a character has the highest probability among its frames.
    """
    classes, probabilities = np.asarray(classes), np.asarray(probabilities)
    begins = np.ones(classes.shape, bool)
    begins[:, 1:] = classes[:, 1:] != classes[:, :-1]
    found = []
    for row, starts, sure, confidence in zip(classes, begins, probabilities, _products(probabilities), strict=True):
        firsts = np.flatnonzero(starts)
        firsts = firsts[row[firsts] != charset.blank]
        ends = np.append(np.flatnonzero(starts), len(row))
        lasts = ends[np.searchsorted(ends, firsts, side="right")]
        peaks = [int(first + sure[first:last].argmax()) for first, last in zip(firsts, lasts, strict=True)]
        found.append(_reading(row, sure, confidence, peaks, charset))
    return found


def positions(classes: np.ndarray, probabilities: np.ndarray, charset: Charset) -> list[Reading]:
    """The best character of each position; positions whose best class is the blank, which means none here, are left out.

    The confidence is the product over all positions: the probability of this very text.
    """
    classes, probabilities = np.asarray(classes), np.asarray(probabilities)
    return [
        _reading(row, sure, confidence, np.flatnonzero(row != charset.blank).tolist(), charset)
        for row, sure, confidence in zip(classes, probabilities, _products(probabilities), strict=True)
    ]


def _reading(row: np.ndarray, sure: np.ndarray, confidence: float, frames: list[int], charset: Charset) -> Reading:
    """The characters that stand at `frames` of a row."""
    text = charset.decode(row[frames][None])[0]
    return Reading(text, float(confidence), tuple(float(sure[frame]) for frame in frames), tuple(frames))


def _products(probabilities: np.ndarray) -> np.ndarray:
    """(N,) products over the frames of (N, T)."""
    return np.exp(np.log(np.clip(probabilities, 1e-30, 1)).sum(axis=1))


RULES: dict[str, Callable[[np.ndarray, np.ndarray, Charset], list[Reading]]] = {"ctc_greedy": greedy, "positions": positions}
RULE_OF = {"ctc": "ctc_greedy", "positions": "positions", "joint": "positions"}  # by the network's `head`
