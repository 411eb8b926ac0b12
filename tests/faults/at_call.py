"""jobs/ingest.py in a process that kills itself at one exact call: at_call.py PLACE ARGUMENTS OF THE JOB.

PLACE is MODULE:NAME:before:N or MODULE:NAME:after:N, the Nth call of that function; in 'A > PLACE' its calls count from the
end of the first call of A (MODULE:NAME). With KILL=parent it is the parent that dies: the JVM of spark-submit.
"""

import functools
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from jobs import entry, ingest  # noqa: E402


def wrap(place: str, before, after) -> None:
    """Puts calls of `before` and `after` around the function that `place` names."""
    module, _, name = place.partition(":")
    owner = functools.reduce(getattr, name.split(".")[:-1], import_module(module))
    real = getattr(owner, name.split(".")[-1])

    @functools.wraps(real)
    def wrapped(*args, **kwargs):
        before()
        result = real(*args, **kwargs)
        after()
        return result

    setattr(owner, name.split(".")[-1], wrapped)


def kill_at(place: str) -> None:
    arming, _, place = place.rpartition(" > ")
    place, when, count = place.rsplit(":", 2)
    armed, calls = not arming, 0

    def arm() -> None:
        nonlocal armed
        armed = True

    def passes(side: str) -> None:
        nonlocal calls
        if armed and side == when:
            calls += 1
            if calls == int(count):
                os.kill(os.getppid() if os.environ.get("KILL") == "parent" else os.getpid(), signal.SIGKILL)

    if arming:
        wrap(arming, lambda: None, arm)
    wrap(place, lambda: passes("before"), lambda: passes("after"))


if __name__ == "__main__":
    kill_at(sys.argv.pop(1))
    entry.run(ingest.main)
