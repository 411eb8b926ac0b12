"""A trained recogniser, read from its bundle. It runs where this repository is not installed: see `export.CODE`."""

import argparse
import base64
import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from model.bundle import read_bundle, understood
from model.decode import RULES, Reading, sure_readings
from model.runtimes import AUTO, FILE_OF, ONNX, Compute, chosen, keras_distributions, onnx_distributions, open_keras
from model.snapshots import Snapshots
from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.images import ImageChecks, decode
from pipelines.preprocess import PreprocessSpec
from pipelines.rejects import Reason, Reject

if TYPE_CHECKING:
    import keras

BATCH = 64
Watch = Callable[[str, Sequence[tuple[str, np.ndarray]]], None]  # is given each image's name and stages


# Options that change a model's preprocessing, the setting, and what help says of them
OVERRIDES = (
    ("--no-auto-crop", ("crop", "none"), "keep the whole image where the model was trained on images cropped to their text"),
    ("--force-invert", ("invert", "always"), "light for dark, whatever the background"),
    ("--strong", ("stroke", "strong"), "make dark strokes wider: for thin ones"),
)


class Prediction(NamedTuple):
    """What was read of one image; `error` says why nothing could be read."""

    path: str
    text: str = ""
    confidence: float = 0.0
    characters: tuple[float, ...] = ()
    error: str = ""


class Recognizer:
    """Reads text in images, with the preprocessing, alphabet and decoding that its bundle carries."""

    network: "keras.Model"  # with the runtime tensorflow only

    def __init__(self, bundle: dict[str, Any], runtime: str, distributions: Compute) -> None:
        self.bundle, self.runtime, self._distributions = bundle, runtime, distributions
        self.charset = Charset(bundle["alphabet"])
        self.image = PreprocessSpec.model_validate(bundle["image"])
        self.checks = ImageChecks.model_validate(bundle["checks"])

    @classmethod
    def load(
        cls, folder: str | Path, runtime: str = AUTO, threads: int | None = None, bundle: dict[str, Any] | None = None
    ) -> "Recognizer":
        """The recogniser in a bundle's folder, on `threads` threads (None: all cores).

        `runtime` is `onnx`, `tensorflow`, or `auto`: onnxruntime where the bundle has the file and the package is there.
        `bundle` is what `read_bundle` gave, where the folder was looked at already. Only what runs is imported.
        Raises DataError where it is no bundle, is damaged, or cannot be run so.
        """
        folder = Path(folder)
        bundle = _understood(bundle or read_bundle(folder), folder)
        runtime = chosen(runtime, bundle["files"], folder)
        file = folder / FILE_OF[runtime]
        if runtime == ONNX:
            return cls(bundle, runtime, onnx_distributions(file.read_bytes(), threads))
        network = open_keras(file, threads)
        made = cls(bundle, runtime, keras_distributions(network, PreprocessSpec.model_validate(bundle["image"]).shape))
        made.network = network
        return made

    def read_pixels(self, images: np.ndarray) -> list[Reading]:
        """Readings of preprocessed images, (N, H, W, C) uint8."""
        return self.read_distributions(images)[0]

    def read_distributions(self, images: np.ndarray) -> tuple[list[Reading], np.ndarray]:
        """The same readings, and the probability of each class at each frame, (N, T, characters + 1) float32."""
        found = self._distributions(images)
        return sure_readings(self.bundle["decode"], found, self.charset), found

    def preparing(self, **image: str) -> "Recognizer":
        """The same recogniser with other image settings than its bundle has, such as crop="none"."""
        other = copy(self)
        other.image = PreprocessSpec.model_validate(dict(self.image) | image)
        return other

    def refusing(self, max_pixels: int, max_bytes: int) -> "Recognizer":
        """The same recogniser that refuses images of more pixels or bytes than these too."""
        other = copy(self)
        most = {"max_pixels": min(max_pixels, self.checks.max_pixels), "max_bytes": min(max_bytes, self.checks.max_bytes)}
        other.checks = self.checks.model_copy(update=most)
        return other

    def predict(
        self, images: Iterable[tuple[str, Any]], batch: int = BATCH, watch: Watch | None = None
    ) -> Iterator[Prediction]:
        """A prediction for each (name, image), in order; an image is what `image_bytes` takes or an array.

        A bad image is a prediction with an error; the others in its batch are read all the same.
        `watch` is given the name and the preprocessing stages of each image that could be decoded.
        """
        pending = iter(images)
        while group := list(islice(pending, batch)):
            prepared = [(name, *self._prepare(name, image, watch)) for name, image in group]
            good = [pixels for _, pixels, _ in prepared if pixels is not None]
            found = iter(self.read_pixels(np.stack(good)) if good else [])
            for name, pixels, error in prepared:
                yield Prediction(name, error=error) if pixels is None else Prediction(name, *next(found)[:3])

    def _prepare(self, name: str, image: Any, watch: Watch | None) -> tuple[np.ndarray | None, str]:
        try:
            source = _from_array(image) if isinstance(image, np.ndarray) else self._decoded(image)
        except Reject as reject:
            return None, f"{reject.reason.value}: {reject.detail}"
        except (OSError, ValueError) as error:
            return None, f"unreadable: {error}"
        if watch is None:
            return self.image.apply(source), ""
        stages = self.image.stages(source)
        watch(name, stages)
        return stages[-1][1], ""

    def _decoded(self, image: Any) -> Image.Image:
        return decode(image_bytes(image, self.checks.max_bytes), self.checks).image


