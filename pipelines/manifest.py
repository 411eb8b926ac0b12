"""What a version of a dataset promises: published atomically and last, and the only way in for readers."""

import hashlib
import re
from typing import Any, NamedTuple

from pyarrow import fs as pafs
from pydantic import Field, ValidationError

from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.exclusion import ExclusionRecord
from pipelines.settings import Settings
from pipelines.split import SPLITS
from pipelines.storage import Location, locate, redacted

SCHEMA_VERSION = 1
CHUNK = 1 << 22


class Part(Settings):
    """One file of a dataset: its path below the dataset's folder, size in bytes, and SHA-256."""

    path: str
    bytes: int
    sha256: str


class Shard(Part):
    """A Parquet file of rows of one split, with the number of rows of each row group."""

    split: str
    row_groups: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


class Accounting(Settings):
    """listed = written + rejected + duplicates; `reasons` counts rejects and duplicates, `examples` names one of each.

    A version that was appended to counts its own files and those of the versions before it.
    """

    listed: int
    written: int
    rejected: int
    duplicates: int
    reasons: dict[str, int]
    examples: dict[str, str]


class Manifest(Settings):
    """One version of a dataset.

    `files` are tables of what became of each listed file, `rejects` of what was not written, `tables` hold the statistics.
    `exclusions` are the lists that files were left out by, in this version and those before it.
    """

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
    files: tuple[Part, ...] = ()
    rejects: tuple[Part, ...] = ()
    tables: tuple[Part, ...] = ()
    accounting: Accounting
    statistics: dict[str, Any]
    leaks: dict[str, Any] = Field(default_factory=dict)
    exclusions: tuple[ExclusionRecord, ...] = ()
    petastorm: bool
    tools: dict[str, str]
    created: str
    seconds: float

    @property
    def charset(self) -> Charset:
        return Charset(self.alphabet)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file that this version names."""
        return (*self.shards, *self.files, *self.rejects, *self.tables)

    def shards_of(self, split: str) -> tuple[Shard, ...]:
        """The shards of one split, in their fixed order. Raises DataError for an unknown or an empty split."""
        if split not in SPLITS:
            raise DataError(f"no split is named {split!r}; there are {', '.join(SPLITS)}")
        shards = tuple(shard for shard in self.shards if shard.split == split)
        if not shards:
            raise DataError(f"the split {split} of dataset {self.fingerprint[:12]} has no rows; ingest more images")
        return shards


def damage(folder: Location, part: Part) -> str | None:
    """What is wrong with the file of `part` below `folder`, such as "missing"; None where it is whole."""
    place, digest = folder.join(part.path), hashlib.sha256()
    info = place.info()
    if info.type != pafs.FileType.File:
        return "missing"
    if info.size != part.bytes:
        return f"{info.size} bytes, {part.bytes} in the manifest"
    with place.fs.open_input_stream(place.path) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return None if digest.hexdigest() == part.sha256 else "its checksum is not the one in the manifest"


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
    location.join("manifests").make()
    if not target.create(manifest.model_dump_json(indent=1).encode()):
        raise DataError(f"{target.shown}: this version is published already; versions never change")


def open_dataset(uri: str) -> Dataset:
    """The dataset at `uri`: its latest version, or version 3 for `DIR@3`. Raises DataError with the remedy."""
    folder, _, number = uri.rpartition("@") if re.search(r"@\d+$", uri) else (uri, "", "")
    location = locate(folder)
    shown = redacted(folder)
    if location.info().type != pafs.FileType.Directory:
        raise DataError(f"{shown}: no such dataset folder; make one with spark-submit jobs/ingest.py --output {shown}")
    known = versions(location)
    if not known:
        raise DataError(
            f"{shown}: no manifest in this folder, so no dataset (or an ingest that did not finish);"
            f" make one with spark-submit jobs/ingest.py --output {shown}"
        )
    version = int(number) if number else known[-1]
    if version not in known:
        raise DataError(f"{shown}: no version {version}; there are {', '.join(map(str, known))}")
    target = location.join("manifests", manifest_name(version))
    try:
        return Dataset(location, Manifest.model_validate_json(target.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{target.shown}: not a manifest of this version of glyphmill: {where}: {first['msg']}") from None
