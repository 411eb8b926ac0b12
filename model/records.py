"""What a run keeps as JSON files: losses, the best epoch, and everything, epoch by epoch."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.history import Epoch, best_of


def records(history: Sequence[Epoch], best: Epoch | None = None) -> dict[str, Any]:
    """The contents of each file, by its name. What is no number is null. None for `best` is the best by exact match."""
    best = best or best_of(history)
    return {
        "loss_metrics.json": [
            {"epoch": epoch.epoch, "train_loss": _number(epoch.train_loss), "val_loss": _number(epoch.val_loss)}
            for epoch in history
        ],
        "best_metrics.json": _all(best) if best else {},
        "all_metrics.json": [_all(epoch) for epoch in history],
    }


def write_records(folder: Path, history: Sequence[Epoch], best: Epoch | None = None) -> None:
    """Writes the files into `folder`."""
    for name, content in records(history, best).items():
        (folder / name).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _all(epoch: Epoch) -> dict[str, float | None]:
    return {"epoch": epoch.epoch} | {name: _number(value) for name, value in epoch.metrics().items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
