"""The folder of a bundle as it is found: what it says of itself, and files that are what it says. Goes with the bundle."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.errors import DataError

BUNDLE = "bundle.json"
FORMATS = (1, 2)  # 2: with network.onnx, and code that opens no file that a text names


def read_bundle(folder: Path) -> dict[str, Any]:
    """The contents of BUNDLE, once the files that it names are there with their checksums.

    Raises DataError where it is no bundle, a name leads out of the folder, or a file is missing or damaged.
    """
    try:
        bundle = json.loads((folder / BUNDLE).read_text(encoding="utf-8"))
        files = dict(bundle["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder}: no {BUNDLE} of a recogniser in this folder: {error!r}") from None
    if bundle.get("format") not in FORMATS:
        known = ", ".join(map(str, FORMATS))
        raise DataError(f"{folder / BUNDLE}: format {bundle.get('format')!r}, and this version reads {known}; take a newer one")
    if not files:
        raise DataError(f"{folder / BUNDLE}: names no files; download the model again")
    verify(folder, files)
    return bundle


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """Raises DataError where what is made of a bundle's contents within finds them not to be those of a recogniser."""
    try:
        yield
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise DataError(f"{folder / BUNDLE}: not that of a recogniser: {' '.join(repr(error).split())[:300]}") from None


def verify(folder: Path, files: Mapping[str, Any]) -> None:
    """Raises DataError unless each name is that of a file within `folder`, in which no link leads out, with its SHA-256."""
    home = folder.resolve()
    for name, sha256 in files.items():
        path = folder / name
        if not _plain(name) or not path.resolve().is_relative_to(home):
            raise DataError(f"{folder}: the file name {name!r} leads out of this folder; nothing of it is read")
        if not path.is_file() or sha256_of(path) != sha256:
            raise DataError(f"{path}: missing or damaged (checksum); download the model again")


def sha256_of(path: Path) -> str:
    """The checksum of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _plain(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
