"""Trains on one device and on two logical CPU devices, and prints what came of it as JSON: python on_two_devices.py DATASET FOLDER.

Logical devices are made before TensorFlow starts, so this is a process of its own.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf
from conftest import plain

from model import trainer
from model.config import DeviceSettings, TrainSettings
from model.strategy import strategy_for
from pipelines.errors import SettingsError
from pipelines.manifest import open_dataset

NETWORKS = {"plain": plain, "crnn": trainer.build}


def train(dataset_uri: str, folder: Path, strategy: tf.distribute.Strategy, network: str) -> dict:
    settings = TrainSettings.model_validate(
        {
            "network": {"widths": (2, 2), "units": 8, "depth": 1, "dropout": 0.0},
            "train": {"epochs": 1, "batch_size": 8, "learning_rate": 5e-3},
        }
    )
    trainer.build = NETWORKS[network]
    made = trainer.Trainer(open_dataset(dataset_uri), settings, strategy)
    history = made.fit(folder, lambda epoch: None).history
    values = [strategy.experimental_local_results(variable.value) for variable in made.model.trainable_variables]
    apart = max(float(tf.reduce_max(tf.abs(first - other))) for first, *others in values for other in others or [first])
    return {
        "replicas": strategy.num_replicas_in_sync,
        "train_loss": [epoch.train_loss for epoch in history],
        "val_loss": [epoch.val_loss for epoch in history],
        "val_rows": history[-1].val.rows,
        "apart": apart,
    }


def main(dataset_uri: str, folder: str) -> None:
    try:
        strategy_for(DeviceSettings(cpus=2), batch_size=7)
        refused = ""
    except SettingsError as error:
        refused = str(error)
    two = strategy_for(DeviceSettings(cpus=2), batch_size=8)
    one = tf.distribute.get_strategy()
    results = {
        f"{network} on {strategy.num_replicas_in_sync}": train(
            dataset_uri, Path(folder, network, str(number)), strategy, network
        )
        for network in NETWORKS
        for number, strategy in enumerate((one, two))
    }
    print(json.dumps(results | {"refused": refused}))


if __name__ == "__main__":
    main(*sys.argv[1:])
