"""Exact match and character error rate, as values that add up."""

from collections.abc import Iterable
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Scores:
    """Counts over rows: texts read exactly, edit operations (Levenshtein) and characters in the labels."""

    rows: int = 0
    exact: int = 0
    edits: int = 0
    characters: int = 0

    @classmethod
    def of(cls, texts: Iterable[str], labels: Iterable[str]) -> "Scores":
        pairs = list(zip(texts, labels, strict=True))
        return cls(
            rows=len(pairs),
            exact=sum(text == label for text, label in pairs),
            edits=sum(Levenshtein.distance(text, label) for text, label in pairs),
            characters=sum(len(label) for _, label in pairs),
        )

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            self.rows + other.rows,
            self.exact + other.exact,
            self.edits + other.edits,
            self.characters + other.characters,
        )

    @property
    def exact_match(self) -> float:
        """The share of rows read without any error."""
        return self.exact / self.rows if self.rows else 0.0

    @property
    def cer(self) -> float:
        """Character error rate: edits over characters of the labels (may pass 1)."""
        return self.edits / self.characters if self.characters else 0.0

    def better_than(self, other: "Scores") -> bool:
        """More exact matches, or as many with fewer character errors."""
        return (self.exact_match, -self.cer) > (other.exact_match, -other.cer)
