"""Statistics of rows as values: `.of(rows)`, `a + b` in any order, `.summary()`, and an exact round trip through tables."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations, pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

K = TypeVar("K", bound=Hashable)
BINS_AN_OCTAVE = 8
# The columns of each table after `split`; `sources` holds every count that has only a name, and the scalars.
TABLES = {
    "characters": pa.schema([("length", "int32"), ("position", "int32"), ("character", "string"), ("count", "int64")]),
    "sizes": pa.schema([("width", "int32"), ("height", "int32"), ("count", "int64")]),
    "sources": pa.schema([("kind", "string"), ("name", "string"), ("count", "int64")]),
    "pixels": pa.schema([("channel", "int32"), ("value", "int32"), ("count", "int64")]),
    "mean_image": pa.schema([("height", "int32"), ("width", "int32"), ("channels", "int32"), ("sum", pa.list_(pa.int64()))]),
}


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


def size_bin(size: int) -> int:
    """The bin of a file size in bytes, floor(8 log2 size), from integers alone; -1 for 0 bytes."""
    return (size**BINS_AN_OCTAVE).bit_length() - 1


def bin_start(index: int) -> int:
    """The smallest file size in bytes of a bin that holds any."""
    return 0 if index < 0 else math.ceil(2 ** (index / BINS_AN_OCTAVE))


@dataclass(frozen=True, eq=False)
class Statistics:
    """Exact counts over rows. The empty value is the neutral element of `+`.

    `characters` counts (label length, position from 0, character); `file_sizes` the bins of `size_bin`, `smallest` and
    `largest` are bytes (0 without rows); `pixels` (C, 256) int64 counts values and `pixel_sum` (H, W, C) int64 adds images.
    """

    rows: int = 0
    frames: int = 0
    file_bytes: int = 0
    smallest: int = 0
    largest: int = 0
    characters: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    file_sizes: Counter[int] = field(default_factory=Counter)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros((0, 256), np.int64))
    pixel_sum: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))

    @classmethod
    def of(cls, sources: Sequence[Source], images: np.ndarray) -> "Statistics":
        """Statistics of N rows with preprocessed `images` (N, H, W, C) uint8."""
        if not sources:
            return cls()
        labels, widths, heights, modes, formats, sizes = zip(*sources, strict=True)
        return cls(
            rows=len(labels),
            frames=max(map(ctc_frames, labels)),
            file_bytes=sum(sizes),
            smallest=min(sizes),
            largest=max(sizes),
            characters=Counter((len(label), i, c) for label in labels for i, c in enumerate(label)),
            lengths=Counter(map(len, labels)),
            sizes=Counter(zip(widths, heights, strict=True)),
            modes=Counter(modes),
            formats=Counter(formats),
            file_sizes=Counter(map(size_bin, sizes)),
            pixels=_histograms(images),
            pixel_sum=_sum_of(images),
        )

    def __add__(self, other: "Statistics") -> "Statistics":
        return total((self, other))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statistics):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # its counters and arrays have none

    @property
    def overall(self) -> Counter[str]:
        """How often each character stands in labels."""
        return _grouped((c, n) for (_, _, c), n in self.characters.items())

    @property
    def alphabet(self) -> str:
        """All characters seen, in code point order."""
        return "".join(sorted(self.overall))

    @property
    def mean_image(self) -> np.ndarray:
        """(H, W, C) float64 in 0 to 255; empty without rows."""
        return self.pixel_sum / max(1, self.rows)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: counts by name (most frequent first), entropy in bits, pixel moments in 0 to 255."""
        overall, seen = self.overall, sorted(self.overall.values())
        entropy = _entropy(seen)
        places: dict[int, Counter[str]] = {i: Counter() for i in range(max(self.lengths, default=0))}
        by_length: dict[int, Counter[str]] = {length: Counter() for length in sorted(self.lengths)}
        for (length, position, character), count in self.characters.items():
            places[position][character] += count
            by_length[length][character] += count
        return {
            "rows": self.rows,
            "characters": _ranked(overall),
            "entropy_bits": round(entropy, 6),
            "entropy_normalised": round(entropy / math.log2(len(seen)), 6) if len(seen) > 1 else float(len(seen)),
            "imbalance": round(seen[-1] / seen[0], 6) if seen else 0.0,
            "positions": [_ranked(counts) for counts in places.values()],
            "by_length": {str(length): _ranked(counts) for length, counts in by_length.items()},
            "lengths": {str(length): self.lengths[length] for length in sorted(self.lengths)},
            "ctc_frames": self.frames,
            "sizes": _ranked(Counter({f"{w}x{h}": n for (w, h), n in self.sizes.items()})),
            "modes": _ranked(self.modes),
            "formats": _ranked(self.formats),
            "file_bytes": self.file_bytes,
            "file_sizes": {
                "mean": round(self.file_bytes / max(1, self.rows), 3),
                "min": self.smallest,
                "max": self.largest,
                "from_bytes": {str(bin_start(index)): self.file_sizes[index] for index in sorted(self.file_sizes)},
            },
            "channels": [_moments(histogram) for histogram in self.pixels],
        }

    def state(self) -> dict[str, dict[str, list]]:
        """All of this value as columns of plain values, by table: what `restore` takes, and JSON keeps."""
        scalars = {name: Counter({name: getattr(self, name)} if self.rows else {}) for name in _SCALARS}
        named = scalars | {name: getattr(self, name) for name in _NAMED}
        seen = [(channel, int(value)) for channel in range(len(self.pixels)) for value in np.flatnonzero(self.pixels[channel])]
        rows: dict[str, list[tuple]] = {
            "characters": [(*key, n) for key, n in sorted(self.characters.items())],
            "sizes": [(*key, n) for key, n in sorted(self.sizes.items())],
            "sources": [(kind, str(name), n) for kind, counts in named.items() for name, n in sorted(counts.items())],
            "pixels": [(*key, int(self.pixels[key])) for key in seen],
            "mean_image": [(*self.pixel_sum.shape, self.pixel_sum.ravel().tolist())] if self.rows else [],
        }
        return {name: _columns(schema.names, rows[name]) for name, schema in TABLES.items()}

    @classmethod
    def restore(cls, state: Mapping[str, Mapping[str, list]]) -> "Statistics":
        """The value that `state` was taken from."""
        rows = {name: list(zip(*(state[name][c] for c in schema.names), strict=True)) for name, schema in TABLES.items()}
        named: dict[str, Counter] = {name: Counter() for name in (*_SCALARS, *_NAMED)}
        for kind, name, count in rows["sources"]:
            named[kind][_NAMED.get(kind, str)(name)] = count
        if not named["rows"]:
            return cls()
        *shape, values = rows["mean_image"][0]
        pixels = np.zeros((shape[2], 256), np.int64)
        for channel, value, count in rows["pixels"]:
            pixels[channel, value] = count
        counts: dict[str, Any] = {name: named[name][name] for name in _SCALARS} | {name: named[name] for name in _NAMED}
        return cls(
            **counts,
            characters=Counter({(length, position, c): n for length, position, c, n in rows["characters"]}),
            sizes=Counter({(width, height): n for width, height, n in rows["sizes"]}),
            pixels=pixels,
            pixel_sum=np.array(values, np.int64).reshape(shape),
        )

    @staticmethod
    def tables(statistics: Mapping[str, "Statistics"]) -> dict[str, pa.Table]:
        """The statistics by split as the small Arrow tables TABLES, by name; the first column of each is `split`."""
        tables: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        for split, value in statistics.items():
            for name, columns in value.state().items():
                table = pa.table(columns, TABLES[name])
                tables[name].append(table.add_column(0, "split", pa.array([split] * len(table), pa.string())))
        return {name: pa.concat_tables(found) for name, found in tables.items()}

    @classmethod
    def from_tables(cls, tables: Mapping[str, pa.Table]) -> dict[str, "Statistics"]:
        """The statistics that `tables` was given, but for splits without rows, of which the tables hold nothing."""
        splits = tables["sources"]["split"].unique().to_pylist()
        return {
            split: cls.restore({n: t.filter(pc.equal(t["split"], split)).to_pydict() for n, t in tables.items()})
            for split in splits
        }


