"""One ingest task, whoever runs it: a group of planned files -> verified shards and one fact for each file.

All that a task writes lies in the staging folder under names that no other attempt has; a descriptor, written last, makes it
count. A run that was killed is continued from the groups that have one.
"""

import errno
import hashlib
import itertools
import json
import os
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs
from pydantic import Field
from typing_extensions import Self

from pipelines.config import ROW_GROUP_BYTES, IngestSettings
from pipelines.errors import DataError
from pipelines.facts import FACTS, Fact, Planned, read_facts
from pipelines.images import decode
from pipelines.manifest import Part, Shard, damage
from pipelines.rejects import Reason, Reject
from pipelines.repeats import Repeat
from pipelines.scan import path_text
from pipelines.settings import Settings
from pipelines.shards import ShardWriter
from pipelines.stats import Source, Statistics
from pipelines.storage import Location, hashed_output, locate

LISTING_FILE = "listing.parquet"
READ_AHEAD_BYTES = 64 << 20
READ_AHEAD = 32  # files on their way from a remote filesystem, where waiting costs more than work
PASSING = frozenset({Reason.VANISHED.value, Reason.UNREADABLE.value})  # a later attempt may find these files whole


class Job(NamedTuple):
    """What every task of an ingest knows: where files come from and go to, and the settings."""

    input: str
    staging: str
    settings: IngestSettings


class Group(NamedTuple):
    """A task: row group `number` of the staged listing."""

    job: Job
    number: int


class Rewrite(NamedTuple):
    """A task: the group of `result` once more, without the rows in `repeats`."""

    job: Job
    result: "GroupResult"
    repeats: tuple[Repeat, ...]


class GroupResult(Settings):
    """The descriptor of a finished task; paths are relative to the staging folder.

    `same` files were read again and hold the bytes that an older version knows of them: they have no fact here.
    """

    number: int
    files: int
    facts: Part
    shards: tuple[Shard, ...]
    statistics: Part
    reasons: dict[str, int] = Field(default_factory=dict)
    same: int = 0


def process_group(group: Group) -> GroupResult:
    """Reads, labels, decodes, checks and writes the files of one group, unless an earlier run did."""
    job, number = group
    staging = locate(job.staging)
    descriptor = f"done-{number:05d}.json"
    if (done := _finished(staging, descriptor)) and not PASSING & done.reasons.keys():
        return done
    with staging.fs.open_input_file(staging.join(LISTING_FILE).path) as file:
        listing = pq.ParquetFile(file).read_row_group(number)
    rows = map(Planned._make, zip(*(listing[name].to_pylist() for name in Planned._fields), strict=True))
    with GroupWriter(job, number, descriptor) as writer:
        for row, data in contents(locate(job.input), rows, job.settings.checks.max_bytes):
            writer.add(*judge(job.settings, row, data), data)
    return writer.result


def rewrite_group(rewrite: Rewrite) -> GroupResult:
    """The group again, from its staged shards, without the rows that repeat others."""
    job, result, repeats = rewrite
    staging = locate(job.staging)
    gone = {repeat.id: repeat for repeat in repeats}
    what = hashlib.sha256(repr((result.facts.sha256, sorted(gone.values()))).encode()).hexdigest()
    descriptor = f"again-{result.number:05d}-{what[:12]}.json"
    if done := _finished(staging, descriptor):
        return done
    images = {s.split: _staged_images(staging.join(s.path), job.settings) for s in result.shards}
    with GroupWriter(job, result.number, descriptor, result.same) as writer:
        for fact in read_facts(staging.join(result.facts.path)):
            image, data = (None, b"") if fact.reason or not fact.split else next(images[fact.split])
            if repeat := gone.get(fact.id):
                writer.add(fact._replace(reason=repeat.reason, detail=repeat.detail), None)
            else:
                writer.add(fact, image, data)
    return writer.result


def contents(root: Location, rows: Iterable[Planned], max_bytes: int) -> Iterator[tuple[Planned, bytes | OSError]]:
    """Each file with its bytes, or with the error that reading it gave; remote files are read ahead, in the same order."""

    def read(row: Planned) -> bytes | OSError:
        if row.reason:
            return b""
        if row.size > max_bytes:
            return OSError(errno.EFBIG, f"{row.size} bytes are over checks.max_bytes {max_bytes}")
        try:
            return root.join(path_text(row.path)).read_bytes()
        except OSError as error:
            if _is_outage(root, error):
                raise  # the task is tried again, and not thousands of sound files rejected
            return error

    if isinstance(root.fs, pafs.LocalFileSystem):
        yield from ((row, read(row)) for row in rows)
        return
    waiting: deque[tuple[Planned, Future[bytes | OSError]]] = deque()
    ahead = 0
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        for row in rows:
            waiting.append((row, pool.submit(read, row)))
            ahead += row.size
            while len(waiting) >= READ_AHEAD or (ahead > READ_AHEAD_BYTES and len(waiting) > 1):
                first, future = waiting.popleft()
                ahead -= first.size
                yield first, future.result()
        yield from ((row, future.result()) for row, future in waiting)


