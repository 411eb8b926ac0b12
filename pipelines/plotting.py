"""What the figures of both sides share."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#33658a"


def axes_of(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure of the given size in inches with one plain, titled pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
