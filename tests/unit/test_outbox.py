"""Metrics outlive a server that is away and a process that is killed: each arrives, and none twice."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import pytest

from model import outbox
from model.outbox import Journal, Metric, Outbox, UnreachableError
from pipelines.errors import DataError

ROOT = Path(__file__).parents[2]


class Server:
    """Takes metrics while it is `up`. With `loses_answers` it takes them, and whoever sent them is told that it did not."""

    def __init__(self) -> None:
        self.up, self.loses_answers = True, False
        self.taken: list[Metric] = []
        self.asked: list[set[str]] = []

    def send(self, metrics) -> None:
        self._answer()
        self.taken.extend(metrics)
        if self.loses_answers:
            raise UnreachableError("the connection broke")

    def steps(self, keys) -> dict[str, set[int]]:
        self._answer()
        self.asked.append(set(keys))
        found = defaultdict(set)
        for metric in self.taken:
            if metric.key in keys:
                found[metric.key].add(metric.step)
        return found

    def _answer(self) -> None:
        if not self.up:
            raise UnreachableError("connection refused")

    @property
    def points(self) -> list[tuple[str, float, int]]:
        return [(metric.key, metric.value, metric.step) for metric in self.taken]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.1)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run" / "outbox.jsonl"


@pytest.fixture
def opened(path, server):
    """Opens the outbox of one run, as often as it is asked to."""
    made = []

    def opened(**more) -> Outbox:
        made.append(Outbox(Journal(path), server.send, server.steps, "the server", **more))
        return made[-1]

    yield opened
    for box in made:
        box._journal._file.close()


def test_metrics_arrive_in_order_with_their_time(opened, server, path):
    before = time.time() * 1000
    box = opened()
    for step in range(1, 4):
        box.append({"loss": 1 / step, "cer": step}, step)
    assert box.flush(10) == 0
    assert server.points == [
        ("loss", 1.0, 1), ("cer", 1.0, 1), ("loss", 0.5, 2), ("cer", 2.0, 2), ("loss", 1 / 3, 3), ("cer", 3.0, 3)
    ]  # fmt: skip
    assert all(before - 1 <= metric.time <= time.time() * 1000 for metric in server.taken)
    assert server.asked == []  # nothing was in doubt
    assert box.close(10) == 0
    assert not path.exists()


def test_a_key_has_one_value_for_a_step(opened, server):
    box = opened(known={"loss": {1, 2}, "cer": {1}})
    box.append({"loss": 9.0, "cer": 9.0}, 1)
    box.append({"loss": 9.0, "cer": 0.5}, 2)
    box.append({"loss": 0.25, "cer": 0.25}, 3)
    box.append({"loss": 9.0}, 3)
    box.close(10)
    assert server.points == [("cer", 0.5, 2), ("loss", 0.25, 3), ("cer", 0.25, 3)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-300, 3])
def test_every_number_arrives(opened, server, path, value):
    server.up = False
    box = opened()
    box.append({"loss": value}, 1)
    box.close(0)
    server.up = True
    opened().close(10)
    assert repr(server.taken[0].value) == repr(float(value))


def test_nobody_waits_for_a_server_that_is_away(opened, server, path, capsys):
    box = opened()
    box.append({"loss": 4.0}, 1)
    assert box.flush(10) == 0
    server.up = False
    began = time.monotonic()
    for step in range(2, 12):
        box.append({"loss": 4.0}, step)
    assert time.monotonic() - began < 1
    time.sleep(0.3)
    assert box.waiting == 10
    server.up = True
    assert box.flush(10) == 0
    assert [step for _, _, step in server.points] == list(range(1, 12))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0] == f"the server does not take metrics (connection refused); they wait in {path}, and the run goes on"
    assert told[1].startswith("the server is back after ")
    box.close(0)


def test_what_arrived_though_the_sender_was_told_otherwise_is_not_sent_again(opened, server):
    box = opened()
    server.loses_answers = True
    box.append({"loss": 4.0, "cer": 0.5}, 1)
    while not server.asked:
        time.sleep(0.01)
    box.append({"loss": 3.0}, 2)
    time.sleep(0.2)
    server.loses_answers = False
    assert box.close(10) == 0
    assert sorted(server.points) == [("cer", 0.5, 1), ("loss", 3.0, 2), ("loss", 4.0, 1)]


def test_the_end_waits_no_longer_than_it_may_and_the_next_start_sends_the_rest(opened, server, path, capsys):
    server.up = False
    box = opened()
    box.append({"loss": 4.0, "cer": 0.5}, 1)
    began = time.monotonic()
    assert box.close(0.5) == 2
    assert 0.4 < time.monotonic() - began < 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"the server did not take 2 metrics; the next start sends them from {path}"
    server.up = True
    again = opened()
    again.append({"loss": 9.0}, 1)
    again.append({"loss": 2.0}, 2)
    assert again.close(10) == 0
    assert server.points == [("loss", 4.0, 1), ("cer", 0.5, 1), ("loss", 2.0, 2)]
    assert not path.exists()


def test_many_are_sent_in_calls_of_a_thousand(opened, server, monkeypatch):
    sizes = []
    monkeypatch.setattr(server, "send", lambda metrics: (server._answer(), sizes.append(len(metrics))))
    server.up = False
    box = opened()
    for step in range(500):
        box.append({"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 0.0}, step)
    server.up = True
    assert box.close(20) == 0
    assert sizes == [1000, 1000, 500]


def test_an_error_of_another_kind_is_raised(opened, server, monkeypatch):
    def fail(metrics) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "send", fail)
    box = opened()
    box.append({"loss": 4.0}, 1)
    with pytest.raises(ZeroDivisionError):
        box.flush(10)
    with pytest.raises(ZeroDivisionError):
        box.append({"loss": 4.0}, 2)
    with pytest.raises(ZeroDivisionError):
        box.close(10)


def test_a_call_that_outlasts_the_end_does_no_harm(opened, server, monkeypatch, path):
    gate, take = threading.Event(), server.send
    monkeypatch.setattr(server, "send", lambda metrics: (gate.wait(10), take(metrics)))
    box = opened()
    box.append({"loss": 4.0}, 1)
    assert box.close(0.1) == 1
    gate.set()
    box._thread.join(10)
    monkeypatch.setattr(server, "send", take)
    assert opened().close(10) == 0
    assert server.points == [("loss", 4.0, 1)]


@pytest.mark.parametrize(
    ("text", "waiting"),
    [
        ("", []),
        ('["a", 0.5, 1, 7]\n', ["a"]),
        ('["a", 0.5, 1, 7]\n["b", 0.5, 1, 7]\n1\n', ["b"]),
        ('["a", 0.5, 1, 7]\n["b", 0.5, 1, 7]\n1\n2\n["c", 1.0, 2, 8]\n', ["c"]),
        ('["a", 0.5, 1, 7]\n["b", 0.', ["a"]),
        ('["a", 0.5, 1, 7]\n1', ["a"]),  # a torn number might be the beginning of another one
        ('["', []),
    ],
)
def test_a_journal_is_read(path, text, waiting):
    path.parent.mkdir()
    path.write_text(text)
    journal = Journal(path)
    assert [metric.key for metric in journal.waiting] == waiting
    journal.append([Metric("new", 1.0, 1, 9)])
    journal._file.close()
    again = Journal(path)
    assert [metric.key for metric in again.waiting] == [*waiting, "new"]
    again._file.close()


@pytest.mark.parametrize("line", ["nonsense", '{"a": 1}', '["a", 1]', "\0\0\0"])
def test_a_damaged_journal_is_told(path, line):
    path.parent.mkdir()
    path.write_text(f'["a", 0.5, 1, 7]\n{line}\n["b", 0.5, 1, 7]\n')
    with pytest.raises(DataError) as caught:
        Journal(path)
    assert str(caught.value).startswith(f"{path}: line 2 is no metric")
    assert "\n" not in str(caught.value)


def test_a_run_has_one_writer(path):
    journal = Journal(path)
    with pytest.raises(DataError, match="another process writes to this MLflow run"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_the_next_step_of_some_keys(opened):
    box = opened(known={"system/cpu": {0, 1, 2}, "system/gpu": set(), "loss": {7}})
    assert (box.next_step("system/"), box.next_step("loss"), box.next_step("other")) == (3, 8, 0)
    box.append({"system/cpu": 1.0}, 3)
    assert box.next_step("system/") == 4
    box.close(10)


WRITER = """
import sys
from pathlib import Path
from model.outbox import Journal, Metric
journal = Journal(Path(sys.argv[1]))
for step in range(10**9):
    journal.append([Metric("loss", step / 7, step, step), Metric("cer", step / 9, step, step)])
    if step % 3 == 0:
        journal.acknowledge(2)
    print(step, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 4, 40])
def test_a_kill_loses_nothing_that_was_appended(path, lines):
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        for _ in range(lines):
            last = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        last = max([last, *map(int, writer.stdout.read().split("\n")[:-1])])
    journal = Journal(path)
    assert journal.steps["loss"] >= set(range(last + 1)) <= journal.steps["cer"]
    sent = [metric.step for metric in journal.waiting]
    assert sent == sorted(sent)
    assert set(sent) >= set(range(last // 3 + 2, last + 1))
    journal._file.close()
