"""The loader beside its peers and the limit: rows/s into a batch that a device can take, each in a process of its own.

make bench-loader                      # 20,000 images as 64x160 gray tensors, three rounds; the result: build/bench/loader.json
make bench-loader COUNT=5000 ROUNDS=1 ARGS="--only 'this loader, 2 threads' 'limit, 2 threads'"

All go over the same images in batches of the same size, with glibc's allocator set as jobs.train sets it. In every process
the first epoch (start of the pipeline, first opening and checking of files) is told apart and a steady one is the median of
the others. CPU seconds are those of steady epochs over all threads; memory is the most that was resident, and what of it
came after the imports. A ratio compares medians over all rounds.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.images import Made, made_images
from benchmarks.loader_peers.contender import HEIGHT, WIDTH
from benchmarks.measure import machine, run, size_of, versions
from benchmarks.rounds import NotRunError, about, add_turns, alternate, parser
from benchmarks.tables import bar, bar_lines, number, table, write_result
from jobs.entry import ALLOCATOR
from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.manifest import open_dataset
from pipelines.pool import PoolRunner

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/loader.json"
BENCH_PYTHON = str(ROOT / ".venv-bench/bin/python")
PACKAGES = ("numpy", "pyarrow", "tensorflow", "petastorm", "datasets")
Row = dict[str, Any]


class Contender(NamedTuple):
    """A program of loader_peers with its arguments, and which of the prepared inputs it reads. `slow` ones read two epochs."""

    name: str
    program: str
    input: str
    arguments: tuple[str, ...] = ()
    slow: bool = False
    python: str = sys.executable


def _threads(count: int) -> tuple[str, ...]:
    return ("--threads", str(count))


OURS, LIMIT = ("this loader, 1 thread", "this loader, 2 threads"), ("limit, 1 thread", "limit, 2 threads")
TENSORS, PNG, MAKE_READER, FILES = "TFRecord, tensors", "TFRecord, PNG", "petastorm make_reader", "tf.data from files"
CONTENDERS = (
    *(Contender(name, "ours", "shards", _threads(i + 1)) for i, name in enumerate(OURS)),
    *(Contender(name, "arrow_limit", "shards", _threads(i + 1)) for i, name in enumerate(LIMIT)),
    Contender(TENSORS, "tfrecord", "tfrecord"),
    Contender(PNG, "tfrecord", "tfrecord", ("--png",), slow=True),
    Contender(MAKE_READER, "petastorm_reader", "shards", slow=True),
    Contender("petastorm make_batch_reader", "petastorm_reader", "shards", ("--batches",)),
    Contender(FILES, "files", "images", slow=True),
    Contender("datasets to_tf_dataset", "huggingface", "huggingface", python=BENCH_PYTHON),
)


def main() -> None:
    args = _arguments()
    made = Made(args.count, seed=args.seed)
    chosen = [contender for contender in CONTENDERS if not args.only or contender.name in args.only]
    with made_images(made, args.keep_images) as images, tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        inputs, failures = prepare(chosen, images, Path(work))
        rows_of = open_dataset(str(inputs["shards"])).manifest.splits["train"]
        runs = alternate(
            chosen,
            args.rounds,
            lambda one: run_once(one, inputs[one.input], rows_of, args),
            lambda found: f"{_steady(found):,.0f} rows/s",
            failures,
        )
        sizes = {name: size_of(place) for name, place in inputs.items() if place.exists()}
    rows = summaries(chosen, runs, failures)
    result = {
        "images": made.name,
        "shape": [HEIGHT, WIDTH, 1],
        "batch": args.batch,
        "rounds": args.rounds,
        "epochs": args.epochs,
        "bytes": sizes,
        "machine": machine(),
        "versions": {"default": versions(sys.executable, PACKAGES), "bench": versions(BENCH_PYTHON, PACKAGES)},
        "rows": rows,
        "bars": bars(rows),
    }
    write_result(RESULT, result)
    on_disk = "on disk: " + ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in sizes.items())
    notes = [on_disk, *about(result), f"written to {RESULT.relative_to(ROOT)}"]
    print("\n".join([table([cells(row) for row in rows]), "", *bar_lines(result["bars"]), "", *notes]))


def prepare(chosen: Sequence[Contender], images: Path, work: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The inputs that the chosen contenders read, made of the same images, and why some could not be made."""
    inputs, failures = {"images": images}, {}
    settings = {"image": {"height": HEIGHT, "width": WIDTH}, "split": {"train": 1, "val": 0, "test": 0}}
    shards = ingest(str(images), str(work / "shards"), IngestSettings.model_validate(settings), PoolRunner).dataset
    inputs["shards"] = Path(shards.location.path)
    for name in sorted({contender.input for contender in chosen} - inputs.keys()):
        python = next(contender.python for contender in chosen if contender.input == name)
        command = [python, "-m", f"benchmarks.loader_peers.{name}", "--write", str(images), str(work / name)]
        inputs[name] = work / name
        ran = run(command, ROOT, {"PYTHONPATH": str(ROOT), "HF_HOME": str(work / "cache")})
        if ran.code:
            failures |= {contender.name: ran.failure for contender in chosen if contender.input == name}
        shutil.rmtree(work / "cache", ignore_errors=True)
    return inputs, failures


