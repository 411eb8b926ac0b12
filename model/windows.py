"""Windows of row groups, read ahead by several threads and laid out in the order in which their rows are due."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.buffers import Buffers, aligned, nbytes, shaped
from model.order import EpochPlan, Piece
from model.reader import ShardReader
from pipelines.charset import Charset

Fills = list["Future[None]"]
FACTS_BYTES = 1 << 26
LAST_ASCII = 127


class Batch(NamedTuple):
    """Rows as arrays: images (N, H, W, C) uint8, and facts (N, L + 2) int32: label (padded with Charset.PAD), length, weight.

    In one array because each that TensorFlow takes costs it some 30 microseconds.
    """

    images: np.ndarray
    facts: np.ndarray

    @classmethod
    def empty(cls, rows: int, shape: tuple[int, int, int], longest: int, block: np.ndarray | None = None) -> "Batch":
        """Uninitialised arrays; images lie in `block` where one is given."""
        images = aligned((rows, *shape), np.uint8) if block is None else shaped(block, (rows, *shape), np.uint8)
        return cls(images, aligned((rows, longest + 2), np.int32))

    def cut(self, rows: slice) -> "Batch":
        """Some consecutive rows, as views."""
        return Batch(self.images[rows], self.facts[rows])

    def put(self, rows: slice | np.ndarray, images: np.ndarray, facts: np.ndarray) -> None:
        """Puts rows at some places."""
        mine = self.images.reshape(len(self.images), -1)  # rows in one piece: faster than in four dimensions
        mine[rows] = images.reshape(len(images), -1)
        self.facts[rows] = facts

    def clear(self, start: int) -> None:
        """Makes the rows from `start` on empty, of weight 0."""
        self.images[start:], self.facts[start:, :-2], self.facts[start:, -2:] = 0, Charset.PAD, 0


def facts_of(labels: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N, L + 2) int32 of encoded labels (N, L) and their lengths (N,), with weight 1."""
    return np.column_stack((labels, lengths, np.ones(len(labels), np.int32))).astype(np.int32)


class Sources:
    """Row groups of one or several datasets under one numbering, read into the arrays of a window.

    `most` is the number of rows that a window may have; `classes` has by class the weight of a row with that character, and a
    last one for what pads a label (None: all rows weigh the same).
    """

    def __init__(
        self, readers: Sequence[ShardReader], charset: Charset, longest: int, most: int, classes: np.ndarray | None = None
    ) -> None:
        self.readers, self._charset, self._longest, self._classes = tuple(readers), charset, longest, classes
        self.firsts = tuple(accumulate((len(reader.sizes) for reader in readers), initial=0))
        self._shape = readers[0].dataset.manifest.image_shape
        self._buffers = Buffers(nbytes((most, *self._shape), np.uint8))
        self._facts: dict[int, np.ndarray] = {}
        self._facts_bytes = 0

    def make(self, rows: int) -> Batch:
        """Arrays for a window of `rows` rows."""
        return Batch.empty(rows, self._shape, self._longest, self._buffers.take())

    def fill(self, window: Batch, group: int, rows: np.ndarray, places: np.ndarray) -> None:
        """Reads rows of a row group, never falling, and puts them at their places.

        Raises DataError for a missing or damaged file.
        """
        if not len(rows):
            return
        reader, number = self.find(group)
        facts = self._facts.get(group)
        table = reader.table(number, ("label", "image") if facts is None else ("image",))
        if facts is None:
            facts = self._encode(group, table["label"])
        once, copies = np.unique(rows, return_inverse=True)
        together = len(once) == once[-1] - once[0] + 1
        images = reader.images(table.slice(once[0], len(once)) if together else table.take(once))
        window.put(places, images if len(once) == len(rows) else images[copies], facts[rows])

    def weights(self, pieces: Sequence[Piece]) -> np.ndarray | None:
        """Of each row of these pieces the highest weight of its characters, (n,) float64; None where all weigh the same.

        Raises DataError for a missing or damaged file.
        """
        if self._classes is None:
            return None
        labels = (self.facts(piece.group)[piece.start : piece.stop, :-2] for piece in pieces)
        return np.concatenate([self._classes[each].max(axis=1) for each in labels])

    def facts(self, group: int) -> np.ndarray:
        """The facts of a row group, (n, L + 2) int32; no image is read. Raises DataError for a missing or damaged file."""
        found = self._facts.get(group)
        if found is None:
            reader, number = self.find(group)
            found = self._encode(group, reader.table(number, ("label",))["label"])
        return found

    def _encode(self, group: int, column: pa.ChunkedArray) -> np.ndarray:
        """The facts of a row group; those of the first FACTS_BYTES stay, which saves a tenth of the time in later epochs."""
        points, lengths = code_points(column)
        facts = facts_of(self._charset.encode_points(points, lengths, self._longest), lengths)
        if self._facts_bytes + facts.nbytes <= FACTS_BYTES:
            self._facts_bytes += facts.nbytes
            self._facts[group] = facts
        return facts

    def ids(self, group: int, rows: np.ndarray) -> np.ndarray:
        """The ids of some rows of a row group, (n,) int64."""
        reader, number = self.find(group)
        return reader.ids(number)[rows]

    def ahead(self, pieces: Iterable[Piece]) -> None:
        """Begins to fetch the shards of these pieces where they are remote."""
        for reader, group in (self.find(piece.group) for piece in pieces):
            reader.ahead([group])

    def find(self, group: int) -> tuple[ShardReader, int]:
        """The reader of a row group, and the number that it has there."""
        index = bisect_right(self.firsts, group) - 1
        return self.readers[index], group - self.firsts[index]


