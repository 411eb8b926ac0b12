"""Shards of remote datasets on a local disk: fetched ahead, checked while they come, never more than a limit."""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from model.bundle import sha256_of
from pipelines.errors import DataError, SettingsError
from pipelines.manifest import CHUNK, Shard
from pipelines.storage import Location

FETCHERS = 4  # connections: one alone rarely fills a line
WAIT = 0.05  # seconds
GIB = 1 << 30


class ShardCache:
    """Files named by the SHA-256 of their content, in a folder that any number of processes may share.

    What was used least recently is removed where a new file would go over the limit; a process that has such a file open
    reads on.
    """

    def __init__(self, folder: str | Path, gib: float) -> None:
        self.folder, self.limit = Path(folder).expanduser(), int(gib * GIB)
        self._wanted: dict[str, Future[None]] = {}
        self._unopened: dict[str, int] = {}  # bytes of what was fetched ahead and not opened yet
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch-shards")

    def ahead(self, dataset: Location, shard: Shard) -> None:
        """Begins to fetch a shard of the dataset in the folder `dataset`; errors are told by `open`.

        What comes ahead takes half of the space at most, so that it is not removed before it is opened.
        """
        with self._lock:
            fits = sum(self._unopened.values()) + shard.bytes <= self.limit // 2
            if shard.sha256 in self._wanted or not fits:
                return
            self._unopened[shard.sha256] = shard.bytes
        self._want(dataset, shard)

    def open(self, dataset: Location, shard: Shard) -> pa.NativeFile:
        """The shard as a local file. Raises DataError where it cannot be fetched or is damaged."""
        while True:
            wanted = self._want(dataset, shard)
            try:
                wanted.result()
                file = pa.OSFile(str(self._path(shard)))
            except FileNotFoundError:  # removed by whoever needed the space
                self._forget(shard, wanted)
            except BaseException:
                self._forget(shard, wanted)
                raise
            else:
                self._unopened.pop(shard.sha256, None)
                with suppress(FileNotFoundError):
                    os.utime(self._path(shard))
                return file

    def _want(self, dataset: Location, shard: Shard) -> "Future[None]":
        with self._lock:
            wanted = self._wanted.get(shard.sha256)
            if wanted is None or (wanted.done() and not self._path(shard).exists()):
                wanted = self._wanted[shard.sha256] = self._pool.submit(self._get, dataset, shard)
            return wanted

    def _forget(self, shard: Shard, wanted: "Future[None]") -> None:
        with self._lock:
            if self._wanted.get(shard.sha256) is wanted:
                del self._wanted[shard.sha256]

    def _get(self, dataset: Location, shard: Shard) -> None:
        """Fetches a shard that is not there; one that another process has left is checked once by this one."""
        path = self._path(shard)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if path.exists():
                if sha256_of(path) == shard.sha256:
                    return
                path.unlink(missing_ok=True)
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            try:
                while not self._reserved(part, shard):
                    time.sleep(WAIT)  # others are fetching, and what they fetch may go then
                self._fetch(dataset.join(shard.path), part, shard)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def _fetch(self, source: Location, part: Path, shard: Shard) -> None:
        digest = hashlib.sha256()
        with part.open("r+b") as file, _told(source), source.fs.open_input_stream(source.path, compression=None) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != shard.sha256:
            raise DataError(f"{source.shown}: damaged: its checksum is not the one in the manifest; ingest again")

    def _reserved(self, part: Path, shard: Shard) -> bool:
        """Makes a file of the shard's size, and room for it: what was used least recently goes. False where too little can go.

        Raises SettingsError where the shard never fits.
        """
        if shard.bytes > self.limit:
            raise SettingsError(
                f"loader.cache_gib={self.limit / GIB:g} does not hold the shard {shard.path} of {shard.bytes / GIB:.3g} GiB;"
                " raise it"
            )
        with _locked(self.folder / "room"):
            found = sorted((_used(path) for path in self._files()), key=lambda one: one[0])
            total = shard.bytes + sum(size for _, size, _ in found)
            for _, size, path in found:
                if total > self.limit and (path.suffix != ".part" or _is_abandoned(path)):
                    path.unlink(missing_ok=True)
                    total -= size
            if total > self.limit:
                return False
            with part.open("wb") as file:
                file.truncate(shard.bytes)
            return True

    def _files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.suffix in (".parquet", ".part")]

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.parquet"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps others, also other processes, from what belongs to `path`; the kernel lets go where one dies."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_abandoned(part: Path) -> bool:
    """Whether whoever fetched this is dead."""
    with part.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def _told(source: Location) -> Iterator[None]:
    """Raises an error of the remote filesystem as DataError."""
    try:
        yield
    except OSError as error:
        first = str(error).partition("\n")[0]
        raise DataError(f"{source.shown}: a shard of the manifest cannot be read: {first}; ingest again") from None


def _used(path: Path) -> tuple[float, int, Path]:
    """When a file was last used, its size, and itself; one that has just gone is old and empty."""
    try:
        info = path.stat()
    except FileNotFoundError:
        return 0.0, 0, path
    return info.st_mtime, info.st_size, path