def run_once(contender: Contender, place: Path, rows: int, args: argparse.Namespace) -> dict[str, Any]:
    """What one process of a contender reported. Raises NotRunError."""
    for path in place.rglob("*"):
        if path.is_file():
            path.read_bytes()  # each finds its files in memory, whoever ran before it
    sizes = ["--rows", str(rows), "--batch", str(args.batch), "--epochs", str(2 if contender.slow else args.epochs)]
    command = [contender.python, "-m", f"benchmarks.loader_peers.{contender.program}", "--input", str(place), *sizes]
    ran = run([*command, *contender.arguments], ROOT, {"PYTHONPATH": str(ROOT), **ALLOCATOR})
    if ran.code:
        raise NotRunError(ran.failure)
    return json.loads(next(line for line in ran.output.splitlines() if line.startswith("{")))  # petastorm prints more


def summaries(chosen: Sequence[Contender], runs: Mapping[str, Sequence[Mapping]], failures: Mapping[str, str]) -> list[Row]:
    """A row for each contender: medians over its runs, its ratio to the limit, or why it was not run."""
    speeds = {name: [_steady(one) for one in found] for name, found in runs.items() if found}
    best = max((median(speeds[name]) for name in LIMIT if name in speeds), default=None)
    rows = []
    for contender in chosen:
        row: Row = {"contender": contender.name, "failure": failures.get(contender.name)}
        if contender.name in speeds:
            own, found = speeds[contender.name], runs[contender.name]
            row |= {
                "rows_per_s": median(own),
                "range": [min(own), max(own)],
                "first_epoch_rows_per_s": median(one["rows"] / one["seconds"][0] for one in found),
                "to_limit": best and median(own) / best,
                "cpu_s_per_million": median(1e6 * median(one["cpu"][1:]) / one["rows"] for one in found),
                "mib": median(one["mib"] for one in found),
                "mib_of_data": median(one["mib_of_data"] for one in found),
            }
        rows.append(row)
    return rows


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The bars of the loader. Against peers its faster variant counts; against the limit each with the same threads."""
    speed = {row["contender"]: row["rows_per_s"] for row in rows if "rows_per_s" in row}
    ours = max((speed[name] for name in OURS if name in speed), default=None)

    def ratio(one: float | None, name: str) -> float | None:
        return one / speed[name] if one and name in speed else None

    return {
        "ratio_to_limit_1_thread": bar(ratio(speed.get(OURS[0]), LIMIT[0]), 0.8),
        "ratio_to_limit_2_threads": bar(ratio(speed.get(OURS[1]), LIMIT[1]), 0.8),
        "ratio_to_tfrecord_of_tensors": bar(ratio(ours, TENSORS), 1.2),
        "ratio_to_petastorm_make_reader": bar(ratio(ours, MAKE_READER), 4),
        "ratio_to_files": bar(ratio(ours, FILES), 8),
    }


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "contender": row["contender"],
        "rows/s": number(row.get("rows_per_s")) if "rows_per_s" in row else "not run",
        "min-max": "-".join(number(speed) for speed in row.get("range", [None])),
        "x limit": number(row.get("to_limit"), 2),
        "first epoch": number(row.get("first_epoch_rows_per_s")),
        "CPU s/million": number(row.get("cpu_s_per_million"), 1),
        "MiB": number(row.get("mib")),
        "of data": number(row.get("mib_of_data")),
    }


def _steady(one: Mapping[str, Any]) -> float:
    """Rows/s of a run without its first epoch."""
    return one["rows"] / median(one["seconds"][1:])


def _arguments() -> argparse.Namespace:
    options = parser(__doc__, 20_000)
    add_turns(options)
    options.add_argument("--epochs", type=int, default=4, help="epochs of each process, of which the first is told apart")
    options.add_argument("--batch", type=int, default=256, help="rows of a batch (default 256)")
    return options.parse_args()


if __name__ == "__main__":
    main()