def judge(settings: IngestSettings, row: Planned, data: bytes | OSError) -> tuple[Fact | None, np.ndarray | None]:
    """The fact of one file, and its (H, W, C) uint8 pixels unless it is rejected. No fact: what an older version has stands."""
    path = path_text(row.path)
    known: dict[str, object] = {"size": row.size, "mtime_ns": row.mtime_ns}
    image = None
    try:
        if row.reason:
            raise Reject(Reason(row.reason), row.detail or "")
        if isinstance(data, OSError):
            raise unread(data)
        digest = hashlib.sha256(data).hexdigest()
        known |= {"sha256": digest, "size": len(data)}
        if digest in (row.known, row.seen):
            return None, None
        if row.known:
            raise Reject(Reason.CHANGED, "other bytes than in an older version, whose row stays; a new --output takes them")
        decoded = decode(data, settings.checks)
        known |= {"width": decoded.width, "height": decoded.height, "mode": decoded.mode, "format": decoded.format}
        label = settings.label.label_of(path, row.label)
        known["label"] = label
        known["split"] = settings.split.of(digest, label, path, row.split)
        image = settings.image.apply(decoded.image)
    except Reject as reject:
        if reject.reason.value == row.seen:
            return None, None
        known |= {"reason": reject.reason.value, "detail": reject.detail}
    return Fact(row.id, shown(row.path), **known), image  # type: ignore[arg-type]


def read_statistics(location: Location) -> dict[str, Statistics]:
    """The statistics of one group, by split."""
    return {split: Statistics.restore(state) for split, state in json.loads(location.read_bytes()).items()}


