"""MLflow runs: what training tells of itself, and what becomes of it when the server is away."""

import json
import subprocess
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow import entities
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import ModelInfo
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from sqlalchemy.exc import SQLAlchemyError

from model.config import TrainSettings
from model.outbox import InUseError, Journal, Metric, Outbox
from model.termination import Stopped
from model.tracking.flavor import Flavor
from model.tracking.registry import register, version_by
from model.tracking.store import (
    PATIENCE,
    SECONDS,
    connect,
    experiment_of,
    home,
    living,
    log_files,
    one_line,
    patiently,
    reached,
    where,
)
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.progress import polled, say
from pipelines.settings import flatten

if TYPE_CHECKING:
    from model.evaluate import Evaluation

NOTHING: Mapping[str, str] = MappingProxyType({})
PARENT = "mlflow.parentRunId"  # the tag by which MLflow shows a run under another
OUTBOX = "outbox"  # folder of metrics on their way, beside the store


@contextmanager
def run(
    settings: TrainSettings, dataset: Dataset, preset: str, resume: str | None = None, tags: Mapping[str, str] = NOTHING
) -> Iterator["Run"]:
    """One MLflow run with all settings and the dataset; it ends as failed when the block raises, as killed when it is stopped.

    `tags` come beside those of preset, dataset and commit. `resume` is the id of a run that goes on: nothing that it has is
    logged again, and its tag `resumed` counts.
    """
    connect()
    with one_line("the MLflow store"):
        _send_left_metrics()
        run_id = _begin_again(resume, tags) if resume else _begin(settings, dataset, preset, tags)
        try:
            _describe(run_id, settings, dataset)
            made = Run(run_id, settings, dataset, _outbox(run_id, _steps(run_id)))
        except BaseException:
            mlflow.end_run("FAILED")
            raise
    try:
        with _system_metrics(made):
            yield made
    except BaseException as error:
        try:
            made.close("KILLED" if isinstance(error, Stopped | KeyboardInterrupt) else "FAILED", SECONDS)
        except DataError as untold:  # the first error is the one to tell
            say(f"{untold}; it shows this run as running until it goes on")
        raise
    made.close("FINISHED", PATIENCE)


