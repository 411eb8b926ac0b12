"""Workers as processes: started with their addresses, watched, ended together; small programs stand for the training."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from model import launch as launching
from model.launch import Ended, LostWorkerError, Task, launch, outcome

ROOT = Path(__file__).parents[2]
WHO = """
import json, os, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
addresses, index = config["cluster"]["worker"], config["task"]["index"]
"""
REST = "the other workers were ended, and the same command goes on from the last checkpoint"


def program(text: str) -> list[str]:
    return [sys.executable, "-c", WHO + text]


def lost(text: str, workers: int = 3) -> LostWorkerError:
    began, others = time.monotonic(), children()  # such as the Java of other tests
    with pytest.raises(LostWorkerError) as caught:
        launch(program(text), workers)
    assert time.monotonic() - began < 30
    assert "\n" not in str(caught.value)
    assert [child for child in children() if child not in others] == []
    return caught.value


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_workers_know_one_another_and_the_chief_is_heard(capfd):
    text = """
os.write(1, f"{index} {len(set(addresses))}\\n".encode())  # each line in one piece: all write to one place
os.write(2, b"train: 1,000/2,000 images, 10/s, loss 1.0\\n")
os.write(2, f"error of {index}\\n".encode())
"""
    assert launch(program(text), 3) == 0
    told = capfd.readouterr()
    assert told.out == "0 3\n"
    lines = ["error of 0", "train: 1,000/2,000 images, 10/s, loss 1.0"]
    lines += [f"worker {n}: {line}" for n in (1, 2) for line in (f"{n} 3", f"error of {n}")]
    assert sorted(told.err.splitlines()) == sorted(lines)


@pytest.mark.parametrize(
    ("index", "act", "how", "code"),
    [
        (0, "sys.exit(1)", "left with exit code 1", 1),
        (1, "sys.exit(2)", "left with exit code 2", 2),
        (2, "os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL", 137),
        (1, "os.abort()", "was killed by SIGABRT", 134),
        (1, "sys.exit(143)", "left with exit code 143", 143),
    ],
)
def test_one_that_fails_takes_the_others_down(index, act, how, code):
    error = lost(f"if index == {index}:\n    time.sleep(0.3)\n    {act}\ntime.sleep(60)")
    assert str(error).startswith(f"worker {index} (127.0.0.1:")
    assert str(error).endswith(f") {how}; {REST}")
    assert error.exit_code == code


def test_those_that_do_not_leave_are_killed(monkeypatch):
    monkeypatch.setattr(launching, "GRACE", 1.0)
    began = time.monotonic()
    error = lost("signal.signal(signal.SIGTERM, lambda *_: None)\nif index == 1:\n    sys.exit(3)\nwhile True: time.sleep(1)")
    assert error.exit_code == 3
    assert time.monotonic() - began > 1


def test_a_command_that_does_not_exist_is_no_worker():
    with pytest.raises(FileNotFoundError):
        launch(["/no/such/program"], 2)


SUPERVISOR = """
import sys
from model.launch import launch
sys.exit(launch([sys.executable, "-c", sys.argv[1]], 2))
"""


@pytest.fixture
def supervised(tmp_path):
    """A supervisor in a process of its own, whose workers have made a file each when they are up."""
    started = []

    def start(text: str) -> subprocess.Popen:
        text = WHO + f"open(rf'{tmp_path}/{{index}}', 'w').close()\n" + text
        command = [sys.executable, "-c", SUPERVISOR, text]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        time.sleep(0.2)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


LEAVE = """
def leave(*_):
    time.sleep(1)
    os.write(1, f"saved {index}\\n".encode())  # in one piece: both workers write to one pipe
    sys.exit(143)
