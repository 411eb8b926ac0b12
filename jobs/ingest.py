"""Folder of labelled images -> verified, split shards with a manifest.

spark-submit jobs/ingest.py --input images/ --output data/shards
spark-submit jobs/ingest.py --input images/ --output data/shards --config conf/ingest/rgb.yaml --set split.by=label
spark-submit jobs/ingest.py --input images/ --output data/shards --append
python -m jobs.ingest --input images/ --output data/shards --runner local
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as spark-submit does: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry
from pipelines.config import IngestOptions, IngestSettings
from pipelines.ingest import Runner, ingest
from pipelines.settings import build, read
from pipelines.summary import summary_lines


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--input", required=True, metavar="DIR_OR_URI", help="folder of images, searched with its sub-folders")
    parser.add_argument("--output", required=True, metavar="DIR_OR_URI", help="new or empty folder for the dataset")
    parser.add_argument("--config", metavar="YAML", help="settings file, such as those in conf/ingest/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as image.width=200")
    parser.add_argument("--append", action="store_true", help="add what is new (by path, size and time) as the next version")
    parser.add_argument("--verify", action="store_true", help="with --append: compare the bytes of known files too")
    parser.add_argument("--max-reject-fraction", type=float, metavar="F", help="publish nothing where more is bad (default 1)")
    parser.add_argument("--keep-rejects", type=int, metavar="N", help="copy up to N files of each reject reason (default 0)")
    parser.add_argument(
        "--exclude", metavar="FILE_OR_URI", help="leave out the files that this list names: a path or id a line"
    )
    entry.add_runner(parser)
    args = parser.parse_args()
    known = {name: value for name, value in vars(args).items() if name in IngestOptions.model_fields and value is not None}
    options = build(IngestOptions, known, "ingest")
    entry.check_runner(args)
    settings = read(IngestSettings, args.config, args.set) if args.config or args.set else None
    done = ingest(args.input, args.output, settings, lambda: _runner(args.runner, args.workers), options)
    if done.unchanged:
        print(f"nothing to do: {done.dataset.location.shown} already holds these images with these settings")
    print("\n".join([*summary_lines(done.dataset), *done.notes]))


def _runner(name: str, workers: int | None) -> Runner:
    if name == "local":
        from pipelines.pool import PoolRunner

        return PoolRunner(workers)
    with entry.needing_spark():
        from pipelines.spark.ingest import SparkRunner
        from pipelines.spark.session import spark_session
    return SparkRunner(spark_session("glyphmill-ingest", "or run without Spark: --runner local"))


if __name__ == "__main__":
    entry.run(main)