def log_to_run(run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
    """Adds metrics and tags to a run that may be over. Raises DataError where the store does not know it, or is away."""
    connect()
    now = time.time_ns() // 1_000_000
    values = [entities.Metric(key, float(value), now, 0) for key, value in metrics.items()]
    marks = [entities.RunTag(key, value) for key, value in tags.items()]
    patiently(f"run {run_id}", lambda: mlflow.MlflowClient().log_batch(run_id, metrics=values, tags=marks))


class Run:
    """What training tells MLflow: metrics go through an outbox on disk, the rest waits for a server that is away."""

    def __init__(self, run_id: str, settings: TrainSettings, dataset: Dataset, outbox: Outbox) -> None:
        self.run_id, self.outbox = run_id, outbox
        self._settings, self._dataset = settings, dataset

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Returns at once, whether the server is there or not. A metric that has a value at this step already keeps it."""
        self.outbox.append(metrics, step or 0)

    def log_files(self, folder: Path, artifact_path: str) -> None:
        """Logs all files in `folder` under `artifact_path`."""
        log_files(self.run_id, folder, artifact_path)

    def log_model(self, bundle_folder: Path, bundle: Mapping[str, Any]) -> ModelInfo:
        """Logs the bundle as a pyfunc model that runs without this repository."""
        more = {"name": "model", "run_id": self.run_id, "bundle_folder": bundle_folder, "bundle": bundle}
        self.outbox.flush(PATIENCE)  # MLflow notes the metrics of the run with the model
        return patiently("the model", lambda: Model.log(None, flavor=Flavor, **more))

    def registered(self) -> ModelVersion | None:
        """The version that this run has registered already, before it was killed."""
        return version_by(self.run_id, self._settings.tracking.registered_model)

    def register(self, model: ModelInfo, evaluation: "Evaluation", alphabet: str) -> ModelVersion:
        """Registers the model, with tags that tell where it comes from and how it reads the test split."""
        known = patiently("the registration", lambda: mlflow.get_run(self.run_id)).data.tags
        tags = {
            "run": self.run_id,
            "dataset": evaluation.fingerprint,
            "alphabet": alphabet,
            "git_commit": known.get("git_commit", ""),
            "preset": known.get("preset", ""),
            "test_exact_match": f"{evaluation.scores.exact_match:.6f}",
            "test_cer": f"{evaluation.scores.cer:.6f}",
            "ms_per_image": f"{evaluation.ms_per_image:.4f}",
        }
        return register(model.model_uri, self._settings.tracking.registered_model, self.run_id, tags)

    def close(self, status: str, patience: float) -> None:
        """Ends the run with a status of MLflow's, once its metrics have arrived; what does not in time is said in one line."""
        self.outbox.close(patience)
        try:
            mlflow.end_run(status)  # whatever it raises, this process has no active run after it
        except (MlflowException, SQLAlchemyError):
            client = mlflow.MlflowClient()
            patiently("the end of the run", lambda: client.set_terminated(self.run_id, status), patience)


def _begin(settings: TrainSettings, dataset: Dataset, preset: str, more: Mapping[str, str]) -> str:
    """The id of a new run."""
    tracking = settings.tracking
    mlflow.set_experiment(experiment_id=experiment_of(tracking.experiment))
    name = tracking.run_name or f"{preset} on {_name(dataset)}"
    tags = {"preset": preset, "dataset": dataset.manifest.fingerprint, "git_commit": _commit(), **more}
    if tracking.parent:
        tags[PARENT] = tracking.parent
    return mlflow.start_run(run_name=name, tags=tags, log_system_metrics=False).info.run_id


def _begin_again(run_id: str, more: Mapping[str, str]) -> str:
    found = mlflow.get_run(run_id)
    mlflow.set_experiment(experiment_id=found.info.experiment_id)
    tags = {"resumed": str(int(found.data.tags.get("resumed", 0)) + 1), **more}
    return mlflow.start_run(run_id=run_id, tags=tags, log_system_metrics=False).info.run_id


def _describe(run_id: str, settings: TrainSettings, dataset: Dataset) -> None:
    """Logs the settings and the dataset, as far as the run does not have them."""
    there = mlflow.get_run(run_id)
    data = {"data": dataset.manifest.settings | {"rows": dataset.manifest.splits}}
    params = {k: str(v)[:500] for k, v in flatten(settings.model_dump(mode="json") | data).items()}
    mlflow.log_params({key: value for key, value in params.items() if key not in there.data.params})
    if there.inputs is not None and there.inputs.dataset_inputs:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # several classes of MLflow fit a local path, all the same
        source = resolve_dataset_source(dataset.location.shown)
    known = MetaDataset(source, name=_name(dataset), digest=dataset.manifest.fingerprint)  # type: ignore[abstract]
    mlflow.log_input(known, context="training")


def data_of(run_id: str) -> tuple[str, str]:
    """Where the dataset of a run lies, and its fingerprint. Raises DataError where the run does not tell."""
    connect()
    inputs = patiently(f"run {run_id}", lambda: mlflow.get_run(run_id)).inputs
    for held in inputs.dataset_inputs if inputs else ():
        if uri := json.loads(held.dataset.source).get("uri"):
            return uri, held.dataset.digest
    raise DataError(f"run {run_id}: {where()} does not know where its dataset lies; name it with --dataset")


def _name(dataset: Dataset) -> str:
    return Path(dataset.manifest.input).name or "dataset"


def _steps(run_id: str, keys: Iterable[str] | None = None) -> dict[str, set[int]]:
    """The steps that a run has of some metrics (None: of all)."""
    client = mlflow.MlflowClient()
    if keys is None:
        keys = client.get_run(run_id).data.metrics
    return {key: {metric.step for metric in client.get_metric_history(run_id, key)} for key in keys}


def _outbox(run_id: str, known: Mapping[str, set[int]] | None = None, journal: Journal | None = None) -> Outbox:
    client = mlflow.MlflowClient()

    def send(metrics: Sequence[Metric]) -> None:
        with reached():
            client.log_batch(run_id, [entities.Metric(m.key, m.value, m.time, m.step) for m in metrics])

    def steps(keys: Iterable[str]) -> Mapping[str, set[int]]:
        with reached():
            return _steps(run_id, keys)

    return Outbox(journal or Journal(_journal(run_id)), send, steps, where(), known)


def _journal(run_id: str) -> Path:
    return home() / OUTBOX / f"{run_id}.jsonl"


def _send_left_metrics() -> None:
    """Sends what earlier runs could not; those of runs that are under way, or that this store does not know, stay."""
    for path in sorted(_journal("").parent.glob("*.jsonl")):
        try:
            journal = Journal(path)
        except InUseError:
            continue
        left = len(journal.waiting)
        if not left or not living(path.stem):
            journal.close()
        elif not _outbox(path.stem, journal=journal).close(SECONDS):
            say(f"{where()} has {left} metrics that run {path.stem} had left")


@contextmanager
def _system_metrics(run: Run) -> Iterator[None]:
    """Logs what MLflow's own monitor measures through the outbox; its own thread gives up when the server is away once."""
    monitor = SystemMetricsMonitor(run.run_id)
    steps, ticks = count(run.outbox.next_step("system/")), count(1)

    def sample() -> None:
        monitor.collect_metrics()
        if next(ticks) % monitor.samples_before_logging == 0:
            run.log_metrics({f"system/{key}": value for key, value in monitor.aggregate_metrics().items()}, next(steps))
            for part in monitor.monitors:
                part.clear_metrics()

    with polled(sample, monitor.sampling_interval):
        yield


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
