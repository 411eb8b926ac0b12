"""Figures of a training run, as PNG bytes."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator, PercentFormatter

from model.history import Epoch, best_of
from pipelines.plotting import axes_of, to_png

TOPS = {"scores": 1.02, "waiting": 0.05}  # shares, and where their axes end unless they pass that
SHOWN_POSITIONS = 8  # colours that a reader can tell apart


def curves(history: Sequence[Epoch], best: Epoch | None = None) -> dict[str, bytes]:
    """Loss, scores, scores by position, learning rate, speed and waiting over the epochs; the best one is marked.

    None for `best` is the best by exact match.
    """
    best = best or best_of(history)
    metrics = [epoch.metrics() for epoch in history]
    named = {
        "loss": ("loss of a row, mean", {"training": "train_loss", "validation": "val_loss"}),
        "scores": ("validation split", {"exact match": "val_exact_match", "character error rate": "val_cer"}),
        "learning_rate": ("learning rate at the end of the epoch", {"": "learning_rate"}),
        "speed": ("images/s in training", {"": "images_per_second"}),
        "waiting": ("share of the training time without data", {"": "waiting_for_data"}),
        "memory": ("resident memory, MiB", {"": "memory_mib"}),
    }
    drawn = {
        name: _lines(history, best, {label: [found[key] for found in metrics] for label, key in series.items()}, title, name)
        for name, (title, series) in named.items()
    }
    return drawn | {
        "positions": _lines(history, best, _positions(history), "characters right, by their place in the label", "scores")
    }


def _positions(history: Sequence[Epoch]) -> dict[str, list[float]]:
    """The accuracy at each place, over the epochs: of long labels the first places, some in between, and the last."""
    count = max((len(epoch.val.by_position) for epoch in history), default=0)
    step = max(1, -(-count // SHOWN_POSITIONS))
    places = sorted({*range(0, count, step), count - 1}) if count else []
    return {f"character {place + 1}": [epoch.val.by_position[place] for epoch in history] for place in places}


def _lines(history: Sequence[Epoch], best: Epoch | None, series: Mapping[str, Sequence[float]], title: str, kind: str) -> bytes:
    figure, axes = axes_of(6.4, 3.6, title)
    epochs = [epoch.epoch for epoch in history]
    for name, values in series.items():
        axes.plot(epochs, values, marker=".", label=name)
    if best is not None and len(history) > 1:
        axes.axvline(best.epoch, color="0.6", linewidth=1, linestyle=":", zorder=0, label=f"best epoch ({best.epoch})")
    highest = max((value for values in series.values() for value in values if math.isfinite(value)), default=1.0)
    axes.set_ylim(0, TOPS[kind] if kind in TOPS and highest <= TOPS[kind] else 1.08 * highest or 1.0)
    if kind in TOPS:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return to_png(figure)
