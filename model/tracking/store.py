"""The MLflow store: where it is, whether it answers, and errors of it in one line."""

import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from model.outbox import UnreachableError
from pipelines.errors import DataError
from pipelines.progress import say
from pipelines.storage import redacted

T = TypeVar("T")
STORE = Path("mlruns")
SECONDS = 5  # how long a tracking server may take to answer before we say that it does not
PATIENCE = 600.0  # seconds that the end of a run waits for a server that is away
PAUSE, SAY, ATTEMPTS = 2.0, 15.0, 3  # seconds between attempts, and between lines about them; attempts at a server that answers
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")  # what MLflow calls errors that may pass
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # and what it calls asking for a thing that is not there
GATEWAY = (502, 503, 504)  # what a proxy answers for a server that is away
INSIDE = "too many 500 error responses"  # of a server that answers, and whose own log alone says what it could not do


def connect() -> str:
    """Points MLflow to MLFLOW_TRACKING_URI, or to SQLite and a folder in ./mlruns; returns the URI.

    Raises DataError where a server does not answer.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(STORE / 'mlflow.db').absolute()}"
    if _is_server(uri):
        _check_server(uri)
    elif database := database_of(uri):
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
    database = database_of(mlflow.get_tracking_uri())
    return database.parent if database else STORE.absolute()


def experiment_of(name: str) -> str:
    """The id of an experiment, which is made where there is none: with artifacts beside a local store."""
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    place = (home() / "artifacts").as_uri() if database_of(mlflow.get_tracking_uri()) else None
    return str(mlflow.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"}))


def log_files(run_id: str, folder: Path, artifact_path: str) -> None:
    """Logs all files in `folder` under `artifact_path`, in place of those of the same names."""
    patiently(f"files in {artifact_path}", lambda: mlflow.log_artifacts(str(folder), artifact_path, run_id))


def living(run_id: str) -> bool:
    """Whether the store has this run, and nobody deleted it."""
    try:
        return mlflow.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code in UNKNOWN:
            return False
        raise


def patiently(what: str, call: Callable[[], T], patience: float | None = None) -> T:
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
            reason = away or _refusal(error)
            passes = not isinstance(error, MlflowException) or error.error_code in PASSING
            if not passes or (not away and attempt >= ATTEMPTS) or waited > patience:
                raise DataError(f"{what}: {where()}: {reason}") from error
            if waited - said >= SAY:
                said = waited
                say(f"{what} waits for {where()} ({reason}); {patience - waited:.0f} s are left")
            time.sleep(min(PAUSE, patience))
    raise AssertionError


@contextmanager
def reached() -> Iterator[None]:
    """Raises UnreachableError with a short reason where MLflow does not take something."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UnreachableError(_silence(mlflow.get_tracking_uri()) or first_line(error)) from error


@contextmanager
def one_line(what: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise DataError(f"{what} {redacted(mlflow.get_tracking_uri())}: {first_line(error)}") from error


def where() -> str:
    uri = mlflow.get_tracking_uri()
    return f"the MLflow {'server' if _is_server(uri) else 'store'} {redacted(uri)}"


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def database_of(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _refusal(error: Exception) -> str:
    """Why a server that answers did not do it."""
    if INSIDE in str(error):
        return "it answers with HTTP status 500; its own log says why, such as an artifact store that is full or away"
    return first_line(error)


def _check_server(uri: str) -> None:
    if reason := _silence(uri):
        raise DataError(f"{uri}: the MLflow server does not answer ({reason}); start it or unset MLFLOW_TRACKING_URI")


def _silence(uri: str) -> str:
    """Why the server does not answer; empty where it does, or where the store is no server."""
    if not _is_server(uri):
        return ""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS).close()  # nosec B310
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}" if error.code in GATEWAY else ""  # else it answers; the first real call tells
    except (OSError, HTTPException) as error:
        return first_line(getattr(error, "reason", error))
    return ""


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))
