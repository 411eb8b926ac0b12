"""A trained model -> a bundle that reads images by itself, and the code that it needs for that."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import model
import pipelines
from model.config import TrainSettings
from model.decode import RULE_OF
from model.recognizer import BUNDLE, NETWORK
from pipelines.manifest import Manifest
from pipelines.preprocess import ADDED

if TYPE_CHECKING:
    import keras

# All that `model.recognizer` imports of this repository: shipped with every bundle.
CODE = {
    "model": ("__init__", "decode", "likelihood", "recognizer", "snapshots"),
    "pipelines": ("__init__", "charset", "contrast", "errors", "images", "ink", "preprocess", "rejects", "settings"),
}
SIZES = 10  # how many sizes of the sources a bundle tells
DATA = "data/bundle"  # where MLflow puts a data_path named bundle within a model's folder
REQUIREMENTS = ("keras", "numpy", "pandas", "pillow", "pydantic", "pyyaml", "tensorflow")
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
    """Writes weights, alphabet, preprocessing, decode rule and dataset fingerprint into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / NETWORK)
    bundle = {
        "format": 1,
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
        "files": {NETWORK: hashlib.sha256((folder / NETWORK).read_bytes()).hexdigest()},
    }
    (folder / BUNDLE).write_text(json.dumps(bundle, indent=1, ensure_ascii=False), encoding="utf-8")


def put_metrics(folder: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the scores of the bundle in `folder` into it, and returns its contents."""
    bundle = json.loads((folder / BUNDLE).read_text(encoding="utf-8")) | {"metrics": dict(metrics)}
    (folder / BUNDLE).write_text(json.dumps(bundle, indent=1, ensure_ascii=False), encoding="utf-8")
    return bundle


def write_code(folder: Path) -> list[str]:
    """Copies the modules of CODE into `folder`; returns the package folders."""
    for package, root in (("model", model.__file__), ("pipelines", pipelines.__file__)):
        target = folder / package
        target.mkdir(parents=True)
        for module in CODE[package]:
            shutil.copy(Path(str(root)).with_name(f"{module}.py"), target)
    return [str(folder / package) for package in CODE]


def requirements() -> list[str]:
    """The pinned packages that inference needs."""
    return [f"{name}=={version(name)}" for name in REQUIREMENTS]


def model_card(bundle: dict[str, Any]) -> str:
    """A README for the downloaded folder, from its bundle."""
    metrics, image, dataset = bundle["metrics"], bundle["image"], bundle["dataset"]
    steps = ", ".join([image["fit"], *(f"{step} {image[step]}" for step in ADDED if step in image)])
    return f"""# Glyphmill recogniser

Reads text of the alphabet `{bundle["alphabet"]}` in images.
Input is made {image["mode"]}, {image["height"]} x {image["width"]} pixels ({steps}).

| | |
|---|---|
| exact match, test split ({metrics["rows"]} images) | {metrics["exact_match"]:.4f} |
| character error rate | {metrics["cer"]:.4f} |
| dataset fingerprint | `{dataset["fingerprint"]}` |
| made | {bundle["created"]} with glyphmill {bundle["glyphmill"]} |

    pip install -r requirements.txt
    python predict.py IMAGE_OR_FOLDER ...

or `mlflow.pyfunc.load_model(THIS_FOLDER).predict([image_bytes])`. For images that you own or have licensed.
"""
