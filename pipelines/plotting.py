"""What the figures of both sides share: plain axes, PNG bytes, and text in whatever fonts are installed."""

import io
import textwrap
import unicodedata
from functools import lru_cache
from typing import Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

INK = "#33658a"
ACCENT = "#d1603d"
PALE = "#9aa5b1"
CHANNELS = {1: ("#444444",), 3: ("#c0392b", "#27ae60", "#2980b9")}
BASE_FONT = "DejaVu Sans"  # comes with matplotlib


def axes_of(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of the given size in inches with one plain, titled pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_png(figure: Figure, tight: bool = False) -> bytes:
    """The figure as PNG; `tight` leaves out white borders."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight" if tight else None, pad_inches=0.05)
    return buffer.getvalue()


def visible(text: str) -> str:
    """`text`, with what nobody sees (controls, combining marks alone, a mere space) as code points, such as U+200B."""
    return "".join(c if _seen(c, text) else _code_point(c) for c in text)


def shown(text: str) -> str:
    """`visible(text)`, with what no installed font draws as code points too, such as U+4E00."""
    return "".join(c if _font_of(c) else _code_point(c) for c in visible(text))


def shortened(text: str, width: int) -> str:
    """`shown(text)` in at most `width` columns; what is left out stands in the middle as an ellipsis."""
    text = shown(text)
    while columns(text) > width:
        middle = len(text) // 2
        text = f"{text[: middle - 1]}…{text[middle + 1 :]}" if "…" not in text else _without_middle(text)
    return text


def wrapped(text: str, width: int, lines: int = 3) -> str:
    """`shown(text)` in some `lines` lines of `width` columns."""
    text = shortened(text, width * lines)
    return "\n".join(textwrap.wrap(text, max(1, width * len(text) // max(1, columns(text))), drop_whitespace=False))


def columns(text: str) -> int:
    """How many columns `text` takes: two for the wide characters of East Asia."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def lettering(text: str) -> dict[str, Any]:
    """Keyword arguments of matplotlib's texts that draw `shown(text)` letter by letter, not as a formula."""
    families = dict.fromkeys([BASE_FONT, *(_font_of(c) or BASE_FONT for c in sorted(set(text)))])
    return {"fontfamily": list(families), "parse_math": False}


def _without_middle(text: str) -> str:
    left, right = text.split("…", 1)
    return f"{left[:-1]}…{right}" if len(left) >= len(right) else f"{left}…{right[1:]}"


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def _seen(character: str, text: str) -> bool:
    if character == " ":  # between words, not alone
        return text.strip() != ""
    return character.isprintable() and not unicodedata.combining(character)


@lru_cache(maxsize=8192)
def _font_of(character: str) -> str | None:
    """The family of an installed font that draws `character`: the base font, else one made for East Asia, else any."""
    return next((family for family, path in _fonts() if ord(character) in _glyphs(path)), None)


@lru_cache(maxsize=1)
def _fonts() -> tuple[tuple[str, str], ...]:
    plain = [font for font in font_manager.fontManager.ttflist if (font.style, font.weight) == ("normal", 400)]
    # colour bitmaps are no outlines to draw, and the font of last resort draws a box for everything
    plain = [font for font in plain if FT2Font(font.fname).scalable and not font.name.startswith("Last Resort")]
    plain.sort(key=lambda font: (font.name != BASE_FONT, "CJK" not in font.name, font.name, font.fname))
    return tuple((font.name, font.fname) for font in plain)


@lru_cache(maxsize=64)
def _glyphs(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())
