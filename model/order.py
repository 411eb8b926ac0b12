"""Which row comes when: pure functions of (fingerprint, seed, epoch) and of rows' weights, far from any reader.

For every pass over a dataset its row groups are permuted and laid end to end; pass after pass they are the dataset's endless
line. An epoch takes the next stretch of that line, and where there are several datasets their stretches are mixed, piece by
piece. Each worker takes an equal stretch of the epoch. Within it, consecutive pieces form windows of about `window` rows,
and the rows of a window are permuted. Where some rows weigh more than others, a window has these several times, and leaves
out as many of the others.
"""

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """Rows start to stop of one row group."""

    group: int
    start: int
    stop: int


class Rows(NamedTuple):
    """Some rows of one window, in their order: row group and row in it, both (n,) int64."""

    window: int
    groups: np.ndarray
    rows: np.ndarray


class Source(NamedTuple):
    """A dataset's part in an epoch: the sizes of its row groups, which are numbered from `first` on; `rows` it gives.

    `key` decides its permutations, together with the number of the pass.
    """

    sizes: tuple[int, ...]
    key: tuple[object, ...]
    rows: int
    first: int = 0


@dataclass(frozen=True)
class EpochPlan:
    """The order of one worker's rows in one epoch. Window `w` holds the rows at positions bounds[w] to bounds[w + 1].

    The weights of a window's rows are (n,) float64 over 0, in the order of its pieces; None: every row stands once.
    """

    windows: tuple[tuple[Piece, ...], ...]
    bounds: tuple[int, ...]
    key: tuple[object, ...]
    shuffle: bool

    @property
    def rows(self) -> int:
        return self.bounds[-1]

    def cuts(self, start: int, stop: int) -> Iterator[tuple[int, slice]]:
        """Positions start to stop of the epoch as slices of windows; positions past the end are left out."""
        stop = min(stop, self.rows)
        while start < stop:
            window = bisect_right(self.bounds, start) - 1
            first, last = self.bounds[window], min(self.bounds[window + 1], stop)
            yield window, slice(start - first, last - first)
            start = last

    def places(self, window: int, weights: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """By piece of a window: row group, rows in it, never falling, and the places in the window's order at which they stand.

        Both are (n,) int64. Without weights they are all rows of the piece.
        """
        order = self._order(window, weights)
        place = np.argsort(order, kind="stable")
        _, rows = self._index(window)
        pieces = self.windows[window]
        ends = np.searchsorted(order[place], np.cumsum([piece.stop - piece.start for piece in pieces]))
        for piece, mine in zip(pieces, np.split(place, ends[:-1]), strict=True):
            yield piece.group, rows[order[mine]], mine

    def slice(self, start: int, stop: int, weigh: Callable[[int], np.ndarray | None] = lambda _: None) -> list[Rows]:
        """The rows at positions start to stop of the epoch, window by window; positions past the end are left out.

        `weigh` gives the weights of a window.
        """
        found = []
        for window, cut in self.cuts(start, stop):
            picked = self._order(window, weigh(window))[cut]
            groups, rows = self._index(window)
            found.append(Rows(window, groups[picked], rows[picked]))
        return found

    def _order(self, window: int, weights: np.ndarray | None) -> np.ndarray:
        size = self.bounds[window + 1] - self.bounds[window]
        if not self.shuffle:
            return np.arange(size)
        order = permutation(size, *self.key, window)
        return order if weights is None else drawn(weights, *self.key, window, "weights")[order]

    def _index(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        pieces = self.windows[window]
        groups = np.concatenate([np.full(p.stop - p.start, p.group) for p in pieces])
        return groups, np.concatenate([np.arange(p.start, p.stop) for p in pieces])


def permutation(size: int, *key: object) -> np.ndarray:
    """A permutation of range(size) that depends on `key` alone, also across versions of NumPy.

    Sorting raw words keeps to what NumPy promises (bit generators are stable, distributions are not: NEP 19).
    """
    return np.argsort(_bits(key).random_raw(size), kind="stable")


def drawn(weights: np.ndarray, *key: object) -> np.ndarray:
    """n indices of `weights` (n,), never falling, each as often as its share of their sum says, up to rounding: (n,) int64.

    Systematic sampling (Madow & Madow 1944): evenly spaced points over the sum, from a start that depends on `key` alone.
    """
    sums = np.cumsum(weights, dtype=np.float64)
    start = int(_bits(key).random_raw()) / 2**64
    found = np.searchsorted(sums, (np.arange(len(weights)) + start) * (sums[-1] / len(weights)), side="right")
    return np.minimum(found, len(weights) - 1)  # the last point may be rounded up to the sum


def _bits(key: tuple[object, ...]) -> np.random.PCG64:
    return np.random.PCG64(int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:16], "big"))


def epoch_line(sources: Sequence[Source], epoch: int, key: tuple[object, ...], *, shuffle: bool = True) -> list[Piece]:
    """The rows of all workers in one epoch, as pieces of row groups in their order.

    Every source gives its next `rows`: as many as it has are every row once per epoch, half of them every row once in two
    epochs. Pieces of several sources are mixed by `key`.
    """
    stretches = [_stretch(source, epoch * source.rows, (epoch + 1) * source.rows, shuffle) for source in sources]
    pieces = [piece for stretch in stretches for piece in stretch]
    if len(sources) == 1 or not shuffle:
        return pieces
    return [pieces[i] for i in permutation(len(pieces), *key, epoch, "pieces")]


def _stretch(source: Source, start: int, stop: int, shuffle: bool) -> list[Piece]:
    """Positions start to stop of the endless line of a source."""
    total = sum(source.sizes)
    pieces = []
    for number in range(start // total, -(-stop // total)):
        count = len(source.sizes)
        order = permutation(count, *source.key, number, "row groups") if shuffle else np.arange(count)
        line = [Piece(int(group), 0, source.sizes[group]) for group in order]
        cut = _cut(line, start - number * total, stop - number * total)
        pieces += [piece._replace(group=source.first + piece.group) for piece in cut]
    return pieces


def _cut(line: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """What lies between the positions start and stop of pieces laid end to end."""
    found, position = [], 0
    for group, first, last in line:
        begin, end = max(start - position, 0), min(stop - position, last - first)
        position += last - first
        if begin < end:
            found.append(Piece(group, first + begin, first + end))
    return found


def epoch_plan(
    line: Sequence[Piece], key: tuple[object, ...], *, window: int, shuffle: bool = True, worker: int = 0, workers: int = 1
) -> EpochPlan:
    """The plan of `worker` for the line of an epoch. Over all workers each of its rows stands exactly once, or as it weighs."""
    total = sum(piece.stop - piece.start for piece in line)
    windows: list[list[Piece]] = []
    held = window
    for piece in _cut(line, total * worker // workers, total * (worker + 1) // workers):
        if held >= window:
            windows.append([])
            held = 0
        windows[-1].append(piece)
        held += piece.stop - piece.start
    counts = (sum(piece.stop - piece.start for piece in pieces) for pieces in windows)
    return EpochPlan(tuple(map(tuple, windows)), tuple(accumulate(counts, initial=0)), key, shuffle)


def steps(rows: int, batch_size: int, workers: int = 1) -> int:
    """Batches an epoch has on every worker, each of `batch_size` rows there; the last may be short, or empty on some."""
    return math.ceil(math.ceil(rows / workers) / batch_size)
