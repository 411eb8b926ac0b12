"""An export from end to end: written under a temporary name, checked on real rows, and then put in its place."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import keras
import numpy as np

from model.evaluate import check_comparable
from model.exports import about, litert, onnx, savedmodel
from model.exports.check import Checked, check, original_texts, single_ms
from model.exports.rows import first_rows
from model.recognizer import Recognizer
from pipelines.errors import DataError, SettingsError
from pipelines.manifest import Dataset

CALIBRATION = 256  # images of the train split whose range of activations is taken for that of all


class Form(Protocol):
    """What a module of this package offers for its format.

    `INT8` are ways to quantise, the first one is tried first; `PACKAGES` are modules that writing and checking need.
    """

    INT8: tuple[str, ...]
    PACKAGES: tuple[str, ...]

    def write(self, network: keras.Model, about: str, path: Path, quantisation: str, calibration: np.ndarray) -> None: ...

    def load(self, path: Path) -> Callable[[np.ndarray], np.ndarray]: ...

    def told(self, path: Path) -> str: ...


FORMATS: Mapping[str, Form] = {"onnx": onnx, "litert": litert, "savedmodel": savedmodel}


class Exported(NamedTuple):
    """What was written: its size, how it was checked, and the median ms of a single image on one thread."""

    path: Path
    name: str
    quantisation: str
    size: int
    checked: Checked
    ms: float

    def metrics(self) -> dict[str, float]:
        """For the model's MLflow run, under names that tell formats apart."""
        found = {
            "bytes": self.size,
            "ms_per_image": self.ms,
            "same_texts": self.checked.same_texts,
            "exact_match": self.checked.exact_match,
        }
        return {f"export_{self.name}_{name}": float(value) for name, value in found.items()}

    def told(self) -> list[str]:
        """Lines for the person who waited."""
        checked = self.checked
        return [
            f"written      {self.path}, {self.size:,} bytes, {self.quantisation}",
            f"same texts   {checked.same_texts:.4f} of {checked.rows} rows",
            f"exact match  {checked.exact_match:.4f}, of the original {checked.exact_match_original:.4f}",
            f"ms/image     {self.ms:.2f} (one image at a time, one thread)",
        ]


def export(recognizer: Recognizer, dataset: Dataset, form: str, output: Path, *, int8: bool, rows: int) -> Exported:
    """Writes `output`, a file or, of a SavedModel, a new or empty folder; a file that stands there is replaced.

    Checked on the first `rows` rows of the test split; int8 takes its ranges from the train split. Raises DataError, and
    leaves nothing, where what it reads is too far from what the original reads.
    """
    ways = FORMATS[form].INT8 if int8 else (about.PLAIN,)
    if not ways:
        raise SettingsError(f"--int8: there is no {form} with 8 bits; take --format onnx or litert")
    if missing := [name.replace("_", "-") for name in FORMATS[form].PACKAGES if not find_spec(name)]:
        raise DataError(f"--format {form} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    if output.is_dir() and (form != "savedmodel" or any(output.iterdir())):
        kind = "folder" if form == "savedmodel" else "file"
        raise DataError(f"{output}: a folder that holds something; --output names a new {kind}")
    if form == "savedmodel" and output.exists() and not output.is_dir():
        raise DataError(f"{output}: a file; --output names a new or empty folder")
    check_comparable(recognizer, dataset)
    tested = first_rows(dataset, "test", rows)
    original = original_texts(recognizer, tested.images)
    calibration = first_rows(dataset, "train", CALIBRATION).images if int8 else tested.images[:0]
    output.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        for number, way in enumerate(ways):
            path = Path(scratch) / str(number) / output.name
            path.parent.mkdir()
            FORMATS[form].write(recognizer.network, about.document(recognizer.bundle, way), path, way, calibration)
            run = FORMATS[form].load(path)
            checked = check(run, recognizer, tested, original)
            if not (problem := checked.problem(int8)):
                size, ms = _size(path), single_ms(run, tested.images)
                _put(path, output)
                return Exported(output, f"{form}_int8" if int8 else form, way, size, checked, ms)
            problems.append(f"{way}: {problem}")
    raise DataError(f"{output}: not written, the {form} form does not read what the model reads: {'; '.join(problems)}")


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _put(path: Path, output: Path) -> None:
    if output.is_dir():  # empty
        shutil.rmtree(output)
    path.replace(output)
