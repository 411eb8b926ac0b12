"""The ingest, whoever runs it: plan groups, process them, drop repeats, publish shards and, last, the manifest."""

import hashlib
import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version as version_of
from itertools import pairwise
from typing import NamedTuple, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipelines import VERSION
from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.groups import (
    LISTING_FILE,
    Fact,
    Group,
    GroupResult,
    Job,
    Repeat,
    Rewrite,
    process_group,
    read_facts,
    rewrite_group,
)
from pipelines.manifest import Accounting, Dataset, Manifest, Shard, open_dataset, publish, versions
from pipelines.rejects import Reason
from pipelines.scan import list_files
from pipelines.shards import write_petastorm_metadata
from pipelines.split import SPLITS
from pipelines.stats import total
from pipelines.storage import Location, locate

STAGING = "_staging"
FINGERPRINT_LENGTH = 32  # hex digits: 128 bits, and the most that fits MLflow's column for a dataset's digest
OURS = {*SPLITS, "rejects", "manifests", "report", STAGING}
REJECTS = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])
T = TypeVar("T")


class Runner(Protocol):
    """What runs tasks: Spark here; anything that maps a function over tasks will do."""

    tools: dict[str, str]

    def map(self, work: Callable[[T], GroupResult], tasks: Sequence[T], what: str, files: int) -> list[GroupResult]:
        """The result of every task, in any order, with progress over `files`. Raises DataError when a task fails."""

    def repeats(self, facts: Sequence[tuple[int, str]]) -> list[Repeat]:
        """The rows to drop among the written ones in the facts files, given as (group, URI)."""


class Ingested(NamedTuple):
    """A dataset, and whether it was there before this call."""

    dataset: Dataset
    unchanged: bool


class _Run(NamedTuple):
    digest: str
    tools: dict[str, str]
    began: float


def ingest(input_uri: str, output_uri: str, settings: IngestSettings, runner: Callable[[], Runner]) -> Ingested:
    """Publishes the dataset of the images under `input_uri` at `output_uri`.

    `runner` is called once there is work to do. Raises DataError for an input without images, or an output
    folder that holds something else; then nothing is published.
    """
    began = time.monotonic()
    root, output = locate(input_uri), locate(output_uri)
    if output.fs == root.fs and f"{output.path}/".startswith(f"{root.path}/"):
        raise DataError(f"{output.uri}: --output lies inside --input {root.uri}; choose a folder outside it")
    _check_output(output)
    listing = list_files(root)
    digest = _listing_digest(listing)
    if versions(output):
        return _stands_already(output, digest, settings)
    job = _stage(root, output, listing, settings)
    crew = runner()
    results = _process(job, listing.num_rows, crew)
    manifest = _publish(output, job, results, _Run(digest, crew.tools, began))
    return Ingested(Dataset(output, manifest), unchanged=False)


