"""Commands in process groups of their own, with a log each; what they leave behind is found by a mark and ended by its id."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "GLYPHMILL_CLUSTER"
RUN = uuid.uuid4().hex  # of this run of the program: everything that it starts carries it
PATIENCE = 600.0  # seconds; beyond what anything here takes on a busy machine
GRACE = 10.0
DROPPED = ("SPARK_", "PYTHON", "MLFLOW_", "AWS_", "TF_CONFIG", "JAVA_")  # of this machine's own settings


class FailedError(Exception):
    """Something did not come to the end that it must come to; the message says what, and where its log is."""


class Process:
    """A command that runs: its log, and all that descends from it, orphans too."""

    def __init__(self, name: str, command: Sequence[object], log: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        self.name, self.log, self.mark = name, log, f"{RUN}/{uuid.uuid4().hex[:8]}"
        passed = {key: value for key, value in os.environ.items() if not key.startswith(DROPPED)}
        log.parent.mkdir(parents=True, exist_ok=True)
        self._start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:  # a file, no pipe: nothing waits for an orphan that holds it open
            self._popen = subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                env={**passed, **environment, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._popen.poll()

    def told(self) -> str:
        """What it has written since it was started."""
        with self.log.open("rb") as file:
            file.seek(self._start)
            return file.read().decode(errors="replace")

    def errors(self) -> list[str]:
        """The lines of our own errors."""
        return [line for line in self.told().splitlines() if line.startswith("error: ")]

    def family(self) -> list[psutil.Process]:
        return _marked(self.mark)

    def until(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Waits for the condition. Raises FailedError where the process ends before, or where it takes too long."""
        limit = time.monotonic() + patience
        while not condition():
            if self.code is not None and not condition():
                raise FailedError(f"{self.name} ended with {self.code} before {what}; its log: {self.log}")
            if time.monotonic() > limit:
                raise FailedError(f"{self.name}: no {what} in {patience:.0f} s; its log: {self.log}")
            time.sleep(0.05)

    def end(self, patience: float = PATIENCE) -> int:
        """The exit code, once it is there."""
        try:
            return self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            raise FailedError(f"{self.name} has not ended in {patience:.0f} s; its log: {self.log}") from None

    def good(self, patience: float = PATIENCE) -> str:
        """What a command tells that must succeed."""
        if code := self.end(patience):
            last = (self.errors() or self.told().strip().splitlines() or ["nothing was said"])[-1]
            raise FailedError(f"{self.name} failed with exit code {code}: {last[:300]}; its log: {self.log}")
        return self.told()

    def terminate(self) -> None:
        """SIGTERM, and after GRACE seconds SIGKILL to all that is left."""
        if self.code is None:
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(GRACE)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to it and to all that descends from it."""
        kill(self.family())
        self._popen.wait(GRACE)


def kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def kill_all() -> None:
    """Ends everything of this run of the program that is still there, and returns when it is gone."""
    left = _marked(RUN)
    kill(left)
    psutil.wait_procs(left, GRACE)


def _marked(mark: str) -> list[psutil.Process]:
    """The living processes whose mark begins so."""
    seen = psutil.process_iter(["environ", "cmdline"])
    return [process for process in seen if (process.info["environ"] or {}).get(MARK, "").startswith(mark)]
