"""Many trainings under one MLflow run: each a process of its own, one after another, again from where it stopped."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from model import compare, outputs, tracking
from model.compare import Row
from model.compare_figures import chart
from model.config import TrainSettings
from model.launch import GRACE, POLL, end_with_parent, wait_or_kill
from model.outputs import digest
from model.stack import stack
from model.termination import Stopped, Termination
from model.trials import Trial
from pipelines.errors import DataError
from pipelines.lock import locked
from pipelines.manifest import Dataset
from pipelines.progress import say
from pipelines.settings import Settings, build, read, read_yaml
from pipelines.storage import locate

RECORD = "sweep.json"
EPOCHS = 10_000  # with a budget of time: so many that the time is over first
BY_VALIDATION = attrgetter("val_rank")
Pairs = tuple[tuple[str, str], ...]


class Record(Settings):
    """The content of RECORD: what the sweep is, a digest of each trial's settings, and its MLflow run, once there is one."""

    dataset: str
    fingerprint: str
    budget: float | None
    trials: tuple[tuple[str | None, Pairs, Pairs], ...]
    settings: tuple[str, ...]
    run_id: str | None = None


class _End(NamedTuple):
    """A trial that is over, its folder, and why it failed, where it did."""

    trial: Trial
    folder: Path
    error: str


class Sweep(NamedTuple):
    """Trials on a dataset version, each of at most `budget` seconds; `command` trains, given what jobs.train takes."""

    dataset: Dataset
    trials: Sequence[Trial]
    budget: float | None
    command: Sequence[str]

    def record(self) -> Record:
        """Reads the settings files as they are now."""
        known = {"dataset": self.uri, "fingerprint": self.dataset.manifest.fingerprint, "budget": self.budget}
        return Record(**known, trials=tuple(map(tuple, self.trials)), settings=tuple(map(self.digest, self.trials)))

    @property
    def uri(self) -> str:
        return f"{self.dataset.location.uri}@{self.dataset.manifest.version}"

    @property
    def data(self) -> str:
        return Path(self.dataset.manifest.input).name or "dataset"

    def settings(self, trial: Trial) -> TrainSettings:
        """Raises SettingsError where there are none such."""
        return read(TrainSettings, trial.config, self.overrides(trial))

    def digest(self, trial: Trial) -> str:
        """Of the settings that decide what a trial learns, and of its name."""
        return digest(self.settings(trial).model_dump(mode="json", exclude=outputs.FREE))

    def overrides(self, trial: Trial) -> list[str]:
        """The trial's settings, after those that it may change and before those that it may not."""
        limits = [f"train.minutes={self.budget / 60}", f"train.epochs={EPOCHS}"] if self.budget else []
        return [*limits, f"tracking.run_name={trial.name}", *trial.overrides, "tracking.promote=never"]


def run(sweep: Sweep, folder: Path | None = None) -> list[Row]:
    """Trains what is not finished yet, and returns a row for each trial; those that failed tell why.

    `folder` is by default beside the MLflow store, the same for the same sweep. Raises SettingsError before anything is
    trained where a trial has settings that there are not, DataError where the folder holds another sweep, and Stopped.
    """
    record, experiment = sweep.record(), sweep.settings(sweep.trials[0]).tracking.experiment
    tracking.connect()
    folder = folder or tracking.home() / "sweeps" / digest(record.model_dump(mode="json", exclude={"dataset", "run_id"}))
    with locked(locate(folder.absolute()), "a sweep"):
        begun = _begun(folder, record)
        tags = {"preset": "sweep", "dataset": record.fingerprint, "stack": stack()}
        name = f"sweep of {len(sweep.trials)} on {sweep.data}"
        with tracking.parent(experiment, name, tags, _params(sweep), begun.run_id) as parent:
            outputs.write_record(folder / RECORD, begun.model_copy(update={"run_id": parent.run_id}))
            rows = _train_all(sweep, record, folder, parent)
            _sum_up(parent, rows)
    return rows


def best_of(rows: Sequence[Row]) -> Row | None:
    """The best by the val split: choosing by the test split would make its score too good."""
    judged = [row for row in rows if row.val_exact_match is not None and row.exact_match is not None and row.model]
    return max(judged, key=BY_VALIDATION, default=None)


def told(rows: Sequence[Row]) -> list[str]:
    """Which one to use, in a sentence or two."""
    best, failed = best_of(rows), sum(bool(row.error) for row in rows)
    lines = [f"{failed} of {len(rows)} trials failed; the same command tries them again"] if failed else []
    if best is None:
        return lines or ["no trial has been judged yet"]
    score = f"exact match {best.val_exact_match:.4f}, on the test split {best.exact_match:.4f}"
    return [*lines, f"* best by the val split: models:/{best.model}, run {best.run} ({best.name}): {score}"]


def _begun(folder: Path, record: Record) -> Record:
    """The sweep as it was left in `folder`, or a new one."""
    path = folder / RECORD
    if not path.is_file():
        if any(folder.iterdir()):
            raise DataError(f"{folder}: not an empty folder, and no sweep; --output names a new or empty one")
        return record
    found = build(Record, read_yaml(path), str(path))
    if found.model_copy(update={"run_id": None, "dataset": record.dataset}) != record:
        raise DataError(f"{folder}: holds another sweep: other trials, settings, budget or data; take another --output")
    return found


