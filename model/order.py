"""Which row comes when: pure functions of (fingerprint, seed, epoch), far from any reader.

An epoch's row groups are permuted and laid end to end; each worker takes an equal stretch of that line. Within its
stretch, consecutive row groups form windows of about `window` rows, and the rows of a window are permuted.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Rows start to stop of one row group."""

    group: int
    start: int
    stop: int


class Rows(NamedTuple):
    """Rows of one window, in their order: row group and row in it, both (n,) int64."""

    window: int
    groups: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class EpochPlan:
    """The order of one worker's rows in one epoch."""

    windows: tuple[tuple[Piece, ...], ...]
    bounds: tuple[int, ...]
    key: tuple[object, ...]
    shuffle: bool

    @property
    def rows(self) -> int:
        return self.bounds[-1]

    def slice(self, start: int, stop: int) -> list[Rows]:
        """The rows at positions start to stop of the epoch, window by window; positions past the end are left out."""
        stop = min(stop, self.rows)
        found = []
        for window, (first, last) in enumerate(pairwise(self.bounds)):
            if first < stop and start < last:
                picked = self._order(window)[max(start, first) - first : min(stop, last) - first]
                groups, rows = self._index(window)
                found.append(Rows(window, groups[picked], rows[picked]))
        return found

    def _order(self, window: int) -> np.ndarray:
        size = self.bounds[window + 1] - self.bounds[window]
        return permutation(size, *self.key, window) if self.shuffle else np.arange(size)

    def _index(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        pieces = self.windows[window]
        groups = np.concatenate([np.full(p.stop - p.start, p.group) for p in pieces])
        return groups, np.concatenate([np.arange(p.start, p.stop) for p in pieces])


def permutation(size: int, *key: object) -> np.ndarray:
    """A permutation of range(size) that depends on `key` alone, also across versions of NumPy.

    Sorting raw words keeps to what NumPy promises (bit generators are stable, distributions are not: NEP 19).
    """
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:16], "big")
    return np.argsort(np.random.PCG64(seed).random_raw(size), kind="stable")


def epoch_plan(
    sizes: Sequence[int], key: tuple[object, ...], *, window: int, shuffle: bool = True, worker: int = 0, workers: int = 1
) -> EpochPlan:
    """The plan of `worker` for row groups of the given sizes. Over all workers each row stands exactly once."""
    order = permutation(len(sizes), *key, "row groups") if shuffle else np.arange(len(sizes))
    total = sum(sizes)
    begin, end = total * worker // workers, total * (worker + 1) // workers
    windows: list[list[Piece]] = []
    held, position = 0, 0
    for group in map(int, order):
        start, stop = max(begin - position, 0), min(end - position, sizes[group])
        position += sizes[group]
        if start >= stop:
            continue
        if not windows or held >= window:
            windows.append([])
            held = 0
        windows[-1].append(Piece(group, start, stop))
        held += stop - start
    counts = [sum(piece.stop - piece.start for piece in pieces) for pieces in windows]
    bounds = (0, *map(int, np.cumsum(counts)))
    return EpochPlan(tuple(map(tuple, windows)), bounds, key, shuffle)


def steps(rows: int, batch_size: int, workers: int = 1) -> int:
    """Batches an epoch has on every worker; the last one may be short, or empty on some workers."""
    return math.ceil(math.ceil(rows / workers) / batch_size)
