"""The borders between the sides, as a fresh interpreter sees them after importing every module."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("pyspark", "petastorm", "tensorflow", "keras", "mlflow", "model", "jobs")

# Imports `before`, then all modules below a package, and prints which of the names came with the latter.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
package, before, skipped, names = json.loads(sys.argv[1])
for name in before:
    importlib.import_module(name)
there = set(sys.modules)
root = importlib.import_module(package)
found = [info.name for info in pkgutil.walk_packages(root.__path__, package + ".") if not info.name.startswith(tuple(skipped))]
for name in found:
    importlib.import_module(name)
print(json.dumps([found, [name for name in names if name in set(sys.modules) - there]]))
"""


def imported(package: str, names: tuple[str, ...], before: tuple[str, ...] = (), skipped: tuple[str, ...] = ()):
    """The modules of `package`, and which of `names` they import besides those that `before` imports itself."""
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps([package, before, skipped, names])]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_data_side_without_spark_imports_no_heavy_library():
    modules, found = imported("pipelines", HEAVY, skipped=("pipelines.spark",))
    assert {"pipelines.ingest", "pipelines.report", "pipelines.drawing"} <= set(modules)
    assert found == []


def test_the_data_side_on_spark_imports_nothing_of_the_learning_side():
    modules, found = imported("pipelines", ("tensorflow", "keras", "mlflow", "model", "jobs"))
    assert {"pipelines.spark.ingest", "pipelines.spark.session"} <= set(modules)
    assert found == []


def test_the_jobs_import_no_heavy_library_before_they_know_their_arguments():
    _, found = imported("jobs", ("pyspark", "tensorflow", "keras", "mlflow"))
    assert found == []


@pytest.mark.tf
@pytest.mark.slow
def test_the_learning_side_imports_no_spark():
    pytest.importorskip("tensorflow")
    modules, found = imported("model", ("pyspark", "jobs", "pipelines.spark"), before=("tensorflow", "keras", "mlflow"))
    if not modules:
        pytest.skip("there is no module in model/ yet")
    assert found == []


def imports(source: Path) -> set[str]:
    """The top-level packages that a file imports anywhere, in functions too."""
    nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in plain | froms}


def importers(package: str, *folders: str) -> set[str]:
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return {str(path.relative_to(ROOT)) for path in sources if package in imports(path)}


def test_one_folder_talks_to_mlflow():
    found = importers("mlflow", "pipelines", "model", "jobs")
    assert {path for path in found if not path.startswith("model/tracking/")} == set()


def test_one_folder_talks_to_spark():
    assert {
        path for path in importers("pyspark", "pipelines", "model", "jobs") if not path.startswith("pipelines/spark/")
    } == set()


def test_no_job_is_named_like_a_library():
    names = {path.stem for path in (ROOT / "jobs").glob("*.py")} - {"__init__"}
    assert not names & {
        *sys.stdlib_module_names,
        "pyspark",
        "mlflow",
        "keras",
        "tensorflow",
        "numpy",
        "pandas",
        "petastorm",
        "captcha",
    }
