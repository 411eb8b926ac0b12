"""From finished groups to a published version: everything is staged, then the decision is written, then it is carried out.

A job that is killed before the decision leaves the older version; after it, the next ingest carries it out to the end.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.facts import FACTS, read_parts
from pipelines.groups import GroupResult, read_statistics
from pipelines.manifest import Accounting, Dataset, Manifest, Part, Shard, damage, manifest_name, publish
from pipelines.rejects import Reason
from pipelines.scan import path_text
from pipelines.shards import petastorm_metadata
from pipelines.split import SPLITS
from pipelines.stats import Statistics, divergence
from pipelines.storage import Location, hashed_output

STAGING = "_staging"
COMMIT = "commit.json"
PETASTORM = "_common_metadata"
AGAIN = f"remove {STAGING} there and ingest again"
# what was never read: it may not be there, or be larger than memory
WITHOUT_BYTES = [r.value for r in (Reason.NO_IMAGE, Reason.EXCLUDED, Reason.VANISHED, Reason.UNREADABLE, Reason.TOO_LARGE)]
REJECTS = pa.schema([("path", pa.string()), ("reason", pa.string()), ("detail", pa.string())])


class Staged:
    """The files of a version on their way: each is staged under one name and will stand in the dataset under another."""

    def __init__(self, staging: Location) -> None:
        self.staging = staging
        self.moves: dict[str, str] = {}

    def take(self, part: Part, target: str) -> None:
        self.moves[part.path] = target

    def write(self, data: bytes, target: str) -> Part:
        """Stages `data`, and gives the part that it will be."""
        name = f"new-{len(self.moves):05d}"
        with hashed_output(self.staging.join(name)) as sink:
            sink.write(data)
        self.moves[name] = target
        return Part(path=target, bytes=sink.bytes, sha256=sink.sha256)

    def write_table(self, table: pa.Table, target: str) -> Part:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return self.write(buffer.getvalue(), target)

    def decide(self, manifest: Manifest) -> None:
        """From here on the version will be published, by this job or by the next one, also after a power cut."""
        for name in self.moves:
            self.staging.join(name).settle()
        # petastorm's metadata first: for it a file that they do not name is an error, and a name without a file is none
        moves = dict(sorted(self.moves.items(), key=lambda move: not move[1].endswith(PETASTORM)))
        text = json.dumps({"moves": moves, "manifest": manifest.model_dump(mode="json")})
        self.staging.join(COMMIT).write_bytes(text.encode())


def finish(output: Location) -> list[int]:
    """Ends what was decided in the staging folder, by this job or by one that was interrupted: the versions published now."""
    done = []
    for name in output.join(STAGING).names():
        decided, manifest = output.join(STAGING, name), carry_out(output, output.join(STAGING, name))
        if manifest:
            done.append(manifest.version)
        if manifest or decided.join(COMMIT).exists():
            with suppress(OSError):  # a task that outlived its job may write still; the next ingest removes what it left
                output.join(STAGING).remove()
    return done


def carry_out(output: Location, staging: Location) -> Manifest | None:
    """Does what was decided in `staging`, also where it was begun before; None where nothing was, or all is done.

    Raises DataError where a file that the version names is nowhere: then it is not published.
    """
    if not staging.join(COMMIT).exists():
        return None
    decided = json.loads(staging.join(COMMIT).read_bytes())
    manifest = Manifest.model_validate(decided["manifest"])
    if output.join("manifests", manifest_name(manifest.version)).exists():
        _tidy(output)
        return None
    # Whole folders are put together first and renamed at once: nobody who lists a folder sees half of a first version
    home = staging.join("tree") if output.local else output
    for source, target in decided["moves"].items():
        if staging.join(source).exists():
            staging.join(source).move(home.join(target))
        elif not (home.join(target).exists() or output.join(target).exists()):
            raise DataError(f"{output.join(target).shown}: lost before version {manifest.version} was published; {AGAIN}")
    if home != output and home.exists():
        for name in home.names():
            home.join(name).move_tree(output.join(name))
    if not manifest.petastorm:  # what an older version told petastorm is no longer true
        for split in SPLITS:
            output.join(split, PETASTORM).remove()
    _tidy(output)
    publish(output, manifest)
    return manifest


def _tidy(output: Location) -> None:
    """Removes what jobs left that were killed while they wrote a manifest."""
    for name in output.join("manifests").names():
        if name.startswith("."):
            output.join("manifests", name).remove()


def stage_shards(staged: Staged, results: Sequence[GroupResult], version: int) -> tuple[Shard, ...]:
    """The shards of the groups under the names that they will have: of the version, the group and the content."""
    shards = []
    for result in results:
        for shard in result.shards:
            path = f"{shard.split}/part-{_number(version, result.number)}-{shard.sha256[:12]}.parquet"
            staged.take(shard, path)
            shards.append(shard.model_copy(update={"path": path}))
    return tuple(shards)


def stage_facts(staged: Staged, results: Sequence[GroupResult], version: int) -> tuple[Part, ...]:
    """The facts of the groups, as parts of the dataset."""
    parts = []
    for result in results:
        path = f"files/part-{_number(version, result.number)}-{result.facts.sha256[:12]}.parquet"
        staged.take(result.facts, path)
        parts.append(result.facts.model_copy(update={"path": path}))
    return tuple(parts)


def stage_rejects(staged: Staged, rejects: pa.Table, version: int) -> tuple[Part, ...]:
    """The table of what was not written in this version; an older one has its own already."""
    return (staged.write_table(rejects.select(REJECTS.names), f"rejects/part-v{version:06d}.parquet"),)


def stage_statistics(staged: Staged, statistics: dict[str, Statistics], version: int) -> tuple[Part, ...]:
    """The statistics as small tables, from which `read_version_statistics` has the same values again."""
    tables = Statistics.tables(statistics)
    return tuple(staged.write_table(table, f"statistics/v{version:06d}/{name}.parquet") for name, table in tables.items())


def read_version_statistics(dataset: Dataset) -> dict[str, Statistics]:
    """The statistics of each split of a version, as they were when it was published. Raises DataError for a damaged table."""
    tables = {}
    for part in dataset.manifest.tables:
        if wrong := damage(dataset.location, part):
            raise DataError(f"{dataset.location.join(part.path).shown}: {wrong}; ingest into a new --output")
        tables[PurePosixPath(part.path).stem] = _read(dataset.location.join(part.path))
    return Statistics.from_tables(tables)


def stage_petastorm(staged: Staged, settings: IngestSettings, shards: Iterable[Shard]) -> bool:
    """Stages what makes each split a petastorm dataset; False where petastorm is not installed."""
    there = list(shards)
    for split in SPLITS:
        row_groups = {shard.path.rpartition("/")[2]: len(shard.row_groups) for shard in there if shard.split == split}
        if row_groups:
            metadata = petastorm_metadata(settings.image.shape, row_groups, settings.shards.storage)
            if metadata is None:
                return False
            staged.write(metadata, f"{split}/{PETASTORM}")
    return True


def stage_samples(staged: Staged, root: Location, planned: pa.Table, rejects: pa.Table, *, version: int, most: int) -> None:
    """Copies of up to `most` files of each reject reason, the first by id. A file that cannot be read has no copy."""
    seen = Counter[str]()
    copied = rejects.filter(pc.invert(pc.is_in(rejects["reason"], value_set=pa.array(WITHOUT_BYTES)))) if most else rejects[:0]
    where = pc.index_in(copied["id"], value_set=planned["id"].combine_chunks()).to_pylist()
    for reason, index in zip(copied["reason"].to_pylist(), where, strict=True):
        if seen[reason] < most:
            path = path_text(planned["path"][index].as_py())
            name = re.sub(r"[^\w.-]", "_", PurePosixPath(path).name, flags=re.ASCII)[-100:]
            with suppress(OSError):  # it may be gone by now
                staged.write(root.join(path).read_bytes(), f"rejected/v{version:06d}/{reason}/{seen[reason]:03d}-{name}")
                seen[reason] += 1


def account(results: Sequence[GroupResult], rejects: pa.Table, before: Accounting | None) -> Accounting:
    """Counts what became of every file, after those of the version before. `rejects` are the rows that `rejects_of` gives."""
    reasons = sum((Counter(result.reasons) for result in results), Counter[str]())
    written = sum(result.files for result in results) - reasons.total()
    examples = dict(before.examples) if before else {}
    for reason in reasons:
        first = rejects.filter(pc.equal(rejects["reason"], reason)).slice(0, 1).to_pylist()[0]
        examples.setdefault(reason, f"{first['path']}: {first['detail']}")
    if before:
        reasons.update(before.reasons)
        written += before.written
    duplicates = reasons[Reason.DUPLICATE.value]
    return Accounting(
        listed=written + reasons.total(),
        written=written,
        rejected=reasons.total() - duplicates,
        duplicates=duplicates,
        reasons=dict(reasons.most_common()),
        examples=examples,
    )


def check_accounting(input_uri: str, counted: Accounting, before: Accounting | None, most: float) -> None:
    """Raises DataError where there is no row, or more than the fraction `most` of the files `counted` now was rejected.

    Files that were excluded are none of the bad ones.
    """
    reason = next(iter(counted.reasons), "")
    worst = f"{counted.reasons.get(reason)} {reason}, such as {counted.examples.get(reason)}"
    if not counted.written and not before:
        raise DataError(f"{input_uri}: none of its {counted.listed} files can be used: {worst}")
    excluded = counted.reasons.get(Reason.EXCLUDED.value, 0)
    bad, judged = counted.rejected - excluded, counted.listed - excluded
    if bad > most * judged:
        share = f"{bad} of {judged} files ({bad / judged:.1%}) are rejected"
        limit = f"more than --max-reject-fraction {most:g}; nothing is published"
        raise DataError(f"{input_uri}: {share}, {limit}; most are {worst}")


def merged_statistics(staging: Location, results: Sequence[GroupResult], before: Dataset | None) -> dict[str, Statistics]:
    """The statistics of all groups and of the version before, by split; one group at a time is in memory."""
    merged = dict.fromkeys(SPLITS, Statistics()) | (read_version_statistics(before) if before else {})
    for result in results:
        for split, value in read_statistics(staging.join(result.statistics.path)).items():
            merged[split] += value
    return merged


def summarised(statistics: dict[str, Statistics]) -> dict[str, Any]:
    """What the manifest says of the statistics: of all rows, of each split, and how far the splits are apart."""
    every = sum(statistics.values(), Statistics())
    parts = {split: value.summary() for split, value in statistics.items()}
    return {"all": every.summary(), **parts, "divergence": divergence(statistics)}


def rejects_of(staging: Location, results: Sequence[GroupResult]) -> pa.Table:
    """Id, path, reason and detail of every file that was not written, in the order of their ids."""
    names = ["id", *REJECTS.names]
    tables = (read_parts(staging, [result.facts], names) for result in results if result.reasons)
    found = [table.filter(pc.is_valid(table["reason"])) for table in tables]
    return pa.concat_tables([pa.schema([FACTS.field(name) for name in names]).empty_table(), *found])


def _read(location: Location) -> pa.Table:
    return pq.read_table(location.path, filesystem=location.fs)


def _number(version: int, group: int) -> str:
    return f"{group:05d}" if version == 1 else f"v{version}-{group:05d}"
