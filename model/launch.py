"""The workers of one training as processes: of this machine, watched and ended together, or one in each task of a cluster."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import model
from model.cluster import GONE, VARIABLE, Cluster, free_addresses
from model.termination import Termination
from pipelines.errors import DataError, SettingsError

POLL = 0.05  # seconds
GRACE = 40.0  # seconds that the others have to leave once one has failed
STOPPED = 128 + signal.SIGTERM
PROGRESS = re.compile(r"\w+: [\d,]+(/[\d,]+)? images\b")  # lines of pipelines.progress: the chief's are enough
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1

Tell = Callable[[str, bool], None]  # takes a line, and whether it is one for standard error


class LostWorkerError(DataError):
    """A worker failed, and the others were ended; `exit_code` is that of the one."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Ended(NamedTuple):
    """How a worker came to its end: exit code (negative: the signal), the last line of an error, and the time in seconds."""

    name: str
    code: int
    error: str
    at: float


def launch(command: Sequence[str], workers: int) -> int:
    """Runs `command` in `workers` processes that know each other by TF_CONFIG; returns 0, or 143 where SIGTERM ended them.

    SIGTERM is handed on to all. When one fails the others are ended: at once with SIGTERM, after GRACE for good. Raises
    LostWorkerError then. The chief's output is ours; lines of the others have their names.
    """
    addresses = free_addresses(workers)
    with Termination() as termination, _Crew() as crew:
        crew.start(command, addresses)
        while crew.running and not crew.failed:
            if termination.asked:
                crew.hand_on()
            time.sleep(POLL)
        failed = crew.failed
        crew.end()
    if failed is None:
        return 0
    if termination.asked and failed.code in (STOPPED, -signal.SIGTERM):
        return STOPPED
    raise _lost(failed)


class _Crew:
    """The processes of this machine's workers; none of them outlives the block."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._echoes: list[threading.Thread] = []
        self._told = False

    def start(self, command: Sequence[str], addresses: tuple[str, ...]) -> None:
        for cluster in (Cluster(addresses, index) for index in range(len(addresses))):
            process = _process(command, cluster, os.environ, None if cluster.chief else subprocess.PIPE)
            self._processes[cluster.name_of(cluster.index)] = process
        for index, process in enumerate(self._processes.values()):
            if process.stdout is not None:
                self._echoes += _echoes(process, f"worker {index}: ", _print)

    @property
    def running(self) -> bool:
        return any(process.poll() is None for process in self._processes.values())

    @property
    def failed(self) -> Ended | None:
        """The first worker that is seen to have failed."""
        codes = {name: process.poll() for name, process in self._processes.items()}
        return next((Ended(name, code, "", 0.0) for name, code in codes.items() if code), None)

    def hand_on(self) -> None:
        """SIGTERM to all, once."""
        for process in self._processes.values():
            if not self._told and process.poll() is None:
                process.terminate()
        self._told = True

    def end(self) -> None:
        """Ends those that run still."""
        self.hand_on()
        limit = time.monotonic() + GRACE
        for process in self._processes.values():
            wait_or_kill(process, limit - time.monotonic())
        for echo in self._echoes:
            echo.join(1)

    def __enter__(self) -> "_Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._told |= kind is KeyboardInterrupt  # of which a terminal tells the workers too
        self.end()


@dataclass(frozen=True)
class Task:
    """A worker as the work of one task of a cluster: runs a program of this repository in `folder` of the task's host."""

    program: str
    arguments: tuple[str, ...]
    folder: str
    environment: Mapping[str, str]

    def __call__(self, addresses: Sequence[str], index: int, tell: Tell) -> Ended:
        """`tell` brings the chief's output, and the errors of the others, to the one who waits."""
        cluster = Cluster(tuple(addresses), index)
        name = cluster.name_of(index)
        if not Path(self.folder).is_dir():
            missing = f"{name} has no folder {self.folder}: workers on several hosts need one filesystem that all of them share"
            return Ended(name, SettingsError.exit_code, missing, time.time())
        errors: list[str] = []

        def note(line: str, error: bool) -> None:
            errors.extend([line.partition("error: ")[2]] if "error: " in line else [])
            tell(line, error)

        with ExitStack() as stack:
            code = _code(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glyphmill-"))))
            environment = {**os.environ, **self.environment, "PYTHONPATH": str(code)}
            command = [sys.executable, str(code / self.program), *self.arguments]
            process = stack.enter_context(_process(command, cluster, environment, subprocess.PIPE, self.folder))
            for echo in _echoes(process, "" if cluster.chief else f"worker {index}: ", note):
                echo.join()
        return Ended(name, process.returncode, errors[-1] if errors else "", time.time())


def outcome(ends: Sequence[Ended]) -> int:
    """0, or 143 where all were stopped. Raises LostWorkerError with the worker that failed first, not with those it left."""
    failed = [end for end in ends if end.code]
    if not failed:
        return 0
    if all(end.code in (STOPPED, -signal.SIGTERM) for end in failed):
        return STOPPED
    raise _lost(min(failed, key=lambda end: (GONE in end.error, end.at)))


def _lost(failed: Ended) -> LostWorkerError:
    signalled = failed.code < 0
    how = f"was killed by {signal.Signals(-failed.code).name}" if signalled else f"left with exit code {failed.code}"
    why = f" ({failed.error})" if failed.error else ""
    rest = "the other workers were ended, and the same command goes on from the last checkpoint"
    return LostWorkerError(f"{failed.name} {how}{why}; {rest}", 128 - failed.code if signalled else failed.code)


def _process(
    command: Sequence[str], cluster: Cluster, environment: Mapping[str, str], output: int | None, folder: str | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, VARIABLE: cluster.tf_config},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
    )


def wait_or_kill(process: "subprocess.Popen", seconds: float) -> None:
    """Waits for a process that was asked to leave; one that has not left by then is killed."""
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """In a new process: it gets SIGTERM when its parent dies, of whatever."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _echoes(process: "subprocess.Popen[str]", prefix: str, tell: Tell) -> list[threading.Thread]:
    """Threads that tell the process's lines with a prefix; where there is one, without those of its progress."""

    def echo(stream: IO[str], error: bool) -> None:
        for line in stream:
            if not (prefix and PROGRESS.match(line)):
                tell(prefix + line.rstrip("\n"), error)

    streams = [(process.stdout, bool(prefix)), (process.stderr, True)]
    threads = [threading.Thread(target=echo, args=pair, daemon=True) for pair in streams]
    for thread in threads:
        thread.start()
    return threads


def _print(line: str, error: bool) -> None:
    stream = sys.stderr if error else sys.stdout
    stream.write(line + "\n")
    stream.flush()


def _code(scratch: Path) -> Path:
    """The folder that this code lies in; where it was shipped as a zip, `scratch`, with what was in that."""
    root = Path(model.__file__).resolve().parents[1]
    if root.is_dir():
        return root
    with zipfile.ZipFile(root) as archive:
        archive.extractall(scratch)
    return scratch
