"""Trains as the worker that TF_CONFIG names, or alone without it, and prints what came of it as JSON: python as_worker.py DATASET FOLDER."""

import hashlib
import json
import sys
from pathlib import Path

from conftest import TINY, plain

from model import trainer
from model.cluster import Cluster
from model.config import DeviceSettings, LoaderSettings, TrainSettings
from model.loader import open_loader
from model.networks import build
from model.strategy import strategy_for, told_loss
from pipelines.manifest import open_dataset

EPOCHS = 2
STILL = {"rotate": 0, "shear": 0, "zoom": 0, "shift": 0}
CASES = {  # network, augmentation, training; a batch of all rows is the same whoever has which of them
    "in small batches": (build, {}, {"epochs": EPOCHS, "batch_size": 8, "steps_per_call": 4}),
    "in one batch": (plain, STILL, {"epochs": 12, "batch_size": 48}),
}


def main(dataset_uri: str, folder: str) -> None:
    cluster, dataset = Cluster.from_environment(), open_dataset(dataset_uri)
    strategy = strategy_for(DeviceSettings(), 8, cluster)
    results = {}
    for name, (network, augment, train) in CASES.items():
        settings = TrainSettings.model_validate({"network": TINY, "augment": augment, "train": {"learning_rate": 5e-3} | train})
        trainer.build = network
        made = trainer.Trainer(dataset, settings, strategy, cluster)
        done = made.fit(Path(folder, name), lambda epoch: None)
        weights = b"".join(variable.numpy().tobytes() for variable in made.model.trainable_variables)
        results[name] = {
            "weights": hashlib.sha256(weights).hexdigest(),
            "train_loss": [epoch.train_loss for epoch in done.history],
            "val_loss": [epoch.val_loss for epoch in done.history],
            "val": [[epoch.val.rows, epoch.val.exact, epoch.val.edits, epoch.val.characters] for epoch in done.history],
            "files": sorted(path.name for path in Path(folder, name).glob("*")),
        }
    loader = open_loader(dataset, "train", 8, LoaderSettings(), seed=0, cluster=cluster)
    ids = [loader.ids(step).tolist() for step in range(EPOCHS * loader.steps)]
    replicas = strategy.num_replicas_in_sync
    print(json.dumps(results | {"index": cluster.index, "replicas": replicas, "steps": loader.steps, "ids": ids}), flush=True)


if __name__ == "__main__":
    with told_loss(Cluster.from_environment()):
        main(*sys.argv[1:])