def group_count(files: int, settings: IngestSettings) -> int:
    """How many tasks `files` make: a function of the data alone, so that shards never depend on the cluster."""
    return min(files, max(8, -(-files // settings.shards.files)))


def fingerprint(settings: IngestSettings, facts: Iterator[Fact]) -> str:
    """The hash over (id, sha256, label) of the written rows in the order of their ids, and over what shapes pixels."""
    digest = hashlib.sha256(json.dumps(settings.image.model_dump(), sort_keys=True).encode())
    for fact in facts:
        digest.update(f"\n{fact.id}\t{fact.sha256}\t{fact.label}".encode())
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _check_output(output: Location) -> None:
    if output.info().type == pafs.FileType.File:
        raise DataError(f"{output.uri}: a file; --output names a new or empty folder")
    names = output.names()
    if foreign := [name for name in names if name not in OURS]:
        raise DataError(f"{output.uri}: holds something else ({foreign[0]}); --output names a new or empty folder")
    if names and not versions(output) and STAGING not in names:
        raise DataError(f"{output.uri}: holds {names[0]} but no manifest; --output names a new or empty folder")


def _stands_already(output: Location, digest: str, settings: IngestSettings) -> Ingested:
    dataset = open_dataset(output.uri)
    manifest = dataset.manifest
    if manifest.input_digest == digest and manifest.settings == settings.model_dump(mode="json"):
        _remove(output.join(STAGING))
        return Ingested(dataset, unchanged=True)
    what = "other images" if manifest.input_digest != digest else "the same images with other settings"
    raise DataError(f"{output.uri}: holds version {manifest.version} of {what} (from {manifest.input}); choose a new --output")


def _stage(root: Location, output: Location, listing: pa.Table, settings: IngestSettings) -> Job:
    # what an interrupted run left: it has no manifest, so nobody reads it; the staging folder, which tells of it, goes last
    for name in sorted(OURS, key=STAGING.__eq__):
        _remove(output.join(name))
    staging = output.join(STAGING)
    staging.fs.create_dir(staging.path)
    count = group_count(listing.num_rows, settings)
    bounds = [listing.num_rows * i // count for i in range(count + 1)]
    with (
        staging.fs.open_output_stream(staging.join(LISTING_FILE).path) as stream,
        pq.ParquetWriter(stream, listing.schema, compression="zstd") as writer,
    ):
        for start, end in pairwise(bounds):
            writer.write_table(listing.slice(start, end - start), row_group_size=end - start)
    return Job(root.uri, staging.uri, settings)


def _process(job: Job, files: int, runner: Runner) -> list[GroupResult]:
    groups = [Group(job, number) for number in range(group_count(files, job.settings))]
    results = {r.number: r for r in runner.map(process_group, groups, "ingest", files)}
    repeats: dict[int, list[Repeat]] = {}
    for repeat in runner.repeats([(r.number, locate(job.staging).join(r.facts).uri) for r in results.values()]):
        repeats.setdefault(repeat.group, []).append(repeat)
    rewrites = [Rewrite(job, results[number], tuple(found)) for number, found in sorted(repeats.items())]
    if rewrites:
        again = runner.map(rewrite_group, rewrites, "drop repeats", sum(r.result.files for r in rewrites))
        results.update({r.number: r for r in again})
    return [results[group.number] for group in groups]


def _publish(output: Location, job: Job, results: list[GroupResult], run: _Run) -> Manifest:
    staging = output.join(STAGING)
    accounting = _account(job, staging, results)
    output.fs.create_dir(output.join("rejects").path)
    output.fs.move(staging.join("rejects.parquet").path, output.join("rejects", "part-00000.parquet").path)
    shards = [_move(staging, output, result.number, shard) for result in results for shard in result.shards]
    petastorm = min(_petastorm(output, job, split, shards) for split in SPLITS)
    statistics = {split: total(r.statistics[split] for r in results if split in r.statistics) for split in SPLITS}
    every = total(statistics.values())
    manifest = Manifest(
        version=1,
        fingerprint=fingerprint(job.settings, (fact for fact in _facts(staging, results) if not fact.reason)),
        input=job.input,
        input_digest=run.digest,
        settings=job.settings.model_dump(mode="json"),
        alphabet=job.settings.label.alphabet or every.alphabet,
        image_shape=job.settings.image.shape,
        splits={split: statistics[split].rows for split in SPLITS},
        shards=tuple(sorted(shards, key=lambda shard: (SPLITS.index(shard.split), shard.path))),
        accounting=accounting,
        statistics={"all": every.summary()} | {split: statistics[split].summary() for split in SPLITS},
        petastorm=petastorm,
        tools=_tools() | run.tools,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - run.began, 3),
    )
    publish(output, manifest)
    _remove(staging)
    return manifest


def _account(job: Job, staging: Location, results: list[GroupResult]) -> Accounting:
    """Counts every listed file and stages the rejects table. Raises DataError where no row is left."""
    reasons, examples = Counter[str](), dict[str, str]()
    with (
        staging.fs.open_output_stream(staging.join("rejects.parquet").path) as stream,
        pq.ParquetWriter(stream, REJECTS, compression="zstd") as writer,
    ):
        for result in results:
            facts = [fact for fact in read_facts(staging.join(result.facts)) if fact.reason]
            reasons.update(result.reasons)
            for fact in facts:
                examples.setdefault(str(fact.reason), f"{fact.path}: {fact.detail}")
            columns = [[getattr(fact, name) for fact in facts] for name in REJECTS.names]
            writer.write_table(pa.Table.from_arrays([pa.array(c, pa.string()) for c in columns], schema=REJECTS))
    listed = sum(result.files for result in results)
    duplicates = reasons[Reason.DUPLICATE.value]
    rejected = sum(reasons.values()) - duplicates
    if listed == rejected + duplicates:
        reason, count = reasons.most_common(1)[0]
        _remove(staging)
        raise DataError(f"{job.input}: none of its {listed} files can be used: {count} {reason}, such as {examples[reason]}")
    return Accounting(
        listed=listed,
        written=listed - rejected - duplicates,
        rejected=rejected,
        duplicates=duplicates,
        reasons=dict(reasons.most_common()),
        examples=examples,
    )


def _move(staging: Location, output: Location, number: int, shard: Shard) -> Shard:
    """Moves a staged shard to its split, under a name made of its group and content."""
    path = f"{shard.split}/part-{number:05d}-{shard.sha256[:12]}.parquet"
    output.fs.create_dir(output.join(shard.split).path)
    output.fs.move(staging.join(shard.path).path, output.join(path).path)
    return shard.model_copy(update={"path": path})


def _petastorm(output: Location, job: Job, split: str, shards: list[Shard]) -> bool:
    """Makes a split with rows a petastorm dataset; False where petastorm is not installed."""
    row_groups = {shard.path.rpartition("/")[2]: len(shard.row_groups) for shard in shards if shard.split == split}
    return not row_groups or write_petastorm_metadata(output.join(split), job.settings.image.shape, row_groups)


def _facts(staging: Location, results: list[GroupResult]) -> Iterator[Fact]:
    # groups are ranges of the listing, which is in the order of ids: so are the facts, one group after another
    for result in results:
        yield from read_facts(staging.join(result.facts))


def _listing_digest(listing: pa.Table) -> str:
    digest = hashlib.sha256()
    for row in zip(*(listing[name].to_pylist() for name in ("id", "size", "mtime_ns")), strict=True):
        digest.update(repr(row).encode())
    return digest.hexdigest()


def _tools() -> dict[str, str]:
    packages = {name: version_of(name) for name in ("numpy", "pillow", "pyarrow")}
    return {"glyphmill": VERSION, "python": platform.python_version(), "platform": sys.platform} | packages


def _remove(location: Location) -> None:
    if location.info().type == pafs.FileType.Directory:
        location.fs.delete_dir(location.path)
