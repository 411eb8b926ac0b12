"""Exact match and character error rate, and how sure they are, from a small histogram of rows."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein

from model.metrics import ErrorRates

SAMPLES, SEED = 2000, 0  # of the bootstrap
Z = 1.959964  # of a 95% interval


class Interval(NamedTuple):
    """Where the value lies with 95% confidence."""

    low: float
    high: float


def wilson(right: int, of: int) -> Interval:
    """The score interval of a share (Wilson 1927); of none, anything."""
    if not of:
        return Interval(0.0, 1.0)
    share, spread = right / of, Z * Z / of
    middle, half = share + spread / 2, Z * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return Interval(max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread)))


@dataclass(frozen=True)
class Tally(ErrorRates):
    """How many rows have each pair of (edits, characters of the label): all that both scores and their bootstrap need."""

    rows_with: Mapping[tuple[int, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str], labels: Iterable[str]) -> "Tally":
        pairs = zip(texts, labels, strict=True)
        return cls(Counter((Levenshtein.distance(text, label), len(label)) for text, label in pairs))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(Counter(self.rows_with) + Counter(other.rows_with))

    @property
    def rows(self) -> int:
        return sum(self.rows_with.values())

    @property
    def exact(self) -> int:
        return sum(n for (edits, _), n in self.rows_with.items() if not edits)

    @property
    def edits(self) -> int:
        return sum(edits * n for (edits, _), n in self.rows_with.items())

    @property
    def characters(self) -> int:
        return sum(length * n for (_, length), n in self.rows_with.items())

    @property
    def by_length(self) -> dict[int, "Tally"]:
        """The tally of the rows of each label length, the shortest first."""
        lengths = sorted({length for _, length in self.rows_with})
        return {at: Tally({key: n for key, n in self.rows_with.items() if key[1] == at}) for at in lengths}

    def intervals(self) -> tuple[Interval, Interval]:
        """Of exact match and of the character error rate: percentiles of a bootstrap over rows (Efron 1979), seeded.

        Rows of one kind are drawn together, by a multinomial: time and memory do not grow with rows. A sample in which
        all rows are right or wrong cannot vary; there the interval of exact match, or of no error, is `wilson`'s.
        """
        kinds = sorted(self.rows_with)
        if not kinds:
            return Interval(0.0, 1.0), Interval(0.0, 1.0)
        edits, lengths = np.array(kinds, np.float64).T
        shares = np.array([self.rows_with[kind] for kind in kinds]) / self.rows
        drawn = np.random.default_rng(SEED).multinomial(self.rows, shares, SAMPLES)
        exact = _percentiles(drawn @ (edits == 0) / self.rows)
        cer = _percentiles(drawn @ edits / np.maximum(1, drawn @ lengths))
        if self.exact in (0, self.rows):
            exact = wilson(self.exact, self.rows)
        return exact, cer if self.edits else wilson(0, self.characters)


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))
