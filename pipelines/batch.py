"""A recogniser over a folder, whoever runs it: listed, cut into parts, read, and said to be whole by a summary, written last.

A run that was killed is continued from the parts that stand: each is written at once and names its run.
"""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import pyarrow as pa
from pyarrow import fs as pafs
from pydantic import Field, ValidationError

from pipelines import VERSION
from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.groups import LISTING_FILE, PASSING, READ_AHEAD
from pipelines.ingest import bounds, check_apart, check_input, group_count, groups_of
from pipelines.lock import LEASE, locked
from pipelines.plan import plan, survey
from pipelines.predictions import STAGING, Job, PartResult, Reader, finished, part_name, read_part
from pipelines.progress import say
from pipelines.settings import Settings, flatten
from pipelines.storage import Location, locate

SUMMARY, PLAN = "_summary.json", "plan.json"
PART = re.compile(r"part-\d{5,}\.parquet")
LEFT = ".part-"  # how the hidden names begin under which parts are written
ELSEWHERE = "choose a new --output"


class BatchSettings(Settings):
    """How a folder is read. `image` overrides the model's preprocessing, such as image.crop=none.

    A part holds up to `files` files: that is what a run which is killed loses in each task. The network reads `batch` images
    at a time, on `threads` threads in each process.
    """

    batch: int = Field(default=64, ge=1, le=4096)
    files: int = Field(default=5000, ge=1, le=1_000_000)
    threads: int = Field(default=1, ge=1, le=256)
    runtime: Literal["auto", "onnx", "tensorflow"] = "auto"
    image: dict[Literal["crop", "invert", "stroke", "contrast"], str] = Field(default_factory=dict)


class BatchModel(Settings):
    """Which model reads: the URI of its version, a hash of its bundle, its dataset's fingerprint, and what it takes."""

    uri: str
    fingerprint: str
    dataset: str
    alphabet: str
    max_bytes: int


class Plan(Settings):
    """What is to be done. `digest` stands for paths, sizes and times of the `files` listed ones."""

    input: str
    digest: str
    limit: int | None
    files: int
    model: BatchModel
    settings: BatchSettings

    @property
    def run(self) -> str:
        """The name of all runs that make the same rows in the same parts: another `batch` or `threads` may go on with them."""
        what = (self.digest, self.limit, self.model.fingerprint, sorted(_deciding(self.settings).items()))
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


P = TypeVar("P", bound=Plan)


class Summary(Plan):
    """What an output holds: `read` and `failed` are its rows, `reasons` counts the failed ones.

    `seconds` and `images_per_s` are those of the run that ended it, for all but the `continued` files of earlier ones,
    from the listing to the last file, without the start of a Spark session.
    """

    read: int
    failed: int
    reasons: dict[str, int]
    parts: int
    continued: int
    seconds: float
    images_per_s: float
    tools: dict[str, str]
    created: str


class Runner(Protocol):
    """What runs tasks: Spark, or a pool of processes."""

    tools: dict[str, str]

    def map(self, work: Callable[[int], PartResult], tasks: Sequence[int], what: str, files: int) -> list[PartResult]:
        """The result of every task, in any order, with progress over `files`. Raises DataError when a task fails."""


class Crew(NamedTuple):
    """Who does the work: a runner, and what gives a process of it the model's reader."""

    runner: Runner
    open_reader: Callable[[], Reader]


class Predicted(NamedTuple):
    """The summary of an output, and whether it was whole before this call."""

    summary: Summary
    unchanged: bool


def predict_folder(
    input_uri: str,
    output_uri: str,
    model: BatchModel,
    settings: BatchSettings,
    crew: Callable[[], Crew],
    *,
    limit: int | None = None,
) -> Predicted:
    """Writes a row for each file under `input_uri` to the folder `output_uri`, as Parquet of the schema PREDICTIONS.

    `limit` takes so many of the files, spread evenly over them (the first by id). `crew` is called when there is work.
    Raises DataError for an input without files, and for an output that holds something else, is of another run or is being
    written to.
    """
    root, output = locate(input_uri), locate(output_uri)
    check_apart(root, output)
    _check_output(output)
    began = time.monotonic()
    listed = plan(survey(root, IngestSettings()).slice(0, limit), IngestSettings(), None)
    files = listed.rows.num_rows
    ours = Plan(input=root.shown, digest=listed.digest, limit=limit, files=files, model=model, settings=settings)
    with locked(output, "batch") as lock:
        if summary := _held(output, SUMMARY, Summary, ours):
            _tidy(output)
            return Predicted(summary, unchanged=True)
        job = Job(root.uri, output.uri, ours.run, model.max_bytes)
        old = _begin(output, ours, listed.rows, job)
        new, tools, waited = _read_missing(job, ours, old, crew)
        results = [*old, *new]
        check_input(root, files, sum(r.reasons.get(reason, 0) for r in results for reason in PASSING), "batch")
        if (rows := sum(result.files for result in results)) != files:
            raise DataError(f"{output.shown}: {rows} rows of {files} listed files; {ELSEWHERE}")
        made = _summary(ours, old, new, tools, time.monotonic() - began - waited)
        lock.check()
        output.join(SUMMARY).write_bytes((json.dumps(made.model_dump(mode="json"), indent=1) + "\n").encode())
        _tidy(output)
        return Predicted(made, unchanged=False)