_SCALARS = ("rows", "frames", "file_bytes", "smallest", "largest")
_NAMED: dict[str, type] = {"lengths": int, "modes": str, "formats": str, "file_sizes": int}


def total(parts: Iterable[Statistics]) -> Statistics:
    """The sum of any number of statistics. Raises ValueError where their images are not of one shape."""
    parts = [part for part in parts if part.rows]
    shapes = sorted({part.pixel_sum.shape for part in parts})
    if len(shapes) > 1:
        raise ValueError(f"statistics of images of {shapes[0]} and of {shapes[1]} do not add up")
    if not parts:
        return Statistics()
    return Statistics(
        rows=sum(part.rows for part in parts),
        frames=max(part.frames for part in parts),
        file_bytes=sum(part.file_bytes for part in parts),
        smallest=min(part.smallest for part in parts),
        largest=max(part.largest for part in parts),
        characters=_merged(part.characters for part in parts),
        lengths=_merged(part.lengths for part in parts),
        sizes=_merged(part.sizes for part in parts),
        modes=_merged(part.modes for part in parts),
        formats=_merged(part.formats for part in parts),
        file_sizes=_merged(part.file_sizes for part in parts),
        pixels=sum((part.pixels for part in parts), np.zeros_like(parts[0].pixels)),
        pixel_sum=sum((part.pixel_sum for part in parts), np.zeros(shapes[0], np.int64)),
    )


