"""Runs side by side as a figure, as PNG bytes."""

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import PercentFormatter

from model.compare import Row
from pipelines.plotting import ACCENT, INK, PALE, axes_of, lettering, shortened, to_png

MOST, COLUMNS = 40, 60  # runs that are drawn, and columns of the text beside each


def chart(rows: Sequence[Row], title: str) -> bytes:
    """Exact match of each run on the test split with its 95% interval, and on the val split; the best by that on top."""
    ranked = sorted(rows, key=lambda row: row.val_rank, reverse=True)[:MOST]
    figure, axes = axes_of(9.0, 1.3 + 0.34 * len(ranked), title)
    for place, row in enumerate(ranked):
        low, high = row.exact_match_low, row.exact_match_high
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=INK, linewidth=2, alpha=0.5, solid_capstyle="round")
    tested = [(row.exact_match, place) for place, row in enumerate(ranked) if row.exact_match is not None]
    judged = [(row.val_exact_match, place) for place, row in enumerate(ranked) if row.val_exact_match is not None]
    if tested:
        axes.scatter(
            [x for x, _ in tested], [y for _, y in tested], color=INK, s=36, zorder=3, label="test split, 95% interval"
        )
    if judged:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": ACCENT, "s": 60, "zorder": 4}
        axes.scatter([x for x, _ in judged], [y for _, y in judged], label="val split", **ring)
    names = [shortened(f"{row.name}{'' if row.exact_match is not None else f' ({row.status})'}", COLUMNS) for row in ranked]
    axes.set_yticks(range(len(ranked)), names, fontsize=8)
    for label, row in zip(axes.get_yticklabels(), ranked, strict=True):
        label.set(**lettering(label.get_text()))
        label.set_color(ACCENT if row.best else "black" if row.exact_match is not None else PALE)
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("exact match")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    if tested or judged:
        figure.legend(loc="outside lower right", frameon=False, fontsize=8, ncols=2)
    return to_png(figure)
