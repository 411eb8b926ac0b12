"""Talks to the other worker that TF_CONFIG names, trains, is stopped and goes on; prints what came of it as JSON.

python agreeing_workers.py DATASET FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
from conftest import STILL, plain

from model import trainer
from model.agreement import KINDS, Agreement
from model.cluster import Cluster
from model.config import DeviceSettings, TrainSettings
from model.strategy import strategy_for
from model.termination import Stopped
from pipelines.errors import DataError
from pipelines.manifest import open_dataset

TRAIN = {"epochs": 2, "batch_size": 8, "steps_per_call": 2, "learning_rate": 0.01}


class StoppedOnOne(trainer.Trainer):
    """The second worker alone is asked to stop, in its second call."""

    def _call(self, state, batches):
        if state.step == 2 and not self._cluster.chief:
            self.termination.asked = True
        return super()._call(state, batches)

    def _rest_of_epoch(self, state, run):
        self.termination = run.termination
        return super()._rest_of_epoch(state, run)


class Spoiled(trainer.Trainer):
    """Its weights are no numbers when it begins."""

    def _epoch(self, state, run, on_epoch):
        self.model.trainable_variables[0].assign(self.model.trainable_variables[0] * np.inf)
        return super()._epoch(state, run, on_epoch)


def main(dataset_uri: str, folder: str) -> None:
    cluster, dataset = Cluster.from_environment(), open_dataset(dataset_uri)
    strategy = strategy_for(DeviceSettings(), 8, cluster)
    trainer.build = plain
    settings = TrainSettings.model_validate({"augment": STILL, "train": TRAIN})
    told = talked(Agreement(strategy, cluster), cluster)
    told["stopped"] = error_of(StoppedOnOne(dataset, settings, strategy, cluster), Path(folder, "stopped"), Stopped)
    told["spoiled"] = error_of(Spoiled(dataset, settings, strategy, cluster), Path(folder, "spoiled"), DataError)
    for name in ("stopped", "whole"):  # the first goes on
        seen = []
        done = trainer.Trainer(dataset, settings, strategy, cluster).fit(Path(folder, name), lambda e: seen.append(e.epoch))  # noqa: B023
        told[name + " in the end"] = {
            "losses": [epoch.train_loss for epoch in done.history],
            "weights": [float(np.sum(array, dtype=np.float64)) for array in done.model.get_weights()],
            "seen": seen,
        }
    print(json.dumps(told))


def talked(agreement: Agreement, cluster: Cluster) -> dict:
    mine = [np.array([[1, 2], [3, 250]], kind) for kind in KINDS] + [np.array(7, np.int64), np.zeros((0, 2), np.float32)]
    theirs = [agreement.from_chief(array if cluster.chief else None) for array in mine]
    return {
        "sum": agreement.sum([1.0, cluster.index]),
        "any": [agreement.any(cluster.index == 1), agreement.any(False)],
        "gathered": agreement.gathered(np.arange(3 + cluster.index) + 2**62 * cluster.index).tolist(),
        "message": [agreement.message(text if cluster.chief else "") for text in ("épinard", "")],
        "equal": [
            bool((a == b).all()) and a.dtype == b.dtype and a.shape == b.shape for a, b in zip(mine, theirs, strict=True)
        ],
    }


def error_of(made: trainer.Trainer, folder: Path, kind: type[Exception]) -> str:
    try:
        made.fit(folder, lambda epoch: None)
    except kind as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
