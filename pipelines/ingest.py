"""The ingest, whoever runs it: survey, process groups, drop repeats, publish shards and, last, the manifest."""

import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib.metadata import version as version_of
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from pipelines import VERSION, publish
from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.exclusion import Exclusion, read_exclusion
from pipelines.facts import COPIES, copies_in, read_parts
from pipelines.groups import LISTING_FILE, PASSING, Group, GroupResult, Job, Rewrite, process_group, rewrite_group
from pipelines.images import FastImage
from pipelines.lock import LEASE, Lock, locked
from pipelines.manifest import Dataset, Manifest, open_dataset, versions
from pipelines.plan import Plan, plan, survey
from pipelines.progress import say
from pipelines.publish import STAGING
from pipelines.repeats import Copy, Repeat, added_leaks, leaks, verdicts
from pipelines.split import SPLITS
from pipelines.stats import Statistics
from pipelines.storage import Location, locate, redacted

FEW_FILES = 500
MOSTLY = 0.5
NAMED = 3  # entries that a note repeats
FINGERPRINT_LENGTH = 32  # hex digits: 128 bits, and the most that fits MLflow's column for a dataset's digest
OURS = {*SPLITS, "rejects", "rejected", "files", "statistics", "manifests", "report", STAGING, LEASE}
T = TypeVar("T")


class Runner(Protocol):
    """What runs tasks: Spark, or a pool of processes; anything that maps a function over tasks will do."""

    tools: dict[str, str]

    def map(self, work: Callable[[T], GroupResult], tasks: Sequence[T], what: str, files: int) -> list[GroupResult]:
        """The result of every task, in any order, with progress over `files`. Raises DataError when a task fails."""

    def repeated(self, facts: "Facts") -> list[list[Copy]]:
        """The rows that share their bytes with another one, by content."""

    def shared_labels(self, facts: "Facts") -> list[dict]:
        """Labels that stand in more than one split, by pair of splits."""


class Facts(NamedTuple):
    """Where `rows` files are told of: URIs of facts files, new ones with their group, and those of an older version."""

    new: Sequence[tuple[int, str]]
    kept: Sequence[str]
    rows: int


def copies_of(facts: Facts) -> pa.Table:
    """All rows that repeats are looked for in (schema COPIES): some 300 bytes each."""
    new = (copies_in(locate(uri), group, kept=False) for group, uri in facts.new)
    kept = (copies_in(locate(uri), -1, kept=True) for uri in facts.kept)
    return pa.concat_tables([COPIES.empty_table(), *new, *kept])


class Ingested(NamedTuple):
    """A dataset, whether it was there before this call, and what a person should know of this call besides."""

    dataset: Dataset
    unchanged: bool
    notes: tuple[str, ...] = ()


class _Outcome(NamedTuple):
    results: list[GroupResult]
    leaks: dict[str, list[dict]]


class _Work(NamedTuple):
    job: Job
    root: Location
    output: Location
    plan: Plan
    parent: Dataset | None
    options: IngestOptions
    exclusion: Exclusion | None
    began: float

    @property
    def staging(self) -> Location:
        return locate(self.job.staging)

    @property
    def version(self) -> int:
        return self.parent.manifest.version + 1 if self.parent else 1


def ingest(
    input_uri: str,
    output_uri: str,
    settings: IngestSettings | None,
    runner: Callable[[], Runner],
    options: IngestOptions | None = None,
) -> Ingested:
    """Publishes the dataset of the images under `input_uri` at `output_uri`, or its next version.

    `settings` None takes those of the version that is appended to, else the defaults. `runner` is called when there is work.
    Raises DataError for an input without images, an output folder that holds something else or that another ingest is
    writing to, and for too many rejects; then nothing is published.
    """
    root, output, options = locate(input_uri), locate(output_uri), options or IngestOptions()
    check_apart(root, output)
    _check_output(output)
    if output.join(STAGING).exists():
        with locked(output):
            _finish(output)
    began = time.monotonic()
    if settings is None:
        newest = open_dataset(output.uri).manifest if versions(output) else None
        settings = IngestSettings.model_validate(newest.settings) if newest else IngestSettings()
    exclusion = read_exclusion(options.exclude) if options.exclude else None
    found = survey(root, settings)  # before anything is made at the output: most mistakes show here
    with locked(output) as lock:
        _finish(output)  # another one may have been interrupted during the survey
        parent = open_dataset(output.uri) if versions(output) else None
        todo = plan(found, settings, parent, verify=options.verify, exclusion=exclusion)
        if parent and (stands := _stands_already(output, parent, todo, settings, options)):
            return stands
        work = _stage(_Work(Job(root.uri, "", settings), root, output, todo, parent, options, exclusion, began))
        waited = time.monotonic()
        crew = runner()
        work = work._replace(began=began + time.monotonic() - waited)  # a session's start is no part of the ingest
        outcome = _process(work, crew)
        if parent and not any(result.files for result in outcome.results):
            output.join(STAGING).remove()
            return Ingested(parent, unchanged=True, notes=_notes(work, outcome))
        manifest = _publish(work, outcome, crew, lock)
        return Ingested(Dataset(output, manifest), unchanged=False, notes=_notes(work, outcome))


