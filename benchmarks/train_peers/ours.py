"""One of our presets, trained for some minutes as `make train` does: an MLflow run. Prints what came out as a line of JSON.

Several datasets, each with its weight, are mixed; the first one judges.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import median

from jobs import entry
from model.config import TrainSettings
from model.mixture import Mixture
from model.runtimes import NETWORK_ONNX
from model.tracking import bundle_of
from pipelines.manifest import open_dataset
from pipelines.settings import read

EPOCHS = 10_000  # so many that the time is over first, or validation does not get better any more


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", action="append", required=True)
    parser.add_argument("--weight", action="append", type=float)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--minutes", required=True, type=float)
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--onnx", type=Path, metavar="FILE", help="a copy of the network")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    limits = [f"train.minutes={args.minutes}", f"train.epochs={EPOCHS}", f"train.seed={args.seed}", "train.steps_per_call=2"]
    places = [
        f"tracking.experiment={args.experiment}",
        f"tracking.registered_model={args.experiment}",
        "tracking.promote=never",
    ]
    settings = read(TrainSettings, args.config, [*limits, *places, *args.set])
    entry.load_tensorflow()
    from model.run import train

    data = Mixture(tuple(map(open_dataset, args.dataset)), tuple(args.weight or ()))
    result = train(data, settings, args.config.stem, args.output)
    if result is None:
        raise SystemExit(f"error: {args.output} holds a finished run")
    if args.onnx:
        with bundle_of(result.registered.uri) as bundle:
            shutil.copy(bundle / NETWORK_ONNX, args.onnx)
    history, scores = result.trained.history, result.evaluation.scores
    trained = sum(dataset.manifest.splits["train"] for dataset in data.datasets)
    found = {
        "run_id": result.run_id,
        "model_uri": result.registered.uri,
        "rows": {"train": trained} | {split: data.first.manifest.splits[split] for split in ("val", "test")},
        "exact_match": scores.exact_match,
        "cer": scores.cer,
        "weights": result.trained.model.count_params(),
        "images_per_s": median(epoch.images_per_second for epoch in history),
        "ms_per_image": result.evaluation.ms_per_image,
        "seconds": sum(epoch.seconds for epoch in history),
        "epochs": len(history),
        "best_epoch": result.trained.best.epoch,
        "curve": [[round(sum(e.seconds for e in history[: n + 1])), e.val.exact_match] for n, e in enumerate(history)],
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    entry.run(main)
