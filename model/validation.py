"""The val split read by the network in training: mean loss and scores, the same on every worker."""

from collections.abc import Callable
from itertools import islice

import tensorflow as tf

from model.agreement import Agreement
from model.cluster import Cluster
from model.config import LoaderSettings
from model.decode import readings
from model.loader import open_loader
from model.metrics import Scores
from model.mixture import Mixture
from model.steps import Batch, Steps
from model.strategy import endless

BATCH = 128


class Validation:
    """Reads every row of the val split once, in parts for each replica."""

    def __init__(
        self, data: Mixture, settings: LoaderSettings, strategy: tf.distribute.Strategy, cluster: Cluster, agreement: Agreement
    ) -> None:
        """Raises DataError where the split is empty."""
        replicas = strategy.num_replicas_in_sync
        self._loader = open_loader(data, "val", -(-BATCH // replicas) * replicas, settings, seed=None, cluster=cluster)
        self._strategy, self._agreement = strategy, agreement
        self._parts = replicas // cluster.workers
        self._charset, self._longest = data.charset, data.longest

    def __call__(self, steps: Steps, between: Callable[[], None]) -> tuple[float, Scores]:
        """Mean loss over the rows, and their scores; `between` is called after each batch. Raises DataError."""
        loss_sum, scores = 0.0, Scores()
        with self._loader.told_errors():
            parts = self._strategy.distribute_datasets_from_function(lambda _: endless(self._loader.dataset(parts=self._parts)))
            for batch in islice(parts, self._loader.steps):
                loss, found = self._scored(batch, steps.validate(batch), steps.head.rule)
                loss_sum, scores = loss_sum + loss, scores + found
                between()
        loss_sum, *counts = self._agreement.sum([loss_sum, *scores.counts(self._longest)])
        scores = Scores.from_counts(map(round, counts))
        return loss_sum / scores.rows, scores

    def _scored(self, batch: Batch, outputs: tuple[tf.Tensor, ...], rule: str) -> tuple[float, Scores]:
        """The sum of the losses of a batch, and the scores of its real rows."""
        loss_sum, scores = 0.0, Scores()
        local = self._strategy.experimental_local_results
        _, labels, _, weights = batch
        for loss, classes, sure, label, weight in zip(*map(local, (*outputs, labels, weights)), strict=True):
            real = weight.numpy() > 0
            found = readings(rule, classes.numpy()[real], sure.numpy()[real], self._charset)
            scores += Scores.of([reading.text for reading in found], self._charset.decode(label.numpy()[real]))
            loss_sum += float(loss)
        return loss_sum, scores
