"""Planted label errors: labels of some images are swapped, and the doctor, with a model trained on them, is to find them.

make bench-doctor                                  # 2% of digits4, 240 s of training; the result: build/bench/doctor.json
make bench-doctor ARGS="--budget 60 --share 0.02"

Labels are swapped between images of the whole dataset, so that the model has learned from wrong ones and is judged by wrong
ones too. It counts how many of them stand in the first rows of the ranking, twice as many rows as there are errors.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import train_data
from benchmarks.measure import machine, run, versions
from benchmarks.tables import bar, bar_lines, number, table, write_result
from jobs.entry import ALLOCATOR
from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.pool import PoolRunner
from pipelines.settings import read

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/doctor.json"
PACKAGES = ("numpy", "tensorflow", "keras")
LEAST = 0.8  # of the errors are to stand in the first rows
Row = dict[str, Any]


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as scratch:
        work = Path(scratch)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{work}/mlflow.db"
        images = train_data.images_of("digits4", args.data, 0, args.seed, work / "images")
        planted = swap(images, args.share, args.seed)
        settings = read(IngestSettings, ROOT / "conf/ingest/default.yaml")
        shards = ingest(str(images), str(work / "shards"), settings, PoolRunner).dataset.location.path
        limits = [f"train.minutes={args.budget / 60}", "train.epochs=10000", f"train.seed={args.seed}"]
        overrides = [word for limit in limits for word in ("--set", limit)]
        _job("train", "--dataset", shards, "--config", "conf/train/default.yaml", *overrides)
        model = "models:/glyphmill@champion"
        _job("doctor", "--dataset", shards, "--model", model, "--output", str(work / "doctor"))
        scores = pq.read_table(work / "doctor/scores.parquet").to_pylist()
    rows = summaries(scores, planted)
    result = {
        "share": args.share,
        "budget_s": args.budget,
        "machine": machine(),
        "versions": versions(sys.executable, PACKAGES),
        "rows": rows,
        "bars": {"errors_in_the_first_rows": bar(rows[0]["found"] / rows[0]["errors"], LEAST)},
    }
    write_result(RESULT, result)
    print("\n".join([table(list(map(cells, rows))), "", *bar_lines(result["bars"])]))


def swap(images: Path, share: float, seed: int) -> set[str]:
    """Gives images in pairs of other labels each other's names, and returns the relative paths of those that are wrong now."""
    paths = sorted(path for path in images.rglob("*.png"))
    chosen = random.Random(seed).sample(paths, round(share * len(paths) / 2) * 2)
    wrong = set()
    for one, other in zip(chosen[::2], chosen[1::2], strict=True):
        if label(one) != label(other):
            held = one.with_suffix(".held")
            one.rename(held)
            other.rename(one)
            held.rename(other)
            wrong |= {str(path.relative_to(images)) for path in (one, other)}
    return wrong


def label(path: Path) -> str:
    """The label in a file's name, which a number may follow."""
    return path.name.partition(".")[0]


def summaries(scores: Sequence[Mapping[str, Any]], planted: set[str]) -> list[Row]:
    """Of all rows and of each split: how many, planted errors, and how many of these stand in the first 2 * errors rows."""
    rows = []
    for split in ("all", "train", "val", "test"):
        part = [row for row in scores if split in ("all", row["split"])]
        ranked = sorted(part, key=lambda row: -(row["score"] or 0.0))
        errors = sum(row["path"] in planted for row in part)
        first = ranked[: 2 * errors]
        rows.append(
            {"split": split, "rows": len(part), "errors": errors, "found": sum(row["path"] in planted for row in first)}
        )
    return rows


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    share = row["found"] / row["errors"] if row["errors"] else None
    numbers = {"rows": row["rows"], "errors": row["errors"], "looked at": 2 * row["errors"], "found": row["found"]}
    return {"split": row["split"], **{name: number(value) for name, value in numbers.items()}, "share": number(share, 3)}


def _job(name: str, *words: str) -> None:
    """Runs a job as a person would. Raises SystemExit where it fails."""
    ran = run([sys.executable, "-m", f"jobs.{name}", *words], ROOT, ALLOCATOR)
    print(f"{name}: {ran.output.strip()}", file=sys.stderr, flush=True)
    if ran.code:
        raise SystemExit(f"error: jobs.{name}: {ran.failure}")


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--data", type=Path, default=ROOT / "../shared/data", metavar="DIR", help="folder of the zip of digits4"
    )
    options.add_argument("--budget", type=float, default=240, metavar="S", help="seconds of training (default 240)")
    options.add_argument("--share", type=float, default=0.02, help="of the labels are swapped (default 0.02)")
    options.add_argument("--seed", type=int, default=0)
    return options.parse_args()


if __name__ == "__main__":
    main()
