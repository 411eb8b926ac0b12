"""A folder read on Spark: the rows that a loop makes, with a model's folder that every executor has been given."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from pipelines.batch import BatchModel, BatchSettings, Crew, predict_folder
from pipelines.errors import DataError
from pipelines.predictions import Row
from pipelines.spark.predict import SparkReader, ship_folder
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.spark
ROOT = Path(__file__).parents[2]
MODEL = BatchModel(uri="models:/m/3", fingerprint="f" * 32, dataset="d", alphabet="01", max_bytes=50)
SETTINGS = BatchSettings(files=5)
FILES = {f"{n % 3}/{n:02d}.png": b"x" * (n % 7 + 1) for n in range(30)} | {"bad/a.png": b"", "bad/é.png": b"x" * 51}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fill) -> Path:
    return fill(tmp_path_factory.mktemp("batch"), {f"images/{path}": data for path, data in FILES.items()})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, fill) -> Path:
    return fill(tmp_path_factory.mktemp("model"), {"word.txt": b"read", "deep/er.txt": b"as"})


def open_reader(where):
    """Reads what the model's folder says, and the size of each file."""
    words = f"{Path(where(), 'word.txt').read_text()} {Path(where(), 'deep/er.txt').read_text()}"

    def read(images):
        for path, data in images:
            yield Row(path, f"{words} {len(data)}", 0.5, (0.25, 0.5)) if data else Row(path, error="empty_file: no bytes")

    return read


def read_on(spark, folder, bundle, output: str, open_reader=open_reader, settings=SETTINGS):
    crew = Crew(SparkReader(spark), partial(open_reader, ship_folder(spark, bundle, "batch-test")))
    return predict_folder(str(folder / "images"), str(folder / output), MODEL, settings, lambda: crew)


def test_spark_and_a_loop_make_the_same_files(spark, folder, bundle, loop):
    done = read_on(spark, folder, bundle, "spark").summary
    crew = Crew(loop(), partial(open_reader, partial(str, bundle)))
    predict_folder(str(folder / "images"), str(folder / "loop"), MODEL, SETTINGS, lambda: crew)
    ours, theirs = ({path.name: path.read_bytes() for path in (folder / name).glob("part-*")} for name in ("spark", "loop"))
    assert len(ours) == 7
    assert ours == theirs
    assert (done.files, done.read, done.failed, done.tools["pyspark"]) == (32, 30, 2, spark.version)


def test_spark_and_pandas_read_the_output_as_one_table(spark, folder, bundle):
    read_on(spark, folder, bundle, "tables")
    table = spark.read.parquet(str(folder / "tables"))
    kinds = dict(table.dtypes)
    strings = dict.fromkeys(("path", "text", "error"), "string")
    assert kinds == strings | {"confidence": "float", "characters": "array<float>"}
    rows = {row.path: row for row in table.collect()}
    assert rows.keys() == FILES.keys()
    assert (rows["1/04.png"].text, rows["1/04.png"].characters, rows["1/04.png"].error) == ("read as 5", [0.25, 0.5], None)
    assert (rows["bad/a.png"].text, rows["bad/a.png"].error) == (None, "empty_file: no bytes")
    assert rows["bad/é.png"].error.startswith("too_large: 51 bytes")
    assert sorted(pd.read_parquet(folder / "tables")["path"]) == sorted(FILES)


def test_a_folder_is_handed_out_once(spark, folder, bundle):
    for _ in range(2):
        assert isinstance(ship_folder(spark, bundle, "once"), partial)
    assert sum(path.endswith("/once.zip") for path in spark.sparkContext.listArchives) == 1


def test_a_task_that_fails_is_told_in_one_line_and_the_rest_is_kept(spark, folder, bundle):
    def failing(where):
        def read(images):
            for row in open_reader(where)(images):
                if row.path == "1/04.png":
                    raise DataError("network.onnx: damaged\nand a second line")
                yield row

        return read

    with pytest.raises(DataError, match="a Spark task failed: .*network.onnx: damaged") as caught:
        read_on(spark, folder, bundle, "failing", failing)
    assert "\n" not in str(caught.value)
    assert not (folder / "failing/_summary.json").exists()
    there = len(list((folder / "failing").glob("part-*")))
    done = read_on(spark, folder, bundle, "failing").summary
    assert done.files == 32
    assert (done.continued > 0) == (there > 0)


def test_a_python_worker_that_dies_is_replaced(spark, folder, bundle, tmp_path, capsys):
    marker = str(tmp_path / "marker")

    def dying(where):
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return open_reader(where)

    assert read_on(spark, folder, bundle, "dying", dying).summary.files == 32
    assert Path(marker).exists()
    assert "(attempt 1 of 4)" in capsys.readouterr().err


@pytest.mark.tf
@pytest.mark.slow
def test_executors_have_nothing_but_what_the_driver_ships(tmp_path, fill, noise):
    """Two executors in processes of their own, away from the repository."""
    fill(tmp_path, {f"images/{n:02d}.png": noise(n) for n in range(40)} | {"images/bad.png": b"text"})
    arguments = ["--model", write_tiny_bundle(tmp_path / "model"), "--input", "images", "--set", "files=6"]
    command = [Path(sys.executable).with_name("spark-submit"), "--master", "local-cluster[2,1,1024]"]
    command += ["--conf", "spark.ui.enabled=false", ROOT / "jobs/predict_batch.py", *arguments, "--output", "cluster"]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_", "PYTHON"))}
    known |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    local = [sys.executable, ROOT / "jobs/predict_batch.py", *arguments, "--output", "local", "--runner", "local"]
    for each in (command, local):
        done = subprocess.run(
            list(map(str, each)), cwd=tmp_path, env=known, capture_output=True, text=True, check=False, timeout=500
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Traceback" not in done.stderr
        assert "\n41 images in 7 parts: 40 read, 1 not; " in f"\n{done.stdout}"
    ours, theirs = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("part-*")} for name in ("cluster", "local")
    )
    assert ours == theirs
    held = json.loads((tmp_path / "cluster/_summary.json").read_text())
    assert held["reasons"] == {"not_an_image": 1}
    assert held["settings"]["runtime"] == "onnx"
