"""Workers of a training are killed, stopped, or do not come: the others leave with one line, and the next start goes on."""

import json
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from model.cluster import Cluster, free_addresses

pytestmark = [pytest.mark.tf, pytest.mark.slow]
EPOCHS = 5
TRAIN = Path(__file__).resolve().parents[2] / "jobs" / "train.py"
SETTINGS = (
    "network.widths=[4,4]",
    "network.units=8",
    "network.depth=1",
    "train.batch_size=16",
    f"train.epochs={EPOCHS}",
    "devices.wait=60",
)


class Store:
    """The MLflow store and the checkpoints of one test, read past MLflow."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder}/mlflow.db"

    def epochs(self) -> int:
        """How many epochs the last checkpoint has."""
        return len(self._steps()) if list(self.folder.glob("checkpoints/*/last.npz")) else 0

    def check(self) -> None:
        """Asserts that there is one run, which has ended well and has every epoch once."""
        assert self._steps() == list(range(1, EPOCHS + 1))
        assert self._rows("select status from runs") == [("FINISHED",)]
        assert not list(self.folder.glob("outbox/*"))

    def _steps(self) -> list[int]:
        return [step for (step,) in self._rows("select step from metrics where key = 'train_loss' order by timestamp, step")]

    def _rows(self, query: str) -> list[tuple]:
        try:
            with sqlite3.connect(f"file:{self.folder}/mlflow.db?mode=ro", uri=True) as database:
                return database.execute(query).fetchall()
        except sqlite3.OperationalError:  # there is none yet
            return []


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def train(begin, undisturbed, store) -> Callable:
    """Starts a training of the same run each time; `as_worker` is the cluster that something else started."""

    def train(*more: object, as_worker: Cluster | None = None):
        sets = [part for value in SETTINGS for part in ("--set", value)]
        environment = {"MLFLOW_TRACKING_URI": store.uri} | ({"TF_CONFIG": as_worker.tf_config} if as_worker else {})
        return begin(sys.executable, TRAIN, "--dataset", undisturbed.output, *sets, *more, **environment)

    return train


def worker(job, index: int) -> psutil.Process:
    """The process of a worker, known by its TF_CONFIG."""
    found = [
        p for p in job.processes() if json.loads(p.info["environ"].get("TF_CONFIG", "{}")).get("task", {}).get("index") == index
    ]
    return found[0]


def errors(job) -> list[str]:
    assert "Traceback" not in job.told(), job.told()
    return [line for line in job.told().splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_worker_takes_the_others_down_and_the_next_start_goes_on(train, store, index):
    job = train("--workers", 2)
    assert job.until(lambda: store.epochs() >= 2), job.told()
    job.kill(worker(job, index))
    began = time.monotonic()
    assert job.end() == 137, job.told()
    assert time.monotonic() - began < 60
    assert errors(job)[-1].startswith(f"error: worker {index} (127.0.0.1:")
    assert errors(job)[-1].endswith(
        "was killed by SIGKILL; the other workers were ended, and the same command goes on from the last checkpoint"
    )
    train("--workers", 2).good()
    store.check()


def test_workers_that_are_stopped_save_and_go_on_alone(train, store):
    job = train("--workers", 2)
    assert job.until(lambda: store.epochs() >= 1), job.told()
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 143, job.told()
    train().good()  # the global batch is the same
    store.check()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_cluster_that_something_else_started_names_whom_it_lost(train, store, lost):
    addresses = free_addresses(2)
    jobs = [train(as_worker=Cluster(addresses, index)) for index in (0, 1)]
    assert jobs[0].until(lambda: store.epochs() >= 1), jobs[0].told()
    jobs[lost].close()
    began = time.monotonic()
    left = jobs[1 - lost]
    assert left.end() == 1, left.told()
    assert time.monotonic() - began < 60
    assert errors(left) == [f"error: worker {lost} ({addresses[lost]}) is gone: start all workers again, and training goes on"]


def test_one_that_stands_still_is_lost_too(train, store):
    addresses = free_addresses(2)
    jobs = [train(as_worker=Cluster(addresses, index)) for index in (0, 1)]
    assert jobs[0].until(lambda: store.epochs() >= 1), jobs[0].told()
    jobs[1].pause()
    began = time.monotonic()
    assert jobs[0].end() == 1, jobs[0].told()
    assert time.monotonic() - began < 60
    assert errors(jobs[0]) == [f"error: worker 1 ({addresses[1]}) is gone: start all workers again, and training goes on"]


def test_one_that_does_not_come_is_named(train, store):
    addresses = free_addresses(2)
    job = train("--set", "devices.wait=3", as_worker=Cluster(addresses, 0))
    assert job.end() == 1, job.told()
    assert errors(job) == [
        f"error: worker 1 ({addresses[1]}) did not come within 3 s to worker 0 ({addresses[0]});"
        " look whether they run and are reachable, or raise devices.wait"
    ]
    assert not list(store.folder.iterdir())  # nothing was begun
