"""Whether a confidence is to be believed, and what refusing the least confident rows brings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from model.evaluation.bins import BINS, EDGES, bins_of

COARSE = 15  # bins of equal width, as in Guo et al. 2017
UNIT = 1_000_000_000  # confidences are added as whole billionths, so that no order of adding matters


class Bin(NamedTuple):
    """Rows whose confidence lies in one interval, their mean confidence, and how many of them were read exactly."""

    low: float
    high: float
    rows: int
    confidence: float
    exact: int

    @property
    def accuracy(self) -> float:
        return self.exact / self.rows if self.rows else 0.0


class Coverage(NamedTuple):
    """What is left when rows below a confidence are refused: the share of rows, and the share of these read exactly."""

    confidence: float
    coverage: float
    accuracy: float


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int64)


@dataclass(frozen=True, eq=False)
class Confidences:
    """Rows by the confidence of their whole text.

    `coarse` (COARSE, 3) int64: rows, exact ones, and their confidences in billionths, by bins of equal width;
    `fine` (BINS, 2) int64: rows and exact ones by `bins_of`.
    """

    coarse: np.ndarray = field(default_factory=lambda: _zeros(COARSE, 3))
    fine: np.ndarray = field(default_factory=lambda: _zeros(BINS, 2))

    @classmethod
    def of(cls, confidences: Sequence[float], exact: Sequence[bool]) -> "Confidences":
        sure = np.clip(np.asarray(confidences, np.float64), 0, 1)
        right = np.asarray(exact, np.int64)
        coarse, fine = _zeros(COARSE, 3), _zeros(BINS, 2)
        ones, billionths = np.ones(len(sure), np.int64), np.rint(sure * UNIT).astype(np.int64)
        np.add.at(coarse, np.minimum((sure * COARSE).astype(int), COARSE - 1), np.stack([ones, right, billionths], 1))
        np.add.at(fine, bins_of(sure), np.stack([ones, right], 1))
        return cls(coarse, fine)

    def __add__(self, other: "Confidences") -> "Confidences":
        return Confidences(self.coarse + other.coarse, self.fine + other.fine)

    @property
    def reliability(self) -> list[Bin]:
        """The bins that hold rows."""
        return [
            Bin(i / COARSE, (i + 1) / COARSE, int(rows), float(sums) / UNIT / int(rows), int(exact))
            for i, (rows, exact, sums) in enumerate(self.coarse)
            if rows
        ]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Naeini et al. 2015): the mean over rows of |confidence - accuracy| of their bin."""
        rows = int(self.coarse[:, 0].sum())
        return sum(b.rows * abs(b.confidence - b.accuracy) for b in self.reliability) / rows if rows else 0.0

    @property
    def coverage(self) -> list[Coverage]:
        """Over falling confidences: what is accepted at each, and how much of it is right; the last accepts all."""
        there = np.flatnonzero(self.fine[:, 0])[::-1]
        rows, exact = np.cumsum(self.fine[there], axis=0).T
        return [
            Coverage(float(low), float(n / rows[-1]), float(right / n))
            for low, n, right in zip(EDGES[there], rows, exact, strict=True)
        ]

    def accepted_at(self, accuracy: float) -> Coverage | None:
        """The most that can be accepted with at least this accuracy; None where nothing can."""
        return max((c for c in self.coverage if c.accuracy >= accuracy), key=lambda c: c.coverage, default=None)
