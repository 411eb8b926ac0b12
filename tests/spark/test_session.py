"""The session: executors can import this package, and a wrong master is told in one line."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipelines.spark.session import package_zip

pytestmark = pytest.mark.spark
ROOT = Path(__file__).parents[2]


def test_the_zip_holds_the_package_and_nothing_else(tmp_path):
    names = zipfile.ZipFile(package_zip(tmp_path)).namelist()
    assert {"pipelines/__init__.py", "pipelines/groups.py", "pipelines/spark/ingest.py"} <= set(names)
    assert all(name.startswith("pipelines/") and name.endswith(".py") for name in names)


def test_the_package_imports_from_its_zip(tmp_path):
    code = "import pipelines.groups, pipelines.drawing; print(pipelines.groups.__file__)"
    environment = os.environ | {"PYTHONPATH": package_zip(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert "pipelines.zip/pipelines/groups.py" in done.stdout


def test_a_task_imports_the_package(spark):
    def version(_):
        import pipelines

        return pipelines.VERSION

    from pipelines import VERSION

    assert spark.sparkContext.parallelize([0], 1).map(version).collect() == [VERSION]


@pytest.mark.slow
def test_a_wrong_master_is_told_in_one_line_that_names_the_other_runner(tmp_path, fill, noise):
    fill(tmp_path, {"images/A.png": noise(1)})
    command = [sys.executable, str(ROOT / "jobs/ingest.py"), "--input", "images", "--output", "shards"]
    environment = os.environ | {"PYSPARK_SUBMIT_ARGS": "--master nonsense pyspark-shell"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1, done.stderr
    assert len(told) == 1
    assert "Spark cannot start" in told[0]
    assert "or run without Spark: --runner local" in told[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "shards/manifests").exists()
    done = subprocess.run(
        [*command, "--runner", "local"], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
