"""What is known after each epoch, and what follows from it: the best one, an early stop, a lower rate. Without TensorFlow."""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

from model.config import OptimiserSettings
from model.metrics import Scores

BY_EXACT_MATCH = OptimiserSettings()
CHANCE = 4  # so many texts, all to one side, come by chance in 6% of cases (sign test); in more, where many epochs are compared


class Epoch(NamedTuple):
    """What is known after an epoch. Losses are means over rows.

    `images_per_second` and `waiting`, the share of time in which no data was there, are those of its training;
    `seconds` covers training and validation; memory is that of this process, and the most that was taken on its first GPU.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val: Scores
    learning_rate: float
    images_per_second: float
    waiting: float
    seconds: float
    memory_mib: float
    gpu_memory_mib: float | None = None

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that all runs share."""
        found = {
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "val_exact_match": self.val.exact_match,
            "val_cer": self.val.cer,
            "learning_rate": self.learning_rate,
            "images_per_second": self.images_per_second,
            "waiting_for_data": self.waiting,
            "epoch_seconds": self.seconds,
            "memory_mib": self.memory_mib,
        }
        if self.gpu_memory_mib is not None:
            found["gpu_memory_mib"] = self.gpu_memory_mib
        return found | {f"val_position_{i}": share for i, share in enumerate(self.val.by_position, start=1)}

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"val": self.val.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Epoch":
        return cls(**{**values, "val": Scores.from_json(values["val"])})


def better(epoch: Epoch, best: Epoch, settings: OptimiserSettings = BY_EXACT_MATCH) -> bool:
    """By exact match, then by character errors, then by loss; or by loss alone. By at least `min_delta`, where that is set."""
    if settings.monitor == "loss":
        return math.isnan(best.val_loss) or epoch.val_loss < best.val_loss - settings.min_delta
    if settings.min_delta:
        return epoch.val.exact_match > best.val.exact_match + settings.min_delta
    return (epoch.val.exact, -epoch.val.edits, -epoch.val_loss) > (best.val.exact, -best.val.edits, -best.val_loss)


def best_of(history: Sequence[Epoch], settings: OptimiserSettings = BY_EXACT_MATCH) -> Epoch | None:
    """The best epoch. Of those that read as well the last: a small val split is soon read, and training goes on to do good.

    Under the cosine schedule, whose rate falls, those read as well too that are behind by no more than CHANCE texts and
    characters. Judged by loss, or with a `min_delta`, the first.
    """
    best = _first_best(history, settings)
    if best is None or settings.monitor == "loss" or settings.min_delta:
        return best
    margin = CHANCE if settings.schedule == "cosine" else 0
    return next(epoch for epoch in reversed(history) if _reads_as_well(epoch, best, margin))


def is_over(history: Sequence[Epoch], settings: OptimiserSettings) -> bool:
    """Whether the epochs are over, or validation has not improved for `patience` of them."""
    improved = _first_best(history, settings)
    return improved is not None and (len(history) >= settings.epochs or len(history) - improved.epoch >= settings.patience)


def _first_best(history: Sequence[Epoch], settings: OptimiserSettings) -> Epoch | None:
    """The last epoch that was better than the one that stood before it; the first stands at the start."""
    return reduce(lambda best, epoch: epoch if better(epoch, best, settings) else best, history) if history else None


def _reads_as_well(epoch: Epoch, best: Epoch, margin: int) -> bool:
    return best.val.exact - epoch.val.exact <= margin and epoch.val.edits - best.val.edits <= margin


def rate_factor(history: Sequence[Epoch], settings: OptimiserSettings) -> float:
    """What the learning rate is multiplied by after these epochs: 1, and less on each plateau, down to the floor."""
    factor, since = 1.0, 0  # `since` is the epoch from which patience counts: of the best, or of the last change
    best: Epoch | None = None
    for epoch in history if settings.schedule == "plateau" else ():
        if best is None or better(epoch, best, settings):
            best, since = epoch, epoch.epoch
        elif epoch.epoch - since >= settings.plateau_patience:
            factor, since = factor * settings.plateau_factor, epoch.epoch
    return max(factor, min(1.0, settings.plateau_floor / settings.learning_rate))