def jensen_shannon(a: Mapping[K, int], b: Mapping[K, int]) -> float:
    """The Jensen-Shannon divergence of two counts in bits: 0 for equal shares, 1 where nothing is in common (Lin 1991).

    Raises ValueError where one of them counts nothing.
    """
    if not (of_a := sum(a.values())) or not (of_b := sum(b.values())):
        raise ValueError("a divergence needs counts on both sides")
    pairs = np.array([(a.get(key, 0) / of_a, b.get(key, 0) / of_b) for key in sorted({*a, *b}, key=repr)])
    middle = pairs.mean(1, keepdims=True)
    ratios = np.log2(pairs / middle, where=pairs > 0, out=np.zeros_like(pairs))
    return round(max(0.0, float((pairs * ratios).sum() / 2)), 6)


def divergence(statistics: Mapping[str, Statistics]) -> dict[str, float]:
    """Jensen-Shannon divergence in bits of the characters of each two splits that have some, such as `train-val`."""
    counts = {split: value.overall for split, value in statistics.items() if value.characters}
    return {f"{a}-{b}": jensen_shannon(counts[a], counts[b]) for a, b in combinations(counts, 2)}


def _histograms(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) uint8 -> (C, 256) int64. Pillow counts pixels of several bytes fastest: one counter for each byte."""
    channels = images.shape[-1]
    if channels == 3:
        return np.array(Image.fromarray(images.reshape(-1, images.shape[2], 3)).histogram(), np.int64).reshape(3, 256)
    return np.stack([_histogram(np.ascontiguousarray(images[..., channel]).reshape(-1)) for channel in range(channels)])


def _histogram(flat: np.ndarray) -> np.ndarray:
    """(256,) int64 of a flat uint8 array, four values of which pass for one RGBA pixel."""
    quads = flat.size // 4
    rest = np.bincount(flat[quads * 4 :], minlength=256).astype(np.int64)
    if not quads:
        return rest
    image = Image.frombuffer("RGBA", (quads, 1), flat[: quads * 4], "raw", "RGBA", 0, 1)
    return np.array(image.histogram(), np.int64).reshape(4, 256).sum(0) + rest


def _sum_of(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) uint8 -> (H, W, C) int64. 257 times 255 is the most that 16 bits hold, and they add fastest."""
    return sum(
        (np.add.reduce(images[i : i + 257], axis=0, dtype=np.uint16) for i in range(0, len(images), 257)),
        np.zeros(images.shape[1:], np.int64),
    )


def _merged(counters: Iterable[Counter[K]]) -> Counter[K]:
    merged: Counter[K] = Counter()
    for counter in counters:
        merged.update(counter)
    return merged


def _grouped(items: Iterable[tuple[K, int]]) -> Counter[K]:
    grouped: Counter[K] = Counter()
    for key, count in items:
        grouped[key] += count
    return grouped


def _columns(names: Sequence[str], rows: Sequence[tuple]) -> dict[str, list]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _entropy(counts: Sequence[int]) -> float:
    every = sum(counts)
    return -sum(n / every * math.log2(n / every) for n in counts) + 0.0 if every else 0.0


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
