"""How long networks take to read: in this process, on some of its cores, taking turns."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

WARMUP, TURN = 20, 50
Read = Callable[[], Any]  # of the same images each time


@contextmanager
def cores(count: int) -> Iterator[int]:
    """This process has `count` cores, or as many as there are: how many is given."""
    if not hasattr(os, "sched_setaffinity"):
        yield min(count, os.cpu_count() or 1)
        return
    had = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(had)[:count])
    try:
        yield min(count, len(had))
    finally:
        os.sched_setaffinity(0, had)


def readings(readers: Mapping[str, Read], count: int) -> dict[str, list[float]]:
    """The ms of each of `count` readings or more, by reader; they take turns of TURN."""
    ms: dict[str, list[float]] = {name: [] for name in readers}
    for reader in readers.values():
        for _ in range(WARMUP):
            reader()
    while min(map(len, ms.values()), default=count) < count:
        for name, reader in readers.items():
            for _ in range(TURN):
                began = time.perf_counter()
                reader()
                ms[name].append(1000 * (time.perf_counter() - began))
    return ms


def random_images(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 pixels."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
