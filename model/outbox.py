"""Metrics on their way to a server that may be away: a journal on disk, and a thread that sends it. Without MLflow."""

import fcntl
import json
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

from pipelines.errors import DataError
from pipelines.lock import NO_FLOCK
from pipelines.progress import say

BATCH = 1000  # what MLflow takes in one call
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds between two attempts, doubled from one to the next


class Metric(NamedTuple):
    """One value of one key; `time` is in milliseconds since 1970."""

    key: str
    value: float
    step: int
    time: int


class UnreachableError(Exception):
    """Raised by `send` and `steps` of an Outbox where another attempt may succeed."""


class InUseError(DataError):
    """Another process writes to the journal."""


class Journal:
    """Metrics in a file, oldest first, and how many of them have been acknowledged.

    Each line is a JSON list [key, value, step, time], or the number of metrics acknowledged so far. A last line that a kill
    tore is cut off. Raises InUseError where another process holds the file, and DataError where a line is
    neither.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+", encoding="utf-8")
        _lock(self._file, path)
        metrics, self._sent = _read(self._file, path)
        self.steps: dict[str, set[int]] = defaultdict(set)
        for metric in metrics:
            self.steps[metric.key].add(metric.step)
        self.waiting = deque(metrics[self._sent :])

    def append(self, metrics: Sequence[Metric]) -> None:
        """Returns when the metrics would outlive a power failure."""
        self._file.writelines(json.dumps(metric) + "\n" for metric in metrics)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.waiting.extend(metrics)
        for metric in metrics:
            self.steps[metric.key].add(metric.step)

    def acknowledge(self, count: int) -> None:
        """Takes note that the next `count` metrics need not be sent again."""
        for _ in range(count):
            self.waiting.popleft()
        self._sent += count
        self._file.write(f"{self._sent}\n")
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        """Lets go of the file, and removes it where nothing waits in it."""
        if not self.waiting:
            self.path.unlink(missing_ok=True)
        self._file.close()


class Outbox:
    """Sends what is appended, in order, from a thread of its own: a server that is away stops nobody and loses nothing.

    `send` delivers metrics; it may fail after they have arrived. `steps` asks the server which steps it has of some keys.
    Both raise UnreachableError where it is worth another attempt; any other error is raised by the next call to this.
    What the journal or the server has of a (key, step) is not sent again, however often the process was killed.
    """

    def __init__(
        self,
        journal: Journal,
        send: Callable[[Sequence[Metric]], None],
        steps: Callable[[Iterable[str]], Mapping[str, set[int]]],
        where: str,
        known: Mapping[str, set[int]] | None = None,
    ) -> None:
        """`known` are the steps by key that the server has from before; `where` names it in messages."""
        self._journal, self._send, self._steps, self._where = journal, send, steps, where
        for key, there in (known or {}).items():
            journal.steps[key] |= there
        self._unsure = bool(journal.waiting)  # whether the server may have some of what waits
        self._change = threading.Condition()
        self._error: Exception | None = None
        self._away_since: float | None = None
        self._over = False
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many metrics have not arrived."""
        return len(self._journal.waiting)

    def append(self, values: Mapping[str, float], step: int) -> None:
        """Keeps the values on disk and returns; a key that had a value at this step before is passed over."""
        self._check()
        now = time.time_ns() // 1_000_000
        with self._change:
            steps = self._journal.steps
            self._journal.append([Metric(key, float(v), step, now) for key, v in values.items() if step not in steps[key]])
            self._change.notify_all()

    def next_step(self, prefix: str) -> int:
        """The step after the last one of all keys that begin with `prefix`, from 0 on."""
        with self._change:
            steps = (there for key, there in self._journal.steps.items() if key.startswith(prefix) and there)
            return 1 + max(map(max, steps), default=-1)

    def flush(self, seconds: float) -> int:
        """Waits until all has arrived, at most `seconds`; returns how many metrics have not."""
        with self._change:
            self._change.wait_for(lambda: not self.waiting or self._error is not None, seconds)
        self._check()
        return self.waiting

    def close(self, seconds: float) -> int:
        """Flushes and ends the thread. What did not arrive stays in the journal, and is told in one line."""
        try:
            return self.flush(seconds)
        finally:
            with self._change:
                self._over = True
                self._change.notify_all()
            self._thread.join(LONGEST_PAUSE)
            with self._change:
                if self.waiting:
                    left = f"{self._where} did not take {self.waiting} metrics"
                    say(f"{left}; the next start sends them from {self._journal.path}")
                self._journal.close()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        pause = FIRST_PAUSE
        try:
            while batch := self._next():
                try:
                    self._deliver(batch)
                    pause = FIRST_PAUSE
                except UnreachableError as error:
                    self._missed(error)
                    with self._change:
                        self._change.wait_for(lambda: self._over, pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except Exception as error:  # the threads that call this raise it
            with self._change:
                self._error = error
                self._change.notify_all()

    def _next(self) -> list[Metric]:
        """The metrics to send now, once there are some; none when all is over."""
        with self._change:
            self._change.wait_for(lambda: self.waiting or self._over)
            return [] if self._over else list(islice(self._journal.waiting, BATCH))

    def _deliver(self, batch: list[Metric]) -> None:
        there = self._steps({metric.key for metric in batch}) if self._unsure else {}
        if new := [metric for metric in batch if metric.step not in there.get(metric.key, ())]:
            self._send(new)
        self._unsure = False
        with self._change:
            if self._journal.closed:  # the call outlasted us: the next start will ask the server
                return
            self._journal.acknowledge(len(batch))
            self._change.notify_all()
        if self._away_since is not None:
            say(f"{self._where} is back after {time.monotonic() - self._away_since:.0f} s; it has the metrics of that time")
            self._away_since = None

    def _missed(self, error: UnreachableError) -> None:
        self._unsure = True
        if self._away_since is None:
            self._away_since = time.monotonic()
            say(f"{self._where} does not take metrics ({error}); they wait in {self._journal.path}, and the run goes on")


def _lock(file: TextIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError):
            file.close()
            raise InUseError(f"{path}: another process writes to this MLflow run; wait for it to end") from None
        if error.errno not in NO_FLOCK:
            raise


def _read(file: TextIO, path: Path) -> tuple[list[Metric], int]:
    """All metrics of a journal, and how many of them are acknowledged."""
    metrics, sent = list[Metric](), 0
    file.seek(0)
    whole = 0
    for number, line in enumerate(iter(file.readline, ""), 1):
        if not line.endswith("\n"):
            file.truncate(whole)
            break
        whole = file.tell()
        try:
            found = json.loads(line)
            if isinstance(found, int):
                sent = found
            else:
                metrics.append(Metric(*found))
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: line {number} is no metric ({error}); mend or remove the file") from None
    return metrics, sent
