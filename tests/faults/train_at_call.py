"""A training to the bit in a process that kills itself at one exact call: train_at_call.py PLACE DATASET FOLDER.

PLACE is that of at_call.py, or - for none. Prints the hash of the final weights and the history, without its times.
"""

import hashlib
import json
import sys
from pathlib import Path

from at_call import kill_at

from jobs import entry
from model.config import TrainSettings
from pipelines.manifest import open_dataset

SETTINGS = {
    "network": {"widths": (4, 4), "units": 8, "depth": 1, "dropout": 0.2},
    "train": {
        "epochs": 5,
        "batch_size": 32,
        "learning_rate": 0.01,
        "ema": 0.9,
        "statistics_batches": 3,
        "schedule": "plateau",
        "plateau_patience": 1,
        "precision": "float32",
        "determinism": True,
        "steps_per_call": 2,
        "checkpoint_steps": 3,
    },
}


def main(place: str, dataset: str, folder: str) -> None:
    entry.load_tensorflow()
    import tensorflow as tf

    from model.trainer import Trainer

    if place != "-":
        kill_at(place)
    seen: list[int] = []
    settings = TrainSettings.model_validate(SETTINGS)
    trainer = Trainer(open_dataset(dataset), settings, tf.distribute.get_strategy())
    done = trainer.fit(Path(folder), lambda epoch: seen.append(epoch.epoch))
    passing = {"images_per_second", "waiting", "seconds", "memory_mib"}
    history = [{key: value for key, value in epoch.to_json().items() if key not in passing} for epoch in done.history]
    weights = hashlib.sha256(b"".join(array.tobytes() for array in done.model.get_weights())).hexdigest()
    print(json.dumps({"weights": weights, "best": done.best.epoch, "seen": seen, "history": history}))


if __name__ == "__main__":
    main(*sys.argv[1:])