def check_apart(root: Location, output: Location) -> None:
    """Raises DataError where what is written would be found among what is read."""
    if output.fs == root.fs and f"{output.path}/".startswith(f"{root.path}/"):
        raise DataError(f"{output.shown}: --output lies inside --input {root.shown}; choose a folder outside it")


def group_count(files: int, most: int) -> int:
    """How many tasks of at most `most` files make: a function of the data alone, so that no file depends on the cluster.

    A few thousand files still make work for some cores; a few added ones make no shards of a row each.
    """
    return max(1, min(8, -(-files // FEW_FILES)), -(-files // most))


def groups_of(rows: pa.Table, count: int) -> bytes:
    """The plan as one Parquet file with a row group for each task."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema, compression="zstd") as writer:
        for start, end in bounds(rows.num_rows, count):
            writer.write_table(rows.slice(start, end - start), row_group_size=end - start)
    return sink.getvalue().to_pybytes()


def bounds(files: int, count: int) -> list[tuple[int, int]]:
    """Where each of `count` groups begins and ends."""
    return list(pairwise(files * i // count for i in range(count + 1)))


def fingerprint(settings: IngestSettings, rows: pa.Table) -> str:
    """The hash over (id, sha256, label) of the written rows in the order of their ids, and over what shapes pixels."""
    digest = hashlib.sha256(json.dumps(settings.image.model_dump(), sort_keys=True).encode())
    large = pa.schema([("id", pa.int64()), ("sha256", pa.large_string()), ("label", pa.large_string())])  # sorting joins chunks
    for batch in rows.select(large.names).cast(large).sort_by("id").to_batches(max_chunksize=50_000):
        columns = (batch.column(name).to_pylist() for name in ("id", "sha256", "label"))
        digest.update("".join(f"\n{row}\t{sha256}\t{label}" for row, sha256, label in zip(*columns, strict=True)).encode())
    return digest.hexdigest()[:FINGERPRINT_LENGTH]


def _check_output(output: Location) -> None:
    if output.info().type == pafs.FileType.File:
        raise DataError(f"{output.shown}: a file; --output names a new or empty folder")
    if re.search(r"@\d+$", output.path):
        raise DataError(f"{output.shown}: the end would be read as a version; choose another name for --output")
    names = [name for name in output.names() if not name.startswith(".")]
    if foreign := [name for name in names if name not in OURS]:
        raise DataError(f"{output.shown}: holds something else ({foreign[0]}); --output names a new or empty folder")
    if set(names) - {LEASE} and not versions(output) and STAGING not in names:
        raise DataError(f"{output.shown}: holds {names[0]} but no manifest; --output names a new or empty folder")


def _stands_already(
    output: Location, parent: Dataset, todo: Plan, settings: IngestSettings, options: IngestOptions
) -> Ingested | None:
    """What there is where nothing is to do. Raises DataError where the output holds something that cannot be added to."""
    manifest = parent.manifest
    same = IngestSettings.model_validate(manifest.settings) == IngestSettings.model_validate(_kept_settings(settings))
    if options.append and not same:
        held = f"{output.shown}: version {manifest.version} was made with other settings"
        raise DataError(f"{held}; --append without --config and --set takes those, other ones need a new --output")
    if not todo.rows.num_rows if options.append else same and manifest.input_digest == todo.digest:
        output.join(STAGING).remove()
        return Ingested(parent, unchanged=True, notes=_kept_notes(todo))
    if not options.append:
        what = "other images" if manifest.input_digest != todo.digest else "the same images with other settings"
        remedy = "choose a new --output" + (", or --append what is new" if same else "")
        raise DataError(f"{output.shown}: holds version {manifest.version} of {what} (from {manifest.input}); {remedy}")
    return None


def _stage(work: _Work) -> _Work:
    """Lays out the groups in a staging folder named by all that decides them, or finds the one of an interrupted run."""
    settings, rows = work.job.settings, work.plan.rows
    what = (work.plan.digest, work.version, work.options.verify, rows.num_rows, settings.model_dump_json())
    staging = work.output.join(STAGING, hashlib.sha256(repr(what).encode()).hexdigest()[:16])
    if not work.parent:  # without a manifest nobody reads it
        for name in OURS - {STAGING, LEASE}:
            work.output.join(name).remove()
    for name in work.output.join(STAGING).names():
        if work.output.join(STAGING, name).path != staging.path:
            work.output.join(STAGING, name).remove()
    count = group_count(rows.num_rows, settings.shards.files)
    if staging.join(LISTING_FILE).exists():
        done = sum(name.startswith("done-") for name in staging.names())
        say(f"continuing an interrupted ingest: {done} of {count} groups were finished")
    else:
        staging.make()
        staging.join(LISTING_FILE).write_bytes(groups_of(rows, count))
    return work._replace(job=work.job._replace(staging=staging.uri))


def _process(work: _Work, runner: Runner) -> _Outcome:
    job, files = work.job, work.plan.rows.num_rows
    groups = [Group(job, number) for number in range(group_count(files, job.settings.shards.files))]
    results = {r.number: r for r in runner.map(process_group, groups, "ingest", files)}
    check_input(work.root, files, sum(r.reasons.get(reason, 0) for r in results.values() for reason in PASSING), "ingest")
    facts = _facts(work, list(results.values()))
    respected = job.settings.split.respected
    copies = runner.repeated(facts)
    by_group: dict[int, list[Repeat]] = {}
    for repeat in (repeat for same in copies for repeat in verdicts(same, respected)):
        by_group.setdefault(repeat.group, []).append(repeat)
    rewrites = [Rewrite(job, results[number], tuple(found)) for number, found in sorted(by_group.items())]
    if rewrites:
        again = runner.map(rewrite_group, rewrites, "drop repeats", sum(r.result.files for r in rewrites))
        results.update({r.number: r for r in again})
    final = [results[group.number] for group in groups]
    if not respected:
        return _Outcome(final, {})
    before = work.parent.manifest.leaks.get("bytes", []) if work.parent else []
    return _Outcome(final, {"bytes": added_leaks(before, leaks(copies)), "labels": runner.shared_labels(_facts(work, final))})


def _facts(work: _Work, results: Sequence[GroupResult]) -> Facts:
    old = work.parent.manifest.files if work.parent else ()
    new = [(result.number, work.staging.join(result.facts.path).uri) for result in results]
    rows = sum(result.files for result in results) + (work.parent.manifest.accounting.listed if work.parent else 0)
    return Facts(new, [work.output.join(part.path).uri for part in old], rows)


def check_input(root: Location, files: int, unread: int, what: str) -> None:
    """Raises DataError where `unread` of `files` could not be read because the whole input went away: no fault of theirs."""
    if unread and (unread > MOSTLY * files or not (root.exists() and root.names())):
        told = f"{unread} of {files} files could not be read: the input went away while the {what} ran, or may not be read"
        raise DataError(f"{root.shown}: {told}; mend that and run this again: what was finished is kept")


def _publish(work: _Work, outcome: _Outcome, runner: Runner, lock: Lock) -> Manifest:
    """Stages all that the version consists of, decides, and carries that out. Raises DataError before anything is decided."""
    results, parent, version, settings = outcome.results, work.parent, work.version, work.job.settings
    before = parent.manifest if parent else None
    rejects = publish.rejects_of(work.staging, results)
    added = publish.account(results, rejects, None)
    if not (before or added.written):
        work.output.join(STAGING).remove()  # nothing in it is worth continuing from
    old = before.accounting if before else None
    publish.check_accounting(work.root.shown, added, old, work.options.max_reject_fraction)
    staged = publish.Staged(work.staging)
    publish.stage_samples(staged, work.root, work.plan.rows, rejects, version=version, most=work.options.keep_rejects)
    old_shards, old_files, old_rejects = (before.shards, before.files, before.rejects) if before else ((), (), ())
    shards = (*old_shards, *publish.stage_shards(staged, results, version))
    statistics = publish.merged_statistics(work.staging, results, parent)
    alphabet = sum(statistics.values(), Statistics()).alphabet
    manifest = Manifest(
        version=version,
        parent=before.version if before else None,
        fingerprint=fingerprint(settings, _rows(work, results)),
        input=work.root.shown,
        input_digest=work.plan.digest,
        settings=_kept_settings(settings),
        alphabet=settings.label.alphabet or alphabet,
        image_shape=settings.image.shape,
        splits={split: statistics[split].rows for split in SPLITS},
        shards=tuple(sorted(shards, key=lambda shard: (SPLITS.index(shard.split), shard.path))),
        files=(*old_files, *publish.stage_facts(staged, results, version)),
        rejects=(*old_rejects, *publish.stage_rejects(staged, rejects, version)),
        tables=publish.stage_statistics(staged, statistics, version),
        accounting=publish.account(results, rejects, old),
        statistics=publish.summarised(statistics),
        leaks=outcome.leaks,
        exclusions=(*(before.exclusions if before else ()), *([work.exclusion.record] if work.exclusion else [])),
        petastorm=publish.stage_petastorm(staged, settings, shards),
        tools=_tools() | runner.tools,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - work.began, 3),
    )
    lock.check()
    staged.decide(manifest)
    publish.finish(work.output)
    return manifest


def _finish(output: Location) -> None:
    for version in publish.finish(output):
        say(f"version {version} was decided by an ingest that was interrupted; it is published now")


def _rows(work: _Work, results: Sequence[GroupResult]) -> pa.Table:
    """Id, sha256 and label of every written row of the new version."""
    names = ["id", "sha256", "label", "reason"]
    old = [read_parts(work.output, work.parent.manifest.files, names)] if work.parent else []
    rows = pa.concat_tables([*old, read_parts(work.staging, [result.facts for result in results], names)])
    return rows.filter(pc.is_null(rows["reason"])).select(names[:-1])


def _notes(work: _Work, outcome: _Outcome) -> tuple[str, ...]:
    """What a person should know besides the accounting."""
    same = sum(result.same for result in outcome.results)
    notes = [f"{work.plan.known} files of the input were known"] if work.parent else []
    if same:
        notes.append(f"{same} files were looked at again and are as they were")
    for leak in outcome.leaks.get("bytes", []):
        between = " and ".join(leak["splits"])
        notes.append(f"{leak['images']} images stood in both {between}, such as {leak['examples'][0]}; one of each stays")
    for leak in outcome.leaks.get("labels", []):
        notes.append(f"warning: {leak['labels']} labels stand in both {' and '.join(leak['splits'])} ({leak['rows']} rows)")
    return (*notes, *_kept_notes(work.plan))


def _kept_notes(todo: Plan) -> tuple[str, ...]:
    """What an older version's rows keep although the input says otherwise now, and what an exclusion list does not meet."""
    notes = []
    if todo.strangers:
        such = ", ".join(todo.strangers[:NAMED])
        notes.append(f"warning: {len(todo.strangers)} entries of the exclusion list name no file of the input, such as {such}")
    if todo.gone:
        notes.append(f"{todo.gone} files of older versions are not in the input any more; their rows stay")
    if todo.relabelled:
        notes.append(f"{todo.relabelled} files have another label or split in the table now; their rows keep what they have")
    return tuple(notes)


def _kept_settings(settings: IngestSettings) -> dict[str, Any]:
    """The settings as a manifest keeps them: without the credentials that the URI of a label table may hold."""
    kept = settings.model_dump(mode="json")
    if settings.label.table:
        kept["label"]["table"]["file"] = redacted(settings.label.table.file)
    return kept


def _tools() -> dict[str, str]:
    packages = {name: version_of(name) for name in ("numpy", "pillow", "pyarrow", *(("kornia-rs",) if FastImage else ()))}
    return {"glyphmill": VERSION, "python": platform.python_version(), "platform": sys.platform} | packages
