"""The training loop: one loop over tf.distribute, the same on one device, on many and on many hosts."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import keras
import psutil
import tensorflow as tf

from model import heads
from model.agreement import Agreement
from model.averages import Averages
from model.checkpoints import Arrays, Checkpoints, Groups, State, named
from model.cluster import Cluster
from model.config import TrainSettings
from model.history import Epoch, best_of, is_over, rate_factor
from model.loader import open_loader
from model.metrics import Scores
from model.mixture import Mixture
from model.networks import build
from model.optimizers import make_optimizer
from model.precision import computing_in, precision_for
from model.steps import NONE, Batch, Steps
from model.strategy import endless
from model.termination import Stopped, Termination
from model.training_layers import for_training
from model.validation import Validation
from model.warmstart import warm_start
from pipelines.errors import DataError, SettingsError
from pipelines.manifest import Dataset
from pipelines.progress import Progress, say

__all__ = ["Epoch", "Trained", "Trainer"]
ALONE = Cluster()
MIB = 2**20
SHOWN_IDS = 64
PARTS = 8  # of an epoch's batches, of which one gives statistics: a few hundredths of its time


@dataclass(frozen=True)
class Trained:
    """The model with its best weights, of it the part that is shipped, computing in float32; and how it got there."""

    model: keras.Model
    history: tuple[Epoch, ...]
    best: Epoch


class _Feed:
    """The batches that are to come, of which the next one is there already."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.later = iter(batches)
        self.next = next(self.later)


class _Run(NamedTuple):
    """What one call of `fit` works with."""

    checkpoints: Checkpoints
    feed: "_Feed"
    progress: Progress
    termination: Termination


