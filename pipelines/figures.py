"""The figures of a dataset as PNG bytes: plain values in, nothing read."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pipelines.drift import Drift, Share
from pipelines.manifest import Manifest
from pipelines.plotting import ACCENT, CHANNELS, INK, PALE, axes_of, lettering, shortened, shown, to_png, wrapped

HALF, WHOLE = 5.2, 10.6  # inches: two figures, or one, fill the width of the page
MOST_BARS = 20
MOST_CHARACTERS = 60
MOST_POSITIONS = 64


class Cell(NamedTuple):
    """One picture of a grid: what stands above it, and (H, W, C) uint8 pixels, or None where there are none to show."""

    caption: str
    image: np.ndarray | None
    problem: str = ""


def figures(manifest: Manifest) -> dict[str, bytes]:
    """The figures of all that a manifest tells, by name."""
    every, reasons = manifest.statistics["all"], manifest.accounting.reasons
    drawn = {
        "characters": characters(every["characters"]),
        "lengths": lengths(every["lengths"]),
        "positions": positions(every["positions"], every["characters"]),
        "pixels": pixels([channel["histogram"] for channel in every["channels"]]),
        "sizes": sizes(every["sizes"]),
        "splits": bars(manifest.splits, "rows by split", "rows"),
    }
    if "file_sizes" in every:  # not in a version that an older glyphmill made
        drawn["file_sizes"] = file_sizes(every["file_sizes"]["from_bytes"])
    if reasons:
        drawn["rejects"] = bars(reasons, "files not written, by reason", "files", most=len(reasons))
    return drawn


def characters(counts: Mapping[str, int]) -> bytes:
    """The most frequent characters with their counts."""
    known = f"{MOST_BARS} most frequent of {len(counts):,} characters" if len(counts) > MOST_BARS else "characters"
    return bars(counts, known, "count")


def bars(counts: Mapping[str, int], title: str, unit: str, most: int = MOST_BARS) -> bytes:
    """Horizontal bars, as many as `most`, each with its count and share of all counts."""
    names, values = list(islice(counts, most)), list(islice(counts.values(), most))
    figure, axes = axes_of(HALF, 0.23 * max(2, len(names)) + 1.0, title)
    axes.barh(range(len(names)), values, color=INK, height=0.7)
    every = max(1, sum(counts.values()))
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:,}  {_percent(value / every)}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(names)), [shortened(name, 26) for name in names], **lettering("".join(names)))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.32 * max([1, *values]))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel(unit)
    return to_png(figure)


def lengths(counts: Mapping[str, int]) -> bytes:
    """How many labels have each length."""
    figure, axes = axes_of(HALF, 3.2, "label lengths")
    container = axes.bar(list(map(int, counts)), list(counts.values()), color=INK, width=0.8)
    if max(map(int, counts), default=0) - min(map(int, counts), default=0) < 8:
        axes.bar_label(container, [f"{n:,}" for n in counts.values()], fontsize=8, padding=2)
    axes.margins(y=0.12)
    _integers(axes, list(map(int, counts)))
    axes.set_xlabel("characters")
    axes.set_ylabel("labels")
    return to_png(figure)


def positions(by_position: Sequence[Mapping[str, int]], overall: Mapping[str, int]) -> bytes:
    """A heat map: of the labels that are long enough, the share that has a character at a position.

    Positions that less than one label in a hundred reaches are left out: their shares are chance.
    """
    frequent = sorted(islice(overall, MOST_CHARACTERS))
    reached = [sum(place.values()) for place in by_position]
    places = [place for place, n in zip(by_position, reached, strict=True) if 100 * n >= reached[0]][:MOST_POSITIONS]
    shares = np.array([[100 * place.get(c, 0) / sum(place.values()) for c in frequent] for place in places])
    title = "characters by position (% of the labels that reach it)"
    for part, whole, what in ((places, by_position, "positions"), (frequent, overall, "characters")):
        title += f", {len(part)} of {len(whole):,} {what}" if len(part) < len(whole) else ""
    wide, high = max(HALF, 0.165 * len(frequent) + 1.8), min(6.5, max(2.2, 0.24 * len(places) + 1.2))
    figure, axes = axes_of(min(WHOLE, wide), high, title)
    image = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0)
    axes.set_xticks(range(len(frequent)), [shown(c) for c in frequent], fontsize=8, **lettering("".join(frequent)))
    for label in axes.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 1 else 0)
    step = -(-len(places) // 24)
    axes.set_yticks(range(0, len(places), step), [str(i + 1) for i in range(0, len(places), step)], fontsize=8)
    axes.set_ylabel("position")
    figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    return to_png(figure)


def pixels(histograms: Sequence[Sequence[int]], before: Sequence[Sequence[int]] = ()) -> bytes:
    """Share of each pixel value by channel; those of `before` as dotted lines."""
    figure, axes = axes_of(HALF, 3.2, "pixel values after preprocessing")
    for counts, style in ((before, ":"), (histograms, "-")):
        for values, colour in zip(map(np.array, counts), CHANNELS[max(1, len(counts))], strict=False):
            axes.plot(
                np.where(values > 0, values / values.sum(), np.nan),
                style,
                color=colour,
                linewidth=1.2,
                marker=".",
                markersize=2,
            )
    axes.set_yscale("log")
    axes.set_xlim(-5, 260)
    axes.set_xlabel("value (0 black, 255 white)")
    axes.set_ylabel("share of pixels")
    return to_png(figure)


def sizes(counts: Mapping[str, int]) -> bytes:
    """Sizes of the source images: bars for a few, else a two-dimensional histogram of width and height."""
    if len(counts) <= 12:
        return bars(counts, "source sizes (width x height)", "images")
    figure, axes = axes_of(HALF, 3.6, f"source sizes ({len(counts):,} different)")
    width, height = np.array([name.split("x") for name in counts], np.int64).T
    most = [max(1, min(48, int(np.ptp(side)) + 1)) for side in (width, height)]
    found, *_, image = axes.hist2d(width, height, most, weights=list(counts.values()), cmin=1, cmap="viridis_r")
    if np.nanmax(found) > 20:
        image.set_norm(LogNorm(1, np.nanmax(found)))
    figure.colorbar(image, ax=axes, label="images")
    axes.set_xlabel("width (pixels)")
    axes.set_ylabel("height (pixels)")
    return to_png(figure)


def file_sizes(from_bytes: Mapping[str, int]) -> bytes:
    """File sizes in bins of an eighth of an octave, by their smallest size in bytes."""
    figure, axes = axes_of(HALF, 3.2, "file sizes")
    starts = np.maximum(1, np.array(list(map(int, from_bytes)), np.float64))
    widths = np.maximum(1, starts * (2 ** (1 / 8) - 1))
    axes.bar(starts, list(from_bytes.values()), widths, align="edge", color=INK)
    axes.set_xscale("log", base=2)
    axes.set_xlim(starts.min() / 2.5, 2.5 * (starts + widths).max())
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("files")
    return to_png(figure)


def mean_image(image: np.ndarray) -> bytes:
    """The mean image (H, W, C) in 0 to 255."""
    height = min(6.0, HALF * image.shape[0] / image.shape[1])
    figure, axes = axes_of(HALF, height + 0.4, "mean image")
    _show(axes, np.round(image).astype(np.uint8))
    return to_png(figure, tight=True)


def grid(cells: Sequence[Cell], title: str, per_row: int = 0) -> bytes:
    """Pictures in rows, with their captions; `per_row` 0 takes what suits their shape. A missing one is a named box."""
    ratio = float(np.median([1 / _aspect(cell) for cell in cells]))
    per_row = per_row or (6 if ratio > 1 / 4 else 4 if ratio > 1 / 8 else 2)
    wide = WHOLE / per_row
    captions = [wrapped(cell.caption, int(wide * 12)) for cell in cells]
    lines = max(caption.count("\n") for caption in captions) + 1
    rows = -(-len(cells) // per_row)
    height = wide * min(1.0, ratio) + 0.17 * lines + 0.1
    figure = Figure(figsize=(WHOLE, rows * height + (0.3 if title else 0)), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    places = figure.subplots(rows, per_row, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, cell, caption in zip(places, cells, captions, strict=False):
        axes.set_title(caption, fontsize=8, pad=3, **lettering(cell.caption))
        if cell.image is None:
            _box(axes, ratio, wrapped(cell.problem, int(wide * 11)), **lettering(cell.problem))
        else:
            _show(axes, _padded(cell.image, ratio))
    return to_png(figure, tight=True)


def drift_figures(drift: Drift) -> dict[str, bytes]:
    """What changed between two versions, by name: characters, lengths and pixel values."""
    return {
        "drift_characters": _changes(drift.characters, "characters that changed most (% of all)"),
        "drift_lengths": _changes(sorted(drift.lengths, key=lambda s: int(s.name))[:64], "label lengths (% of rows)"),
        "drift_pixels": pixels(*reversed(drift.histograms)),
    }


def _changes(shares: Sequence[Share], title: str) -> bytes:
    """Pairs of bars: before in gray, after in colour."""
    figure, axes = axes_of(HALF, 0.26 * max(2, len(shares)) + 1.3, title)
    places = np.arange(len(shares))
    axes.barh(places - 0.2, [100 * share.before for share in shares], 0.38, color=PALE, label="before")
    axes.barh(places + 0.2, [100 * share.after for share in shares], 0.38, color=ACCENT, label="after")
    names = [share.name for share in shares]
    axes.set_yticks(places, [shortened(name, 26) for name in names], **lettering("".join(names)))
    axes.set_ylim(len(shares) - 0.4, -0.6)
    figure.legend(loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    return to_png(figure)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 or not share else f"{100 * share:.2g}%"


def _bytes(size: float) -> str:
    unit = min(4, max(0, int(size).bit_length() - 1) // 10)
    return f"{size / 1024**unit:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def _integers(axes: Axes, values: Sequence[int]) -> None:
    axes.set_xlim(min(values, default=0) - 1, max(values, default=0) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))


def _aspect(cell: Cell) -> float:
    return cell.image.shape[1] / cell.image.shape[0] if cell.image is not None else 2.0


def _padded(image: np.ndarray, ratio: float) -> np.ndarray:
    """The image on a white ground whose height is `ratio` of its width."""
    height, width, _ = image.shape
    high, wide = max(height, round(width * ratio)), max(width, round(height / ratio))
    sides = [((more := whole - part) // 2, more - more // 2) for whole, part in ((high, height), (wide, width))]
    return np.pad(image, [*sides, (0, 0)], constant_values=255)


def _show(axes: Axes, image: np.ndarray) -> None:
    axes.axis("off")
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)


def _box(axes: Axes, ratio: float, text: str, **letters: Any) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_box_aspect(min(1.0, ratio))
    axes.add_patch(Rectangle((0, 0), 1, 1, facecolor="#f3f4f6", edgecolor="#aaaaaa", linestyle="--"))
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, color="#777777", **letters)
