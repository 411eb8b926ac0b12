"""Reads the text in images with a model that `python -m jobs.export --format litert` wrote.

Needs ai-edge-litert, numpy and pillow.

python read_litert.py model.tflite IMAGE ...
"""

import json
import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def pixels(path: str, image: dict) -> np.ndarray:
    """(H, W, C) uint8 as the network was trained on: the plain part of pipelines/preprocess.py, to the bit."""
    source = ImageOps.exif_transpose(Image.open(path))
    if source.mode in ("I", "F", "LAB") or source.mode.startswith("I;16"):
        sys.exit(f"error: {path}: mode {source.mode} is not for this example; save the image with 8 bits")
    if source.mode.upper() in ("RGBA", "LA", "PA") or "transparency" in source.info:
        source = Image.alpha_composite(Image.new("RGBA", source.size, "white"), source.convert("RGBA")).convert("RGB")
    elif source.mode not in ("L", "RGB"):
        source = source.convert("L" if source.mode == "1" else "RGB")
    source = source.convert("L" if image["mode"] == "gray" else "RGB")
    width, height = size = image["width"], image["height"]
    if image["fit"] == "pad":
        scale = min(width / source.width, height / source.height)
        size = max(1, round(source.width * scale)), max(1, round(source.height * scale))
    canvas = Image.new(source.mode, (width, height), (image["background"],) * len(source.getbands()))
    canvas.paste(source.resize(size, Image.Resampling.BILINEAR))
    return np.asarray(canvas).reshape(height, width, -1)


def text(logits: np.ndarray, about: dict) -> str:
    """The text of logits (T, characters + 1): the best class of each frame; of CTC, equal neighbours are one."""
    classes, blank = logits.argmax(-1), len(about["alphabet"])
    if about["decode"] == "ctc_greedy":
        classes = classes[np.append(True, classes[1:] != classes[:-1])]
    return "".join(about["alphabet"][c] for c in classes if c != blank)


def main(model: str, *paths: str) -> None:
    with zipfile.ZipFile(model) as archive:  # behind the model, as LiteRT has its associated files
        about = json.loads(archive.read("glyphmill.json"))
    if more := {"crop", "invert", "stroke", "contrast"} & about["image"].keys():
        sys.exit(f"error: {model}: its preprocessing has {', '.join(sorted(more))}, which this example does not do")
    run = Interpreter(model).get_signature_runner("serving_default")
    for path in paths:
        logits = run(image=pixels(path, about["image"])[None])["logits"]
        print(f"{path}\t{text(logits[0], about)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
