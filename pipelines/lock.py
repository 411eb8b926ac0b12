"""One writer on a dataset folder: the kernel's lock on a local folder, elsewhere a lease that is kept fresh."""

import errno
import fcntl
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from pipelines.errors import DataError
from pipelines.settings import Settings
from pipelines.storage import Location, redacted

LEASE = "_lock.json"
BEAT = 15.0  # seconds from one sign of life to the next
STALE = 90.0  # without one for so long, a lease is free: far above BEAT, as the clocks of two hosts may differ
TORN = 0.2  # seconds until a lease that cannot be read is read once more
SETTLE = 1.0  # when two take a free lease at one time, both see after so long whose write came last
NO_FLOCK = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL, errno.EISDIR)


class Lock:
    """Held on an output. A local one ends with its process only, so there is nothing to check."""

    def check(self) -> None:
        """Raises DataError where the lock was lost: call it before publishing."""


@contextmanager
def locked(output: Location, what: str = "ingest") -> Iterator[Lock]:
    """Holds `output`, a folder that is made where it is missing, against every other writer; `what` names this one.

    A local folder itself is locked (flock): nothing is left behind, and the kernel frees it however the process ends.
    Children made by exec or spawn do not hold it on; those made by fork would, should this process be killed, so our
    pools spawn. Elsewhere, and where flock does not work, the file LEASE in the folder is a lease: free again STALE
    seconds after its owner's last sign of life. Raises DataError where another holds it or the folder cannot be written.
    """
    with _told(output):
        output.make()
        descriptor = _flock(output, what) if output.local else None
    if descriptor is not None:
        owner = os.getpid()
        try:
            yield Lock()
        finally:
            if os.getpid() == owner:  # not what a child made by fork does when it ends
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # also for a child that is just between fork and exec
            os.close(descriptor)
        return
    lease = _LeaseLock(output, what)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()


def _flock(output: Location, what: str) -> int | None:
    """A descriptor that holds the lock until it is closed; None where the filesystem has no such locks."""
    descriptor = os.open(output.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = _owner(descriptor)
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise DataError(f"{output.shown}: another {what} is writing here{owner}; wait for it to end") from None
        if error.errno in NO_FLOCK:
            return None
        raise
    if output.exists() and os.path.samestat(os.fstat(descriptor), os.stat(output.path)):
        return descriptor
    os.close(descriptor)  # the folder was replaced meanwhile
    return _flock(output, what)


def _owner(descriptor: int) -> str:
    """Who holds the lock on an open file: " (pid 123)", or nothing where Linux does not tell."""
    info, locks = os.fstat(descriptor), Path("/proc/locks")
    file = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    match = re.search(rf"FLOCK +ADVISORY +WRITE ([1-9]\d*) {file} ", locks.read_text() if locks.exists() else "")
    return f" (pid {match[1]})" if match else ""


class Lease(Settings):
    """The content of LEASE. `beat` is the owner's last sign of life, in seconds since 1970."""

    token: str
    what: str
    host: str
    pid: int
    started: str
    beat: float

    @property
    def age(self) -> float:
        return time.time() - self.beat

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}, last sign of life {max(self.age, 0):.0f} s ago"


class _LeaseLock(Lock):
    def __init__(self, output: Location, what: str) -> None:
        self._output, self._at = output, output.join(LEASE)
        self._mine = Lease(
            token=uuid.uuid4().hex,
            what=what,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            beat=time.time(),
        )
        self._turn = threading.Lock()  # the thread that beats and the one that checks
        self._ended = threading.Event()

    def take(self) -> None:
        with _told(self._output):
            self._refuse(self._read())
            self._write()
            time.sleep(SETTLE)
            self._refuse(self._read())
        threading.Thread(target=self._keep, name="lease", daemon=True).start()

    def check(self) -> None:
        with self._turn, _told(self._output):
            lease = self._read()
            if lease is None or lease.token != self._mine.token:
                taker = f"another {lease.what} ({lease}) took over" if lease else f"{LEASE} is gone"
                raise DataError(
                    f"{self._output.shown}: {taker}, as this {self._mine.what} was silent for over {STALE:.0f} s; run it again"
                )
            self._write()  # so that nobody takes over while its owner publishes

    def release(self) -> None:
        self._ended.set()
        with self._turn, suppress(OSError, DataError):  # what cannot be removed is free after STALE seconds
            lease = self._read()
            if lease and lease.token == self._mine.token:
                self._at.remove()

    def _keep(self) -> None:
        while not self._ended.wait(BEAT):
            with self._turn, suppress(OSError, DataError):  # a server that is away for a while; `check` tells what came of it
                lease = self._read()
                if lease is None or lease.token != self._mine.token:
                    return
                self._write()

    def _refuse(self, lease: Lease | None) -> None:
        if lease and lease.token != self._mine.token and lease.age < STALE:
            raise DataError(
                f"{self._output.shown}: another {lease.what} is writing here ({lease});"
                f" wait for it to end, or, if it was killed, run again in {STALE - lease.age:.0f} s"
            )

    def _read(self, again: int = 3) -> Lease | None:
        try:
            return Lease.model_validate_json(self._at.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            if again:  # on some filesystems a file is seen while it is being written
                time.sleep(TORN)
                return self._read(again - 1)
            raise DataError(f"{self._at.shown}: not a lease; remove this file if nothing writes here") from None

    def _write(self) -> None:
        self._at.write_bytes(self._mine.model_copy(update={"beat": time.time()}).model_dump_json().encode())


@contextmanager
def _told(output: Location) -> Iterator[None]:
    """Tells in one line why an output cannot be held."""
    try:
        yield
    except FileExistsError:
        raise DataError(f"{output.shown}: a file; --output names a new or empty folder") from None
    except OSError as error:
        reason = redacted(error.strerror or str(error).partition("\n")[0])
        raise DataError(f"{output.shown}: cannot be written: {reason}") from None
