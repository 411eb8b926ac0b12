"""Figures of a training run, as PNG bytes."""

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from model.trainer import Epoch
from pipelines.plotting import axes_of, to_png


def curves(history: Sequence[Epoch]) -> dict[str, bytes]:
    """Loss, and exact match with character error rate, over the epochs."""
    return {
        "loss": _lines(history, {"training": "train_loss", "validation": "val_loss"}, "CTC loss of a row, mean"),
        "scores": _lines(
            history, {"exact match": "val_exact_match", "character error rate": "val_cer"}, "validation split", top=1.02
        ),
    }


def _lines(history: Sequence[Epoch], series: dict[str, str], title: str, top: float | None = None) -> bytes:
    figure, axes = axes_of(6.4, 3.6, title)
    epochs = [epoch.epoch for epoch in history]
    for name, metric in series.items():
        axes.plot(epochs, [epoch.metrics()[metric] for epoch in history], marker=".", label=name)
    axes.set_ylim(bottom=0, top=top)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return to_png(figure)
