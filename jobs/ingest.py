"""Folder of labelled images -> verified, split shards with a manifest.

spark-submit jobs/ingest.py --input images/ --output data/shards
spark-submit jobs/ingest.py --input images/ --output data/shards --config conf/ingest/rgb.yaml --set split.by=label
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as spark-submit does: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry
from pipelines.config import IngestSettings
from pipelines.ingest import Runner, ingest
from pipelines.report import summary_lines
from pipelines.settings import read


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--input", required=True, metavar="DIR_OR_URI", help="folder of images, searched with its sub-folders")
    parser.add_argument("--output", required=True, metavar="DIR_OR_URI", help="new or empty folder for the dataset")
    parser.add_argument("--config", metavar="YAML", help="settings file, such as those in conf/ingest/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as image.width=200")
    args = parser.parse_args()
    done = ingest(args.input, args.output, read(IngestSettings, args.config, args.set), _runner)
    if done.unchanged:
        print(f"nothing to do: {args.output} already holds these images with these settings")
    print("\n".join(summary_lines(done.dataset)))


def _runner() -> Runner:
    from pipelines.spark.ingest import SparkRunner
    from pipelines.spark.session import spark_session

    return SparkRunner(spark_session("glyphmill-ingest"))


if __name__ == "__main__":
    entry.run(main)
