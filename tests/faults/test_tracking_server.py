"""A real MLflow server is killed and started again in the middle of a training: it goes on, and every metric is there once."""

import sqlite3
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from model.cluster import free_addresses

pytestmark = [pytest.mark.tf, pytest.mark.slow]
EPOCHS = 30
TRAIN = Path(__file__).resolve().parents[2] / "jobs" / "train.py"
SETTINGS = ("network.widths=[4,4]", "network.units=8", "network.depth=1", f"train.epochs={EPOCHS}", "train.patience=99")


class Server:
    """An MLflow server on SQLite, on the same port each time that it is started."""

    def __init__(self, folder: Path, begin: Callable) -> None:
        folder.mkdir()
        self._folder, self._begin, (self._address,) = folder, begin, free_addresses(1)
        self.uri = f"http://{self._address}"

    def start(self) -> None:
        host, _, port = self._address.partition(":")
        store = (
            "--backend-store-uri",
            f"sqlite:///{self._folder}/mlflow.db",
            "--artifacts-destination",
            self._folder / "artifacts",
        )
        command = (Path(sys.executable).with_name("mlflow"), "server", "--host", host, "--port", port, "--workers", 1, *store)
        self._job = self._begin("env", "-C", self._folder, *command, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        assert self._job.until(self._answers), self._job.told()

    def kill(self) -> None:
        self._job.close()

    def rows(self, query: str) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self._folder}/mlflow.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def epochs(self) -> list[int]:
        return [step for (step,) in self.rows("select step from metrics where key = 'train_loss' order by timestamp, step")]

    def check(self) -> None:
        """Asserts that there is one run that ended well, with every epoch once, and system metrics without a gap."""
        assert self.rows("select status from runs") == [("FINISHED",)]
        assert self.epochs() == list(range(1, EPOCHS + 1))
        keys = self.rows(
            "select key, count(*), max(step) from metrics where key like 'val%' or key = 'learning_rate' group by key"
        )
        assert len(keys) >= 4
        assert {(count, last) for _, count, last in keys} == {(EPOCHS, EPOCHS)}
        system = self.rows("select count(*), count(distinct step), max(step) + 1 from metrics where key like 'system/cpu%'")
        assert len(set(system[0])) == 1
        assert system[0][0] > 2
        assert self.rows("select count(*) from model_versions") == [(1,)]

    def _answers(self) -> bool:
        with suppress(OSError):
            urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
            return True
        return False


@pytest.fixture
def server(tmp_path, begin) -> Server:
    made = Server(tmp_path / "server", begin)
    made.start()
    return made


@pytest.fixture
def train(begin, undisturbed, server, tmp_path) -> Callable:
    (tmp_path / "here").mkdir()
    sets = [part for value in SETTINGS for part in ("--set", value)]
    more = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}
    program = ("env", "-C", tmp_path / "here", sys.executable, TRAIN)
    return lambda: begin(*program, "--dataset", undisturbed.output, "--output", "run", *sets, **more)


@pytest.fixture
def kept(tmp_path) -> Callable[[], int]:
    """How many epochs stand in the outbox, sent or not."""

    def kept() -> int:
        return sum(path.read_text().count('["train_loss"') for path in (tmp_path / "here/mlruns/outbox").glob("*.jsonl"))

    return kept


def test_a_server_that_is_away_for_a_while(server, train, kept):
    job = train()
    assert job.until(lambda: len(server.epochs()) >= 2), job.told()
    server.kill()
    before = kept()
    assert job.until(lambda: kept() >= before + 4), job.told()  # nobody waits
    server.start()
    told = job.good()
    server.check()
    assert kept() == 0
    lines = [line for line in told.splitlines() if line.startswith("the MLflow server")]
    assert lines[0].startswith(f"the MLflow server {server.uri} does not take metrics (")
    assert lines[1].startswith(f"the MLflow server {server.uri} is back after ")
    assert len(lines) == 2


def test_a_run_that_is_killed_twice_while_the_server_is_away(server, train, kept):
    job = train()
    assert job.until(lambda: len(server.epochs()) >= 2), job.told()
    server.kill()
    before = kept()
    assert job.until(lambda: kept() >= before + 3), job.told()
    job.close()
    refused = train()
    assert refused.end() == 1, refused.told()
    assert f"error: {server.uri}: the MLflow server does not answer" in refused.told()
    server.start()
    job = train()
    assert job.until(lambda: len(server.epochs()) >= before + 5), job.told()
    job.close()
    train().good()
    server.check()
    assert kept() == 0


def test_an_end_without_a_server_is_told_and_made_up_for(server, train, kept):
    """SIGTERM while the server is away: it saves, leaves within seconds, and says where the metrics wait."""
    job = train()
    assert job.until(lambda: len(server.epochs()) >= 1), job.told()
    server.kill()
    before = kept()
    assert job.until(lambda: kept() >= before + 2), job.told()
    job.process.terminate()
    began = time.monotonic()
    assert job.end() == 143, job.told()
    assert time.monotonic() - began < 60
    assert "the next start sends them from " in job.told()
    assert kept() >= before + 2
    server.start()
    train().good()
    server.check()
