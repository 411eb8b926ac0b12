"""Pictures with what was read of them, each character coloured right or wrong, as PNG bytes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from model.alignment import Pair, aligned
from pipelines.figures import WHOLE
from pipelines.plotting import ACCENT, INK, columns, lettering, shortened, shown, to_png

TINT = "#f9ddd3"  # behind what is wrong, so that the colour is not alone in saying it
SOFT = "#5f6c78"
GAP, LINE = 0.14, 0.2  # inches between pictures, and of a line of text
LETTER, NAME = 0.11, 0.075  # inches of a column of characters, and of each letter of a code point's name
MONO = "DejaVu Sans Mono"  # comes with matplotlib; 0 and O, 1, I and l differ in it
ELLIPSIS = ("…", "…")
SPACE = "␣"


class Cell(NamedTuple):
    """One picture, (H, W, C) uint8, its label (None: not known), what was read, and a word on it, such as the confidence."""

    image: np.ndarray
    label: str | None
    text: str
    note: str = ""


def gallery(cells: Sequence[Cell], title: str, width: float = WHOLE) -> bytes:
    """Pictures in rows of `width` inches; under each its label, then the text with wrong characters marked, then the note.

    Label and text stand aligned: a gap that is marked is a character that was dropped. Of what is too long for its column,
    the part around the first error is shown.
    """
    ratio = min(1.0, float(np.median([cell.image.shape[0] / cell.image.shape[1] for cell in cells])) if cells else 1.0)
    per_row = max(1, round((9 if ratio > 0.7 else 6 if ratio > 1 / 4 else 4 if ratio > 1 / 8 else 2) * width / WHOLE))
    lines = 1 + any(cell.label is not None for cell in cells) + any(cell.note for cell in cells)
    wide = width / per_row - GAP
    high = wide * ratio
    step = high + lines * LINE + 1.5 * GAP
    top = 0.55 if title else 0.0
    figure, axes = _sheet(width, max(0.3, top + -(-len(cells) // per_row) * step - GAP))
    if title:
        axes.text(0, 0.12, shown(title), fontsize=11, va="center", **lettering(title))
        if any(cell.label is not None for cell in cells):
            _legend(axes, 0.36)
    for place, cell in enumerate(cells):
        left, upper = place % per_row * (wide + GAP), top + place // per_row * step
        _picture(axes, cell.image, (left, upper, wide, high))
        _words(axes, cell, (left, upper + high + 0.6 * LINE, wide))
    return to_png(figure)


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose only axes has inches as its units, from the upper left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    _units(axes, width, height)
    return figure, axes


def _units(axes: Axes, width: float, height: float) -> None:
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")


def _legend(axes: Axes, y: float) -> None:
    told = axes.text(
        0, y, "above the label, below what was read; what is wrong or missing is", fontsize=8, color=SOFT, va="center"
    )
    marked = {"facecolor": TINT, "edgecolor": "none", "pad": 1}
    axes.annotate(
        "marked", (1, 0), (4, 0), told, textcoords="offset points", fontsize=8, color=ACCENT, va="bottom", bbox=marked
    )


def _picture(axes: Axes, image: np.ndarray, box: tuple[float, float, float, float]) -> None:
    """The image in the middle of a box (left, top, width, height), with its own proportions."""
    left, top, wide, high = box
    scale = min(wide / image.shape[1], high / image.shape[0])
    width, height = scale * image.shape[1], scale * image.shape[0]
    left, top = left + (wide - width) / 2, top + (high - height) / 2
    limits = axes.get_xlim()[1], axes.get_ylim()[0]
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(left, left + width, top + height, top))
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor="#dde3e8", linewidth=0.6))
    _units(axes, *limits)  # which imshow makes its own


def _words(axes: Axes, cell: Cell, box: tuple[float, float, float]) -> None:
    """Label, text and note under a picture, from a place (left, middle of the first line) on in a width."""
    left, y, wide = box
    known = cell.label is not None
    pairs = around_error(aligned(cell.label if cell.label is not None else cell.text, cell.text), wide)
    widths = [_width(pair) for pair in pairs]
    x = left + (wide - sum(widths)) / 2
    for (label, text), width in zip(pairs, widths, strict=True):
        if known:
            _letter(axes, x + width / 2, y, label, "#1f2933")
        if label != text:
            axes.add_patch(Rectangle((x, y + 0.5 * LINE), width, LINE, facecolor=TINT, edgecolor="none"))
        _letter(axes, x + width / 2, y + LINE * known, text, INK if label == text else ACCENT)
        x += width
    if not cell.text:
        axes.text(left + wide / 2, y + LINE * known, "nothing", fontsize=8, color=ACCENT, ha="center", va="center")
    note = shortened(cell.note, int(wide * 14))
    axes.text(
        left + wide / 2, y + LINE * (1 + known), note, fontsize=8, color=SOFT, ha="center", va="center", **lettering(note)
    )


def _letter(axes: Axes, x: float, y: float, character: str, colour: str) -> None:
    named = _named(character)
    letters = lettering(named)
    letters["fontfamily"] = [MONO, *letters["fontfamily"]]
    size = 11 if len(named) == 1 else 7
    axes.text(x, y, named, fontsize=size, color=colour, ha="center", va="center_baseline", **letters)


def _named(character: str) -> str:
    return SPACE if character == " " else shown(character)


def _width(pair: Pair) -> float:
    return max(LETTER * max(1, columns(named)) if len(named) < 2 else NAME * len(named) for named in map(_named, pair))


def around_error(pairs: list[Pair], wide: float) -> list[Pair]:
    """As many neighbouring pairs as fit into `wide` inches, with the first error in their middle; ellipses for the rest."""
    if sum(map(_width, pairs)) <= wide:
        return pairs
    first = next((i for i, (label, text) in enumerate(pairs) if label != text), 0)
    for count in range(len(pairs) - 1, 0, -1):
        start = min(max(0, first - count // 2), len(pairs) - count)
        part = pairs[start : start + count]
        if sum(map(_width, part)) + 2 * LETTER <= wide:
            return [ELLIPSIS] * (start > 0) + part + [ELLIPSIS] * (start + count < len(pairs))
    return pairs[first : first + 1]
