"""ROC and precision-recall of single characters, from scores in bins: memory does not grow with rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.alignment import aligned
from model.decode import Reading
from model.evaluation.bins import BINS, EDGES, bins_of
from pipelines.charset import Charset


class Curve(NamedTuple):
    """Points over falling thresholds, one for each bin that holds scores: rates of false and true positives, and precision.

    The rate of true positives is recall. `within` is the precision at the middle positive of each bin, whose scores are taken
    to be evenly mixed: that of the whole bin would make the average precision too low.
    """

    thresholds: np.ndarray
    false_positives: np.ndarray
    true_positives: np.ndarray
    precision: np.ndarray
    within: np.ndarray

    @property
    def auc(self) -> float:
        """The area under the ROC curve."""
        steps = np.diff(self.false_positives, prepend=0)
        heights = (self.true_positives + np.concatenate([[0.0], self.true_positives[:-1]])) / 2
        return float(np.sum(steps * heights))

    @property
    def average_precision(self) -> float:
        """The mean of precision over the steps of recall, without interpolation."""
        return float(np.sum(np.diff(self.true_positives, prepend=0) * self.within))


@dataclass(frozen=True, eq=False)
class Curves:
    """What is scored: every character that was read and stands opposite a character of the label (Levenshtein, `aligned`).

    Its scores are the network's class distribution at the frame of that character (`Reading.frames`), without the blank or
    pad class and renormalised; each class of the alphabet is one question "is it this character?", and the answer is yes for
    the label's. `positive` and `negative` (characters, BINS) int64 count the scores of both answers by `bins_of`. Inserted
    and dropped characters have no counterpart and are not scored: they are in the edit operations.
    """

    alphabet: str
    positive: np.ndarray
    negative: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, classes: np.ndarray, alphabet: str) -> "Curves":
        """Of scores (M, characters) and the label's class of each row (M,), -1 where it is not in the alphabet."""
        count = len(alphabet)
        bins = bins_of(scores) + BINS * np.arange(count)
        every = np.bincount(bins.ravel(), minlength=count * BINS).reshape(count, BINS)
        known = np.flatnonzero(classes >= 0)
        positive = np.bincount(bins[known, classes[known]], minlength=count * BINS).reshape(count, BINS)
        return cls(alphabet, positive, every - positive)

    @classmethod
    def none(cls, alphabet: str) -> "Curves":
        zeros = np.zeros((len(alphabet), BINS), np.int64)
        return cls(alphabet, zeros, zeros)

    def __add__(self, other: "Curves") -> "Curves":
        if self.alphabet != other.alphabet:
            raise ValueError(f"curves of the alphabets {self.alphabet!r} and {other.alphabet!r} do not add up")
        return Curves(self.alphabet, self.positive + other.positive, self.negative + other.negative)

    @property
    def micro(self) -> Curve | None:
        """All questions of all characters together; None where there is no score of either answer."""
        return _curve(self.positive.sum(0), self.negative.sum(0))

    def by_character(self) -> dict[str, Curve]:
        """One against the rest, of the characters that have scores of both answers."""
        found = {c: _curve(self.positive[i], self.negative[i]) for i, c in enumerate(self.alphabet)}
        return {character: curve for character, curve in found.items() if curve}


def scores_of(
    readings: Sequence[Reading], labels: Sequence[str], distributions: np.ndarray, charset: Charset
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (M, characters) float64 and classes (M,) for `Curves.of`, of distributions (N, T, characters + 1)."""
    rows, frames, classes = [], [], []
    known = {character: index for index, character in enumerate(charset.alphabet)}
    for row, (reading, label) in enumerate(zip(readings, labels, strict=True)):
        places = iter(reading.frames)
        for theirs, ours in aligned(label, reading.text):
            frame = next(places) if ours else 0
            if theirs and ours:
                rows.append(row)
                frames.append(frame)
                classes.append(known.get(theirs, -1))
    chosen = np.asarray(distributions[rows, frames, : len(charset)], np.float64).reshape(len(rows), len(charset))
    return chosen / np.maximum(chosen.sum(1, keepdims=True), 1e-300), np.array(classes, np.int64)


def _curve(positive: np.ndarray, negative: np.ndarray) -> Curve | None:
    """From counts by bin, (BINS,) each; bins without scores are left out."""
    there = np.flatnonzero(positive + negative)[::-1]
    yes, no = np.cumsum(positive[there]), np.cumsum(negative[there])
    if not len(there) or not yes[-1] or not no[-1]:
        return None
    middle = yes - positive[there] / 2 + 0.5  # positives up to the middle one of each bin, with itself
    within = middle / (middle + no - negative[there] / 2)
    return Curve(EDGES[there], no / no[-1], yes / yes[-1], yes / (yes + no), within)
