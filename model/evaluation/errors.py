"""The rows that were read wrongly, as JSON lines that are written as they come and read back as they are wanted."""

import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from model.alignment import Pair, aligned
from model.evaluation.tally import Tally


class Read(NamedTuple):
    """A row of a split and what was read of it; `edits` by Levenshtein, `row` its place in the split, from 0."""

    id: int
    path: str
    label: str
    text: str
    confidence: float
    edits: int
    row: int


class ErrorTable:
    """Rows with edits in a text file; iterating reads all of them from its beginning."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @classmethod
    @contextmanager
    def opened(cls, path: Path | None) -> Iterator["ErrorTable"]:
        """In a new file at `path`, or in one that goes when the block ends."""
        with path.open("w+", encoding="utf-8") if path else tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            yield cls(file)

    def write(self, rows: Iterable[Read]) -> None:
        self._file.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)

    def __iter__(self) -> Iterator[Read]:
        self._file.seek(0)
        return (Read(**json.loads(line)) for line in self._file)


class Foremost:
    """The few rows with the highest ranks of any number of them, whatever the order in which they come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Read]] = []

    def offer(self, row: Read, rank: float) -> None:
        """Of equal ranks the first in the split."""
        entry = (rank, -row.row, row)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    @property
    def rows(self) -> tuple[Read, ...]:
        """The foremost first."""
        return tuple(row for *_, row in sorted(self._heap, reverse=True))


class Errors(NamedTuple):
    """What a second look at the error table finds: rows folded, the surest errors, and examples of some confusions."""

    folded: Tally
    surest: tuple[Read, ...]
    examples: dict[Pair, tuple[Read, ...]]


def look_at(table: Iterable[Read], fold: dict[int, str], confusions: Iterable[Pair], surest: int, examples: int) -> Errors:
    """One pass. `folded` counts the wrong rows alone, folded by `str.translate`; the most confident rows come first."""
    folded, first = Tally(), Foremost(surest)
    found = {pair: Foremost(examples) for pair in confusions}
    for row in table:
        folded += Tally.of([row.text.translate(fold)], [row.label.translate(fold)])
        first.offer(row, row.confidence)
        for pair in found.keys() & aligned(row.label, row.text):
            found[pair].offer(row, row.confidence)
    return Errors(folded, first.rows, {pair: kept.rows for pair, kept in found.items()})
