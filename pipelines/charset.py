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
        points = [ord(character) for character in alphabet]
        self._indices = np.full(max(points) + 2, self.PAD, np.int32)  # by code point; the last stands for all above
        self._indices[points] = np.arange(len(points))
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
        if not longest:
            return np.full((len(labels), length or 0), self.PAD, np.int32)
        points = np.array(labels, f"<U{longest}").view(np.uint32).reshape(len(labels), longest)
        return self.encode_points(points, np.fromiter(map(len, labels), np.int64, len(labels)), length)

    def encode_points(self, points: np.ndarray, lengths: np.ndarray, length: int | None = None) -> np.ndarray:
        """The same of labels given as (N, M) uint32 code points, of which the first `lengths` (N,) of each row count."""
        longest = points.shape[1]
        filled = np.arange(longest) < lengths[:, None]
        if length is not None and longest > length:
            label = "".join(map(chr, points[lengths.argmax()][: lengths.max()]))
            raise DataError(f"label {label!r} has {longest} characters, more than the {length} that fit")
        found = self._indices[np.minimum(points, len(self._indices) - 1)]
        foreign = filled & (found == self.PAD)
        if foreign.any():
            raise DataError(f"character {chr(points[foreign][0])!r} is not in the alphabet {self.alphabet!r}")
        indices = np.full((len(points), longest if length is None else length), self.PAD, np.int32)
        indices[:, :longest] = np.where(filled, found, self.PAD)
        return indices

    def decode(self, indices: np.ndarray) -> list[str]:
        """Texts of (N, L) class indices; everything outside 0 to n-1 (padding, blank) is left out."""
        return ["".join(self._characters[row[(row >= 0) & (row < len(self))]]) for row in np.asarray(indices)]
