"""Training is killed at any step and in the middle of its checkpoints; what it comes to in the end is the same to the bit."""

import json
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.tf
HERE = Path(__file__).parent
CALL = "model.trainer:Trainer._call"
SAVE_LAST, SAVE_BEST = "model.checkpoints:Checkpoints.save_last", "model.checkpoints:Checkpoints.save_best"
PLACES = {
    "before the first step": f"{CALL}:before:1",
    "before the first checkpoint": f"{CALL}:after:1",
    "in the middle of an epoch": f"{CALL}:after:13",
    "a checkpoint written under another name": f"{SAVE_LAST} > os:fsync:before:1",
    "a checkpoint in its place": f"{SAVE_LAST} > os:fsync:after:2",
    "the best written, the last not": f"{SAVE_BEST}:after:2",
    "the last written, the old best there": "model.checkpoints:Checkpoints.keep_best:before:7",
    "before it judges": "model.trainer:Trainer._validate:before:2",
    "judged": "model.trainer:Trainer._validate:after:2",
    "all epochs over": f"{SAVE_LAST} > model.checkpoints:Checkpoints.load_best:before:1",
}
SHORT = {"in the middle of an epoch", "the best written, the last not"}


@pytest.fixture(scope="session")
def training(begin, undisturbed):
    """Starts a training in a folder; `at`: the call at which it kills itself."""

    def training(folder: Path, at: str = "-"):
        return begin(sys.executable, HERE / "train_at_call.py", at, undisturbed.output, folder)

    return training


@pytest.fixture(scope="session")
def whole(training, tmp_path_factory) -> tuple[dict, dict]:
    """What an undisturbed training comes to, and the arrays of its last checkpoint."""
    folder = tmp_path_factory.mktemp("whole")
    return outcome(training(folder)), arrays(folder)


def outcome(job) -> dict:
    return json.loads(job.good().splitlines()[-1])


def arrays(folder: Path) -> dict:
    with np.load(folder / "last.npz") as file:
        return {name: array for name, array in file.items() if name != "state"}


def check(job, folder: Path, whole: tuple[dict, dict]) -> None:
    found, (expected, last) = outcome(job), whole
    assert {key: found[key] for key in ("weights", "best", "history")} == {
        key: expected[key] for key in ("weights", "best", "history")
    }
    mine = arrays(folder)
    assert mine.keys() == last.keys()
    assert [name for name, array in last.items() if array.tobytes() != mine[name].tobytes()] == []
    assert {path.name for path in folder.iterdir()} == {"last.npz", f"best-{expected['best']}.npz"}


def test_the_same_twice_is_the_same_to_the_bit(training, whole, tmp_path):
    check(training(tmp_path), tmp_path, whole)


@pytest.mark.parametrize(
    "place", [name if name in SHORT else pytest.param(name, marks=pytest.mark.slow) for name in PLACES], ids=str
)
def test_killed_at_a_place(training, whole, tmp_path, place):
    job = training(tmp_path, PLACES[place])
    assert job.end() == -signal.SIGKILL, job.told()
    check(training(tmp_path), tmp_path, whole)


@pytest.mark.slow
def test_killed_at_ten_random_steps(training, whole, tmp_path):
    """Each time after 3 to 8 calls, one or two steps each, of the 90 that there are; checkpoints are 3 steps apart."""
    rng = random.Random(4)
    for _ in range(10):
        job = training(tmp_path, f"{CALL}:after:{rng.randint(3, 8)}")
        assert job.end() == -signal.SIGKILL, job.told()
    check(training(tmp_path), tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_by_the_clock(training, whole, tmp_path, seed):
    """At a random moment after the first checkpoint."""
    job = training(tmp_path)
    job.until((tmp_path / "last.npz").exists)
    limit = time.monotonic() + random.Random(seed).uniform(0, 3)
    job.until(lambda: time.monotonic() > limit)
    job.process.kill()
    assert job.end() in (-signal.SIGKILL, 0)
    check(training(tmp_path), tmp_path, whole)