class GroupWriter:
    """Collects the rows of one group into row groups and writes a shard for each split, the facts, and the descriptor.

    What it wrote is removed where the `with` block fails. File names are unique to this attempt, so a retried or
    speculative task never meets another's files.
    """

    result: GroupResult

    def __init__(self, job: Job, number: int, descriptor: str, same: int = 0) -> None:
        self._settings, self._staging, self._number = job.settings, locate(job.staging), number
        self._descriptor, self._same = descriptor, same
        self._attempt = f"{number:05d}-{uuid.uuid4().hex[:12]}"
        self._facts: list[Fact] = []
        self._waiting: dict[str, list[tuple[Fact, np.ndarray, bytes]]] = {}
        self._bytes: Counter[str] = Counter()  # of the files that wait
        self._encoded = self._settings.shards.storage == "encoded"
        self._shards: dict[str, ShardWriter] = {}
        self._statistics: dict[str, Statistics] = {}

    def add(self, fact: Fact | None, image: np.ndarray | None, data: bytes | OSError = b"") -> None:
        """One file; `image` (H, W, C) uint8 is None where the fact has a reason for that. `data` are the file's bytes."""
        if fact is None:
            self._same += 1
            return
        self._facts.append(fact)
        if image is not None and fact.split:
            rows = self._waiting.setdefault(fact.split, [])
            rows.append((fact, image, data if self._encoded and isinstance(data, bytes) else b""))
            self._bytes[fact.split] += len(rows[-1][2])
            if len(rows) >= self._settings.shards.rows or self._bytes[fact.split] >= ROW_GROUP_BYTES:
                self._flush(fact.split)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            try:
                self._close()
                return
            except OSError as failed:
                self._remove()
                self._tell_of_space(failed)
                raise
        self._remove()
        if isinstance(error, OSError):
            self._tell_of_space(error)

    def _tell_of_space(self, error: OSError) -> None:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{self._staging.shown}: no space left; free some and run this again: what is finished is kept"
            ) from error

    def _close(self) -> None:
        for split in list(self._waiting):
            self._flush(split)
        shards = tuple(self._shard(split, writer) for split, writer in self._shards.items())
        columns = [pa.array(column, kind.type) for column, kind in zip(_columns(self._facts), FACTS, strict=True)]
        facts = self._staging.join(f"facts-{self._attempt}.parquet")
        with hashed_output(facts) as sink:
            pq.write_table(pa.Table.from_arrays(columns, schema=FACTS), sink, compression="zstd")
        statistics = self._staging.join(f"statistics-{self._attempt}.json")
        states = {split: value.state() for split, value in self._statistics.items()}
        with hashed_output(statistics) as figures:
            figures.write(json.dumps(states).encode())
        self.result = GroupResult(
            number=self._number,
            files=len(self._facts),
            facts=Part(path=_name(facts), bytes=sink.bytes, sha256=sink.sha256),
            shards=shards,
            statistics=Part(path=_name(statistics), bytes=figures.bytes, sha256=figures.sha256),
            reasons=dict(Counter(fact.reason for fact in self._facts if fact.reason)),
            same=self._same,
        )
        self._staging.join(self._descriptor).write_bytes(self.result.model_dump_json().encode())

    def _shard(self, split: str, writer: ShardWriter) -> Shard:
        writer.close()
        row_groups = tuple(writer.row_groups)
        path = _name(writer.location)
        return Shard(split=split, path=path, bytes=writer.bytes, sha256=writer.sha256, row_groups=row_groups)

    def _flush(self, split: str) -> None:
        rows, self._bytes[split] = self._waiting.pop(split), 0
        facts, images = [fact for fact, *_ in rows], np.stack([image for _, image, _ in rows])
        if split not in self._shards:
            location = self._staging.join(f"{split}-{self._attempt}.parquet")
            self._shards[split] = ShardWriter(location, self._settings.shards.compression)
        names = ("id", "path", "label", "sha256", "width", "height")
        columns = {name: [getattr(fact, name) for fact in facts] for name in names}
        columns["length"] = [len(fact.label or "") for fact in facts]
        self._shards[split].write(columns, [data for *_, data in rows] if self._encoded else images)
        sources = [Source(f.label, f.width, f.height, f.mode, f.format, f.size) for f in facts]  # type: ignore[arg-type]
        self._statistics[split] = self._statistics.get(split, Statistics()) + Statistics.of(sources, images)

    def _remove(self) -> None:
        """Lets go of what this attempt wrote; the error that ended it is the one to tell, so others are not raised here."""
        for writer in self._shards.values():
            writer.abandon()
        with suppress(OSError):
            for name in self._staging.names():
                if self._attempt in name:
                    self._staging.join(name).remove()


def _is_outage(root: Location, error: OSError) -> bool:
    """Whether an error tells of the machine, the mount or the server rather than of the one file."""
    if root.local:
        return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN)
    return not isinstance(error, FileNotFoundError | PermissionError) and "ACCESS_DENIED" not in str(error)


def shown(path: bytes) -> str:
    """A listed path as tables hold it: text, with a name that is not UTF-8 in escapes."""
    return path_text(path).encode("utf-8", "backslashreplace").decode()


def unread(error: OSError) -> Reject:
    """Why the bytes of a listed file could not be had."""
    path = error.filename
    if isinstance(error, FileNotFoundError) and not (path and os.path.islink(path)):
        return Reject(Reason.VANISHED, "the file was listed, and was gone when it was to be read")
    if error.errno == errno.EFBIG:
        return Reject(Reason.TOO_LARGE, str(error.strerror))
    return Reject(Reason.UNREADABLE, str(error))


def _finished(staging: Location, descriptor: str) -> GroupResult | None:
    """The result in a descriptor whose files are all there and whole."""
    place = staging.join(descriptor)
    if not place.exists():
        return None
    result = GroupResult.model_validate_json(place.read_bytes())
    parts = (result.facts, result.statistics, *result.shards)
    return None if any(damage(staging, part) for part in parts) else result


def _columns(facts: Sequence[Fact]) -> Sequence[Sequence[object]]:
    return list(zip(*facts, strict=True)) or [()] * len(Fact._fields)


def _name(location: Location) -> str:
    return location.path.rpartition("/")[2]


def _staged_images(shard: Location, settings: IngestSettings) -> Iterator[tuple[np.ndarray, bytes]]:
    """The pixels of every row of a shard, and the bytes of its file where those are what it holds."""
    with shard.fs.open_input_file(shard.path) as file:
        parquet = pq.ParquetFile(file)
        for index in range(parquet.num_row_groups):
            column = parquet.read_row_group(index, columns=["image"])["image"]
            files = column.to_pylist() if settings.shards.storage == "encoded" else itertools.repeat(b"", len(column))
            yield from zip(settings.pixels(column, settings.image.shape), files, strict=True)
