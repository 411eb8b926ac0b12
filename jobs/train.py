"""Shards -> an MLflow run and a registered model. Without --dataset it makes a sample dataset first.

python -m jobs.train --dataset data/shards
python -m jobs.train --dataset data/shards --config conf/train/default.yaml --set train.epochs=20
python -m jobs.train --dataset data/real --dataset data/made --weights 1 0.5    # half of the made rows in each epoch
python -m jobs.train --resume RUN_ID_OR_DIR                                     # so does the same command started again
python -m jobs.train --dataset data/shards --workers 2                          # in two processes, as over two hosts
spark-submit jobs/train.py --on-spark --workers 4 --dataset s3://bucket/shards  # as four tasks of a Spark cluster
"""

import shutil
import sys
from pathlib import Path

if not __package__:  # run as a file: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry, workers
from jobs.stages import conf, draw_and_ingest
from model.cluster import Cluster, check_split
from model.config import TrainSettings
from model.mixture import Mixture
from pipelines.manifest import open_dataset
from pipelines.settings import read

SAMPLE = Path("data/sample")


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--dataset", action="append", metavar="DIR_OR_URI", help="dataset folder, or DIR@3; may stand several times"
    )
    parser.add_argument(
        "--weights", nargs="+", type=float, default=(), metavar="W", help="how often an epoch sees each dataset"
    )
    parser.add_argument("--config", metavar="YAML", help="settings file, such as those in conf/train/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as train.epochs=20")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="checkpoints; a run begun there goes on (default: in mlruns/)"
    )
    parser.add_argument("--resume", metavar="RUN_ID_OR_DIR", help="go on with this run, with its settings and data")
    workers.add_arguments(parser)
    args = parser.parse_args()
    if args.resume and (args.dataset or args.config or args.set or args.output):
        parser.error("--resume takes settings, data and folder from the run")
    if args.on_spark and not args.workers:
        parser.error("--on-spark needs --workers")
    entry.restart_for_training()
    config = args.config or (None if args.dataset else conf("train/demo.yaml"))  # the sample needs few epochs
    settings = read(TrainSettings, config, args.set)
    cluster = Cluster.from_environment()
    if not args.resume:
        data = Mixture(tuple(map(open_dataset, args.dataset or [_sample()])), tuple(args.weights))
        check_split(settings.train.batch_size, args.workers or 1, cpus=settings.devices.cpus)

    if args.workers and not cluster.addresses:
        sys.exit(workers.start(args.workers, args.on_spark))

    entry.load_tensorflow()
    from model import run
    from model.strategy import told_loss

    with told_loss(cluster):
        result = (
            run.resume(args.resume, cluster)
            if args.resume
            else run.train(data, settings, Path(config or "default").stem, args.output, cluster)
        )
    if result is not None:
        print(result.told())


def _sample() -> str:
    if not (SAMPLE / "manifests").exists():
        print(f"no --dataset: drawing a sample dataset into {SAMPLE}", file=sys.stderr)
        images = SAMPLE.with_name("sample-images")
        shutil.rmtree(images, ignore_errors=True)  # of a run that was stopped while it drew
        draw_and_ingest(str(images), str(SAMPLE))
    return str(SAMPLE)


if __name__ == "__main__":
    entry.run(main)
