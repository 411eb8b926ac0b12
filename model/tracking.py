"""MLflow: runs, datasets, figures, the registry and downloads. The only file that imports mlflow."""

import logging
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

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

from model import export
from model.config import TrainSettings
from model.outbox import InUseError, Journal, Metric, Outbox, UnreachableError
from model.recognizer import BUNDLE
from model.termination import Stopped
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.progress import polled, say
from pipelines.settings import flatten
from pipelines.storage import redacted

if TYPE_CHECKING:
    from model.evaluate import Evaluation

T = TypeVar("T")
STORE = Path("mlruns")
OUTBOX = "outbox"  # folder of metrics on their way, beside the store
CHAMPION, CHALLENGER = "champion", "challenger"
SECONDS = 5  # how long a tracking server may take to answer before we say that it does not
PATIENCE = 600.0  # seconds that the end of a run waits for a server that is away
PAUSE, SAY, ATTEMPTS = 2.0, 15.0, 3  # seconds between attempts, and between lines about them; attempts at a server that answers
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")  # what MLflow calls errors that may pass
GATEWAY = (502, 503, 504)  # what a proxy answers for a server that is away


class Registered(NamedTuple):
    """A registered version, the alias it got and why."""

    uri: str
    version: str
    alias: str
    reason: str


def connect() -> str:
    """Points MLflow to MLFLOW_TRACKING_URI, or to SQLite and a folder in ./mlruns; returns the URI.

    Raises DataError where a server does not answer.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(STORE / 'mlflow.db').absolute()}"
    if _is_server(uri):
        _check_server(uri)
    elif database := _database(uri):
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{uri}: no folder for the MLflow store can be made: {error}; set MLFLOW_TRACKING_URI") from None
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
    )  # seconds; its own default is minutes, and we try again ourselves
    for name in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI") or uri)
    return uri


def home() -> Path:
    """The local folder beside the store, for artifacts, checkpoints and reports in the making."""
    database = _database(mlflow.get_tracking_uri())
    return database.parent if database else STORE.absolute()


@contextmanager
def run(settings: TrainSettings, dataset: Dataset, preset: str, resume: str | None = None) -> Iterator["Run"]:
    """One MLflow run with all settings and the dataset; it ends as failed when the block raises, as killed when it is stopped.

    `resume` is the id of a run that goes on: nothing that it has is logged again, and its tag `resumed` counts.
    """
    connect()
    with _one_line("the MLflow store"):
        _send_left_metrics()
        run_id = _begin_again(resume) if resume else _begin(settings, dataset, preset)
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
        _patiently(f"files in {artifact_path}", lambda: mlflow.log_artifacts(str(folder), artifact_path, self.run_id))

    def log_model(self, bundle_folder: Path, bundle: Mapping[str, Any]) -> ModelInfo:
        """Logs the bundle as a pyfunc model that runs without this repository."""
        more = {"name": "model", "run_id": self.run_id, "bundle_folder": bundle_folder, "bundle": bundle}
        self.outbox.flush(PATIENCE)  # MLflow notes the metrics of the run with the model
        return _patiently("the model", lambda: Model.log(None, flavor=_Flavor, **more))

    def register(self, model: ModelInfo, evaluation: "Evaluation", champion: "Evaluation | None", against: str) -> Registered:
        """Registers the model; it becomes champion or challenger by what `evaluation` and `champion` say of the same split.

        `champion` is None where there is none, or where it could not be judged on this dataset; `against` says which.
        """
        name = self._settings.tracking.registered_model
        alias, reason = _verdict(self._settings.tracking.promote, evaluation, champion, against)
        client = mlflow.MlflowClient()
        scores = evaluation.scores
        tags = {
            "dataset": evaluation.fingerprint,
            "test_exact_match": f"{scores.exact_match:.6f}",
            "test_cer": f"{scores.cer:.6f}",
            "alphabet": self._dataset.manifest.alphabet,
            "reason": reason,
        }

        def mark(version: str) -> None:
            client.update_model_version(name, version, description=f"{alias}: {reason}")
            client.set_registered_model_alias(name, alias, version)
            client.log_batch(
                self.run_id, tags=[entities.RunTag("registered_version", version), entities.RunTag("alias", alias)]
            )

        attempts = count()
        version = _patiently("the registration", lambda: _version(model.model_uri, name, tags, again=next(attempts) > 0))
        _patiently("the registration", lambda: mark(version))
        return Registered(f"models:/{name}/{version}", version, alias, reason)

    def close(self, status: str, patience: float) -> None:
        """Ends the run with a status of MLflow's, once its metrics have arrived; what does not in time is said in one line."""
        self.outbox.close(patience)
        try:
            mlflow.end_run(status)  # whatever it raises, this process has no active run after it
        except (MlflowException, SQLAlchemyError):
            client = mlflow.MlflowClient()
            _patiently("the end of the run", lambda: client.set_terminated(self.run_id, status), patience)


