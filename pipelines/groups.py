"""One ingest task, whoever runs it: a group of listed files -> verified shards and one fact for each file."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import IngestSettings
from pipelines.images import decode
from pipelines.manifest import Shard
from pipelines.rejects import Reason, Reject
from pipelines.scan import path_text
from pipelines.shards import ShardWriter, pixels
from pipelines.stats import Source, Statistics
from pipelines.storage import Location, locate


class Job(NamedTuple):
    """What every task of an ingest knows: where files come from and go to, and the settings."""

    input: str
    staging: str
    settings: IngestSettings


class Group(NamedTuple):
    """A task: row group `number` of the staged listing."""

    job: Job
    number: int


class Fact(NamedTuple):
    """What became of one listed file. `reason` is None where it was written."""

    id: int
    path: str
    size: int
    sha256: str | None = None
    label: str | None = None
    split: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    format: str | None = None
    reason: str | None = None
    detail: str | None = None


FACTS = pa.schema([(name, pa.int64() if name in ("id", "size", "width", "height") else pa.string()) for name in Fact._fields])


class Repeat(NamedTuple):
    """A written row that must go: its bytes stand in another row too, with the same label or with another."""

    group: int
    id: int
    reason: str
    detail: str


class Rewrite(NamedTuple):
    """A task: the group of `result` once more, without the rows in `repeats`."""

    job: Job
    result: "GroupResult"
    repeats: tuple[Repeat, ...]


@dataclass(frozen=True)
class GroupResult:
    """The descriptors a task returns. Shard paths and the facts' path are relative to the staging folder."""

    number: int
    files: int
    facts: str
    shards: tuple[Shard, ...]
    statistics: dict[str, Statistics]
    reasons: Counter[str] = field(default_factory=Counter)


def process_group(group: Group) -> GroupResult:
    """Reads, labels, decodes, checks and writes the files of one group."""
    job, number = group
    root, staging = locate(job.input), locate(job.staging)
    with staging.fs.open_input_file(staging.join(LISTING_FILE).path) as file:
        listing = pq.ParquetFile(file).read_row_group(number)
    writer = GroupWriter(job, number)
    for row_id, path, size in zip(*(listing[name].to_pylist() for name in ("id", "path", "size")), strict=True):
        writer.add(*read_row(job.settings, root, row_id, path_text(path), size))
    return writer.close()


def rewrite_group(rewrite: Rewrite) -> GroupResult:
    """The group again, from its staged shards, without the rows that repeat others."""
    job, result, repeats = rewrite
    staging = locate(job.staging)
    gone = {repeat.id: repeat for repeat in repeats}
    images = {s.split: _staged_images(staging.join(s.path), job.settings.image.shape) for s in result.shards}
    writer = GroupWriter(job, result.number)
    for fact in read_facts(staging.join(result.facts)):
        image = None if fact.reason or not fact.split else next(images[fact.split])
        if repeat := gone.get(fact.id):
            writer.add(fact._replace(reason=repeat.reason, detail=repeat.detail), None)
        else:
            writer.add(fact, image)
    return writer.close()


LISTING_FILE = "listing.parquet"


def read_row(settings: IngestSettings, root: Location, row_id: int, path: str, size: int) -> tuple[Fact, np.ndarray | None]:
    """The fact of one file, and its (H, W, C) uint8 pixels unless it is rejected."""
    fact = Fact(row_id, path.encode("utf-8", "backslashreplace").decode(), size)
    try:
        try:
            data = root.join(path).read_bytes()
        except UnicodeEncodeError:  # Arrow has no way to name such a file
            raise Reject(Reason.NO_LABEL, "the file name is not valid UTF-8") from None
        except OSError as error:
            raise Reject(Reason.UNREADABLE, str(error)) from None
        fact = fact._replace(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        decoded = decode(data, settings.checks)
        fact = fact._replace(width=decoded.width, height=decoded.height, mode=decoded.mode, format=decoded.format)
        label = settings.label.label_of(path)
        fact = fact._replace(label=label, split=settings.split.of(str(fact.sha256), label))
        return fact, settings.image.apply(decoded.image)
    except Reject as reject:
        return fact._replace(reason=reject.reason.value, detail=reject.detail), None


def read_facts(location: Location) -> Iterator[Fact]:
    """The facts in one facts file, in the order of their ids."""
    table = pq.read_table(location.path, filesystem=location.fs, schema=FACTS)
    yield from map(Fact._make, zip(*(table[name].to_pylist() for name in Fact._fields), strict=True))


class GroupWriter:
    """Collects the rows of one group into row groups and writes a shard for each split, and the facts.

    File names are unique to this attempt, so a retried or speculative task never meets another's files.
    """

    def __init__(self, job: Job, number: int) -> None:
        self._settings, self._staging, self._number = job.settings, locate(job.staging), number
        self._attempt = f"{number:05d}-{uuid.uuid4().hex[:12]}"
        self._facts: list[Fact] = []
        self._waiting: dict[str, list[tuple[Fact, np.ndarray]]] = {}
        self._shards: dict[str, ShardWriter] = {}
        self._statistics: dict[str, Statistics] = {}

    def add(self, fact: Fact, image: np.ndarray | None) -> None:
        """One file; `image` (H, W, C) uint8 is None where the fact has a reason for that."""
        self._facts.append(fact)
        if image is not None and fact.split:
            rows = self._waiting.setdefault(fact.split, [])
            rows.append((fact, image))
            if len(rows) >= self._settings.shards.rows:
                self._flush(fact.split)

    def close(self) -> GroupResult:
        for split in list(self._waiting):
            self._flush(split)
        shards = []
        for split, writer in self._shards.items():
            writer.__exit__(None, None, None)
            name = writer.location.path.rpartition("/")[2]
            row_groups = tuple(writer.row_groups)
            shards.append(Shard(split=split, path=name, bytes=writer.bytes, sha256=writer.sha256, row_groups=row_groups))
        facts = f"facts-{self._attempt}.parquet"
        columns = [pa.array(column, kind.type) for column, kind in zip(zip(*self._facts, strict=True), FACTS, strict=True)]
        table = pa.Table.from_arrays(columns, schema=FACTS)
        pq.write_table(table, self._staging.join(facts).path, filesystem=self._staging.fs)
        reasons = Counter(fact.reason for fact in self._facts if fact.reason)
        return GroupResult(self._number, len(self._facts), facts, tuple(shards), self._statistics, reasons)

    def _flush(self, split: str) -> None:
        rows = self._waiting.pop(split)
        facts, images = [fact for fact, _ in rows], np.stack([image for _, image in rows])
        if split not in self._shards:
            location = self._staging.join(f"{split}-{self._attempt}.parquet")
            self._shards[split] = ShardWriter(location, self._settings.shards.compression)
        names = ("id", "path", "label", "sha256", "width", "height")
        columns = {name: [getattr(fact, name) for fact in facts] for name in names}
        columns["length"] = [len(fact.label or "") for fact in facts]
        self._shards[split].write(columns, images)
        sources = [Source(f.label, f.width, f.height, f.mode, f.format, f.size) for f in facts]  # type: ignore[arg-type]
        self._statistics[split] = self._statistics.get(split, Statistics()) + Statistics.of(sources, images)


def _staged_images(shard: Location, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    with shard.fs.open_input_file(shard.path) as file:
        parquet = pq.ParquetFile(file)
        for index in range(parquet.num_row_groups):
            yield from pixels(parquet.read_row_group(index, columns=["image"])["image"], shape)
