"""The README of a downloaded model: what it reads, how well, of what it was made, and what it is for."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model.runtimes import NETWORK, NETWORK_ONNX
from pipelines.preprocess import ADDED

ENOUGH = 30  # rows of a length below which its scores say little


def model_card(bundle: Mapping[str, Any], keras: Sequence[str]) -> str:
    """Markdown; `keras` are the packages that the Keras form needs."""
    image = bundle["image"]
    steps = ", ".join([image["fit"], *(f"{step} {image[step]}" for step in ADDED if step in image)])
    return f"""# Glyphmill recogniser

Reads text of the alphabet `{bundle["alphabet"]}` in images.
Input is made {image["mode"]}, {image["height"]} x {image["width"]} pixels ({steps}).

    python -m pip install -r requirements.txt
    python predict.py IMAGE_OR_FOLDER ...

or, where MLflow is installed, `mlflow.pyfunc.load_model(THIS_FOLDER).predict([image_bytes])`, which gives text, confidence,
confidence of each character, and error. `sha256sum --check SHA256SUMS` looks whether the files are whole; the weights are
looked at before they are loaded.

## Intended use

Images that you own or have licensed, of the kind that it was trained on. It reads images; it never talks to a web site, and
it is not made for getting past one.

## Scores

{_scores(bundle["metrics"])}

## Data

{_data(bundle["dataset"])}

## Preprocessing

Part of the model, in `data/bundle/bundle.json`: {_settings(image)}. Refused are images beyond {_settings(bundle["checks"])}.

## Limits

- It reads the characters of its alphabet only, and takes every image for a text of it: a picture without text gets a text too.
  Confidence tells some of these; it was measured on images like the trained ones and says little about others.
- Other fonts, sizes, colours and distortions than the data had, and longer or shorter texts, are read worse. Score it on images
  of your own before you rely on it.
- It was not made for handwriting, nor for pages of text.

## Files

{_files(bundle, keras)}

Made {bundle["created"]} with glyphmill {bundle["glyphmill"]}.
"""


def _scores(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "Not measured."
    rows = [("all", metrics), *metrics.get("by_length", {}).items()]
    lines = [
        [f"{length}", f"{found['rows']}", f"{found['exact_match']:.4f}", f"{found['cer']:.4f}"]
        + [f"few: under {ENOUGH}" if found["rows"] < ENOUGH else ""]
        for length, found in rows
    ]
    told = [f"On the {metrics['rows']} images of the test split, which training has not seen, by the length of the text:\n"]
    told += _table(["length", "images", "exact match", "character error rate", ""], lines)
    if "exact_match_interval" in metrics:
        low, high = metrics["exact_match_interval"]
        told += ["", f"95% interval of the exact match of all: {low:.4f} to {high:.4f}."]
    if characters := metrics.get("by_character"):
        cells = [
            [f"`{c}`", f"{f['recall']:.4f}", f"{f['right']} of {f['labels']}", _reads(f["read_as"])]
            for c, f in characters.items()
        ]
        told += ["", "By character, the worst first:\n", *_table(["character", "read right", "", "wrongly as"], cells)]
    return "\n".join(told)


def _reads(found: Mapping[str, int]) -> str:
    return ", ".join(f"`{text}` {times}" if text else f"nothing {times}" for text, times in found.items())


def _data(dataset: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{name} {rows}" for name, rows in dataset["splits"].items())
    lines = [f"- fingerprint `{dataset['fingerprint']}`, version {dataset['version']}", f"- rows: {splits}"]
    if dataset.get("lengths"):
        lines.append("- lengths of texts: " + ", ".join(f"{length} ({n} images)" for length, n in dataset["lengths"].items()))
    if dataset.get("sizes"):
        sizes = ", ".join(f"{size} ({n})" for size, n in dataset["sizes"].items())
        lines.append(f"- sizes of the images in pixels, the most frequent first: {sizes}")
    return "\n".join(lines)


def _files(bundle: Mapping[str, Any], keras: Sequence[str]) -> str:
    as_keras = (
        f"`data/bundle/{NETWORK}`, the same as Keras saves it: to train on, or to read with TensorFlow:"
        f" `pip install {' '.join(keras)}`, then `python predict.py --runtime tensorflow ...`"
    )
    if NETWORK_ONNX not in bundle["files"]:
        return f"- `data/bundle/{NETWORK}`, the weights, read with TensorFlow; there is no ONNX form"
    return f"- `data/bundle/{NETWORK_ONNX}`, the weights, read with onnxruntime (uint8 images in, logits out)\n- {as_keras}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [names, ["---"] * len(names), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
