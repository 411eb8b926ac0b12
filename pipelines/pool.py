"""The runner of ingest and batch without Spark: a pool of processes on this machine, with the same functions."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

import pyarrow as pa

from pipelines.errors import DataError, SettingsError
from pipelines.ingest import Facts, copies_of
from pipelines.progress import Progress, say
from pipelines.repeats import Copy, repeated_in, shared_labels


class Counted(Protocol):
    """What a task's result says of its files: how many there were, how many an older version knew, and how many are bad."""

    @property
    def files(self) -> int: ...
    @property
    def same(self) -> int: ...
    @property
    def reasons(self) -> Mapping[str, int]: ...


T = TypeVar("T")
R = TypeVar("R", bound=Counted)
ATTEMPTS = 4  # as Spark has for a task


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class PoolRunner:
    """Runs tasks on `workers` processes (None: one for each core). Raises SettingsError for none."""

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise SettingsError(f"--workers {workers}: a pool has at least one process")
        self._workers = workers or cores()
        self.tools = {"runner": f"pool of {self._workers} processes"}

    def map(self, work: Callable[[T], R], tasks: Sequence[T], what: str, files: int) -> list[R]:
        """The result of every task; tasks of a process that died are tried again. Raises the error of a task that fails."""
        results: dict[int, R] = {}
        with Progress(what, files) as progress:
            for attempt in range(ATTEMPTS):
                left = [index for index in range(len(tasks)) if index not in results]
                try:
                    for index, result in self._results(work, tasks, left):
                        results[index] = result
                        rejected = sum(sum(r.reasons.values()) for r in results.values())
                        progress.advance(result.files + result.same, f"{rejected:,} rejected")
                    return list(results.values())
                except BrokenProcessPool:
                    say(f"{what}: a process of the pool died (attempt {attempt + 1} of {ATTEMPTS})")
        raise DataError(f"{what}: processes of the pool died {ATTEMPTS} times; too little memory? --workers 1 needs least")

    def repeated(self, facts: Facts) -> list[list[Copy]]:
        """The rows that share their bytes with another one, by content."""
        return repeated_in(copies_of(facts))

    def shared_labels(self, facts: Facts) -> list[dict]:
        """Labels that stand in more than one split, by pair of splits."""
        return shared_labels(copies_of(facts))

    def _results(self, work: Callable[[T], R], tasks: Sequence[T], indices: Sequence[int]) -> Iterator[tuple[int, R]]:
        # spawned, not forked: a fork would hold the lock on the output, and the threads of Arrow do not survive it
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(self._workers, len(indices)), mp_context=context, initializer=_end_with_parent) as pool:
            futures = {pool.submit(work, tasks[index]): index for index in indices}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Makes this process end when the one that started it does, also when that was killed."""
    pa.set_cpu_count(1)  # the pool has a process for each core
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