def champion_version(name: str) -> ModelVersion | None:
    """The version that bears the champion's alias, or None."""

    def ask() -> ModelVersion | None:
        try:
            return mlflow.MlflowClient().get_model_version_by_alias(name, CHAMPION)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    return _patiently(f"registered model {name}", ask)


def download(uri: str, output: Path) -> Path:
    """Downloads a model into the new or empty folder `output`. Raises DataError where the URI names none."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output}: not an empty folder; --output names a new or empty one")
    with tempfile.TemporaryDirectory() as scratch:
        found = _fetched_bundle(uri, Path(scratch))
        shutil.copytree(found, output, dirs_exist_ok=True)
    return output


@contextmanager
def bundle_of(uri: str) -> Iterator[Path]:
    """The bundle folder of a model: an MLflow URI, a downloaded folder, or a bundle's own folder."""
    if Path(uri).is_dir():
        inner = Path(uri) / export.DATA
        yield inner if (inner / BUNDLE).is_file() else Path(uri)
        return
    if ":/" not in uri:
        raise DataError(f"{uri}: no such folder, and not an MLflow URI such as models:/glyphmill@champion")
    with tempfile.TemporaryDirectory() as scratch:
        yield _fetched_bundle(uri, Path(scratch)) / export.DATA


class _Flavor:
    """Saves a bundle as an MLflow pyfunc model whose loader is the code shipped with it: nothing is pickled."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, bundle_folder: Path, bundle: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            mlflow.pyfunc.save_model(
                path,
                loader_module="model.recognizer",
                data_path=str(bundle_folder),
                code_paths=export.write_code(Path(scratch)),
                pip_requirements=export.requirements(),
                mlflow_model=mlflow_model,
            )
        Path(path, "predict.py").write_text(export.PREDICT, encoding="utf-8")
        Path(path, "README.md").write_text(export.model_card(dict(bundle)), encoding="utf-8")


def _begin(settings: TrainSettings, dataset: Dataset, preset: str) -> str:
    """The id of a new run."""
    tracking = settings.tracking
    if mlflow.get_experiment_by_name(tracking.experiment) is None:
        local = _database(mlflow.get_tracking_uri()) is not None
        place = (home() / "artifacts").as_uri() if local else None
        mlflow.create_experiment(tracking.experiment, place, {"mlflow.experimentKind": "custom_model_development"})
    mlflow.set_experiment(tracking.experiment)
    name = tracking.run_name or f"{preset} on {_name(dataset)}"
    tags = {"preset": preset, "dataset": dataset.manifest.fingerprint, "git_commit": _commit()}
    return mlflow.start_run(run_name=name, tags=tags, log_system_metrics=False).info.run_id


def _begin_again(run_id: str) -> str:
    found = mlflow.get_run(run_id)
    mlflow.set_experiment(experiment_id=found.info.experiment_id)
    tags = {"resumed": str(int(found.data.tags.get("resumed", 0)) + 1)}
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
        with _reached():
            client.log_batch(run_id, [entities.Metric(m.key, m.value, m.time, m.step) for m in metrics])

    def steps(keys: Iterable[str]) -> Mapping[str, set[int]]:
        with _reached():
            return _steps(run_id, keys)

    return Outbox(journal or Journal(_journal(run_id)), send, steps, _where(), known)


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
        if not left or not _living(path.stem):
            journal.close()
        elif not _outbox(path.stem, journal=journal).close(SECONDS):
            say(f"{_where()} has {left} metrics that run {path.stem} had left")


def _living(run_id: str) -> bool:
    try:
        return mlflow.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return False
        raise


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


def _version(model_uri: str, name: str, tags: dict[str, str], *, again: bool) -> str:
    """A new version of the registered model; `again`: the one of this model, if an attempt that seemed to fail has made it."""
    found = mlflow.MlflowClient().search_model_versions(f"source_path='{model_uri}'") if again else []
    for version in found:
        if version.name == name:
            return str(version.version)
    return str(mlflow.register_model(model_uri, name, tags=tags).version)


def _verdict(promote: str, new: "Evaluation", champion: "Evaluation | None", against: str) -> tuple[str, str]:
    if promote != "better":
        return (CHAMPION if promote == "always" else CHALLENGER), f"tracking.promote is {promote}"
    if champion is None:
        return (CHAMPION, "there was no champion") if not against else (CHALLENGER, against)
    figures = (
        f"exact match {new.scores.exact_match:.4f} (CER {new.scores.cer:.4f}) against {champion.scores.exact_match:.4f}"
        f" ({champion.scores.cer:.4f}) of the champion, {against}, on the test split of {new.fingerprint[:12]}"
    )
    better = new.scores.better_than(champion.scores)
    return (CHAMPION, f"better: {figures}") if better else (CHALLENGER, f"not better: {figures}")


def _fetched_bundle(uri: str, scratch: Path) -> Path:
    found = _fetch(uri, scratch)
    if not (found / export.DATA / BUNDLE).is_file():
        raise DataError(f"{uri}: not a model that glyphmill logged (no {export.DATA}/{BUNDLE})")
    return found


def _fetch(uri: str, scratch: Path) -> Path:
    connect()
    try:
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(scratch)))
    except (MlflowException, OSError) as error:
        known = ""
        if uri.startswith("models:/"):
            known = f"; registered models here: {', '.join(_registered()) or 'none'}"
        raise DataError(f"{uri}: no such model in {mlflow.get_tracking_uri()}: {_first_line(error)}{known}") from None


def _registered() -> list[str]:
    names = []
    try:
        models = mlflow.MlflowClient().search_registered_models()
    except MlflowException as error:
        return [f"unknown ({_first_line(error)})"]
    for found in models:
        aliases = ", ".join(f"@{alias} is {version}" for alias, version in sorted(found.aliases.items()))
        names.append(f"{found.name} ({aliases or 'no alias'})")
    return names


def _check_server(uri: str) -> None:
    if reason := _silence(uri):
        raise DataError(f"{uri}: the MLflow server does not answer ({reason}); start it or unset MLFLOW_TRACKING_URI")


def _silence(uri: str) -> str:
    """Why the server does not answer; empty where it does, or where the store is no server."""
    if not _is_server(uri):
        return ""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}" if error.code in GATEWAY else ""  # else it answers; the first real call tells
    except (OSError, HTTPException) as error:
        return _first_line(getattr(error, "reason", error))
    return ""


def _patiently(what: str, call: Callable[[], T], patience: float | None = None) -> T:
    """What `call` returns. While the server is away it is called again, for `patience` seconds (None: PATIENCE).

    Raises DataError where the server is not back in time, and where it refuses.
    """
    patience = PATIENCE if patience is None else patience
    began, said = time.monotonic(), -SAY
    for attempt in count(1):
        try:
            return call()
        except (MlflowException, SQLAlchemyError, OSError) as error:
            away, waited = _silence(mlflow.get_tracking_uri()), time.monotonic() - began
            reason = away or _first_line(error)
            passes = not isinstance(error, MlflowException) or error.error_code in PASSING
            if not passes or (not away and attempt >= ATTEMPTS) or waited > patience:
                raise DataError(f"{what}: {_where()}: {reason}") from error
            if waited - said >= SAY:
                said = waited
                say(f"{what} waits for {_where()} ({reason}); {patience - waited:.0f} s are left")
            time.sleep(min(PAUSE, patience))
    raise AssertionError


@contextmanager
def _reached() -> Iterator[None]:
    """Raises UnreachableError with a short reason where MLflow does not take something."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UnreachableError(_silence(mlflow.get_tracking_uri()) or _first_line(error)) from error


def _where() -> str:
    uri = mlflow.get_tracking_uri()
    return f"the MLflow {'server' if _is_server(uri) else 'store'} {redacted(uri)}"


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise DataError(f"{what} {mlflow.get_tracking_uri()}: {_first_line(error)}") from error


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _commit() -> str:
    found = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"
