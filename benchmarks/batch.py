"""The batch job on Spark beside the same model in a bare pool of processes, on the same made images, alternating.

make bench-batch                       # 20,000 images of 200x100, three rounds; the result: build/bench/batch.json
make bench-batch COUNT=4000 ROUNDS=1 ARGS="--preset fast"
make bench-batch ARGS="--model models:/glyphmill@champion"

Both run two processes of one thread each, with batches of the same size, on files that are in memory. "images/s" is of the
running job, which the bar is for: from the listing to the last row; Spark's session and Spark SQL stand before, and what both
have to do themselves counts: processes start and load the model. "with start" is of the whole command, from its start to its
end, with Java, Spark's session and MLflow's import; the more images, the less that weighs. The pool writes nothing, the job
writes Parquet. Without --model the network is a preset's as it is made: its weights do not change its time, and it reads no
character in most images, so that decoding costs least and Spark's part of the time is largest.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import measure
from benchmarks.contenders import ENVIRONMENT, ROOT, SPARK_SUBMIT, rows_in
from benchmarks.images import ALPHABET, Made, made_images
from benchmarks.rounds import NotRunError, about, add_turns, alternate, parser
from benchmarks.tables import bar, bar_lines, number, table, write_result
from jobs import entry

RESULT = ROOT / "build/bench/batch.json"
PACKAGES = ("numpy", "pyarrow", "pyspark", "pillow", "kornia-rs", "onnxruntime", "tensorflow")
PROCESSES, SHAPE, LONGEST = 2, (64, 160, 1), 6
OURS, OURS_LOCAL, LIMIT = "this job, local[2]", "this job, --runner local", "bare pool"
Row = dict[str, Any]


class Contender(NamedTuple):
    """A program that reads a folder; `command` goes before --model and --input, `ours` ones have --output too."""

    name: str
    command: tuple[str, ...]
    ours: bool = True


class Measured(NamedTuple):
    """One run: images, seconds of the work and of the whole command, CPU seconds of the work."""

    images: int
    seconds: float
    whole: float
    cpu: float


def main() -> None:
    args = _arguments()
    made = Made(args.count, seed=args.seed)
    failures: dict[str, str] = {}
    with (
        made_images(made, args.keep_images) as images,
        tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work,
        _model(args.model, args.preset, Path(work)) as model,
    ):
        chosen = [one for one in contenders(args.batch) if not args.only or one.name in args.only]
        output = Path(work) / "output"
        runs = alternate(chosen, args.rounds, lambda one: run_once(one, model, images, made.count, output), _told, failures)
    rows = summaries(chosen, runs, failures)
    result = {
        "images": made.name,
        "model": args.model or f"{args.preset}, not trained",
        "batch": args.batch,
        "processes": PROCESSES,
        "rounds": args.rounds,
        "machine": measure.machine(),
        "versions": {"default": measure.versions(sys.executable, PACKAGES)},
        "rows": rows,
        "bars": bars(rows),
    }
    write_result(RESULT, result)
    notes = [*about(result), f"written to {RESULT.relative_to(ROOT)}"]
    print("\n".join([table([cells(row) for row in rows]), "", *bar_lines(result["bars"]), "", *notes]))


def contenders(batch: int) -> tuple[Contender, ...]:
    """The job with Spark and without, and the limit, with batches of so many images."""
    settings = ("--set", f"batch={batch}")
    pool = (sys.executable, "-m", "benchmarks.batch_peers.bare_pool", "--processes", str(PROCESSES), "--batch", str(batch))
    local = (sys.executable, "-m", "jobs.predict_batch", "--runner", "local", "--workers", str(PROCESSES))
    return (
        Contender(OURS, (SPARK_SUBMIT, "--master", f"local[{PROCESSES}]", "jobs/predict_batch.py", *settings)),
        Contender(LIMIT, pool, ours=False),
        Contender(OURS_LOCAL, (*local, *settings)),
    )


def run_once(contender: Contender, model: str, images: Path, count: int, output: Path) -> Measured:
    """One run on the `count` files of the folder `images`; `output` is removed after it. Raises NotRunError."""
    command = [*contender.command, "--model", model, "--input", str(images)]
    for image in images.iterdir():
        image.read_bytes()  # each finds the files in memory, whoever ran before it
    try:
        ran = measure.run([*command, "--output", str(output)] if contender.ours else command, ROOT, ENVIRONMENT)
        if ran.code:
            raise NotRunError(ran.failure)
        seconds, ended, rows = _of_summary(output) if contender.ours else _of_report(ran)
        if rows != count:
            raise NotRunError(f"{rows} rows of {count} images")
        return Measured(count, seconds, ran.seconds, ran.watch.cpu_between(ended - seconds, ended))
    finally:
        shutil.rmtree(output, ignore_errors=True)


def summaries(chosen: Sequence[Contender], runs: Mapping[str, Sequence[Measured]], failures: Mapping[str, str]) -> list[Row]:
    """A row for each contender: medians over its runs and ratios to the bare pool's, or why it was not run."""
    rows = []
    for contender in chosen:
        row: Row = {"contender": contender.name, "failure": failures.get(contender.name)}
        if found := runs.get(contender.name):
            speeds = [one.images / one.seconds for one in found]
            row |= {"images": found[0].images, "images_per_s": median(speeds), "range": [min(speeds), max(speeds)]}
            row |= {"with_start_per_s": median(one.images / one.whole for one in found)}
            row |= {"start_s": median(one.whole - one.seconds for one in found)}
            row |= {"cpu_s_per_1000": median(1000 * one.cpu / one.images for one in found)}
        rows.append(row)
    limit = next((row for row in rows if row["contender"] == LIMIT and "images" in row), None)
    for row in rows:
        if limit and "images" in row:
            row["to_limit"] = row["images_per_s"] / limit["images_per_s"]
            row["with_start_to_limit"] = row["with_start_per_s"] / limit["with_start_per_s"]
    return rows


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The bar of the running job on Spark."""
    ours = next((row for row in rows if row["contender"] == OURS), {})
    return {"running_job_to_bare_pool": bar(ours.get("to_limit"), 0.9)}


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "contender": row["contender"],
        "images": f"{row['images']:,}" if "images" in row else "not run",
        "images/s": number(row.get("images_per_s")),
        "min-max": "-".join(number(speed) for speed in row.get("range", [None])),
        "x pool": number(row.get("to_limit"), 2),
        "with start": number(row.get("with_start_per_s")),
        "x pool with start": number(row.get("with_start_to_limit"), 2),
        "start s": number(row.get("start_s"), 1),
        "CPU s/1000": number(row.get("cpu_s_per_1000"), 2),
    }


@contextmanager
def _model(uri: str | None, preset: str, work: Path) -> Iterator[str]:
    """The folder of a model's bundle; without a URI of one that is made of a preset."""
    if uri is None:
        yield str(made_model(preset, work / "model"))
        return
    from model.tracking import bundle_of

    with bundle_of(uri) as folder:
        yield str(folder)