signal.signal(signal.SIGTERM, leave)
while True: time.sleep(0.05)
"""


def test_sigterm_is_handed_on_once_and_waited_for(supervised):
    supervisor = supervised(LEAVE)
    supervisor.send_signal(signal.SIGTERM)
    out, _ = supervisor.communicate(timeout=30)
    assert sorted(out.splitlines()) == ["saved 0", "worker 1: saved 1"]
    assert supervisor.returncode == 143


def test_workers_that_sigterm_just_ends_are_stopped_too(supervised):
    supervisor = supervised("time.sleep(60)")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(30) == 143


@pytest.mark.skipif(sys.platform != "linux", reason="a signal of Linux")
def test_workers_leave_when_the_supervisor_is_killed(supervised):
    supervisor = supervised("time.sleep(60)")
    workers = psutil.Process(supervisor.pid).children()
    assert len(workers) == 2
    supervisor.kill()
    _, alive = psutil.wait_procs(workers, 10)
    assert alive == []


def task(text: str, folder: Path, tmp_path: Path) -> Task:
    (tmp_path / "program.py").write_text(WHO + text)
    return Task(str(tmp_path / "program.py"), ("--set", "a=1"), str(folder), {"MLFLOW_X": "here"})


def test_a_task_runs_a_worker_and_tells_its_lines(tmp_path):
    (tmp_path / "shared").mkdir()
    text = """
import model
print(os.getcwd(), sys.argv[1:], os.environ["MLFLOW_X"], os.path.dirname(model.__file__), index, addresses)
print("train: 5/10 images, 3/s", file=sys.stderr)
print("error: of the shard", file=sys.stderr)
sys.exit(1)
"""
    work, lines = task(text, tmp_path / "shared", tmp_path), []
    for index in (0, 1):
        told = []
        end = work(["a:1", "b:2"], index, lambda line, error, told=told: told.append((line, error)))
        assert (end.name, end.code, end.error) == (f"worker {index} ({['a:1', 'b:2'][index]})", 1, "of the shard")
        assert abs(time.time() - end.at) < 5
        lines.append(sorted(told))
    words = f"{tmp_path / 'shared'} ['--set', 'a=1'] here {ROOT / 'model'}"
    assert lines[0] == sorted(
        [(f"{words} 0 ['a:1', 'b:2']", False), ("train: 5/10 images, 3/s", True), ("error: of the shard", True)]
    )
    assert lines[1] == sorted([(f"worker 1: {words} 1 ['a:1', 'b:2']", True), ("worker 1: error: of the shard", True)])


def test_a_task_on_a_host_without_the_folder_is_told(tmp_path):
    end = task("", tmp_path / "elsewhere", tmp_path)(["a:1", "b:2"], 1, lambda *_: None)
    assert end.code == 2
    assert end.error.startswith(f"worker 1 (b:2) has no folder {tmp_path / 'elsewhere'}: ")


def ended(*codes_errors_times: tuple[int, str, float]) -> list[Ended]:
    return [Ended(f"worker {n} (h{n}:1)", *end) for n, end in enumerate(codes_errors_times)]


@pytest.mark.parametrize(
    ("ends", "code"), [(ended((0, "", 1)), 0), (ended((0, "", 1), (0, "", 2)), 0), (ended((143, "", 1), (-15, "", 2)), 143)]
)
def test_ends_that_are_no_failure(ends, code):
    assert outcome(ends) == code


@pytest.mark.parametrize(
    ("ends", "said", "code"),
    [
        (ended((0, "", 1), (1, "no shard", 2)), f"worker 1 (h1:1) left with exit code 1 (no shard); {REST}", 1),
        (ended((1, "worker 1 (h1:1) is gone", 1), (-9, "", 1.1)), f"worker 1 (h1:1) was killed by SIGKILL; {REST}", 137),
        (ended((1, "b", 2), (1, "a", 1)), f"worker 1 (h1:1) left with exit code 1 (a); {REST}", 1),
        (ended((143, "", 2), (1, "a", 3)), f"worker 0 (h0:1) left with exit code 143; {REST}", 143),
        (ended((1, "worker 1 (h1:1) is gone", 1), (0, "", 1)), f"worker 0 (h0:1) left with exit code 1 (worker 1 (h1:1) is gone); {REST}", 1),
    ],
)  # fmt: skip
def test_the_one_that_failed_first_is_told(ends, said, code):
    with pytest.raises(LostWorkerError) as caught:
        outcome(ends)
    assert (str(caught.value), caught.value.exit_code) == (said, code)


def test_the_supervisor_needs_no_tensorflow():
    code = "import sys, model.launch, jobs.workers; sys.exit(bool({'tensorflow', 'mlflow', 'pyspark'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
