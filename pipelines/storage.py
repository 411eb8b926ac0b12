"""Where bytes live: any filesystem that Arrow or fsspec reaches, named by a path or a URI."""

import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from pyarrow import fs as pafs

from pipelines.errors import DataError

LOCAL = pafs.LocalFileSystem()
OBJECT_STORES = ("s3", "gcs", "abfs")  # Arrow's: an object is there whole or not at all, and folders need not be made
ARROW = ("s3", "gs", "gcs", "hdfs", "viewfs") + (("abfs", "abfss") if "AzureFileSystem" in vars(pafs) else ())
ALIASES = {"s3a": "s3", "s3n": "s3"}  # Hadoop's names
WEB = ("http", "https", "ftp")
OPEN_OPTIONS = ("region", "scheme", "endpoint_override", "allow_bucket_creation", "user", "replication", "project_id")
PATTERN = re.compile(r"[*?\[]")
REMOVALS = 5
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Location(NamedTuple):
    """A folder or file: its filesystem, the path there, and the URI that names it in every process.

    Where the URI carries credentials, `uri` has them too; messages, logs and manifests show `shown` instead.
    Local names that are not UTF-8 are held as Python holds them (surrogateescape).
    """

    fs: pafs.FileSystem
    path: str
    uri: str

    def __repr__(self) -> str:
        return f"Location({self.shown})"

    @property
    def shown(self) -> str:
        """The URI without credentials."""
        return redacted(self.uri)

    @property
    def local(self) -> bool:
        return isinstance(self.fs, pafs.LocalFileSystem)

    def join(self, *parts: str) -> "Location":
        tail = "/".join(parts)
        path = f"{self.path.rstrip('/')}/{tail}"
        if "://" not in self.uri:
            return Location(self.fs, path, path)
        folder, mark, options = self.uri.partition("?")  # such as s3://bucket/folder?region=eu-west-1
        quoted = quote(tail.encode("utf-8", "surrogateescape"), safe="/=+,:")
        return Location(self.fs, path, f"{folder}/{quoted}{mark}{options}")

    def below(self, path: str) -> str:
        """`path`, which lies in this folder, relative to it. Some filesystems list paths without the first slash."""
        return path.strip("/")[len(self.path.strip("/")) :].lstrip("/")

    def info(self) -> pafs.FileInfo:
        return self.fs.get_file_info(self.path)

    def exists(self) -> bool:
        return os.path.exists(self.path) if self.local else self.info().type != pafs.FileType.NotFound

    def read_bytes(self) -> bytes:
        """The whole file. Raises FileNotFoundError or another OSError, also for a pipe, which would block its reader."""
        if self.local:
            return _read_local(self.path)
        with self.fs.open_input_stream(self.path, compression=None) as stream:
            return stream.read()

    def write_bytes(self, data: bytes) -> None:
        """Writes or replaces the file, so that a reader, and whoever comes after a power cut, sees all or nothing."""
        if self.fs.type_name in OBJECT_STORES:
            with self.fs.open_output_stream(self.path, compression=None) as stream:
                stream.write(data)
            return
        with self._staged(data) as staged:
            staged.move(self)

    def create(self, data: bytes) -> bool:
        """Writes the file where nothing is there, else returns False. A reader sees all or nothing.

        Exclusive between processes on a local filesystem that knows hard links; elsewhere it looks, then writes.
        """
        if not self.local:
            if self.exists():
                return False
            self.write_bytes(data)
            return True
        with self._staged(data) as staged:
            try:
                os.link(staged.path, self.path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                if os.path.lexists(self.path):
                    return False
                staged.move(self)
        return True

    def settle(self) -> None:
        """Waits until the bytes of this file are on disk for certain; elsewhere than locally a closed file is."""
        if self.local:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def move(self, target: "Location") -> None:
        """Moves this file, over whatever file is at `target`, to a folder made on demand. Raises FileNotFoundError."""
        target._make_parent()
        if self.local:
            os.replace(self.path, target.path)
            return
        try:
            self.fs.move(self.path, target.path)
        except OSError:
            if self.exists():
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path) from None

    def move_tree(self, target: "Location") -> None:
        """Moves this folder with all in it: at once where the filesystem can and nothing is at `target`, else file by file."""
        if (self.local or self.fs.type_name == "hdfs") and not target.exists():
            self.move(target)
            return
        for info in self.fs.get_file_info(pafs.FileSelector(self.path, recursive=True)):
            if info.type != pafs.FileType.Directory:
                tail = self.below(info.path)
                self.join(tail).move(target.join(tail))
        self.remove()

    def remove(self) -> None:
        """Removes the file, or the folder with all in it; a link itself and not what it names; nothing where nothing is."""
        if self.local:
            if os.path.isdir(self.path) and not os.path.islink(self.path):
                _remove_tree(self.path)
            else:
                Path(self.path).unlink(missing_ok=True)
            return
        kind = self.info().type
        with suppress(FileNotFoundError):  # another was faster
            if kind == pafs.FileType.Directory:
                self.fs.delete_dir(self.path)
            elif kind != pafs.FileType.NotFound:
                self.fs.delete_file(self.path)

    def make(self) -> None:
        """Makes the folder and those above it, where they are missing."""
        if self.local:
            os.makedirs(self.path, exist_ok=True)
        else:
            self.fs.create_dir(self.path, recursive=True)

    def names(self) -> list[str]:
        """The names in this folder, sorted; empty where there is no such folder."""
        if not self.local:
            return sorted(info.base_name for info in self._infos())
        return sorted(os.listdir(self.path)) if self.exists() else []

    def files(self) -> list[tuple[str, int]]:
        """Name and size in bytes of each file in this folder (not below), sorted; empty where there is no such folder."""
        if not self.local:
            return sorted((info.base_name, info.size) for info in self._infos() if info.type == pafs.FileType.File)
        if not self.exists():
            return []
        with os.scandir(self.path) as entries:
            return sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())

    def _infos(self) -> list[pafs.FileInfo]:
        return self.fs.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))

    def _make_parent(self) -> None:
        if self.fs.type_name not in OBJECT_STORES:
            self._replace(path=self.path.rpartition("/")[0] or "/").make()

    @contextmanager
    def _staged(self, data: bytes) -> Iterator["Location"]:
        """A hidden file beside this one that holds `data`, on disk for certain; gone afterwards."""
        folder, _, name = self.path.rpartition("/")
        staged = self._replace(path=f"{folder}/.{name}.{uuid.uuid4().hex[:8]}")
        try:
            if self.local:
                with open(staged.path, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            else:
                with self.fs.open_output_stream(staged.path, compression=None) as stream:
                    stream.write(data)
            yield staged
        finally:
            staged.remove()


def locate(uri: str | Path) -> Location:
    """The location that `uri` names: a local path (relative or absolute) or a URI such as s3://bucket/folder.

    Filesystems are those of Arrow (file, s3, gs, hdfs; with options after a question mark, as in
    `pyarrow.fs.FileSystem.from_uri`), and where Arrow has none, those of fsspec (abfss, memory, ...; options are
    arguments of its filesystem). Raises DataError, without credentials, where there is none or it cannot be reached.
    """
    text = str(uri)
    if "://" not in text:
        path = os.path.abspath(os.path.expanduser(text))
        return Location(LOCAL, path, path)
    folder, mark, options = text.partition("?")
    scheme, _, tail = folder.partition("://")
    host, _, rest = tail.rstrip("/").partition("/")
    below = unquote(rest, errors="surrogateescape")
    try:
        filesystem, top = _filesystem(scheme, host, options, os.getpid())
    except (ValueError, TypeError, OSError, NotImplementedError, ImportError) as error:
        reason = redacted(str(error).partition("\n")[0])
        raise DataError(f"{redacted(text)}: this filesystem cannot be reached: {reason}") from None
    path = f"{top.rstrip('/')}/{below}" if below else top or "/"
    return Location(filesystem, path, f"{scheme}://{tail.rstrip('/')}{mark}{options}")


@lru_cache(maxsize=64)
def _filesystem(scheme: str, host: str, options: str, process: int) -> tuple[pafs.FileSystem, str]:
    """The filesystem and the path of its top; one a process, because connections do not survive a fork."""
    if scheme == "file":
        if host not in ("", "localhost"):
            raise ValueError(f"the host {host} in a file:// URI; write file:///PATH")
        return LOCAL, "/"
    if scheme in WEB:
        raise ValueError("a web site; download the files into a folder first")
    scheme = ALIASES.get(scheme, scheme)
    if scheme in ARROW:
        return pafs.FileSystem.from_uri(f"{scheme}://{host}/" + (f"?{options}" if options else ""))
    from fsspec.core import url_to_fs

    scheme = "abfs" if scheme == "abfss" else scheme  # the name that fsspec knows without the package, too
    filesystem, path = url_to_fs(f"{scheme}://{host}", **dict(parse_qsl(options)))
    filesystem.dircache.use_listings_cache = False  # other processes write here too
    return pafs.PyFileSystem(_ExactNames(filesystem)), path


class _ExactNames(pafs.FSSpecHandler):
    """A filesystem of fsspec with names taken as they are: its mv and rm take those with `*`, `?` or `[` as patterns."""

    def move(self, src: str, dest: str) -> None:
        if not PATTERN.search(src):
            super().move(src, dest)
            return
        self.fs.cp_file(src, dest)
        self.fs.rm_file(src)

    def delete_file(self, path: str) -> None:
        self.fs.rm_file(path)

    def delete_dir(self, path: str) -> None:
        if not PATTERN.search(path):
            super().delete_dir(path)
            return
        for name, info in sorted(self.fs.find(path, withdirs=True, detail=True).items(), reverse=True):
            (self.fs.rmdir if info["type"] == "directory" else self.fs.rm_file)(name)
        if self.fs.exists(path):
            self.fs.rmdir(path)


def redacted(text: str) -> str:
    """`text` without the credentials that URIs in it may hold: name:password@, and values of options that may be secret."""
    text = re.sub(r"://[^/?\s]*:[^/?\s]*@", "://***@", text)
    text = re.sub(r"://[^:/?@\s]*:(?!\d*(?:[/?&]|$)).*@", "://***@", text)  # a secret with a slash, not quoted
    return re.sub(r"([?&])([\w.-]+)=[^&\s]*", lambda m: m[0] if m[2] in OPEN_OPTIONS else f"{m[1]}{m[2]}=***", text)


def _read_local(path: str) -> bytes:
    # a small file costs two thirds of what it does through Arrow or open(); a pipe that took its place must not block
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            directory = stat.S_ISDIR(info.st_mode)
            raise OSError(errno.EISDIR if directory else errno.EINVAL, "a folder" if directory else "not a regular file", path)
        data = os.read(descriptor, info.st_size + 1)
        if len(data) == info.st_size:
            return data
        with open(descriptor, "rb", buffering=0, closefd=False) as file:  # it grew, or is larger than one read gives
            return data + file.read()
    finally:
        os.close(descriptor)


def _remove_tree(path: str) -> None:
    for _ in range(REMOVALS - 1):
        with suppress(OSError):  # somebody who writes there still, such as a task that outlived its job
            return shutil.rmtree(path)
        if not os.path.exists(path):
            return None
    return shutil.rmtree(path)


class HashingSink:
    """A writable file object that counts and hashes what passes through it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._sha256.update(view)
        self._stream.write(view)
        self.bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


@contextmanager
def hashed_output(location: Location) -> Iterator[HashingSink]:
    """Opens `location` for writing through a HashingSink."""
    with location.fs.open_output_stream(location.path) as stream:
        yield HashingSink(stream)
