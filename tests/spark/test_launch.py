"""Tasks that run together and know each other's addresses, and a training in them."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from model.launch import Task
from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import ingest
from pipelines.spark.launch import run_together, ship

pytestmark = pytest.mark.spark
ROOT = Path(__file__).parents[2]


def test_tasks_run_together_and_their_lines_arrive(spark, capfd):
    def work(addresses, index, tell):
        tell(f"line of {index} é", False)
        tell(f"error of {index}", True)
        return list(addresses), index

    (first, *_), (second, *_) = results = run_together(spark, 2, work)
    assert first == second
    assert [index for _, index in results] == [0, 1]
    assert len(set(first)) == 2
    assert all(0 < int(address.rpartition(":")[2]) < 65536 for address in first)
    told = capfd.readouterr()
    assert sorted(told.out.splitlines()) == ["line of 0 é", "line of 1 é"]
    assert sorted(line for line in told.err.splitlines() if line.startswith("error")) == ["error of 0", "error of 1"]


def test_a_task_that_fails_is_told_in_one_line(spark):
    def work(addresses, index, tell):
        if index == 1:
            raise ValueError("no such thing")
        return index

    with pytest.raises(DataError, match="no such thing") as caught:
        run_together(spark, 2, work)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_more_tasks_than_slots_are_told_in_one_line(spark):
    with pytest.raises(DataError, match="more slots than the total number of slots") as caught:
        run_together(spark, 3, lambda addresses, index, tell: index)
    assert "\n" not in str(caught.value)


def test_a_worker_runs_in_a_task(spark, tmp_path, capfd):
    (tmp_path / "program.py").write_text("import os, sys; print(os.getcwd(), sys.argv[1:], os.environ['MLFLOW_X'])")
    ship(spark, ROOT, ("pipelines", "model", "jobs", "conf"))
    task = Task(str(tmp_path / "program.py"), ("--set", "a=1"), str(tmp_path), {"MLFLOW_X": "here"})
    ends = run_together(spark, 2, task)
    assert [end.code for end in ends] == [0, 0]
    told = capfd.readouterr()
    line = f"{tmp_path} ['--set', 'a=1'] here"
    assert told.out.splitlines() == [line]
    assert f"worker 1: {line}" in told.err.splitlines()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, loop, fill, noise) -> Path:
    folder = tmp_path_factory.mktemp("data")
    fill(folder / "images", {f"{n:03d}.png": noise(n) for n in range(120)})
    settings = {"image": {"height": 16, "width": 32}, "label": {"alphabet": "0123456789"}, "shards": {"files": 20, "rows": 10}}
    ingest(str(folder / "images"), str(folder / "shards"), IngestSettings.model_validate(settings), loop)
    return folder / "shards"


@pytest.mark.tf
@pytest.mark.slow
def test_a_training_runs_as_one_stage_of_a_cluster(dataset, tmp_path):
    """On two executors that have nothing of this repository but what the driver ships."""
    command = [
        Path(sys.executable).with_name("spark-submit"),
        "--master",
        "local-cluster[2,1,1024]",
        "--conf",
        "spark.ui.enabled=false",
    ]
    command += [ROOT / "jobs/train.py", "--on-spark", "--workers", "2", "--dataset", dataset, "--output", "out"]
    for value in ("network.widths=[4,4]", "network.units=8", "network.depth=1", "train.batch_size=8", "train.epochs=2"):
        command += ["--set", value]
    known = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_", "PYTHON", "MLFLOW_"))}
    known |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=known, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line][-4:] == [
        "test",
        "registered",
        "MLflow",
        "checkpoints",
    ]
    assert json.loads((tmp_path / "out/run.json").read_text())["finished"]
    with sqlite3.connect(f"file:{tmp_path}/mlruns/mlflow.db?mode=ro", uri=True) as database:
        assert database.execute("select status from runs").fetchall() == [("FINISHED",)]
        steps = "select step from metrics where key = 'train_loss' order by step"
        assert database.execute(steps).fetchall() == [(1,), (2,)]
