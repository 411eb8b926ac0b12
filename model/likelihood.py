"""How probable a text is under a head's distributions, over all ways in which they decode to it. NumPy only."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEAST = 1e-30  # of a probability: what a softmax in float32 rounds to 0 stays possible


class Numbers(NamedTuple):
    """How probabilities are added and multiplied, and which number stands for 0: as they are, or as logarithms."""

    plus: np.ufunc
    times: np.ufunc
    zero: float


PLAIN, LOGARITHMS = Numbers(np.add, np.multiply, 0.0), Numbers(np.logaddexp, np.add, -np.inf)


def log_likelihood(rule: str, probabilities: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N,) float64 log-probabilities that frames drawn from `probabilities` decode to the labels by a bundle's `decode` rule.

    `probabilities` (N, T, classes), the last class is the blank; `labels` (N, L) class indices, of which the first
    `lengths` (N,) of each row count. -inf where a label is too long to come out of T frames.
    """
    emissions = np.log(np.clip(np.asarray(probabilities, np.float64), LEAST, 1))
    return RULES[rule](emissions, _filled(labels, lengths), lengths)


def ctc_probability(probabilities: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same of CTC without logarithms, in a fifth of the time: for what was read, which is too probable to vanish."""
    return _ctc(np.asarray(probabilities, np.float64), _filled(labels, lengths), lengths, PLAIN)


def _filled(labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The labels with some class in place of padding."""
    return np.where(np.arange(labels.shape[1]) < lengths[:, None], labels, 0)


def _ctc(emissions: np.ndarray, labels: np.ndarray, lengths: np.ndarray, numbers: Numbers = LOGARITHMS) -> np.ndarray:
    """The forward variable of CTC (Graves et al. 2006, section 4.1) after the last frame."""
    plus, times, zero = numbers
    count, longest = labels.shape
    states = np.full((count, 2 * longest + 1), emissions.shape[2] - 1)  # a blank before, between and after the characters
    states[:, 1::2] = labels
    may_skip = states[:, 2:] != states[:, :-2]  # the blank between two characters that differ
    at_state = np.take_along_axis(emissions, states[:, None, :], axis=2)
    alpha = np.full(states.shape, zero)
    alpha[:, :2] = at_state[:, 0, :2]
    for at_frame in np.moveaxis(at_state, 1, 0)[1:]:
        moved = alpha.copy()
        moved[:, 1:] = plus(moved[:, 1:], alpha[:, :-1])
        moved[:, 2:] = plus(moved[:, 2:], np.where(may_skip, alpha[:, :-2], zero))
        alpha = times(moved, at_frame)
    rows = np.arange(count)
    on_character = np.where(lengths > 0, alpha[rows, np.maximum(2 * lengths - 1, 0)], zero)
    return plus(alpha[rows, 2 * lengths], on_character)


def _positions(emissions: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Of heads that read a character or none (the blank) at each position: the sum over the places of the characters."""
    count, longest = labels.shape
    alpha = np.full((count, longest + 1), -np.inf)  # by the number of characters that are out
    alpha[:, 0] = 0.0
    for at_position in np.moveaxis(emissions, 1, 0):
        character = np.take_along_axis(at_position, labels, axis=1)
        out = np.concatenate([np.full((count, 1), -np.inf), alpha[:, :-1] + character], axis=1)
        alpha = np.logaddexp(alpha + at_position[:, -1:], out)
    return alpha[np.arange(count), lengths]


RULES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {"ctc_greedy": _ctc, "positions": _positions}
