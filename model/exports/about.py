"""What an exported file says of itself: all that a runner needs besides the runtime, as one JSON document."""

import json
from collections.abc import Mapping
from typing import Any

KEY = "glyphmill"  # of ONNX's metadata; glyphmill.json in the other formats
FILE = f"{KEY}.json"
INPUT, OUTPUT = "image", "logits"  # names in every format
PLAIN = "float32"  # the weights as they were trained


def document(bundle: Mapping[str, Any], quantisation: str) -> str:
    """The JSON document of a bundle: alphabet, preprocessing, decode rule, dataset, and how it was quantised.

    `image` has the settings of `pipelines.preprocess`; those that are off by default stand there only where they are on.
    """
    told = {
        "alphabet": bundle["alphabet"],
        "image": bundle["image"],
        "decode": bundle["decode"],
        "dataset": bundle["dataset"]["fingerprint"],
        "quantisation": quantisation,
        "input": f"{INPUT}: (N, H, W, C) uint8",
        "output": f"{OUTPUT}: (N, T, characters + 1) float32, of which the last class is the blank",
        "created": bundle["created"],
        "glyphmill": bundle["glyphmill"],
    }
    return json.dumps(told, ensure_ascii=False)
