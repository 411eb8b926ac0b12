"""The best and the last state of a training run on local disk."""

from pathlib import Path

import keras
import tensorflow as tf


class Checkpoints:
    """Keeps `best` (weights) and `last` (weights and optimiser) in a folder; a new one replaces the old when it is whole."""

    def __init__(self, folder: Path, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        best = tf.train.Checkpoint(model=model)
        last = tf.train.Checkpoint(model=model, optimizer=optimizer)
        self._best = tf.train.CheckpointManager(best, str(folder / "best"), max_to_keep=1)
        self._last = tf.train.CheckpointManager(last, str(folder / "last"), max_to_keep=1)

    def save_best(self, epoch: int) -> None:
        self._best.save(checkpoint_number=epoch)

    def save_last(self, epoch: int) -> None:
        self._last.save(checkpoint_number=epoch)

    def restore_best(self) -> None:
        """Puts the best weights back into the model."""
        self._best.checkpoint.restore(self._best.latest_checkpoint).expect_partial()
