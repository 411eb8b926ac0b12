"""What a version of a dataset promises: published atomically and last, and the only way in for readers."""

import re
from typing import Any, NamedTuple

from pyarrow import fs as pafs
from pydantic import ValidationError

from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.settings import Settings
from pipelines.split import SPLITS
from pipelines.storage import Location, locate

SCHEMA_VERSION = 1


class Shard(Settings):
    """One Parquet file: its path below the dataset, size in bytes, SHA-256, and the rows of each row group."""

    split: str
    path: str
    bytes: int
    sha256: str
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


class Accounting(Settings):
    """listed = written + rejected + duplicates; `reasons` counts rejects and duplicates, `examples` names one of each."""

    listed: int
    written: int
    rejected: int
    duplicates: int
    reasons: dict[str, int]
    examples: dict[str, str]


class Manifest(Settings):
    """One version of a dataset."""

    schema_version: int = SCHEMA_VERSION
    version: int
    parent: int | None = None
    fingerprint: str
    input: str
    input_digest: str
    settings: dict[str, Any]
    alphabet: str
    image_shape: tuple[int, int, int]
    splits: dict[str, int]
    shards: tuple[Shard, ...]
    accounting: Accounting
    statistics: dict[str, Any]
    petastorm: bool
    tools: dict[str, str]
    created: str
    seconds: float

    @property
    def charset(self) -> Charset:
        return Charset(self.alphabet)

    def shards_of(self, split: str) -> tuple[Shard, ...]:
        """The shards of one split, in their fixed order. Raises DataError for an unknown or an empty split."""
        if split not in SPLITS:
            raise DataError(f"no split is named {split!r}; there are {', '.join(SPLITS)}")
        shards = tuple(shard for shard in self.shards if shard.split == split)
        if not shards:
            raise DataError(f"the split {split} of dataset {self.fingerprint[:12]} has no rows; ingest more images")
        return shards


class Dataset(NamedTuple):
    """A manifest and the folder it describes."""

    location: Location
    manifest: Manifest


def manifest_name(version: int) -> str:
    return f"v{version:06d}.json"


def versions(location: Location) -> list[int]:
    """The published versions of the dataset at `location`, ascending."""
    names = (re.fullmatch(r"v(\d{6})\.json", name) for name in location.join("manifests").names())
    return [int(match[1]) for match in names if match]


def publish(location: Location, manifest: Manifest) -> None:
    """Writes the manifest as a new version. Raises DataError where that version stands already."""
    target = location.join("manifests", manifest_name(manifest.version))
    if target.exists():
        raise DataError(f"{target.uri}: this version is published already; versions never change")
    location.fs.create_dir(location.join("manifests").path)
    target.write_bytes(manifest.model_dump_json(indent=1).encode())


def open_dataset(uri: str) -> Dataset:
    """The dataset at `uri`: its latest version, or version 3 for `DIR@3`. Raises DataError with the remedy."""
    folder, _, number = uri.rpartition("@") if re.search(r"@\d+$", uri) else (uri, "", "")
    location = locate(folder)
    if location.info().type != pafs.FileType.Directory:
        raise DataError(f"{folder}: no such dataset folder; make one with spark-submit jobs/ingest.py --output {folder}")
    known = versions(location)
    if not known:
        raise DataError(
            f"{folder}: no manifest in this folder, so no dataset (or an ingest that did not finish);"
            f" make one with spark-submit jobs/ingest.py --output {folder}"
        )
    version = int(number) if number else known[-1]
    if version not in known:
        raise DataError(f"{folder}: no version {version}; there are {', '.join(map(str, known))}")
    target = location.join("manifests", manifest_name(version))
    try:
        return Dataset(location, Manifest.model_validate_json(target.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{target.uri}: not a manifest of this version of glyphmill: {where}: {first['msg']}") from None