def summary_line(summary: Summary) -> str:
    """An output in a line, or two where files failed."""
    speed = f"{summary.images_per_s:,.0f}/s by {summary.model.uri}"
    told = f"{summary.files:,} images in {summary.parts} parts: {summary.read:,} read, {summary.failed:,} not; {speed}"
    why = ", ".join(f"{count:,} {reason}" for reason, count in summary.reasons.items())
    return f"{told}\nnot read: {why}; see the column error" if why else told


def _deciding(settings: BatchSettings) -> dict[str, Any]:
    """The settings that decide rows and parts."""
    return flatten(settings.model_dump(include={"files", "runtime", "image"}))


def _check_output(output: Location) -> None:
    if output.info().type == pafs.FileType.File:
        raise DataError(f"{output.shown}: a file; --output names a new or empty folder")
    names = [name for name in output.names() if not name.startswith(".")]
    if foreign := [name for name in names if name not in (SUMMARY, STAGING, LEASE) and not PART.fullmatch(name)]:
        raise DataError(f"{output.shown}: holds something else ({foreign[0]}); --output names a new or empty folder")
    if set(names) - {LEASE} and not {SUMMARY, STAGING} & set(names):
        raise DataError(f"{output.shown}: holds {names[0]} but no {SUMMARY}; --output names a new or empty folder")


def _held(output: Location, name: str, kind: type[P], ours: Plan) -> P | None:
    """The plan or summary in a file of `output`, None where there is none. Raises DataError for one of another run."""
    try:
        held = kind.model_validate_json(output.join(name).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise DataError(f"{output.join(name).shown}: cannot be read; {ELSEWHERE}") from None
    if held.run != ours.run:
        raise DataError(f"{output.shown}: {_difference(held, ours)}; {ELSEWHERE}")
    return held


def _difference(held: Plan, ours: Plan) -> str:
    if held.model.fingerprint != ours.model.fingerprint:
        return f"holds what another model read ({held.model.uri}, not {ours.model.uri})"
    if held.limit != ours.limit:
        return f"was made with --limit {held.limit or 'none'}, not {ours.limit or 'none'}"
    old, new = _deciding(held.settings), _deciding(ours.settings)
    if others := [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]:
        key = others[0]
        return f"was made with other settings ({key}={old.get(key, 'unset')}, not {new.get(key, 'unset')})"
    return f"is of other images ({held.files} files of {held.input} as they were then)"


def _begin(output: Location, ours: Plan, rows: pa.Table, job: Job) -> list[PartResult]:
    """Writes down what is to be done; or finds that of an interrupted run, and the parts that it had finished."""
    staging = output.join(STAGING)
    if not _held(output, f"{STAGING}/{PLAN}", Plan, ours):
        staging.make()
        staging.join(LISTING_FILE).write_bytes(groups_of(rows, len(_sizes(ours))))
        staging.join(PLAN).write_bytes(ours.model_dump_json().encode())
        return []
    there = set(output.names())
    candidates = [number for number in range(len(_sizes(ours))) if part_name(number) in there]
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        done = [result for result in pool.map(partial(finished, job=job), candidates) if result]
    say(f"continuing an interrupted batch: {len(done)} of {len(_sizes(ours))} parts were finished")
    return done


def _sizes(ours: Plan) -> list[int]:
    """The files of each part."""
    return [end - start for start, end in bounds(ours.files, group_count(ours.files, ours.settings.files))]


def _read_missing(
    job: Job, ours: Plan, old: Sequence[PartResult], crew: Callable[[], Crew]
) -> tuple[list[PartResult], dict[str, str], float]:
    """The results of all parts that are not there, the tools of who read them, and the seconds until there was a crew."""
    sizes, done = _sizes(ours), {result.number for result in old}
    missing = [number for number in range(len(sizes)) if number not in done]
    if not missing:
        return [], {}, 0.0
    asked = time.monotonic()
    runner, open_reader = crew()
    waited = time.monotonic() - asked
    work = partial(read_part, job=job, open_reader=open_reader)
    return runner.map(work, missing, "read", sum(sizes[number] for number in missing)), runner.tools, waited


def _summary(
    ours: Plan, old: Sequence[PartResult], new: Sequence[PartResult], tools: dict[str, str], seconds: float
) -> Summary:
    reasons = sum((Counter(result.reasons) for result in (*old, *new)), Counter[str]())
    continued = sum(result.files for result in old)
    return Summary(
        **dict(ours),
        read=ours.files - reasons.total(),
        failed=reasons.total(),
        reasons=dict(reasons.most_common()),
        parts=len(old) + len(new),
        continued=continued,
        seconds=round(seconds, 3),
        images_per_s=round((ours.files - continued) / max(seconds, 1e-9), 1),
        tools={"glyphmill": VERSION, "pyarrow": pa.__version__} | tools,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _tidy(output: Location) -> None:
    """Removes what a whole output does not need: the staging folder, and parts that killed processes were writing."""
    for name in output.names():
        if name == STAGING or name.startswith(LEFT):
            output.join(name).remove()
