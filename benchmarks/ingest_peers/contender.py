"""What all contenders do alike: arguments, a Spark session as it comes, and the line that reports the work."""

import argparse
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HEIGHT, WIDTH = 48, 160  # as conf/ingest/default.yaml has


def arguments(*flags: str) -> argparse.Namespace:
    """`--input` and `--output` folders, and the named flags."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args()


def report(work: Callable[[], int | None]) -> None:
    """Runs `work` and prints its seconds, when it ended, and the images that it counts where it writes no Parquet."""
    began = time.perf_counter()
    images = work()
    print(json.dumps({"seconds": time.perf_counter() - began, "ended": time.time(), "images": images}), flush=True)


def spark_session(options: dict[str, str] | None = None) -> "SparkSession":
    """A session with Spark's own defaults but for `options`."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("bench").config("spark.ui.showConsoleProgress", "false")
    for name, value in (options or {}).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
