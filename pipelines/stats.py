"""Statistics of rows as values: `.of(rows)`, `a + b` in any order, `.summary()`."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np


class Source(NamedTuple):
    """What is known of a row besides its pixels. Width and height in pixels, size in bytes."""

    label: str
    width: int
    height: int
    mode: str
    format: str
    size: int


def ctc_frames(label: str) -> int:
    """Time steps that CTC needs for a label: one a character, and a blank between equal neighbours (Graves 2006)."""
    return len(label) + sum(a == b for a, b in pairwise(label))


@dataclass(frozen=True)
class Statistics:
    """Exact counts over rows. The empty value is the neutral element of `+`."""

    rows: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    positions: Counter[tuple[int, str]] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    frames: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    file_bytes: int = 0
    pixels: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, sources: Sequence[Source], images: np.ndarray) -> "Statistics":
        """Statistics of N rows with preprocessed `images` (N, H, W, C) uint8."""
        labels = [source.label for source in sources]
        return cls(
            rows=len(sources),
            characters=Counter(c for label in labels for c in label),
            positions=Counter((i, c) for label in labels for i, c in enumerate(label)),
            lengths=Counter(map(len, labels)),
            frames=max(map(ctc_frames, labels), default=0),
            sizes=Counter((s.width, s.height) for s in sources),
            modes=Counter(s.mode for s in sources),
            formats=Counter(s.format for s in sources),
            file_bytes=sum(s.size for s in sources),
            pixels=tuple(tuple(map(int, _histogram(images[..., c]))) for c in range(images.shape[-1])) if sources else (),
        )

    def __add__(self, other: "Statistics") -> "Statistics":
        if self.pixels and other.pixels and len(self.pixels) != len(other.pixels):
            raise ValueError(f"statistics of {len(self.pixels)} and of {len(other.pixels)} channels do not add up")
        return Statistics(
            rows=self.rows + other.rows,
            characters=self.characters + other.characters,
            positions=self.positions + other.positions,
            lengths=self.lengths + other.lengths,
            frames=max(self.frames, other.frames),
            sizes=self.sizes + other.sizes,
            modes=self.modes + other.modes,
            formats=self.formats + other.formats,
            file_bytes=self.file_bytes + other.file_bytes,
            pixels=tuple(
                tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in zip(self.pixels, other.pixels, strict=True)
            )
            if self.pixels and other.pixels
            else self.pixels or other.pixels,
        )

    @property
    def alphabet(self) -> str:
        """All characters seen, in code point order."""
        return "".join(sorted(self.characters))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: counts by name (most frequent first), entropy in bits, pixel moments in 0 to 255."""
        return {
            "rows": self.rows,
            "characters": _ranked(self.characters),
            "entropy_bits": _entropy(self.characters.values()),
            "positions": [_ranked(_at(self.positions, i)) for i in range(max(self.lengths, default=0))],
            "lengths": {str(length): self.lengths[length] for length in sorted(self.lengths)},
            "ctc_frames": self.frames,
            "sizes": _ranked(Counter({f"{w}x{h}": n for (w, h), n in self.sizes.items()})),
            "modes": _ranked(self.modes),
            "formats": _ranked(self.formats),
            "file_bytes": self.file_bytes,
            "channels": [_moments(np.array(histogram)) for histogram in self.pixels],
        }


def total(parts: Iterable[Statistics]) -> Statistics:
    """The sum of any number of statistics."""
    return sum(parts, Statistics())


def _histogram(plane: np.ndarray) -> np.ndarray:
    """(256,) counts of a uint8 array. Bytes are counted in pairs, which halves the work of bincount."""
    flat = np.ascontiguousarray(plane).reshape(-1)
    even = flat[: flat.size // 2 * 2]
    pairs = np.bincount(even.view(np.uint16), minlength=1 << 16).reshape(256, 256)
    return pairs.sum(0) + pairs.sum(1) + np.bincount(flat[even.size :], minlength=256)


def _at(positions: Counter[tuple[int, str]], index: int) -> Counter[str]:
    return Counter({c: n for (i, c), n in positions.items() if i == index})


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _entropy(counts: Iterable[int]) -> float:
    counts = [n for n in counts if n]
    every = sum(counts)
    return round(-sum(n / every * math.log2(n / every) for n in counts), 6) + 0.0 if every else 0.0


def _moments(histogram: np.ndarray) -> dict[str, Any]:
    values, count = np.arange(256), histogram.sum()
    mean = float((values * histogram).sum() / count)
    seen = np.flatnonzero(histogram)
    return {
        "mean": round(mean, 6),
        "std": round(math.sqrt(float(((values - mean) ** 2 * histogram).sum() / count)), 6),
        "min": int(seen[0]),
        "max": int(seen[-1]),
        "histogram": [int(n) for n in histogram],
    }
