"""Exact match, character error rate and accuracy by position, as values that add up."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Protocol

from rapidfuzz.distance import Levenshtein


class ErrorRates(Protocol):
    """The two scores of whatever counts rows: all and exact ones, and the edits and characters of their labels."""

    @property
    def rows(self) -> int: ...

    @property
    def exact(self) -> int: ...

    @property
    def edits(self) -> int: ...

    @property
    def characters(self) -> int: ...

    @property
    def exact_match(self) -> float:
        """The share of rows read without any error."""
        return self.exact / self.rows if self.rows else 0.0

    @property
    def cer(self) -> float:
        """Character error rate: edits over characters of the labels (may pass 1)."""
        return self.edits / self.characters if self.characters else 0.0


@dataclass(frozen=True)
class Scores(ErrorRates):
    """Counts over rows: texts read exactly, edit operations (Levenshtein) and characters in the labels.

    `positions` holds for the first, second, ... character of the labels how many of them stand in the text at that very
    place, and how many there are.
    """

    rows: int = 0
    exact: int = 0
    edits: int = 0
    characters: int = 0
    positions: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str], labels: Iterable[str]) -> "Scores":
        pairs = list(zip(texts, labels, strict=True))
        return cls(
            rows=len(pairs),
            exact=sum(text == label for text, label in pairs),
            edits=sum(Levenshtein.distance(text, label) for text, label in pairs),
            characters=sum(len(label) for _, label in pairs),
            positions=tuple(_at(pairs, i) for i in range(max((len(label) for _, label in pairs), default=0))),
        )

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            self.rows + other.rows,
            self.exact + other.exact,
            self.edits + other.edits,
            self.characters + other.characters,
            tuple(
                (right + more, rows + others)
                for (right, rows), (more, others) in zip_longest(self.positions, other.positions, fillvalue=(0, 0))
            ),
        )

    @property
    def by_position(self) -> tuple[float, ...]:
        """For the first, second, ... character of the labels the share of rows that have it at that place."""
        return tuple(right / rows for right, rows in self.positions)

    def better_than(self, other: "Scores") -> bool:
        """More exact matches, or as many with fewer character errors."""
        return (self.exact_match, -self.cer) > (other.exact_match, -other.cer)

    def counts(self, longest: int) -> list[int]:
        """All counts as a list, of one length for all scores of labels of up to `longest` characters."""
        padded = [*self.positions, *[(0, 0)] * (longest - len(self.positions))]
        return [self.rows, self.exact, self.edits, self.characters, *(n for pair in padded for n in pair)]

    @classmethod
    def from_counts(cls, counts: Iterable[int]) -> "Scores":
        """The inverse of `counts`."""
        rows, exact, edits, characters, *rest = counts
        pairs = zip(rest[::2], rest[1::2], strict=True)
        return cls(rows, exact, edits, characters, tuple((right, there) for right, there in pairs if there))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Scores":
        return cls(**{**values, "positions": tuple((right, rows) for right, rows in values["positions"])})


def _at(pairs: list[tuple[str, str]], place: int) -> tuple[int, int]:
    """How many texts have the label's character at `place`, and how many labels have one there."""
    there = [(text, label) for text, label in pairs if len(label) > place]
    return sum(text[place : place + 1] == label[place] for text, label in there), len(there)
