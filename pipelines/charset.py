"""The alphabet and its class indices. Order, blank and padding live here and nowhere else."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipelines.errors import DataError


class Charset:
    """Characters 0 to n-1 in the alphabet's order. Labels are padded with `PAD`; a CTC head adds the blank as class n."""

    PAD = -1

    def __init__(self, alphabet: str) -> None:
        if not alphabet or len(set(alphabet)) != len(alphabet):
            raise DataError(f"alphabet {alphabet!r}: each character once, at least one")
        self.alphabet = alphabet
        self._codes = np.array([ord(c) for c in alphabet], np.uint32)
        self._order = np.argsort(self._codes)
        self._characters = np.array(list(alphabet))

    @classmethod
    def of(cls, labels: Iterable[str]) -> "Charset":
        """The charset of all characters in `labels`, in code point order."""
        return cls("".join(sorted(set().union(*labels))))

    def __len__(self) -> int:
        return len(self.alphabet)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Charset) and self.alphabet == other.alphabet

    def __hash__(self) -> int:
        return hash(self.alphabet)

    def __repr__(self) -> str:
        return f"Charset({self.alphabet!r})"

    @property
    def blank(self) -> int:
        """The class of CTC's blank: the one after the last character."""
        return len(self)

    def encode(self, labels: Sequence[str], length: int | None = None) -> np.ndarray:
        """(N, L) int32 class indices, padded with PAD to the longest label or to `length`.

        Raises DataError for a character that is not in the alphabet or a label longer than `length`.
        """
        longest = max(map(len, labels), default=0)
        if length is not None and longest > length:
            label = next(label for label in labels if len(label) == longest)
            raise DataError(f"label {label!r} has {longest} characters, more than the {length} that fit")
        if not longest:
            return np.full((len(labels), length or 0), self.PAD, np.int32)
        codes = np.array(labels, f"<U{longest}").view(np.uint32).reshape(len(labels), longest)
        found = self._order[np.searchsorted(self._codes, codes, sorter=self._order).clip(0, len(self) - 1)]
        filled = np.arange(longest) < np.fromiter(map(len, labels), np.int64, len(labels))[:, None]
        foreign = filled & (self._codes[found] != codes)
        if foreign.any():
            raise DataError(f"character {chr(codes[foreign][0])!r} is not in the alphabet {self.alphabet!r}")
        indices = np.full((len(labels), length or longest), self.PAD, np.int32)
        indices[:, :longest] = np.where(filled, found, self.PAD)
        return indices

    def decode(self, indices: np.ndarray) -> list[str]:
        """Texts of (N, L) class indices; everything outside 0 to n-1 (padding, blank) is left out."""
        return ["".join(self._characters[row[(row >= 0) & (row < len(self))]]) for row in np.asarray(indices)]
