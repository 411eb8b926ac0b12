"""jobs.train is asked to stop, killed and started again: exit codes, one MLflow run, and what it says when it is over."""

import json
import signal
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.tf, pytest.mark.slow]
SETTINGS = (
    "network.widths=[4, 4]",
    "network.units=8",
    "network.depth=1",
    "train.epochs=3",
    "train.batch_size=16",
    "train.steps_per_call=2",
    "train.checkpoint_steps=4",
    "train.precision=float32",
)


@pytest.fixture
def training(begin, undisturbed, tmp_path):
    """Starts jobs.train on the images of this suite, with a store of its own."""

    def training(*args: object):
        store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/store/mlflow.db"}
        return begin(sys.executable, "-m", "jobs.train", *args, **store)

    training.first = ("--dataset", undisturbed.output, "--output", tmp_path / "run")
    training.first += tuple(part for value in SETTINGS for part in ("--set", value))
    return training


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_stopped_killed_and_started_again(training, tmp_path):
    job = training(*training.first)
    assert job.until((tmp_path / "run" / "last.npz").exists), job.told()
    job.process.terminate()
    assert job.end() == 128 + signal.SIGTERM, job.told()
    assert "error: stopped by SIGTERM " in job.told()
    assert "start the same command again to go on" in job.told()
    begun = record(tmp_path / "run")
    assert not begun["finished"]

    stamp = (tmp_path / "run" / "last.npz").stat().st_mtime_ns
    job = training(*training.first)
    job.until(lambda: (tmp_path / "run" / "last.npz").stat().st_mtime_ns != stamp)
    job.process.kill()
    assert job.end() == -signal.SIGKILL

    told = training("--resume", begun["run_id"]).good()
    assert f"MLflow run   {begun['run_id']}" in told
    assert record(tmp_path / "run") == begun | {"finished": True}
    assert f"nothing to do: {tmp_path}/run has the finished run {begun['run_id']}" in training(*training.first).good()


def test_other_settings_in_the_same_folder_are_refused(training, tmp_path):
    job = training(*training.first)
    job.until((tmp_path / "run" / "run.json").exists)
    job.process.kill()
    job.end()
    message = training(*training.first, "--set", "train.epochs=4").error()
    assert f"{tmp_path}/run: a run of other settings: train.epochs was 3 and is 4; take another --output" in message
