"""How probable a text is under a head's distributions, over all ways in which they decode to it. NumPy only."""

from collections.abc import Callable

import numpy as np

LEAST = 1e-30  # of a probability: what a softmax in float32 rounds to 0 stays possible


def log_likelihood(rule: str, probabilities: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N,) float64 log-probabilities that frames drawn from `probabilities` decode to the labels by a bundle's `decode` rule.

    `probabilities` (N, T, classes), the last class is the blank; `labels` (N, L) class indices, of which the first
    `lengths` (N,) of each row count. -inf where a label is too long to come out of T frames.
    """
    emissions = np.log(np.clip(np.asarray(probabilities, np.float64), LEAST, 1))
    real = np.arange(labels.shape[1]) < lengths[:, None]
    return RULES[rule](emissions, np.where(real, labels, 0), lengths)


def _ctc(emissions: np.ndarray, labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The forward variable of CTC (Graves et al. 2006, section 4.1) after the last frame."""
    count, longest = labels.shape
    states = np.full((count, 2 * longest + 1), emissions.shape[2] - 1)  # a blank before, between and after the characters
    states[:, 1::2] = labels
    may_skip = np.zeros(states.shape, bool)  # the blank between two characters that differ
    may_skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    at_state = np.take_along_axis(emissions, states[:, None, :], axis=2)
    alpha = np.full(states.shape, -np.inf)
    alpha[:, :2] = at_state[:, 0, :2]
    for frame in range(1, emissions.shape[1]):
        skipped = np.where(may_skip, _later(alpha, 2), -np.inf)
        alpha = np.logaddexp(np.logaddexp(alpha, _later(alpha, 1)), skipped) + at_state[:, frame]
    rows = np.arange(count)
    on_character = np.where(lengths > 0, alpha[rows, np.maximum(2 * lengths - 1, 0)], -np.inf)
    return np.logaddexp(alpha[rows, 2 * lengths], on_character)


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


def _later(alpha: np.ndarray, states: int) -> np.ndarray:
    """(N, S) moved to later states, with nothing in the first ones."""
    moved = np.full(alpha.shape, -np.inf)
    moved[:, states:] = alpha[:, : alpha.shape[1] - states]
    return moved


RULES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {"ctc_greedy": _ctc, "positions": _positions}
