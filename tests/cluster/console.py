"""Lines with the time since the start, and work whose time is told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

BEGAN = time.monotonic()


def tell(line: str) -> None:
    minutes, seconds = divmod(int(time.monotonic() - BEGAN), 60)
    print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)


@contextmanager
def timed(what: str, seconds: dict[str, float]) -> Iterator[None]:
    """Tells that `what` begins and how long it took, and notes that in `seconds`; nothing is noted of what fails."""
    tell(f"{what} ...")
    began = time.monotonic()
    yield
    seconds[what] = round(time.monotonic() - began, 1)
    tell(f"{what}: {seconds[what]:.1f} s")
