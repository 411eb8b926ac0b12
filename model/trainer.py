"""The training loop: one loop over tf.distribute, the same on one device and on many."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from model import losses
from model.augment import augment
from model.checkpoints import Checkpoints
from model.config import OptimiserSettings, TrainSettings
from model.decode import greedy
from model.loader import Loader
from model.metrics import Scores
from model.networks import build
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.progress import Progress

EVAL_BATCH = 128
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


class Epoch(NamedTuple):
    """What is known after an epoch. Losses are means over rows; `seconds` covers training and validation."""

    epoch: int
    train_loss: float
    val_loss: float
    val: Scores
    learning_rate: float
    images_per_second: float
    seconds: float

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that all runs share."""
        return {
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "val_exact_match": self.val.exact_match,
            "val_cer": self.val.cer,
            "learning_rate": self.learning_rate,
            "images_per_second": self.images_per_second,
            "epoch_seconds": self.seconds,
        }


@dataclass(frozen=True)
class Trained:
    """The model with its best weights, and how it got there."""

    model: keras.Model
    history: tuple[Epoch, ...]
    best: Epoch


class Trainer:
    """Trains the network of `settings` on a dataset's train split and judges it on its val split."""

    def __init__(self, dataset: Dataset, settings: TrainSettings, strategy: tf.distribute.Strategy) -> None:
        """Raises DataError where a split is empty or a label is longer than the network can read."""
        manifest, batch_size = dataset.manifest, settings.train.batch_size
        self._settings, self._strategy = settings, strategy
        self._charset = manifest.charset
        self._train = Loader(dataset, "train", batch_size, settings.loader, seed=settings.train.seed)
        replicas = strategy.num_replicas_in_sync
        self._val = Loader(dataset, "val", -(-EVAL_BATCH // replicas) * replicas, settings.loader, seed=None)
        keras.utils.set_random_seed(settings.train.seed)
        with strategy.scope():
            self.model = build(settings.network, manifest.image_shape, len(self._charset))
            self._optimizer = make_optimizer(settings.train, self._train.steps * settings.train.epochs)
            self._optimizer.build(self.model.trainable_variables)
        check_frames(dataset, self.model.output_shape[1])

    def fit(self, folder: Path, on_epoch: Callable[[Epoch], None]) -> Trained:
        """Trains until the epochs are over or validation has not improved for `patience` epochs.

        Checkpoints go to `folder`; the model is left with the weights of the best epoch. Raises DataError where the
        loss stops being a number.
        """
        settings = self._settings.train
        checkpoints = Checkpoints(folder, self.model, self._optimizer)
        batches = iter(self._distributed(self._train, settings.epochs))
        history: list[Epoch] = []
        best: list[Epoch] = []
        with Progress("train", self._train.rows * settings.epochs) as progress:
            for number in range(1, settings.epochs + 1):
                epoch = self._epoch(number, batches, progress, best)
                history.append(epoch)
                on_epoch(epoch)
                checkpoints.save_last(number)
                if not best or _better(epoch, best[-1]):
                    best.append(epoch)
                    checkpoints.save_best(number)
                if number - best[-1].epoch >= settings.patience:
                    break
        checkpoints.restore_best()
        return Trained(self.model, tuple(history), best[-1])

    def _epoch(self, number: int, batches: Iterator[Batch], progress: Progress, best: list[Epoch]) -> Epoch:
        began = time.monotonic()
        note = f"epoch {number}/{self._settings.train.epochs}"
        if best:
            note += f", best exact match {best[-1].val.exact_match:.4f} in epoch {best[-1].epoch}"
        loss_sum = weight_sum = 0.0
        for _ in range(self._train.steps):
            with self._train.told_errors():
                loss, weight = (float(value) for value in self._train_step(batches))
            loss_sum, weight_sum = loss_sum + loss, weight_sum + weight
            progress.advance(round(weight), note=f"{note}, loss {loss_sum / weight_sum:.3f}")
        if not math.isfinite(loss_sum):
            raise DataError(f"the training loss is not a number in epoch {number}; lower train.learning_rate")
        seconds = time.monotonic() - began
        val_loss, scores = self._validate()
        return Epoch(
            epoch=number,
            train_loss=loss_sum / weight_sum,
            val_loss=val_loss,
            val=scores,
            learning_rate=float(self._optimizer.learning_rate),
            images_per_second=weight_sum / seconds,
            seconds=time.monotonic() - began,
        )

    def _validate(self) -> tuple[float, Scores]:
        """Mean loss over the rows of the val split, and its scores."""
        loss_sum, scores = 0.0, Scores()
        for batch in self._val_batches():
            outputs = self._val_step(batch)
            parts = zip(*(self._strategy.experimental_local_results(output) for output in (*outputs, *batch[1:])), strict=True)
            for loss, classes, sure, labels, _, weights in parts:
                real = weights.numpy() > 0
                texts = [reading.text for reading in greedy(classes.numpy()[real], sure.numpy()[real], self._charset)]
                scores += Scores.of(texts, self._charset.decode(labels.numpy()[real]))
                loss_sum += float(loss)
        return loss_sum / scores.rows, scores

    def _val_batches(self) -> Iterator[Batch]:
        with self._val.told_errors():
            yield from self._distributed(self._val, 1)

    def _distributed(self, loader: Loader, epochs: int) -> tf.distribute.DistributedDataset:
        replicas = self._strategy.num_replicas_in_sync
        return self._strategy.distribute_datasets_from_function(lambda _: loader.dataset(epochs, parts=replicas))

    @tf.function(reduce_retracing=True)
    def _train_step(self, batches: Iterator[Batch]) -> tuple[tf.Tensor, tf.Tensor]:
        loss, weight = self._strategy.run(self._replica_train_step, args=(next(batches),))
        return self._sum(loss), self._sum(weight)

    @tf.function(reduce_retracing=True)
    def _val_step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return self._strategy.run(self._replica_val_step, args=(batch,))

    def _sum(self, value: tf.Tensor) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)

    def _replica_train_step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """The sum of the losses and of the weights of this replica's part; applies the gradient of the global mean."""
        images, labels, lengths, weights = batch
        context = tf.distribute.get_replica_context()
        step = tf.cast(self._optimizer.iterations.value, tf.int32)
        seed = tf.stack([self._settings.train.seed, step])
        part = context.replica_id_in_sync_group
        pixels = augment(images, self._settings.augment, seed, part=part, parts=context.num_replicas_in_sync)
        variables = [variable.value for variable in self.model.trainable_variables]
        everywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.reduce_sum(weights))
        with tf.GradientTape() as tape:
            local = tf.reduce_sum(losses.ctc(labels, lengths, self.model(pixels, training=True)) * weights)
            mean = local / everywhere
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, tape.gradient(mean, variables))
        clipped, _ = tf.clip_by_global_norm(gradients, self._settings.train.clip_norm)
        # Keras sums over replicas once more and would clip each replica's part before that: hand it equal shares
        shares = [gradient / context.num_replicas_in_sync for gradient in clipped]
        self._optimizer.apply(shares, self.model.trainable_variables)
        return local, tf.reduce_sum(weights)

    def _replica_val_step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images, labels, lengths, weights = batch
        logits = self.model(tf.cast(images, tf.float32), training=False)
        loss = tf.reduce_sum(losses.ctc(labels, lengths, logits) * weights)
        probabilities = tf.nn.softmax(logits)
        return loss, tf.argmax(logits, axis=-1, output_type=tf.int32), tf.reduce_max(probabilities, axis=-1)


def make_optimizer(settings: OptimiserSettings, steps: int) -> keras.optimizers.Optimizer:
    """AdamW with linear warm-up and cosine decay over `steps`; biases and norms are not decayed (Loshchilov & Hutter 2019)."""
    warmup = round(settings.warmup * steps)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, steps - warmup),
        alpha=settings.final,
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, beta_2=0.99)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def check_frames(dataset: Dataset, frames: int) -> None:
    """Raises DataError where the longest label of the dataset needs more time steps than the network has."""
    every = dataset.manifest.statistics["all"]
    if every["ctc_frames"] > frames:
        longest = max(map(int, every["lengths"]))
        wide = dataset.manifest.image_shape[1]
        raise DataError(
            f"{dataset.location.shown}: labels of up to {longest} characters need {every['ctc_frames']} time steps, and images"
            f" {wide} pixels wide give {frames}; ingest with a larger image.width or a smaller label.max_length"
        )


def _better(epoch: Epoch, best: Epoch) -> bool:
    """By exact match, then by character errors, then by loss."""
    return (epoch.val.exact, -epoch.val.edits, -epoch.val_loss) > (best.val.exact, -best.val.edits, -best.val_loss)
