"""Models fetched from MLflow: as a whole folder, or the bundle in it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.models.model import MLMODEL_FILE_NAME

from model import export
from model.bundle import BUNDLE
from model.tracking.registry import URI, registered_models, uri_of, version_of
from model.tracking.store import connect, first_line, living, one_line
from pipelines.errors import DataError
from pipelines.storage import redacted


def download(uri: str, output: Path) -> Path:
    """Downloads a model into the new or empty folder `output`. Raises DataError where the URI names none, or it is damaged."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output}: not an empty folder; --output names a new or empty one")
    with tempfile.TemporaryDirectory() as scratch:
        found, place = _fetched_bundle(uri, Path(scratch)), output.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as beside:
            shutil.copytree(found, Path(beside) / place.name).replace(place)  # at once: whole, or not there
    return output


def pinned(uri: str) -> str:
    """The URI of the version that bears an alias now; of other models what names them. Raises DataError where none bears it."""
    match = URI.fullmatch(uri)
    if not match or not match["alias"]:
        return uri
    return uri_of(version_of(uri))


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


def run_of(uri: str) -> str | None:
    """The id of the run that made the model of an MLflow URI or a downloaded folder; None where this store has no such run.

    Raises DataError where a URI names no model.
    """
    if Path(uri).is_dir() and not (Path(uri) / MLMODEL_FILE_NAME).is_file():
        return None
    connect()
    with one_line("the MLflow store"):
        try:
            run_id = get_model_info(uri).run_id
        except (MlflowException, OSError) as error:
            raise DataError(_unknown(uri, error)) from None
        return run_id if run_id and living(run_id) else None


def _fetched_bundle(uri: str, scratch: Path) -> Path:
    """The model's folder, once its files are what its checksums say."""
    found = _fetch(uri, scratch)
    if not (found / export.DATA / BUNDLE).is_file():
        raise DataError(f"{uri}: not a model that glyphmill logged (no {export.DATA}/{BUNDLE})")
    export.check_folder(found)
    return found


def _fetch(uri: str, scratch: Path) -> Path:
    connect()
    with one_line("the MLflow store"):
        try:
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(scratch)))
        except (MlflowException, OSError) as error:
            raise DataError(_unknown(uri, error)) from None


def _unknown(uri: str, error: Exception) -> str:
    known = f"; registered models here: {', '.join(registered_models()) or 'none'}" if uri.startswith("models:/") else ""
    return f"{uri}: no such model in {redacted(mlflow.get_tracking_uri())}: {first_line(error)}{known}"
