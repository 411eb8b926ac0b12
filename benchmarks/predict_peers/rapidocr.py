"""RapidOCR (RapidAI/RapidOCR), with the models that its package holds: --model line reads the image as one line, as it is
one; page looks for text first, and reads what it finds from left to right.

What helps it: images are laid on white and given as pixels, for it takes the indices of a palette for gray values (digits4:
exact match some 0.8 in place of 0.0); no text is left out for a low score.
"""

import argparse
import io

import numpy as np
from PIL import Image
from rapidocr import RapidOCR

from benchmarks.predict_peers.reading import Read, report

THREADS = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}


def prepare(args: argparse.Namespace) -> Read:
    page = args.model == "page"
    reader = RapidOCR(params={**THREADS, "Global.log_level": "error", "Global.text_score": 0.0})

    def read(image: bytes) -> str:
        found = reader(_bgr(image), use_det=page, use_cls=False, use_rec=True)
        texts = list(found.txts or ())
        if page and found.boxes is not None:
            texts = [text for _, text in sorted(zip((box[:, 0].min() for box in found.boxes), texts, strict=True))]
        return "".join(texts)

    return read


def _bgr(image: bytes) -> np.ndarray:
    """(H, W, 3) uint8 in the order of OpenCV."""
    picture = Image.open(io.BytesIO(image)).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return np.ascontiguousarray(np.asarray(picture)[..., ::-1])


if __name__ == "__main__":
    report(prepare)
