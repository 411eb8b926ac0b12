"""Progress of long work: a bar in a terminal, plain lines every few seconds elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_SECONDS = 5.0


def say(text: str) -> None:
    """One line for the person who waits, on standard error."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Counts up to `total` (None: nobody knows) with rate and time left, on standard error."""

    def __init__(self, what: str, total: int | None, unit: str = "images") -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._start, self._said = 0, time.monotonic(), time.monotonic()
        self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True) if sys.stderr.isatty() else None
        self._lock = threading.Lock()

    def update_to(self, done: int, note: str = "") -> None:
        """Shows that `done` of `total` are done."""
        with self._lock:
            step, self._done = done - self._done, done
            if self._bar is not None:
                self._bar.set_postfix_str(note, refresh=False)
                self._bar.update(step)
            elif time.monotonic() - self._said >= LINE_SECONDS:
                self._said = time.monotonic()
                print(self._line(note), file=sys.stderr, flush=True)

    def advance(self, step: int = 1, note: str = "") -> None:
        self.update_to(self._done + step, note)

    def _line(self, note: str) -> str:
        rate = self._done / max(1e-9, time.monotonic() - self._start)
        of = f"/{self._total:,}" if self._total is not None else ""
        text = f"{self._what}: {self._done:,}{of} {self._unit}"
        if rate:
            text += f", {rate:,.0f}/s"
            text += f", {(self._total - self._done) / rate:,.0f} s left" if self._total is not None else ""
        return f"{text}, {note}" if note else text

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def polled(show: Callable[[], None], seconds: float = 0.5) -> Iterator[None]:
    """Calls `show` every `seconds` in a thread while the block runs, and once more at its end."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            show()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    show()
