"""The same images give the same dataset wherever and however the ingest runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.drawing import DrawingSettings, draw, plan

REPOSITORY = Path(__file__).resolve().parents[2]
JOB = REPOSITORY / "jobs" / "ingest.py"
pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.slow]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    settings = DrawingSettings(count=60, alphabet="0123456789", length=(3, 4), size=(60, 30), flaws=8)
    for drawing in plan(settings):
        (folder / drawing.path).parent.mkdir(exist_ok=True)
        (folder / drawing.path).write_bytes(draw(settings, drawing))
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as pip installs it, in a folder of its own."""
    target = tmp_path_factory.mktemp("installed") / "site-packages"
    source = tmp_path_factory.mktemp("source")
    for name in ("pipelines", "model", "jobs", "conf", "pyproject.toml", "README.md"):
        (source / name).symlink_to(REPOSITORY / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        target,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


def ingest(images, output, cwd, *command, **environment) -> dict:
    """Runs `command` with the job's arguments, and returns the manifest that it published."""
    arguments = ["--input", images, "--output", output, "--set", "image.width=64", "--set", "image.height=32"]
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output / "manifests" / "v000001.json").read_text())


def test_one_fingerprint_on_any_master_and_from_an_installed_package(images, installed, tmp_path):
    submit = str(Path(sys.executable).with_name("spark-submit"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    runs = [
        ingest(images, tmp_path / "one", REPOSITORY, submit, "--master", "local[1]", JOB),
        ingest(images, tmp_path / "cluster", elsewhere, submit, "--master", "local-cluster[2,1,1024]", JOB),
        ingest(images, tmp_path / "package", elsewhere, sys.executable, "-m", "jobs.ingest", PYTHONPATH=str(installed)),
    ]
    assert len({run["fingerprint"] for run in runs}) == 1
    assert [run["accounting"] for run in runs] == [runs[0]["accounting"]] * 3
    counts = {name: runs[0]["accounting"][name] for name in ("listed", "written", "rejected", "duplicates")}
    assert counts == {"listed": 68, "written": 60, "rejected": 6, "duplicates": 2}
    assert [run["shards"] for run in runs] == [runs[0]["shards"]] * 3