def code_points(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Texts as (N, M) uint32 code points, the rest of a row zero, and their lengths (N,) int64; no row is touched alone."""
    texts = pa.concat_arrays(column.chunks)
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    flat = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    lengths = np.diff(offsets).astype(np.int64)
    if flat.max(initial=0) > LAST_ASCII:
        lengths = pc.utf8_length(texts).to_numpy().astype(np.int64)
        flat = np.frombuffer(flat.tobytes().decode().encode("utf-32-le"), np.uint32)
    points = np.zeros((len(lengths), lengths.max(initial=0)), np.uint32)
    points[np.arange(points.shape[1]) < lengths[:, None]] = flat
    return points, lengths


class Windows:
    """The windows of `epochs` epochs (None: no end): the one asked for and the one after it are held, others are let go."""

    def __init__(
        self, sources: Sources, plan: Callable[[int], EpochPlan], epochs: int | None, pool: ThreadPoolExecutor
    ) -> None:
        self._sources, self._plan, self._epochs, self._pool = sources, plan, epochs, pool
        self._held: dict[tuple[int, int], tuple[Batch, Future[Fills]]] = {}

    def get(self, epoch: int, window: int) -> Batch:
        """A whole window, its rows in their order. Raises DataError for a missing or damaged file."""
        wanted = [key for key in ((epoch, window), self._after(epoch, window)) if key]
        for key in [key for key in self._held if key not in wanted]:
            _cancel(self._held.pop(key)[1])
        for key in wanted:
            if key not in self._held:
                self._held[key] = self._begin(*key)
        rows, begun = self._held[epoch, window]
        filled = begun.result()
        while filled:
            filled[-1].result()
            filled.pop()
        return rows

    def _begin(self, epoch: int, window: int) -> tuple[Batch, "Future[Fills]"]:
        plan, after = self._plan(epoch), self._after(epoch, window)
        self._sources.ahead(plan.windows[window])
        if after:
            self._sources.ahead(self._plan(after[0]).windows[after[1]])
        rows = self._sources.make(plan.bounds[window + 1] - plan.bounds[window])
        return rows, self._pool.submit(self._fill, rows, plan, window)

    def _fill(self, rows: Batch, plan: EpochPlan, window: int) -> "Fills":
        """Hands the pieces to the pool; in the pool itself, since rows' weights are read from their labels."""
        weights = self._sources.weights(plan.windows[window])
        return [self._pool.submit(self._sources.fill, rows, *place) for place in plan.places(window, weights)]

    def _after(self, epoch: int, window: int) -> tuple[int, int] | None:
        if window + 1 < len(self._plan(epoch).windows):
            return epoch, window + 1
        return (epoch + 1, 0) if self._epochs is None or epoch + 1 < self._epochs else None


def _cancel(begun: "Future[Fills]") -> None:
    """What has not started of a window that nobody waits for does not start any more."""
    if not begun.cancel():
        begun.add_done_callback(_cancel_fills)


def _cancel_fills(begun: "Future[Fills]") -> None:
    if begun.exception() is None:
        for fill in begun.result():
            fill.cancel()
