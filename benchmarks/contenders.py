"""Who is measured at ingest, how it is started, and what one run of it took."""

import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from benchmarks import measure
from benchmarks.rounds import NotRunError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "conf/ingest/default.yaml"
BENCH_PYTHON = str(ROOT / ".venv-bench/bin/python")
SPARK_SUBMIT = str(Path(sys.executable).parent / "spark-submit")
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}  # the peers' code, and Spark's workers


class Contender(NamedTuple):
    """A program that turns a folder of images into rows. `command` goes before --input and --output.

    `verifies`: a damaged file is told apart and does not end the run; `deduplicates`: the same bytes become one row;
    `accounts`: every listed file is written or has a reason. `slow` ones run on a sample of the images.
    """

    name: str
    command: tuple[str, ...]
    ours: bool = False
    slow: bool = False
    peer: bool = True  # False: the bare limit and ourselves
    verifies: bool = False
    deduplicates: bool = False
    accounts: bool = False


class Measured(NamedTuple):
    """One run: images, seconds and CPU seconds of the work, bytes left, largest resident MiB by kind of process."""

    images: int
    seconds: float
    cpu: float
    bytes: int
    mib: dict[str, float]


def _ours(name: str, *command: str) -> Contender:
    return Contender(name, command, ours=True, peer=False, verifies=True, deduplicates=True, accounts=True)


def _program(name: str, python: str = sys.executable) -> tuple[str, ...]:
    return (python, "-m", f"benchmarks.ingest_peers.{name}")


OURS, LIMIT, DEFAULT = "this job", "bare limit", "binaryFile, defaults"
CONTENDERS = (
    _ours(OURS, SPARK_SUBMIT, "jobs/ingest.py", "--config", CONFIG),
    _ours("this job, --runner local", sys.executable, "-m", "jobs.ingest", "--runner", "local", "--config", CONFIG),
    Contender(LIMIT, _program("bare_pool"), peer=False),
    Contender("notebook (paths, tf.data)", _program("notebook"), slow=True),
    Contender(DEFAULT, _program("binary_file"), slow=True),
    Contender("binaryFile, tuned", (*_program("binary_file"), "--tuned")),
    Contender("datasets imagefolder", _program("imagefolder", BENCH_PYTHON)),
    Contender("petastorm materialize", _program("materialize")),
)


def run_once(contender: Contender, images: Path, count: int, output: Path) -> Measured:
    """One run on the `count` files of the folder `images`; `output` is removed after it. Raises NotRunError."""
    command = [*contender.command, "--input", str(images), "--output", str(output)]
    for image in filter(Path.is_file, images.iterdir()):
        image.read_bytes()  # each finds the files in memory, whoever ran before it
    try:
        ran = measure.run(command, ROOT, ENVIRONMENT)
        if ran.code:
            raise NotRunError(ran.failure)
        seconds, ended, rows = (_of_manifest if contender.ours else _of_report)(ran, output)
        if rows != count:
            raise NotRunError(f"{rows} rows of {count} images")
        mib = {kind: size / measure.MIB for kind, size in ran.watch.largest.items()}
        return Measured(count, seconds, ran.watch.cpu_between(ended - seconds, ended), measure.size_of(output), mib)
    except FileNotFoundError as error:
        raise NotRunError(str(error)) from None
    finally:
        shutil.rmtree(output, ignore_errors=True)


def manifest_of(output: Path) -> tuple[dict, float]:
    """The latest manifest of a dataset, and the time.time() at which it was published."""
    path = max((output / "manifests").glob("v*.json"))
    return json.loads(path.read_text(encoding="utf-8")), path.stat().st_mtime


def _of_manifest(_: measure.Ran, output: Path) -> tuple[float, float, int]:
    manifest, published = manifest_of(output)
    return manifest["seconds"], published, sum(manifest["splits"].values())


def _of_report(ran: measure.Ran, output: Path) -> tuple[float, float, int]:
    report = json.loads(ran.output.splitlines()[-1])
    return report["seconds"], report["ended"], report["images"] or rows_in(output)


def rows_in(output: Path) -> int:
    """The rows of all Parquet files below a folder."""
    return sum(pq.read_metadata(path).num_rows for path in output.rglob("*.parquet"))
