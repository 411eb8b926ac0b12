"""A trained model -> a bundle that reads images by itself, and the folder around it: code, requirements, card, checksums."""

import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import model
import pipelines
from model.bundle import BUNDLE, read_bundle, sha256_of, verify
from model.card import model_card
from model.config import TrainSettings
from model.decode import RULE_OF
from model.runtimes import NETWORK, NETWORK_ONNX, ONNX, TENSORFLOW
from pipelines.errors import DataError
from pipelines.manifest import Manifest
from pipelines.progress import say

if TYPE_CHECKING:
    import keras

# All that `model.serving` imports of this repository: shipped with every bundle.
CODE = {
    "model": ("__init__", "bundle", "decode", "likelihood", "recognizer", "runtimes", "serving", "snapshots"),
    "pipelines": ("__init__", "charset", "contrast", "errors", "images", "ink", "preprocess", "rejects", "settings"),
}
LOADER = "model.serving"  # of MLflow's pyfunc
SIZES = 10  # how many sizes of the sources a bundle tells
DATA = "data/bundle"  # where MLflow puts a data_path named bundle within a model's folder
CHECKSUMS = "SHA256SUMS"  # as `sha256sum --check` reads it
LATER = ("MLmodel", "registered_model_meta", CHECKSUMS)  # files that MLflow writes once more, and the list itself
# What inference imports, by runtime. MLflow's pyfunc needs pandas too, which comes with MLflow.
SHARED = ("numpy", "pillow", "pydantic", "pyyaml")
REQUIREMENTS = {ONNX: ("onnxruntime", *SHARED), TENSORFLOW: ("keras", "tensorflow", *SHARED)}
PREDICT = '''\
"""Reads the text in images: python predict.py IMAGE_OR_FOLDER ... (needs only requirements.txt)."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "code")]

from model.recognizer import main  # noqa: E402

main(HERE / "data" / "bundle")
'''


def write_bundle(folder: Path, network: "keras.Model", manifest: Manifest, settings: TrainSettings) -> None:
    """Writes weights, alphabet, preprocessing, decode rule and dataset fingerprint into `folder`.

    The weights twice: as Keras saves them, and as ONNX, unless what that needs is not installed; then one line says so.
    Raises DataError where the ONNX file computes something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / NETWORK)
    files = [NETWORK, *_write_onnx(network, folder)]
    bundle = {
        "format": 2,
        "alphabet": manifest.alphabet,
        "image": manifest.settings["image"],
        "checks": manifest.settings["checks"],
        "decode": RULE_OF[settings.network.head],
        "network": settings.network.model_dump(mode="json"),
        "metrics": {},
        "dataset": {
            "fingerprint": manifest.fingerprint,
            "version": manifest.version,
            "splits": manifest.splits,
            # counts of label lengths, and of the sources' sizes as 200x100, the most frequent first: what to draw alike
            "lengths": manifest.statistics["all"].get("lengths", {}),
            "sizes": dict(islice(manifest.statistics["all"].get("sizes", {}).items(), SIZES)),
        },
        "glyphmill": pipelines.VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "files": {name: sha256_of(folder / name) for name in files},
    }
    _write(folder, bundle)


def _write(folder: Path, bundle: Mapping[str, Any]) -> None:
    (folder / BUNDLE).write_text(json.dumps(bundle, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_onnx(network: "keras.Model", folder: Path) -> list[str]:
    """The name of the file that was written, if it could be."""
    from model import onnx  # imports Keras

    if missing := onnx.missing():
        said = f"the model has no {NETWORK_ONNX} and needs TensorFlow to read: not installed: {', '.join(missing)}"
        say(f"{said}; pip install {' '.join(missing)}")
        return []
    onnx.write_onnx(network, folder / NETWORK_ONNX)
    onnx.check_onnx(network, folder / NETWORK_ONNX)
    return [NETWORK_ONNX]


def put_metrics(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the scores of the bundle in `folder` into it, and returns its contents."""
    bundle = json.loads((folder / BUNDLE).read_text(encoding="utf-8")) | {"metrics": dict(metrics)}
    _write(folder, bundle)
    return bundle


def write_code(folder: Path) -> list[str]:
    """Copies the modules of CODE into `folder`; returns the package folders."""
    for package, root in (("model", model.__file__), ("pipelines", pipelines.__file__)):
        target = folder / package
        target.mkdir(parents=True)
        for module in CODE[package]:
            shutil.copy(Path(str(root)).with_name(f"{module}.py"), target)
    return [str(folder / package) for package in CODE]


def requirements(bundle: Mapping[str, Any], runtime: str | None = None) -> list[str]:
    """The pinned packages that inference needs, of one runtime (None: onnxruntime where the bundle has the file)."""
    runtime = runtime or (ONNX if NETWORK_ONNX in bundle["files"] else TENSORFLOW)
    return [f"{name}=={version(name)}" for name in REQUIREMENTS[runtime]]


def complete(folder: Path, bundle: Mapping[str, Any]) -> None:
    """Makes the folder that MLflow saved one that predicts by itself: predict.py, requirements, model card, checksums.

    MLflow puts itself into requirements.txt. Here it is moved into its own files, which it builds environments from.
    """
    needed = folder / "requirements.txt"
    mlflow = [line for line in needed.read_text(encoding="utf-8").splitlines() if line.startswith("mlflow")]
    needed.write_text("\n".join(requirements(bundle)) + "\n", encoding="utf-8")
    environment = folder / "python_env.yaml"
    values = yaml.safe_load(environment.read_text(encoding="utf-8"))
    values["dependencies"] = [*mlflow, *values["dependencies"]]
    environment.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    (folder / "predict.py").write_text(PREDICT, encoding="utf-8")
    (folder / "README.md").write_text(model_card(bundle, requirements(bundle, TENSORFLOW)), encoding="utf-8")
    write_checksums(folder)


def write_checksums(folder: Path) -> None:
    """Writes CHECKSUMS: the SHA-256 of each file that stays as it is."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in LATER)
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def check_folder(folder: Path) -> None:
    """Raises DataError where a file of a downloaded folder is not what CHECKSUMS says.

    Of a model of before, which has no such list, the files of its bundle are looked at.
    """
    if not (folder / CHECKSUMS).exists():
        read_bundle(folder / DATA)
        return
    pairs = [line.partition("  ") for line in (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()]
    if not pairs:
        raise DataError(f"{folder / CHECKSUMS}: damaged; download the model again")
    verify(folder, {name: sha256 for sha256, _, name in pairs})
