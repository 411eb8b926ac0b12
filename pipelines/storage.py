"""Where bytes live: any filesystem that Arrow reaches, named by a path or a URI."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow import fs as pafs

from pipelines.errors import DataError


class Location(NamedTuple):
    """A folder or file: its filesystem, the path there, and the URI that names it everywhere."""

    fs: pafs.FileSystem
    path: str
    uri: str

    def join(self, *parts: str) -> "Location":
        tail = "/".join(parts)
        folder, mark, options = self.uri.partition("?")  # such as s3://bucket/folder?region=eu-west-1
        return Location(self.fs, f"{self.path}/{tail}", f"{folder}/{tail}{mark}{options}")

    def info(self) -> pafs.FileInfo:
        return self.fs.get_file_info(self.path)

    def exists(self) -> bool:
        return self.info().type != pafs.FileType.NotFound

    def read_bytes(self) -> bytes:
        with self.fs.open_input_stream(self.path) as stream:
            return stream.read()

    def write_bytes(self, data: bytes) -> None:
        """Writes under a temporary name and moves it in place, so that a reader sees all or nothing."""
        staged = self.path.rpartition("/")[0] + f"/.{self.path.rpartition('/')[2]}.{os.getpid()}"
        with self.fs.open_output_stream(staged) as stream:
            stream.write(data)
        self.fs.move(staged, self.path)

    def names(self) -> list[str]:
        """The names in this folder, sorted; empty where there is no such folder."""
        infos = self.fs.get_file_info(pafs.FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos)


def locate(uri: str | Path) -> Location:
    """The location that `uri` names: a local path (relative or absolute) or a URI such as s3://bucket/folder."""
    text = str(uri)
    if "://" not in text:
        path = os.path.abspath(Path(text).expanduser())
        return Location(pafs.LocalFileSystem(), path, path)
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except (ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{text}: Arrow does not reach this filesystem: {str(error).splitlines()[0]}") from None
    folder, mark, options = text.partition("?")
    return Location(filesystem, path.rstrip("/"), f"{folder.rstrip('/')}{mark}{options}")


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
