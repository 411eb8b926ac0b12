"""SIGTERM as a wish that the training loop sees, and the error with which it leaves."""

import signal
import threading
from types import FrameType, TracebackType

from pipelines.errors import GlyphmillError


class Stopped(GlyphmillError):  # noqa: N818
    """Training was asked to stop, and has saved where it stood (exit code 143, as of a process that SIGTERM ended)."""

    exit_code = 128 + signal.SIGTERM


class Termination:
    """`asked` is whether a SIGTERM came within the block. In another thread than the main one nothing is caught."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Termination":
        self._catches = threading.current_thread() is threading.main_thread()
        if self._catches:
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._catches:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
