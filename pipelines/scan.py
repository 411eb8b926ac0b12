"""Files under a root, on any filesystem: relative path, size and time of each, as one Arrow table."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from pipelines.errors import DataError
from pipelines.storage import Location, redacted

LISTING = pa.schema([("id", pa.int64()), ("path", pa.binary()), ("size", pa.int64()), ("mtime_ns", pa.int64())])
BATCH = 20_000  # rows that are Python objects at one time
FOLDERS = 16  # remote folders listed at one time: a round trip each

Found = tuple[bytes, int, int]


def list_files(root: Location, leave_out: Location | None = None, progress: Callable[[int], None] | None = None) -> pa.Table:
    """All files under `root` in the order of their ids: schema LISTING, with paths as bytes (see `path_bytes`).

    Hidden files and folders (a name that starts with a dot), pipes and devices are left out, and the file `leave_out`;
    every other file is listed, whatever its extension, because what it holds decides. `progress` is told the count so
    far. Raises DataError where the root is missing, cannot be listed, or holds no file.
    """
    try:
        batches = list(_batches(_found(root, leave_out), progress))
    except OSError as error:  # no permission, links in a circle, a server that went away
        where = os.fsdecode(error.filename) if error.filename else root.shown
        raise DataError(f"{where}: cannot be listed: {redacted(str(error.strerror or error))}") from None
    if not batches:
        raise DataError(f"{root.shown}: the folder holds no file; --input names the folder that holds the images")
    listing = pa.Table.from_batches(batches, LISTING)
    ids = listing["id"].to_numpy()
    order = np.argsort(ids)
    if clashes := ids[order][:-1][np.diff(ids[order]) == 0].tolist():
        same = listing.filter(pc.equal(listing["id"], clashes[0]))["path"].to_pylist()
        names = " and ".join(map(path_text, same))
        raise DataError(f"{root.shown}: {names} hash to the same id {clashes[0]}; rename one of them")
    return listing.take(pa.array(order))


def file_id(path: str) -> int:
    """The stable id of a row: the first 8 bytes of the SHA-256 of its relative path, as a signed int64."""
    return int(_ids([path_bytes(path)])[0])


def path_bytes(path: str) -> bytes:
    """A path as bytes, also where a file name is not valid UTF-8 (Python holds such names as surrogates)."""
    return path.encode("utf-8", "surrogateescape")


def path_text(path: bytes) -> str:
    """The inverse of `path_bytes`."""
    return path.decode("utf-8", "surrogateescape")


def _ids(paths: Iterable[bytes]) -> np.ndarray:
    """The ids of paths: (N,) int64."""
    return np.frombuffer(b"".join([hashlib.sha256(path).digest()[:8] for path in paths]), ">i8").astype(np.int64)


def _found(root: Location, leave_out: Location | None) -> Iterator[Found]:
    kind = root.info().type
    if kind == pafs.FileType.NotFound:
        raise DataError(f"{root.shown}: no such folder; --input names the folder that holds the images")
    if kind == pafs.FileType.File:
        raise DataError(f"{root.shown}: a file, not a folder; --input names the folder that holds the images")
    found = _walk_local(os.fsencode(root.path)) if root.local else _walk(root)
    left = path_bytes(_below(root, leave_out)) if leave_out else b""
    return (row for row in found if row[0] != left) if left else found


def _batches(found: Iterator[Found], progress: Callable[[int], None] | None) -> Iterator[pa.RecordBatch]:
    count = 0
    while rows := list(islice(found, BATCH)):
        paths, sizes, times = zip(*rows, strict=True)
        columns = [_ids(paths), paths, sizes, times]
        yield pa.RecordBatch.from_arrays(list(map(pa.array, columns, LISTING.types)), schema=LISTING)
        count += len(rows)
        if progress:
            progress(count)


def _below(root: Location, file: Location) -> str:
    """The path of `file` relative to `root`, also where one of them is reached through links."""
    if not root.local:
        return root.below(file.path)
    folder, _, name = file.path.rpartition("/")
    return os.path.relpath(f"{os.path.realpath(folder or '/')}/{name}", os.path.realpath(root.path))


def _walk_local(root: bytes) -> Iterator[Found]:
    # os.scandir lists a flat folder some 30 times faster than Spark and needs no second call for the type
    folders = [(b"", frozenset([os.path.realpath(root)]))]  # path below the root, and the folders that links led to
    while folders:
        folder, entered = folders.pop()
        for entry in _entries(os.path.join(root, folder)):
            if entry.name.startswith(b"."):
                continue
            path = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append((path + b"/", entered))
            elif entry.is_symlink() and os.path.isdir(entry.path):
                folders.append((path + b"/", _enter(entry.path, entered)))
            elif info := _facts(entry):
                yield path, info.st_size, info.st_mtime_ns


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:  # removed since the folder above was listed
        return
    with entries:
        yield from entries


def _enter(link: bytes, entered: frozenset[bytes]) -> frozenset[bytes]:
    """`entered` with the folder that `link` names. Raises OSError where that was entered already: a circle."""
    folder = os.path.realpath(link)
    if folder in entered:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), link)
    return entered | {folder}


def _facts(entry: os.DirEntry[bytes]) -> os.stat_result | None:
    """Size and times of a file, or of a link that leads nowhere; None for what would block its reader for ever."""
    try:
        info = entry.stat()
    except OSError:
        with suppress(FileNotFoundError):  # removed since the folder was listed
            return entry.stat(follow_symlinks=False)
        return None
    return info if stat.S_ISREG(info.st_mode) else None


def _walk(root: Location) -> Iterator[Found]:
    # folder by folder: a recursive selector would hold all files at once as objects
    def infos(folder: str) -> list[pafs.FileInfo]:
        return root.fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))

    folders = [root.path]
    with ThreadPoolExecutor(FOLDERS) as pool:
        while folders:
            some = folders[-FOLDERS:]
            del folders[-FOLDERS:]
            for info in chain.from_iterable(pool.map(infos, some)):
                if info.base_name.startswith("."):
                    continue
                if info.type == pafs.FileType.Directory:
                    folders.append(info.path)
                elif info.type == pafs.FileType.File:
                    yield path_bytes(root.below(info.path)), info.size, info.mtime_ns or 0
