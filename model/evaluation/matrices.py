"""Confusion matrices as PNG bytes."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from model.alignment import Pair
from model.evaluation.confusions import Confusions
from pipelines.figures import WHOLE
from pipelines.plotting import PALE, axes_of, lettering, shown, to_png

NOTHING = "none"  # opposite a character that was dropped or inserted
MATRIX, SMALL, PLACES = 40, 12, 12  # characters of the whole matrix and of those of a place; places
WRITTEN = 24  # a matrix of as many characters has its counts written in


def matrix(confusions: Confusions) -> bytes:
    """The confusion matrix of the characters with most errors, in shares of the label's character."""
    names, more = busiest(confusions.pairs(), MATRIX)
    size = min(WHOLE - 0.6, max(3.6, 0.235 * (len(names) + 1) + 1.4))
    title = f"the {len(names)} of {len(names) + more} characters with most errors" if more else "all characters"
    figure, axes = axes_of(size + 0.6, size, title)
    image = _matrix(axes, confusions.pairs(), names)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, ticks=[0, 1, 5, 20, 50, 100])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("% of the label's character", fontsize=8)
    axes.set_xlabel("read")
    axes.set_ylabel("label")
    return to_png(figure)


def matrices(confusions: Confusions) -> bytes:
    """A confusion matrix for each of the first places of the labels, of its characters with most errors."""
    count = min(PLACES, confusions.longest)
    per_row = 3
    figure = Figure(figsize=(WHOLE, 3.5 * -(-count // per_row)), layout="constrained")
    for place, axes in enumerate(figure.subplots(-(-count // per_row), per_row, squeeze=False).ravel()):
        if place >= count:
            axes.axis("off")
            continue
        pairs = confusions.pairs(place)
        names, more = busiest(pairs, SMALL)
        title = f"place {place + 1}" + (f" ({len(names)} of {len(names) + more} characters)" if more else "")
        axes.set_title(title, loc="left", fontsize=10)
        _matrix(axes, pairs, names)
    return to_png(figure)


def busiest(pairs: Mapping[Pair, int], most: int) -> tuple[list[str], int]:
    """All characters by code point, or those with most errors where there are more than `most`; and how many are left out."""
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for (label, text), n in pairs.items():
        for character in {label, text} - {""}:
            seen[character] += n
            wrong[character] += n * (label != text)
    ranked = sorted(seen, key=lambda character: (-wrong[character], -seen[character], character))
    if len(ranked) <= most:
        return sorted(ranked), 0
    chosen = [character for character in ranked[:most] if wrong[character]] or ranked[:most]
    return sorted(chosen), len(ranked) - len(chosen)


def counted(pairs: Mapping[Pair, int], names: Sequence[str]) -> np.ndarray:
    """(n + 1, n + 1) int64 counts: rows the label's characters, columns what was read; the last of each is nothing."""
    place = {name: i for i, name in enumerate([*names, ""])}
    counts = np.zeros((len(place), len(place)), np.int64)
    for (label, text), n in pairs.items():
        if label in place and text in place:
            counts[place[label], place[text]] += n
    return counts


def shares(pairs: Mapping[Pair, int], names: Sequence[str]) -> np.ndarray:
    """The counts in % of all that stood in the labels of a row's character, or, in the last row, of all insertions."""
    totals: Counter[str] = Counter()
    for (label, _), n in pairs.items():
        totals[label] += n
    return 100 * counted(pairs, names) / np.array([[max(1, totals[name])] for name in [*names, ""]])


def _matrix(axes: Axes, pairs: Mapping[Pair, int], names: Sequence[str]) -> AxesImage:
    """Colours for shares, and numbers in a small matrix."""
    counts, percent = counted(pairs, names), shares(pairs, names)
    axes.spines[["top", "right"]].set_visible(True)
    image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.4, 0, 100))
    for row, column in zip(*np.nonzero(counts), strict=True) if len(names) <= WRITTEN else ():
        number = counts[row, column]
        told = f"{number}" if number < 1000 else f"{number / 1000:.0f}k"
        colour = "white" if percent[row, column] > 15 else "#1f2933"
        axes.text(column, row, told, ha="center", va="center", fontsize=7 if len(told) < 3 else 6, color=colour)
    labels = [*(shown(name) for name in names), NOTHING]
    letters = lettering("".join(names) + NOTHING)
    axes.set_xticks(range(len(labels)), labels, fontsize=8, **letters)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, **letters)
    for label in axes.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 1 else 0)
    axes.axhline(len(names) - 0.5, color=PALE, linewidth=0.8)
    axes.axvline(len(names) - 0.5, color=PALE, linewidth=0.8)
    return image
