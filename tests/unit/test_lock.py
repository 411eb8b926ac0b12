"""One writer at a time: the kernel's lock on a local folder, and the lease where there is none."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipelines import lock
from pipelines.errors import DataError
from pipelines.lock import LEASE, locked
from pipelines.storage import Location, locate

HOLD = "import sys, time; from pipelines.lock import locked; from pipelines.storage import locate\n"
HOLD += "with locked(locate(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def refused(output: Location, what: str = "ingest") -> str:
    with pytest.raises(DataError) as caught, locked(output, what):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_made_locked_and_left_as_it_was(tmp_path):
    output = locate(tmp_path / "new/shards")
    with locked(output) as held:
        held.check()
        assert output.names() == []
    assert output.names() == []
    with pytest.raises(ZeroDivisionError), locked(output):
        raise ZeroDivisionError
    with locked(output):
        pass


def test_another_process_is_refused_until_it_is_killed(tmp_path):
    output = locate(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, output.path], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            assert refused(output) == f"{tmp_path}: another ingest is writing here (pid {other.pid}); wait for it to end"
            assert refused(output, "prune").startswith(f"{tmp_path}: another prune is writing here (pid ")
        finally:
            other.send_signal(signal.SIGKILL)
    with locked(output):
        pass


def test_a_thread_is_refused_too(tmp_path):
    with locked(locate(tmp_path)):
        assert refused(locate(tmp_path)).endswith(f"(pid {os.getpid()}); wait for it to end")


def test_children_do_not_hold_the_lock_on(tmp_path):
    for _ in range(5):
        with locked(locate(tmp_path)):
            child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
        with child, locked(locate(tmp_path)):
            child.communicate(b"\n")
        assert child.returncode == 0


@pytest.mark.parametrize("leaves", [True, False])
def test_a_child_made_by_fork_neither_ends_the_lock_nor_outlives_it(tmp_path, leaves):
    gate, manager = os.pipe(), locked(locate(tmp_path))
    with manager:
        child = os.fork()
        if not child:
            if leaves:
                manager.__exit__(None, None, None)
            os.read(gate[0], 1)
            os._exit(0)
        time.sleep(0.1)
        refused(locate(tmp_path))
    with locked(locate(tmp_path)):
        os.write(gate[1], b"x")
        assert os.waitpid(child, 0)[1] == 0


def test_a_folder_that_was_replaced_is_locked_in_its_new_form(tmp_path):
    output = locate(tmp_path / "shards")
    with locked(output):
        output.move_tree(locate(tmp_path / "old"))
        with locked(output):
            refused(output)
        refused(locate(tmp_path / "old"))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("file", "a file; --output names a new or empty folder"),
        ("file/x", "cannot be written: Not a directory"),
        ("n" * 256, "cannot be written: File name too long"),
    ],
)
def test_what_cannot_be_locked_is_told(tmp_path, path, told):
    (tmp_path / "file").touch()
    assert refused(locate(tmp_path / path)) == f"{tmp_path / path}: {told}"


@pytest.fixture
def output(tmp_path, monkeypatch) -> Location:
    """A folder whose lock is a lease, in hundredths of the usual times."""
    for name, seconds in [("BEAT", 0.05), ("STALE", 0.4), ("SETTLE", 0.01)]:
        monkeypatch.setattr(lock, name, seconds)
    return locate(f"memory://{tmp_path.name}")


def lease(output: Location, **changes: object) -> None:
    found = {
        "token": "other",
        "what": "ingest",
        "host": "far",
        "pid": 7,
        "started": "2024-05-01T12:00:00+00:00",
        "beat": time.time(),
    }
    output.join(LEASE).write_bytes(json.dumps(found | changes).encode())


def test_a_lease_is_kept_fresh_and_removed(output):
    with locked(output) as held:
        first = json.loads(output.join(LEASE).read_bytes())
        assert (first["pid"], first["what"], first["host"]) == (os.getpid(), "ingest", os.uname().nodename)
        for _ in range(3):
            time.sleep(0.2)
            assert refused(output).startswith(f"{output.uri}: another ingest is writing here (pid {os.getpid()} on ")
            held.check()
        last = json.loads(output.join(LEASE).read_bytes())
        assert last["beat"] > first["beat"] + 0.4
        assert last | {"beat": 0} == first | {"beat": 0}
    assert output.names() == []
    assert not [
        thread for thread in threading.enumerate() if thread.name == "lease" and thread.join(2) is None and thread.is_alive()
    ]


def test_a_fresh_lease_names_its_owner_and_the_remedy(output, monkeypatch):
    monkeypatch.setattr(lock, "STALE", 90)
    lease(output, what="prune", beat=time.time() - 30)
    assert refused(output) == (
        f"{output.uri}: another prune is writing here (pid 7 on far, last sign of life 30 s ago);"
        " wait for it to end, or, if it was killed, run again in 60 s"
    )
    lease(output, beat=time.time() + 1000)  # the clock of its host is ahead
    assert "last sign of life 0 s ago" in refused(output)


def test_a_stale_lease_is_taken_over_and_its_owner_finds_out(output, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 60)  # as if asleep
    with locked(output) as asleep:
        time.sleep(0.5)
        monkeypatch.setattr(lock, "BEAT", 0.05)
        with locked(output, "prune") as taker:
            taker.check()
            with pytest.raises(DataError, match=f"another prune .pid {os.getpid()} on .* took over, as this ingest was silent"):
                asleep.check()
            taker.check()
        with pytest.raises(DataError, match=f"{LEASE} is gone, as this ingest was silent"):
            asleep.check()
    assert output.names() == []


def test_an_owner_that_lost_its_lease_leaves_it_to_the_taker(output):
    with locked(output) as loser:
        lease(output, beat=time.time() + 60)
        time.sleep(0.2)
        with pytest.raises(DataError, match="another ingest .pid 7 on far"):
            loser.check()
    assert json.loads(output.join(LEASE).read_bytes())["token"] == "other"


def test_of_two_that_take_a_free_lease_the_last_has_it(output, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0.5)
    monkeypatch.setattr(lock, "STALE", 60)
    ended, together = [], threading.Barrier(4)

    def take() -> None:
        together.wait()
        try:
            with locked(output):
                time.sleep(1.0)
                ended.append("held")
        except DataError as error:
            ended.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended.count("held") == 1
    assert sum("another ingest is writing here" in told for told in ended) == 3


def test_a_lease_that_is_being_written_is_read_again(output):
    output.join(LEASE).write_bytes(b"")
    threading.Timer(0.3, lease, (output,)).start()
    assert "another ingest" in refused(output)


def test_what_is_no_lease_is_told(output):
    output.join(LEASE).write_bytes(b"{}")
    assert refused(output) == f"{output.uri}/{LEASE}: not a lease; remove this file if nothing writes here"


def test_a_local_filesystem_without_locks_has_a_lease(output, tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(locate(tmp_path)) as held:
        held.check()
        assert locate(tmp_path).names() == [LEASE]
        assert "another ingest is writing here (pid " in refused(locate(tmp_path))
    assert locate(tmp_path).names() == []