class Trainer:
    """Trains the network of `settings` on the train split of `data` and judges it on the val split (of the first dataset)."""

    def __init__(
        self, data: Mixture | Dataset, settings: TrainSettings, strategy: tf.distribute.Strategy, cluster: Cluster = ALONE
    ) -> None:
        """Raises DataError where a split is empty or a label is longer than the network can read, and SettingsError."""
        mixture, train = Mixture.of(data), settings.train
        self._settings, self._strategy, self._cluster = train, strategy, cluster
        self._agreement = Agreement(strategy, cluster)
        check_batch(train.batch_size, strategy.num_replicas_in_sync, train.accumulate)
        self._loader = open_loader(mixture, "train", train.batch_size, settings.loader, seed=train.seed, cluster=cluster)
        self._validation = Validation(mixture, settings.loader, strategy, cluster, self._agreement)
        if train.determinism:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(train.seed)
        policy = precision_for(train.precision)
        self._build = lambda: build(settings.network, mixture.image_shape, len(mixture.charset), mixture.longest)
        with strategy.scope(), computing_in(policy):
            self.model = for_training(self._build())
            self._factor = keras.Variable(1.0, trainable=False, name="factor") if train.schedule == "plateau" else None
            # the share of `train.minutes` that is gone: the schedule follows it
            self._spent = keras.Variable(0.0, trainable=False, name="spent") if train.minutes else None
            steps = self._loader.steps * train.epochs
            self._optimizer = make_optimizer(
                train, steps, factor=self._factor, spent=self._spent, loss_scaling=policy == "mixed_float16"
            )
            self._optimizer.build(self.model.trainable_variables)
        heads.of(settings.network).check(mixture, self.model)
        self._head, self._charset = settings.network.head, mixture.charset
        self._averages = Averages(self.model, train.ema, strategy) if train.ema else None
        self._steps = Steps(self.model, self._optimizer, self._averages, strategy, settings)

    def fit(self, folder: Path, on_epoch: Callable[[Epoch], None]) -> Trained:
        """Trains until the epochs, or the minutes, are over or validation has not improved for `patience` epochs.

        Goes on from the last checkpoint in `folder`, where there is one, and else starts from `train.init_from`. Only the
        chief reads and writes there, and calls `on_epoch`, which comes before the checkpoint that has the epoch. The model is
        left with the weights of the best epoch. Raises DataError with the ids of the rows where a loss is no number, and
        Stopped after a SIGTERM.
        """
        checkpoints = Checkpoints(folder)
        state = self._resumed(checkpoints)
        with self._loader.told_errors():
            feed = _Feed(self._batches(self._settings.epochs, len(state.history) * self._loader.steps + state.step))
        left = self._loader.rows * (self._settings.epochs - len(state.history)) - round(state.sums[1])
        with Termination() as termination, Progress("train", None if self._settings.minutes else left) as progress:
            run = _Run(checkpoints, feed, progress, termination)
            while not is_over(state.history, self._settings) and self._spent_of(state) < 1:
                state = self._epoch(state, run, on_epoch)
        best = best_of(state.history, self._settings)
        if best is None:
            raise DataError(f"{folder}: no epoch has ended")
        return Trained(self._best(checkpoints, best), state.history, best)

    def _epoch(self, state: State, run: _Run, on_epoch: Callable[[Epoch], None]) -> State:
        """The state after the epoch that `state` stands in."""
        if self._factor is not None:
            self._factor.assign(rate_factor(state.history, self._settings))
        state = self._rest_of_epoch(state, run)
        began = time.monotonic()
        try:
            with self._judged():
                val_loss, val = self._validate(run.termination)
                epoch = self._told(state, val_loss, val, time.monotonic() - began)
                after = State((*state.history, epoch))
                if best_of(after.history, self._settings) is epoch and self._cluster.chief:
                    run.checkpoints.save_best(epoch.epoch, {"weights": self.model.weights})
        except Stopped:
            self._save(run.checkpoints, state)  # it judges again when it goes on
            raise
        if self._cluster.chief:
            on_epoch(epoch)
        self._save(run.checkpoints, after)
        return after

    def _rest_of_epoch(self, state: State, run: _Run) -> State:
        """The state with all batches of its epoch done, or the minutes over. Raises Stopped, once it has saved."""
        every, saved = self._settings.checkpoint_steps, time.monotonic()
        while state.step < self._loader.steps and self._spent_of(state) < 1:
            before, state = state, self._call(state, run.feed)
            run.progress.advance(round(state.sums[1] - before.sums[1]), note=self._note(state))
            if self._agreement.any(run.termination.asked):
                self._save(run.checkpoints, state)
                raise self._stopped(state)
            late = time.monotonic() - saved > 60 * self._settings.checkpoint_minutes
            if late or (every is not None and state.step % every == 0):
                self._save(run.checkpoints, state)
                saved = time.monotonic()
        return state

    def _call(self, state: State, feed: _Feed) -> State:
        """The state after one call of the compiled function. Raises DataError where a loss is no number."""
        if self._spent is not None:
            self._spent.assign(self._spent_of(state))
        began, first = time.monotonic(), len(state.history) * self._loader.steps + state.step
        count = self._count(state.step)
        numbers = tf.constant(first, tf.int64), tf.constant(count, tf.int64), tf.constant(state.sums, tf.float64)
        with self._loader.told_errors(), self._without_blank_statistics(state.step):
            sums, bad, feed.next = self._steps.train(feed.later, feed.next, *numbers)
            loss, rows, waited = map(float, sums.numpy())
        if int(bad) != NONE:
            raise self._no_number(int(bad))
        return State(state.history, state.step + count, (loss, rows, waited), state.seconds + time.monotonic() - began)

    def _spent_of(self, state: State) -> float:
        """The share of `train.minutes` that is gone, by the chief's clock; 0 where there is no such limit."""
        if self._settings.minutes is None:
            return 0.0
        seconds = sum(epoch.seconds for epoch in state.history) + state.seconds
        return self._agreement.sum([seconds * self._cluster.chief])[0] / (60 * self._settings.minutes)

    def _count(self, step: int) -> int:
        """How many steps the next call makes."""
        settings, last = self._settings, self._loader.steps - 1
        stops = [step + settings.steps_per_call, last + 1]
        if settings.checkpoint_steps is not None:
            stops.append(step - step % settings.checkpoint_steps + settings.checkpoint_steps)
        if self._ends_blank and step < last:
            stops.append(last)
        return min(stops) - step

    @property
    def _ends_blank(self) -> bool:
        """Whether the last batch of an epoch may have no real row for some replica."""
        return self._strategy.num_replicas_in_sync > 1 and self._loader.rows % self._settings.batch_size > 0

    def _without_blank_statistics(self, step: int) -> AbstractContextManager[None]:
        """Batch normalisation takes no note of a last batch that has nothing but padding for some replica."""
        blank = self._ends_blank and step == self._loader.steps - 1
        return _unchanged(self.model.non_trainable_weights if blank else [])

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """The model has what is judged: averaged weights, where it has some, and statistics of images as they are."""
        with _unchanged(self.model.variables):
            if self._averages is not None:
                self._averages.apply()
            for batch in self._sample:
                self._steps.refresh(batch)
            yield

    @cached_property
    def _sample(self) -> list[Batch]:
        """The first batches of training, from which batch normalisation takes its statistics.

        Of an epoch an eighth at most, which costs little, but for averaged weights, which come with none of their own.
        """
        if not any(isinstance(layer, keras.layers.BatchNormalization) for layer in self.model.layers):
            return []
        full = self._loader.steps - self._ends_blank
        part = full if self._averages is not None else max(1, self._loader.steps // PARTS)
        count = min(self._settings.statistics_batches, part, full)
        with self._loader.told_errors():
            return list(islice(self._batches(1, 0), count))

    def _validate(self, termination: Termination) -> tuple[float, Scores]:
        """Mean loss over the rows of the val split, and its scores. Raises Stopped where this worker is alone."""

        def between() -> None:
            if termination.asked and self._cluster.workers == 1:
                raise Stopped("stopped by SIGTERM while it validated; start the same command again to go on")

        return self._validation(self._steps, between)

    def _told(self, state: State, val_loss: float, val: Scores, seconds: float) -> Epoch:
        loss, rows, waited = state.sums
        return Epoch(
            epoch=len(state.history) + 1,
            train_loss=loss / rows,
            val_loss=val_loss,
            val=val,
            learning_rate=float(self._optimizer.learning_rate),
            images_per_second=rows / state.seconds,
            waiting=waited / state.seconds,
            seconds=state.seconds + seconds,
            memory_mib=psutil.Process().memory_info().rss / MIB,
            gpu_memory_mib=_gpu_memory(),
        )

    def _note(self, state: State) -> str:
        loss, rows, waited = state.sums
        best = best_of(state.history, self._settings)
        known = f", best exact match {best.val.exact_match:.4f} in epoch {best.epoch}" if best else ""
        waiting = f"waiting for data {waited / state.seconds:.1%}"
        return f"epoch {len(state.history) + 1}/{self._settings.epochs}{known}, loss {loss / rows:.3f}, {waiting}"

    def _no_number(self, step: int) -> DataError:
        epoch, batch = divmod(step, self._loader.steps)
        ids = self._agreement.gathered(self._loader.ids(step)).tolist()
        more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
        return DataError(
            f"the training loss is not a number in epoch {epoch + 1}, batch {batch + 1}; lower train.learning_rate or look at"
            f" the rows with the ids {', '.join(map(str, ids[:SHOWN_IDS]))}{more}; the last checkpoint is from before"
        )

    def _stopped(self, state: State) -> Stopped:
        where = f"epoch {len(state.history) + 1}, after batch {state.step} of {self._loader.steps}"
        return Stopped(f"stopped by SIGTERM in {where}; start the same command again to go on")

    def _batches(self, epochs: int, start: int) -> tf.distribute.DistributedDataset:
        parts = self._strategy.num_replicas_in_sync // self._cluster.workers
        return self._strategy.distribute_datasets_from_function(lambda _: endless(self._loader.dataset(epochs, start, parts)))

    def _groups(self) -> Groups:
        averages = self._averages.variables if self._averages else []
        return {"model": self.model.variables, "optimizer": self._optimizer.variables, "averages": averages}

    def _save(self, checkpoints: Checkpoints, state: State) -> None:
        if self._cluster.chief:
            checkpoints.save_last(state, self._groups())
            best = best_of(state.history, self._settings)
            checkpoints.keep_best(best.epoch if best else 0)

    def _resumed(self, checkpoints: Checkpoints) -> State:
        """The state of the last checkpoint, on every worker, with all variables as they were; or a new one."""
        found = checkpoints.load_last(self._groups()) if self._cluster.chief else None
        text = self._agreement.message(found[0].to_json() if found else "")
        if not text:
            self._warm_start()
            return State()
        self._put(found[1] if found else {}, self._groups())
        return State.from_json(text)

    def _warm_start(self) -> None:
        """Puts the weights of `train.init_from` in, on every worker, and into the averages. Raises DataError where none fit."""
        if self._settings.init_from is None:
            return
        groups = {"model": self.model.weights}
        if self._cluster.chief:
            say(warm_start(self.model, self._head, self._charset, self._settings.init_from))
        self._put({name: variable.numpy() for name, variable in named(groups)} if self._cluster.chief else {}, groups)
        if self._averages is not None:
            for average, weight in zip(self._averages.variables, self.model.trainable_variables, strict=True):
                average.assign(weight.numpy())

    def _best(self, checkpoints: Checkpoints, best: Epoch) -> keras.Model:
        """The network with the weights of the best epoch, of Keras's own layers and computing in float32."""
        groups = {"weights": self.model.weights}
        self._put(checkpoints.load_best(best.epoch, groups) if self._cluster.chief else {}, groups)
        with computing_in("float32"):
            plain = self._build()
        plain.set_weights(self.model.get_weights())
        return heads.reader(plain)

    def _put(self, arrays: Arrays, groups: Groups) -> None:
        for name, variable in named(groups):
            variable.assign(self._agreement.from_chief(arrays.get(name)))


def check_batch(batch_size: int, replicas: int, accumulate: int) -> None:
    """Raises SettingsError where a batch does not split evenly over the replicas and the pieces in which each works."""
    parts = replicas * accumulate
    if batch_size % parts:
        raise SettingsError(
            f"train.batch_size={batch_size} does not split over {replicas} devices with train.accumulate={accumulate};"
            f" take a multiple of {parts}"
        )


def _gpu_memory() -> float | None:
    """The most that was taken on the first GPU, in MiB; None where there is none."""
    if not tf.config.get_visible_devices("GPU"):
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / MIB


@contextmanager
def _unchanged(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """After the block these have the values again that they had before it."""
    before = [(variable, variable.numpy()) for variable in variables]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
