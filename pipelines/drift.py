"""How far two versions of a dataset, or two datasets, are apart: manifests in, plain values out."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pipelines.manifest import Manifest
from pipelines.stats import jensen_shannon

MOST = 12


class Share(NamedTuple):
    """A share of all rows, files or characters before and after, from 0 to 1."""

    name: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.name} {self.before:.2%} -> {self.after:.2%}"


class Change(NamedTuple):
    """A value before and after."""

    name: str
    before: float
    after: float

    def __str__(self) -> str:
        return f"{self.name} {self.before:,.5g} -> {self.after:,.5g}"


class Drift(NamedTuple):
    """What is another in the dataset named `after` than in the one named `before`; shares come with the largest change first.

    `divergences` are Jensen-Shannon, in bits, of what both have; `histograms` hold the pixel values (C, 256) of both.
    """

    before: str
    after: str
    rows: tuple[Change, ...]
    gained: str
    lost: str
    divergences: dict[str, float]
    characters: tuple[Share, ...]
    positions: tuple[Share, ...]
    lengths: tuple[Share, ...]
    sizes: tuple[Share, ...]
    values: tuple[Change, ...]
    rejects: tuple[Share, ...]
    histograms: tuple[list[list[int]], list[list[int]]]


def drift_between(before: Manifest, after: Manifest, names: tuple[str, str]) -> Drift:
    """The drift from `before` to `after`, which `names` call what a person calls them."""
    old, new = before.statistics["all"], after.statistics["all"]
    places = [(_places(s), sum(s["characters"].values())) for s in (old, new)]
    pairs = {name: (old[name], new[name]) for name in ("characters", "lengths", "sizes")}
    pairs |= {
        f"position {i + 1}": (old["positions"][i], new["positions"][i]) for i in range(min(map(_common_positions, (old, new))))
    }
    return Drift(
        before=names[0],
        after=names[1],
        rows=_changes(before.splits | {"all": old["rows"]}, after.splits | {"all": new["rows"]}),
        gained="".join(sorted({*after.alphabet} - {*before.alphabet})),
        lost="".join(sorted({*before.alphabet} - {*after.alphabet})),
        divergences={name: jensen_shannon(a, b) for name, (a, b) in pairs.items() if a and b},
        characters=_shares(old["characters"], new["characters"])[:MOST],
        positions=_shares(places[0][0], places[1][0])[:MOST],
        lengths=_shares(old["lengths"], new["lengths"]),
        sizes=_shares(old["sizes"], new["sizes"])[:MOST],
        values=_changes(_values(before), _values(after)),
        rejects=_shares(before.accounting.reasons, after.accounting.reasons, before.accounting.listed, after.accounting.listed),
        histograms=tuple([channel["histogram"] for channel in s["channels"]] for s in (old, new)),  # type: ignore[arg-type]
    )


def drift_lines(drift: Drift) -> list[str]:
    """The drift as lines for the terminal."""
    lines = [
        f"drift        from {drift.before} to {drift.after}",
        "rows         " + _joined(drift.rows),
        f"alphabet     {len(drift.gained)} gained {drift.gained[:40]}, {len(drift.lost)} lost {drift.lost[:40]}",
        "divergence   " + ", ".join(f"{name} {bits:.4f}" for name, bits in drift.divergences.items()) + " (bits)",
        "characters   " + _joined(drift.characters[:5]),
        "positions    " + _joined(drift.positions[:5]),
        "lengths      " + _joined(drift.lengths[:5]),
        "sizes        " + _joined(drift.sizes[:5]),
        "values       " + _joined(drift.values),
    ]
    return [*lines, "rejects      " + (_joined(drift.rejects[:8]) or "none on either side")]


def _common_positions(statistics: Mapping[str, Any]) -> int:
    """How many positions, at most MOST, one label in a hundred reaches: the shares of the others are chance."""
    reached = [sum(place.values()) for place in statistics["positions"][:MOST]]
    return sum(100 * count >= statistics["rows"] for count in reached)


def _places(statistics: Mapping[str, Any]) -> Counter[str]:
    return Counter({f"{i + 1}: {c}": n for i, place in enumerate(statistics["positions"]) for c, n in place.items()})


def _values(manifest: Manifest) -> dict[str, float]:
    every = manifest.statistics["all"]
    names = ["pixel"] if len(every["channels"]) == 1 else ["red", "green", "blue"]
    moments = {f"{c} {m}": of[m] for c, of in zip(names, every["channels"], strict=False) for m in ("mean", "std")}
    height, width, channels = manifest.image_shape
    others = {"bytes a file": every["file_bytes"] / every["rows"], "entropy": every["entropy_bits"]}
    return moments | others | {"image height": height, "image width": width, "channels": channels}


def _changes(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[Change, ...]:
    return tuple(Change(name, before[name], after[name]) for name in before if name in after)


def _shares(before: Mapping[str, int], after: Mapping[str, int], *of: int) -> tuple[Share, ...]:
    """Shares of the sums, or of the two numbers `of`, with the largest change first."""
    old, new = of or (sum(before.values()), sum(after.values()))
    names = dict.fromkeys([*after, *before])
    shares = [Share(name, before.get(name, 0) / max(1, old), after.get(name, 0) / max(1, new)) for name in names]
    return tuple(sorted(shares, key=lambda share: (-abs(share.after - share.before), share.name)))


def _joined(items: Iterable[Share | Change]) -> str:
    return ", ".join(map(str, items))
