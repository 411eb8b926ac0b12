"""A bundle at work on a folder: what the driver tells of it, and the reader that each process opens once."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from model.bundle import BUNDLE, read_bundle, understood
from model.recognizer import Recognizer
from model.runtimes import chosen
from pipelines.batch import BatchModel, BatchSettings
from pipelines.images import ImageChecks
from pipelines.predictions import Reader, Row
from pipelines.preprocess import PreprocessSpec
from pipelines.settings import build, read_yaml

Load = Callable[[Path, str, int], Recognizer]  # folder, runtime, threads
META = "registered_model_meta"  # MLflow writes it into a model that it downloads: name and version


def model_of(folder: Path, uri: str, settings: BatchSettings) -> tuple[BatchModel, BatchSettings]:
    """What is told of the bundle in `folder`, which `uri` names, and the settings with the runtime that `auto` stands for.

    Raises DataError for a damaged bundle, SettingsError for a preprocessing that there is not.
    """
    bundle = read_bundle(folder)
    with understood(folder):
        found = BatchModel(
            uri=_version(folder, uri),
            fingerprint=hashlib.sha256((folder / BUNDLE).read_bytes()).hexdigest()[:32],
            dataset=bundle["dataset"]["fingerprint"],
            alphabet=bundle["alphabet"],
            max_bytes=ImageChecks.model_validate(bundle["checks"]).max_bytes,
        )
        image = PreprocessSpec.model_validate(bundle["image"])
    build(PreprocessSpec, dict(image) | settings.image, "image")
    return found, settings.model_copy(update={"runtime": chosen(settings.runtime, bundle["files"], folder)})


def open_reader(where: Callable[[], str], settings: BatchSettings, load: Load) -> Reader:
    """What reads images with the bundle in the folder that `where` tells in this process, which loads it once."""
    recognizer = _loaded(where(), settings.runtime, settings.threads, load).preparing(**settings.image)

    def read(images: Iterable[tuple[str, bytes]]) -> Iterator[Row]:
        for path, text, confidence, characters, error in recognizer.predict(images, settings.batch):
            yield Row(path, error=error) if error else Row(path, text, confidence, characters)

    return read


@lru_cache(maxsize=1)
def _loaded(folder: str, runtime: str, threads: int, load: Load) -> Recognizer:
    return load(Path(folder), runtime, threads)


def _version(folder: Path, uri: str) -> str:
    """The URI of the version that an alias stood for when it was downloaded; of other models what names them."""
    meta = folder.parent.parent / META
    if not meta.is_file():
        return uri
    told = read_yaml(meta)
    return f"models:/{told['model_name']}/{told['model_version']}"
