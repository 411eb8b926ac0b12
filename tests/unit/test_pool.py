"""The pool of processes: the dataset that a loop makes; processes that die; and none that outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import IngestSettings
from pipelines.errors import DataError, SettingsError
from pipelines.facts import FACTS
from pipelines.groups import GroupResult
from pipelines.ingest import Facts, ingest
from pipelines.manifest import Part
from pipelines.pool import ATTEMPTS, PoolRunner
from pipelines.repeats import Copy

ROOT = Path(__file__).parents[2]
SETTINGS = IngestSettings.model_validate({"image": {"width": 16, "height": 8}, "shards": {"files": 7, "rows": 4}})


def result(number: int) -> GroupResult:
    part = Part(path="", bytes=0, sha256="")
    return GroupResult(number=number, files=1, facts=part, shards=(), statistics=part)


def once_killed(task: tuple[str, int]) -> GroupResult:
    """Kills its process, as the system does when memory runs out, until its marker stands."""
    marker, number = Path(task[0]), task[1]
    if number == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return result(number)


def always_killed(task: tuple[str, int]) -> GroupResult:
    with open(task[0], "a", encoding="utf-8") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    return result(task[1])


def failing(task: tuple[str, int]) -> GroupResult:
    if task[1] == 1:
        raise OSError(28, "No space left on device", task[0])
    return result(task[1])


def refusing(task: tuple[str, int]) -> GroupResult:
    raise DataError(f"{task[0]}: wrong")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, fill, noise):
    files = {f"{n % 3}/{n:04d}.png": noise(n) for n in range(30)}
    bad = {"bad/a.png": b"", "copy/0007.1.png": noise(7), "copy/0107.png": noise(200), "copy/0108.png": noise(200)}
    return fill(tmp_path_factory.mktemp("pool"), {f"images/{path}": data for path, data in (files | bad).items()})


def test_a_pool_and_a_loop_make_the_same_dataset(folder, loop, capsys):
    given = (str(folder / "images"), str(folder / "pool"), SETTINGS)
    ours = ingest(*given, lambda: PoolRunner(2)).dataset.manifest
    theirs = ingest(given[0], str(folder / "loop"), SETTINGS, loop()).dataset.manifest
    for name in ("fingerprint", "shards", "files", "rejects", "accounting", "statistics", "splits", "alphabet"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert (ours.accounting.listed, ours.accounting.written) == (34, 30)
    assert ours.tools["runner"] == "pool of 2 processes"
    assert ingest(*given, lambda: pytest.fail("there is no work to do")).unchanged


def test_a_process_that_dies_is_replaced(tmp_path, capsys):
    tasks = [(str(tmp_path / "marker"), n) for n in range(4)]
    assert sorted(r.number for r in PoolRunner(2).map(once_killed, tasks, "ingest", 4)) == [0, 1, 2, 3]
    assert (tmp_path / "marker").exists()
    assert "ingest: a process of the pool died (attempt 1 of 4)" in capsys.readouterr().err


def test_a_task_that_always_dies_ends_the_ingest(tmp_path):
    with pytest.raises(DataError, match=r"^ingest: processes of the pool died 4 times; .*--workers 1") as caught:
        PoolRunner(1).map(always_killed, [(str(tmp_path / "tries"), 0)], "ingest", 1)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "tries").read_text() == "x" * ATTEMPTS


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [(failing, OSError, "[Errno 28] No space left on device: 'place'"), (refusing, DataError, "place: wrong")],
    ids=["system", "data"],
)
def test_the_error_of_a_task_is_told_as_it_is(work, kind, message):
    with pytest.raises(kind) as caught:
        PoolRunner(2).map(work, [("place", n) for n in range(4)], "ingest", 4)
    assert str(caught.value) == message
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


PARENT = """
import os, sys, time
from pathlib import Path
from pipelines.pool import PoolRunner

def waits(task):
    Path(task, str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    PoolRunner(2).map(waits, [sys.argv[1]] * 2, "ingest", 2)
"""


def wait_for(what, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def test_processes_end_when_their_parent_is_killed(tmp_path, fill):
    script = fill(tmp_path, {"parent.py": PARENT.encode()}) / "parent.py"
    (tmp_path / "pids").mkdir()
    with open(tmp_path / "said", "wb") as said:
        command = [sys.executable, str(script), str(tmp_path / "pids")]
        parent = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=said, stderr=said)
    try:
        wait_for(lambda: len(os.listdir(tmp_path / "pids")) == 2 or parent.poll() is not None)
        children = [psutil.Process(int(pid)) for pid in os.listdir(tmp_path / "pids")]
        assert len(children) == 2, (tmp_path / "said").read_text()
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children), 20)


def test_two_ingests_on_one_output(folder, loop):
    class Second(loop):
        def map(self, *args):
            with pytest.raises(DataError, match=rf"shards: another ingest is writing here \(pid {os.getpid()}\)"):
                ingest(
                    str(folder / "images"), str(folder / "shards"), SETTINGS, lambda: pytest.fail("no work for a second one")
                )
            return super().map(*args)

    assert ingest(str(folder / "images"), str(folder / "shards"), SETTINGS, Second()).dataset.manifest.version == 1


@pytest.mark.parametrize("workers", ["-1", "0"])
def test_a_pool_of_nobody_is_refused(folder, tmp_path, monkeypatch, workers):
    from jobs.ingest import main

    command = ["ingest", "--input", str(folder / "images"), "--output", str(tmp_path / "out"), "--runner", "local"]
    monkeypatch.setattr(sys, "argv", [*command, "--workers", workers])
    with pytest.raises((SettingsError, SystemExit)):
        main()


# --- repeats: id, path, sha256, label, split, reason of an older version and of two groups
KEPT = [
    (1, "k.png", "s1", "A", "train", None),
    (2, "l.png", "s2", "B", "val", "conflicting_label"),
    (3, "m.png", "s3", "C", "val", "duplicate"),
]
FIRST = [
    (4, "a.png", "s1", "A", "test", None),
    (5, "b.png", "s3", "C", "test", None),
    (6, "c.png", None, None, None, "no_label"),
]
SECOND = [(7, "d.png", "s2", "A", "train", None), (8, "e.png", "s3", "C", "train", None), (9, "f.png", "s4", "D", "train", "too_long")]  # fmt: skip


def facts_file(place: Path, rows: list[tuple]) -> str:
    names = ("id", "path", "sha256", "label", "split", "reason")
    facts = [dict.fromkeys(FACTS.names) | dict(zip(names, row, strict=True)) | {"size": 1, "mtime_ns": 1} for row in rows]
    pq.write_table(pa.Table.from_pylist(facts, FACTS), place)
    return str(place)


def test_repeats_are_found_in_files_of_facts(tmp_path):
    new = [(7, facts_file(tmp_path / "1", FIRST)), (8, facts_file(tmp_path / "2", SECOND))]
    facts = Facts(new, [facts_file(tmp_path / "0", KEPT)], rows=9)
    assert PoolRunner(1).repeated(facts) == [
        [Copy(False, "test", "a.png", "A", 7, 4), Copy(True, "train", "k.png", "A", -1, 1)],
        [Copy(False, "train", "d.png", "A", 8, 7), Copy(True, "val", "l.png", "B", -1, 2, False)],
        [Copy(False, "test", "b.png", "C", 7, 5), Copy(False, "train", "e.png", "C", 8, 8)],
    ]
    assert PoolRunner(1).shared_labels(facts) == [
        {"splits": ["train", "test"], "labels": 2, "rows": 5, "examples": ["A", "C"]},
    ]
