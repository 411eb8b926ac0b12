"""A training as the workers of a cluster: processes of this machine, or the tasks of one barrier stage on Spark."""

import argparse
import os
import sys
from pathlib import Path

import model
from model.launch import Task, launch, outcome

PACKAGES = ("pipelines", "model", "jobs", "conf")
HANDED_ON = ("MLFLOW_", "GLYPHMILL_")  # variables that tasks get; others are set with spark.executorEnv


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_count, metavar="N", help="train in N processes on this machine, as over N hosts")
    parser.add_argument(
        "--on-spark",
        action="store_true",
        help="with --workers and spark-submit: as N tasks of the Spark cluster; dataset and output are URIs or on a filesystem"
        " that all hosts share, as the working directory is",
    )


def start(workers: int, on_spark: bool) -> int:
    """Starts this program again as each of the workers; returns the exit code, or raises DataError with who failed, and how."""
    if not on_spark:
        return launch([sys.executable, *sys.orig_argv[1:]], workers)
    from pipelines.spark.launch import run_together, ship
    from pipelines.spark.session import spark_session

    spark = spark_session("glyphmill-train", "or train without Spark: --workers alone")
    ship(spark, Path(model.__file__).resolve().parents[1], PACKAGES)
    handed_on = {name: value for name, value in os.environ.items() if name.startswith(HANDED_ON)}
    task = Task("jobs/train.py", tuple(sys.argv[1:]), os.getcwd(), handed_on)
    return outcome(run_together(spark, workers, task))


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 to 1024")
    return int(text)
