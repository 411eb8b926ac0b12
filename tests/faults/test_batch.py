"""A folder is being read as its driver or a worker is killed: the next run reads what is missing, and every byte is the same."""

import hashlib
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny_bundle import write_tiny_bundle

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
FILES, PARTS = 645, 162  # of the images, and of up to 4 of them in a part
SPARK = pytest.param("spark", marks=[pytest.mark.spark, pytest.mark.slow])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture
def read(begin, images, model, tmp_path):
    """Starts to read the images to the folder `read`, or another one."""

    def read(runner: str, output: str = "read"):
        how = [BIN / "spark-submit", "--master", "local[2]", "--conf", "spark.ui.enabled=false"]
        how = [BIN / "python"] if runner == "local" else how
        where = ["--model", model, "--input", images, "--output", tmp_path / output, "--set", "files=4", "--runner", runner]
        return begin(*how, ROOT / "jobs/predict_batch.py", *where, *(["--workers", 2] if runner == "local" else []))

    return read


def parts(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("part-*")}


def check(folder: Path, undisturbed: Path) -> None:
    assert parts(folder) == parts(undisturbed)
    assert len(parts(folder)) == PARTS
    assert {path.name for path in folder.iterdir()} - parts(folder).keys() == {"_summary.json"}
    assert len(pd.read_parquet(folder)) == FILES


@pytest.mark.parametrize("runner", ["local", SPARK])
def test_killed_it_goes_on_where_it_was(read, tmp_path, runner):
    read(runner, "undisturbed").good()
    job = read(runner)
    assert job.until(lambda: len(parts(tmp_path / "read")) >= 5)
    job.kill_driver()
    job.end()
    assert not (tmp_path / "read/_summary.json").exists()
    stood = {path: path.stat().st_ino for path in (tmp_path / "read").glob("part-*")}
    assert 5 <= len(stood) < PARTS
    said = read(runner).good()
    assert re.search(rf"continuing an interrupted batch: {len(stood)} of {PARTS} parts were finished", said)
    assert {path: path.stat().st_ino for path in stood} == stood
    check(tmp_path / "read", tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(read, tmp_path):
    read("local", "undisturbed").good()
    job = read("local")
    assert job.until(lambda: len(parts(tmp_path / "read")) >= 5)
    job.kill(*job.workers()[:1])
    assert "read: a process of the pool died (attempt 1 of 4)" in job.good()
    check(tmp_path / "read", tmp_path / "undisturbed")


@pytest.mark.slow
def test_the_second_of_two_writers_is_told_to_wait(read, tmp_path):
    first = read("local")
    assert first.until(lambda: len(parts(tmp_path / "read")) >= 1)
    first.pause()
    line = read("local").error()
    assert line.startswith(f"error: {tmp_path}/read: another batch is writing here (pid {first.process.pid}); wait for it")
    first.resume()
    first.good()
    assert "nothing to do: " in read("local").good()
