"""Which character was read for which, and where: counts that add up, and what follows from them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from model.alignment import Pair, aligned
from model.evaluation.tally import Interval, wilson

LEAST_SWAPS, LEAST_SHARE = 5, 0.2  # of a pair that is found to be confusable


@dataclass(frozen=True)
class Rates:
    """Characters read right, in the labels, in the texts, and all pairs of the alignment (`aligned`) of a group.

    A group is a position, a length, all; or a character, whose pairs are those with it on either side.
    """

    right: int = 0
    labels: int = 0
    texts: int = 0
    pairs: int = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[Pair, int]]) -> "Rates":
        """Of aligned pairs and how often each was seen."""
        right = labels = texts = every = 0
        for (label, text), n in pairs:
            right, labels, texts, every = (
                right + n * (label == text),
                labels + n * bool(label),
                texts + n * bool(text),
                every + n,
            )
        return cls(right, labels, texts, every)

    def __add__(self, other: "Rates") -> "Rates":
        return Rates(self.right + other.right, self.labels + other.labels, self.texts + other.texts, self.pairs + other.pairs)

    @property
    def accuracy(self) -> float:
        """Right of all pairs: a substitution, a drop and an insertion each count once against it."""
        return self.right / self.pairs if self.pairs else 0.0

    @property
    def recall(self) -> float:
        """Right of the characters in the labels."""
        return self.right / self.labels if self.labels else 0.0

    @property
    def precision(self) -> float:
        """Right of the characters that were read."""
        return self.right / self.texts if self.texts else 0.0

    @property
    def recall_interval(self) -> Interval:
        return wilson(self.right, self.labels)


class Operations(NamedTuple):
    """Edits that a character of the labels (or all of them together) suffered; `inserted` counts it in the texts."""

    right: int = 0
    substituted: int = 0
    dropped: int = 0
    inserted: int = 0

    @property
    def edits(self) -> int:
        return self.substituted + self.dropped + self.inserted


class Swap(NamedTuple):
    """Two characters that are read for one another, how often, and the share of all substitutions of either."""

    pair: str
    times: int
    share: float


@dataclass(frozen=True)
class Confusions:
    """Counts of aligned pairs by the place in the label, from 0: (place, its character, what was read), "" for nothing.

    An inserted character has the place of the label's next character, after the last one that of the last.
    `lengths` holds the rates by label length.
    """

    places: Mapping[tuple[int, str, str], int] = field(default_factory=dict)
    lengths: Mapping[int, Rates] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str], labels: Iterable[str]) -> "Confusions":
        places: Counter[tuple[int, str, str]] = Counter()
        lengths: defaultdict[int, Rates] = defaultdict(Rates)
        for text, label in zip(texts, labels, strict=True):
            placed = list(_placed(label, text))
            places.update(placed)
            lengths[len(label)] += Rates.of(((theirs, ours), 1) for _, theirs, ours in placed)
        return cls(places, dict(lengths))

    def __add__(self, other: "Confusions") -> "Confusions":
        every = sorted({*self.lengths, *other.lengths})
        lengths = {n: self.lengths.get(n, Rates()) + other.lengths.get(n, Rates()) for n in every}
        return Confusions(Counter(self.places) + Counter(other.places), lengths)

    def pairs(self, place: int | None = None) -> Counter[Pair]:
        """Aligned pairs of one place, or of all."""
        found: Counter[Pair] = Counter()
        for (at, label, text), n in self.places.items():
            if place is None or at == place:
                found[label, text] += n
        return found

    @property
    def longest(self) -> int:
        """Places that there are."""
        return 1 + max((place for place, _, _ in self.places), default=-1)

    @property
    def rates(self) -> Rates:
        """Of all pairs (micro averages)."""
        return Rates.of(self.pairs().items())

    def by_place(self) -> list[Rates]:
        found: list[list[tuple[Pair, int]]] = [[] for _ in range(self.longest)]
        for (at, label, text), n in self.places.items():
            found[at].append(((label, text), n))
        return [Rates.of(pairs) for pairs in found]

    def by_character(self) -> dict[str, Rates]:
        """By code point, of the characters of labels and texts."""
        pairs = self.pairs()
        involved: defaultdict[str, list[tuple[Pair, int]]] = defaultdict(list)
        for (label, text), n in pairs.items():
            for character in {label, text} - {""}:
                # the other side of a substitution is another character's
                involved[character].append(((label * (label == character), text * (text == character)), n))
        return {character: Rates.of(involved[character]) for character in sorted(involved)}

    def operations(self) -> dict[str, Operations]:
        """By character, those with most edits first."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for (label, text), n in self.pairs().items():
            kind = "right" if label == text else "substituted" if label and text else "dropped" if label else "inserted"
            found[label or text][kind] += n
        counted = {character: Operations(**kinds) for character, kinds in found.items()}
        return dict(sorted(counted.items(), key=lambda item: (-item[1].edits, item[0])))

    def totals(self) -> Operations:
        """The operations of all characters together."""
        return Operations(*map(sum, zip(*self.operations().values(), strict=True)))

    def wrong(self) -> list[tuple[str, str, int]]:
        """(character of the label, what was read, how often) of all that was wrong, the most frequent first."""
        unequal = [(label, text, n) for (label, text), n in self.pairs().items() if label != text]
        return sorted(unequal, key=lambda item: (-item[2], item[0], item[1]))

    def swaps(self) -> list[Swap]:
        """Pairs of characters that the data show to be confusable, the most frequent first.

        Of all substitutions that either takes part in, as the label's or as the text's, at least a fifth are between the
        two, in either direction, and at least five. So a model that confuses everything, or reads everything as one
        character, has none, and three characters that are equally alike (1, I, l) have all three of their pairs.
        """
        between: Counter[tuple[str, str]] = Counter()
        part: Counter[str] = Counter()
        for label, text, n in self.wrong():
            if label and text:
                between[min(label, text), max(label, text)] += n
                part.update({label: n, text: n})
        shares = {(a, b): n / (part[a] + part[b] - n) for (a, b), n in between.items()}
        return [
            Swap(a + b, n, shares[a, b]) for (a, b), n in _ranked(between) if n >= LEAST_SWAPS and shares[a, b] >= LEAST_SHARE
        ]


def _ranked(counts: Counter[tuple[str, str]]) -> list[tuple[tuple[str, str], int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _placed(label: str, text: str) -> Iterator[tuple[int, str, str]]:
    """The aligned pairs with their places."""
    if label == text:
        yield from ((place, c, c) for place, c in enumerate(label))
        return
    place = 0
    for theirs, ours in aligned(label, text):
        yield max(0, min(place, len(label) - 1)), theirs, ours
        place += bool(theirs)