def _params(sweep: Sweep) -> Mapping[str, str]:
    tried: dict[str, dict[str, None]] = {}
    for trial in sweep.trials:
        for key, value in (("configs", trial.config or "default"), *trial.fixed, *trial.values):
            tried.setdefault(key, {})[value] = None
    shown = {f"sweep.{key}": ", ".join(values) for key, values in tried.items()}
    return shown | {"sweep.trials": str(len(sweep.trials)), "sweep.budget": str(sweep.budget)}


def _train_all(sweep: Sweep, record: Record, folder: Path, parent: tracking.Parent) -> list[Row]:
    rows, ends = list[Row](), list[_End]()
    with Termination() as termination:
        for place, (trial, settings) in enumerate(zip(sweep.trials, record.settings, strict=True), start=1):
            at = folder / f"{place:03d}-{settings}"
            where, error = f"trial {place} of {len(sweep.trials)} ({trial.name})", ""
            if not _finished(at) and sweep.digest(trial) != settings:
                error = f"{trial.config} has changed since the sweep began; start the sweep anew"
            elif not _finished(at):
                say(f"{where}: training; {at}.log has what it says")
                error = _train(sweep, trial, at, parent.run_id, termination)
            ends.append(_End(trial, at, error))
            rows.append(_row(sweep, ends[-1]))
            say(f"{where}: {error or _score(rows[-1])}")
            _publish(parent, folder / "table", compare.marked(rows, BY_VALIDATION))
    rows = compare.marked([_row(sweep, end) for end in ends], BY_VALIDATION)  # once more: aliases have moved since
    _publish(parent, folder / "table", rows)
    return rows


def _finished(folder: Path) -> bool:
    return (folder / outputs.RECORD).is_file() and outputs.read_record(folder).finished


def _train(sweep: Sweep, trial: Trial, folder: Path, parent: str, termination: Termination) -> str:
    """Trains; returns why that failed, or nothing. Raises Stopped after a SIGTERM, when the training has saved its state."""
    sets = [part for text in (*sweep.overrides(trial), f"tracking.parent={parent}") for part in ("--set", text)]
    config = ["--config", trial.config] if trial.config else []
    arguments = ["--dataset", sweep.uri, *config, *sets, "--output", str(folder)]
    with Path(f"{folder}.log").open("a+", encoding="utf-8", errors="replace") as log:
        begin = log.tell()
        code = _wait([*sweep.command, *arguments], log.fileno(), termination)
        log.seek(begin)
        said = [line.strip() for line in log if line.strip()]
    if termination.asked:
        raise Stopped(f"stopped in {folder}; the same command goes on")
    if not code:
        return ""
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return (errors or said or [f"exit code {code}"])[-1]


def _wait(command: Sequence[str], log: int, termination: Termination) -> int:
    """The exit code of a process that does not outlive us; of a SIGTERM to us it gets one too."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
    )
    try:
        while process.poll() is None and not termination.asked:
            time.sleep(POLL)
        return process.returncode or 0
    finally:
        if process.poll() is None:
            process.terminate()
            wait_or_kill(process, GRACE)


def _row(sweep: Sweep, end: _End) -> Row:
    """What became of a trial, by its own name and with its own settings."""
    trial, folder, error = end
    run_id = outputs.read_record(folder).run_id if (folder / outputs.RECORD).is_file() else None
    known: dict[str, Any] = {"name": trial.name, "preset": trial.preset, "changed": dict(trial.values), "error": error}
    if run_id:
        (row,) = compare.rows_of(tracking.facts_of([run_id]))
        return replace(row, **known)
    return Row("", **known, status="failed", dataset=sweep.dataset.manifest.fingerprint, data=sweep.data)


def _score(row: Row) -> str:
    if row.exact_match is None:
        return row.status
    return f"exact match {row.exact_match:.4f} on the test split, {row.val_exact_match:.4f} on val"


def _publish(parent: tracking.Parent, folder: Path, rows: Sequence[Row]) -> None:
    """Logs the table and the figure of what there is so far."""
    folder.mkdir(exist_ok=True)
    lines = told(rows)
    (folder / "table.csv").write_text(compare.to_csv(rows), encoding="utf-8")
    (folder / "table.json").write_text(compare.to_json(rows, lines), encoding="utf-8")
    (folder / "table.txt").write_text(compare.text(rows, lines) + "\n", encoding="utf-8")
    (folder / "exact_match.png").write_bytes(
        chart(rows, f"{len(rows)} trials on {rows[0].data}, the best by the val split first")
    )
    parent.log_files(folder, "sweep")


def _sum_up(parent: tracking.Parent, rows: Sequence[Row]) -> None:
    best = best_of(rows)
    metrics: dict[str, float] = {"trials": len(rows), "failed": sum(bool(row.error) for row in rows)}
    tags = {}
    if best is not None:
        scores = {compare.METRICS[name]: getattr(best, name) for name in compare.METRICS}
        metrics |= {name: value for name, value in scores.items() if value is not None}
        tags = {"best_run": best.run, "best_trial": best.name, "device": best.device}
    tracking.log_to_run(parent.run_id, metrics, tags)
