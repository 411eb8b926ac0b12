"""Shards -> an MLflow run and a registered model. Without --dataset it makes a sample dataset first.

python -m jobs.train --dataset data/shards
python -m jobs.train --dataset data/shards --config conf/train/default.yaml --set train.epochs=20
"""

import shutil
import sys
from pathlib import Path

if not __package__:  # run as a file: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry
from jobs.stages import conf, draw_and_ingest
from model.config import TrainSettings
from pipelines.manifest import open_dataset
from pipelines.settings import read

SAMPLE = Path("data/sample")


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--dataset", metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--config", metavar="YAML", help="settings file, such as those in conf/train/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as train.epochs=20")
    args = parser.parse_args()
    entry.restart_for_training()
    config = args.config or (None if args.dataset else conf("train/demo.yaml"))  # the sample needs few epochs
    settings = read(TrainSettings, config, args.set)
    dataset = open_dataset(args.dataset or _sample())

    entry.load_tensorflow()
    from model.run import train

    result = train(dataset, settings, Path(config or "default").stem)
    scores, registered = result.evaluation.scores, result.registered
    print(f"test split   exact match {scores.exact_match:.4f}, character error rate {scores.cer:.4f}, {scores.rows} images")
    print(f"registered   {registered.uri} as {registered.alias} ({registered.reason})")
    print(f"MLflow run   {result.run_id}")


def _sample() -> str:
    if not (SAMPLE / "manifests").exists():
        print(f"no --dataset: drawing a sample dataset into {SAMPLE}", file=sys.stderr)
        images = SAMPLE.with_name("sample-images")
        shutil.rmtree(images, ignore_errors=True)  # of a run that was stopped while it drew
        draw_and_ingest(str(images), str(SAMPLE))
    return str(SAMPLE)


if __name__ == "__main__":
    entry.run(main)
