"""The folder of a training run: what decides the run, whether it is over, and that only one process works in it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model.config import TrainSettings
from model.mixture import Mixture
from pipelines.errors import DataError
from pipelines.lock import locked
from pipelines.settings import Settings, build, flatten, read_yaml
from pipelines.storage import locate

RECORD = "run.json"
# Settings that may change while a run goes on: they decide how fast it is, where, and what becomes of the model.
FREE: dict[str, Any] = {
    "train": {"steps_per_call", "checkpoint_minutes", "checkpoint_steps"},
    "loader": {"prefetch", "threads", "cache", "cache_gib"},
    "devices": True,
    "tracking": {"promote", "max_ms_per_image", "max_slowdown", "parent"},
}


class Record(Settings):
    """The content of RECORD: datasets as they were named, with their weights, and the MLflow run, once there is one."""

    datasets: tuple[str, ...]
    weights: tuple[float, ...]
    fingerprint: str
    preset: str
    settings: TrainSettings
    run_id: str | None = None
    finished: bool = False

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides the weights that come out, and the place that they are logged to."""
        return {"dataset": self.fingerprint} | flatten(self.settings.model_dump(mode="json", exclude=FREE))


class Output:
    """A folder that is held against other processes (see `opened`)."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record = folder, record

    def started(self, run_id: str, home: Path) -> None:
        """Notes the MLflow run, and where to find its folder: under `home`, by its id."""
        self._write(run_id=run_id)
        link = home / "checkpoints" / run_id
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.folder.absolute())

    def finished(self) -> None:
        self._write(finished=True)

    def _write(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
        write_record(self.folder / RECORD, self.record)


def record_of(data: Mixture, settings: TrainSettings, preset: str) -> Record:
    """The record of a run that begins."""
    return Record(
        datasets=tuple(f"{dataset.location.uri}@{dataset.manifest.version}" for dataset in data.datasets),
        weights=data.weights,
        fingerprint=data.fingerprint,
        preset=preset,
        settings=settings,
    )


def default_folder(home: Path, record: Record) -> Path:
    """Where runs go that are given no folder: the same settings and data always to the same."""
    return home / "checkpoints" / digest(record.decides)


def digest(values: Mapping[str, Any]) -> str:
    """A short name for some values, the same for the same ones."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def write_record(path: Path, record: Settings) -> None:
    """Writes a record in place of the one before: whole, or not at all."""
    locate(path).write_bytes(record.model_dump_json(indent=1).encode())


def find(what: str, home: Path) -> Path:
    """The folder that is meant by itself or by the id of its MLflow run. Raises DataError."""
    for folder in (Path(what), home / "checkpoints" / what):
        if (folder / RECORD).is_file():
            return folder.resolve()
    raise DataError(f"--resume {what}: no folder with a {RECORD}, and not the id of a run whose folder is under {home}")


def read_record(folder: Path) -> Record:
    """Raises SettingsError where it is not readable."""
    return build(Record, read_yaml(folder / RECORD), str(folder / RECORD))


@contextmanager
def opened(folder: Path, record: Record) -> Iterator[Output]:
    """Holds `folder`, which is made where it is missing, for this run; one that was begun there goes on.

    Raises DataError where another process trains in it, and where it holds another thing than a run of these settings and data.
    """
    with locked(locate(folder.absolute()), "training"):
        if not (folder / RECORD).exists():
            if any(folder.iterdir()):
                raise DataError(f"{folder}: not an empty folder, and no training run; --output names a new or empty one")
            output = Output(folder, record)
            output._write()
        else:
            output = Output(folder, read_record(folder))
            _check_same(folder, output.record.decides, record.decides)
        yield output


def _check_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    changed = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    if changed:
        shown = ", ".join(f"{key} was {theirs.get(key)} and is {ours.get(key)}" for key in changed[:6])
        raise DataError(f"{folder}: a run of other settings: {shown}; take another --output, or --resume {folder} as it was")