def made_model(preset: str, folder: Path) -> Path:
    """A bundle with the network of a preset as it is made, for images of SHAPE, as ONNX."""
    entry.load_tensorflow()
    from model import heads, onnx
    from model.bundle import BUNDLE, sha256_of
    from model.config import TrainSettings
    from model.decode import RULE_OF
    from model.networks import build
    from model.runtimes import NETWORK_ONNX
    from pipelines.settings import read

    settings = read(TrainSettings, ROOT / f"conf/train/{preset}.yaml")
    folder.mkdir()
    network = heads.reader(build(settings.network, SHAPE, len(ALPHABET), LONGEST))
    onnx.write_onnx(network, folder / NETWORK_ONNX)
    bundle = {
        "format": 2,
        "alphabet": ALPHABET,
        "image": {"height": SHAPE[0], "width": SHAPE[1]},
        "checks": {},
        "decode": RULE_OF[settings.network.head],
        "dataset": {"fingerprint": ""},
        "files": {NETWORK_ONNX: sha256_of(folder / NETWORK_ONNX)},
    }
    (folder / BUNDLE).write_text(json.dumps(bundle), encoding="utf-8")
    return folder


def _of_summary(output: Path) -> tuple[float, float, int]:
    place = output / "_summary.json"
    return json.loads(place.read_text(encoding="utf-8"))["seconds"], place.stat().st_mtime, rows_in(output)


def _of_report(ran: measure.Ran) -> tuple[float, float, int]:
    report = json.loads(ran.output.splitlines()[-1])
    return report["seconds"], report["ended"], report["images"]


def _told(found: Measured) -> str:
    return f"{found.images / found.seconds:,.0f} images/s in {found.seconds:.1f} s, {found.whole:.1f} s with start"


def _arguments() -> Any:
    options = parser(__doc__, 20_000)
    add_turns(options)
    options.add_argument("--model", metavar="URI_OR_DIR", help="default: the network of --preset, not trained")
    options.add_argument("--preset", default="default", help="a file of conf/train/ (default: default)")
    options.add_argument("--batch", type=int, default=64, help="images that a network reads at a time (default 64)")
    return options.parse_args()


if __name__ == "__main__":
    main()