def image_bytes(image: Any, max_bytes: int = ImageChecks().max_bytes) -> bytes:
    """Bytes of an image file from bytes, a `pathlib.Path`, or base64 text; a text never names a file: it may be a stranger's.

    Raises OSError or ValueError, and Reject for more than `max_bytes`, before they are read or decoded.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        _check_size(memoryview(image).nbytes, max_bytes)
        return bytes(image)
    if isinstance(image, Path):
        _check_size(image.stat().st_size, max_bytes)
        return image.read_bytes()
    if not isinstance(image, str):
        raise ValueError(f"expected bytes, base64 text, a pathlib.Path or an array, got {type(image).__name__}")
    text = image.partition(",")[2] if image.startswith("data:") else image
    _check_size(len(text) // 4 * 3 - text[-2:].count("="), max_bytes)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii's, and that of a text with other characters than ASCII
        raise ValueError(f"{image[:80]!r} is not base64; a file is given as a pathlib.Path") from None


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise Reject(Reason.TOO_LARGE, f"{size} bytes are over checks.max_bytes {max_bytes}")


def files_in(paths: Sequence[str], listing: Iterable[str]) -> Iterator[str]:
    """The files that `paths` name: files as they are, folders with all files below them, `-` for a list in `listing`."""
    for path in paths:
        if path == "-":
            yield from (line.rstrip("\n") for line in listing if line.strip())
        elif Path(path).is_dir():
            found = sorted(p for p in Path(path).rglob("*") if p.is_file())
            yield from (str(p) for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))
        else:
            yield path


def write_predictions(predictions: Iterable[Prediction], form: str) -> int:
    """Writes predictions to standard output as `csv` or `jsonl`, and returns how many had an error."""
    failed = 0
    table = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        table.writerow(["path", "text", "confidence", "error"])
    for prediction in predictions:
        failed += bool(prediction.error)
        # a file name that is not UTF-8 is told as ingest tells it
        prediction = prediction._replace(path=prediction.path.encode("utf-8", "backslashreplace").decode())  # noqa: PLW2901
        if form == "csv":
            table.writerow([prediction.path, prediction.text, f"{prediction.confidence:.6f}", prediction.error])
        else:
            sys.stdout.write(json.dumps(prediction._asdict(), ensure_ascii=False) + "\n")
    return failed


def add_arguments(parser: argparse.ArgumentParser, paths: str = "+") -> None:
    """The arguments that `jobs.predict` and the downloaded `predict.py` share; `paths` is how many there are."""
    parser.add_argument("paths", nargs=paths, metavar="PATH", help="image files, folders, or - for a list on standard input")
    parser.add_argument("--format", choices=["csv", "jsonl"], default="csv", help="csv (default) or JSON lines")
    parser.add_argument("--batch", type=positive, default=BATCH, help=f"images read at a time (default {BATCH})")
    parser.add_argument("--runtime", choices=[AUTO, *FILE_OF], default=AUTO, help="onnx where it can be (auto, the default)")
    parser.add_argument("--limit", type=positive, metavar="N", help="read only the first N files")
    for option, setting, told in OVERRIDES:
        parser.add_argument(option, action="append_const", dest="image", const=setting, default=[], help=told)
    parser.add_argument(
        "--save-debug",
        metavar="DIR",
        help="write each stage of each image's preprocessing as a PNG into this new or empty folder",
    )


def positive(text: str) -> int:
    """A number from 1 on, as an argument's type."""
    if int(text) < 1:
        raise ValueError
    return int(text)


def predictions_of(recognizer: Recognizer, args: argparse.Namespace, images: Iterable[tuple[str, Any]]) -> Iterator[Prediction]:
    """Predictions for (name, image) with what the parsed `args` say of preprocessing. Raises DataError for `--save-debug`."""
    watch = Snapshots(args.save_debug) if args.save_debug else None
    return recognizer.preparing(**dict(args.image)).predict(images, args.batch, watch)


def predict_files(recognizer: Recognizer, args: argparse.Namespace) -> int:
    """Reads what the parsed `args` name and writes it to standard output; returns how many files had an error."""
    images = ((path, Path(path)) for path in islice(files_in(args.paths, sys.stdin), args.limit))
    return write_predictions(predictions_of(recognizer, args, images), args.format)


def main(folder: Path, argv: Sequence[str] | None = None) -> None:
    """The command line of a downloaded bundle."""
    parser = argparse.ArgumentParser(description="Reads the text in images.")
    add_arguments(parser)
    args = parser.parse_args(argv)
    try:
        predict_files(Recognizer.load(folder, args.runtime), args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (DataError, OSError) as error:
        sys.exit(f"error: {error}")


def _understood(bundle: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The bundle, once it has been looked at whether a recogniser can be made of it. Raises DataError."""
    with understood(folder):
        Charset(bundle["alphabet"])
        PreprocessSpec.model_validate(bundle["image"])
        ImageChecks.model_validate(bundle["checks"])
        RULES[bundle["decode"]]
    return bundle


def _from_array(image: np.ndarray) -> Image.Image:
    if image.dtype != np.uint8 or not image.size or image.ndim < 2 or image.shape[2:] not in ((), (1,), (3,)):
        raise ValueError(f"expected a uint8 array (H, W), (H, W, 1) or (H, W, 3), got {image.dtype} {image.shape}")
    return Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
