"""MLflow: runs, datasets, figures, the registry and downloads. The only file that imports mlflow."""

import logging
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import mlflow
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import ModelInfo
from sqlalchemy.exc import SQLAlchemyError

from model import export
from model.config import TrainSettings
from model.recognizer import BUNDLE
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.settings import flatten

if TYPE_CHECKING:
    from model.evaluate import Evaluation

STORE = Path("mlruns")
CHAMPION, CHALLENGER = "champion", "challenger"
SECONDS = 5  # how long a tracking server may take to answer before we say that it does not


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
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    elif database := _database(uri):
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{uri}: no folder for the MLflow store can be made: {error}; set MLFLOW_TRACKING_URI") from None
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI") or uri)
    return uri


def home() -> Path:
    """The local folder beside the store, for artifacts, checkpoints and reports in the making."""
    database = _database(mlflow.get_tracking_uri())
    return database.parent if database else STORE.absolute()


@contextmanager
def run(settings: TrainSettings, dataset: Dataset, preset: str) -> Iterator["Run"]:
    """One MLflow run with all settings and the dataset; it ends as failed when the block raises."""
    connect()
    tracking = settings.tracking
    with _one_line("the MLflow store"):
        if mlflow.get_experiment_by_name(tracking.experiment) is None:
            local = _database(mlflow.get_tracking_uri()) is not None
            place = (home() / "artifacts").as_uri() if local else None
            mlflow.create_experiment(tracking.experiment, place, {"mlflow.experimentKind": "custom_model_development"})
        mlflow.set_experiment(tracking.experiment)
        name = Path(dataset.manifest.input).name or "dataset"
        tags = {"preset": preset, "dataset": dataset.manifest.fingerprint, "git_commit": _commit()}
        started = mlflow.start_run(run_name=tracking.run_name or f"{preset} on {name}", tags=tags, log_system_metrics=True)
    with started:
        data = {"data": dataset.manifest.settings | {"rows": dataset.manifest.splits}}
        mlflow.log_params({k: str(v)[:500] for k, v in flatten(settings.model_dump(mode="json") | data).items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several classes of MLflow fit a local path, all the same
            source = resolve_dataset_source(dataset.location.shown)
        known = MetaDataset(source, name=name, digest=dataset.manifest.fingerprint)  # type: ignore[abstract]
        mlflow.log_input(known, context="training")
        yield Run(started.info.run_id, settings, dataset)


class Run:
    """What training tells MLflow."""

    def __init__(self, run_id: str, settings: TrainSettings, dataset: Dataset) -> None:
        self.run_id = run_id
        self._settings, self._dataset = settings, dataset

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        mlflow.log_metrics(dict(metrics), step=step)

    def log_files(self, folder: Path, artifact_path: str) -> None:
        """Logs all files in `folder` under `artifact_path`."""
        mlflow.log_artifacts(str(folder), artifact_path)

    def log_model(self, bundle_folder: Path, bundle: Mapping[str, Any]) -> ModelInfo:
        """Logs the bundle as a pyfunc model that runs without this repository."""
        return Model.log(None, flavor=_Flavor, name="model", bundle_folder=bundle_folder, bundle=bundle)

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
        version = mlflow.register_model(model.model_uri, name, tags=tags).version
        client.update_model_version(name, version, description=f"{alias}: {reason}")
        client.set_registered_model_alias(name, alias, version)
        mlflow.set_tags({"registered_version": version, "alias": alias})
        return Registered(f"models:/{name}/{version}", str(version), alias, reason)


def champion_version(name: str) -> ModelVersion | None:
    """The version that bears the champion's alias, or None."""
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise DataError(f"registered model {name}: {_first_line(error)}") from error


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
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers; what it refuses is told by the first real call
    except (OSError, HTTPException) as error:
        reason = _first_line(getattr(error, "reason", error))
        raise DataError(f"{uri}: the MLflow server does not answer ({reason}); start it or unset MLFLOW_TRACKING_URI") from None


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
