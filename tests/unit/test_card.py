"""The README of a downloaded model."""

from model.card import model_card

BUNDLE = {
    "alphabet": "0|a",
    "image": {"mode": "gray", "height": 16, "width": 32, "fit": "stretch", "background": 255},
    "checks": {"min_side": 2, "max_side": 20000, "max_pixels": 50000000, "max_bytes": 200000000},
    "metrics": {
        "rows": 52,
        "exact_match": 0.75,
        "cer": 0.0625,
        "exact_match_interval": [0.6, 0.86],
        "by_length": {"4": {"rows": 40, "exact_match": 0.8, "cer": 0.05}, "5": {"rows": 12, "exact_match": 0.5, "cer": 0.125}},
        "by_character": {
            "|": {"recall": 0.5, "right": 3, "labels": 6, "read_as": {"0": 2, "": 1}},
            "a": {"recall": 1.0, "right": 9, "labels": 9, "read_as": {}},
        },
    },
    "dataset": {
        "fingerprint": "f" * 32,
        "version": 3,
        "splits": {"train": 100, "val": 20, "test": 52},
        "lengths": {"4": 130, "5": 42},
        "sizes": {"200x50": 172},
    },
    "glyphmill": "0.1.0",
    "created": "2026-11-21T16:45:04+00:00",
    "files": {"network.keras": "", "network.onnx": ""},
}
KERAS = ["keras==3", "tensorflow==2"]


def changed(**more: object) -> str:
    return model_card(BUNDLE | more, KERAS)


def test_the_card():
    card = changed()
    for line in (
        "Reads text of the alphabet `0|a` in images.",
        "Input is made gray, 16 x 32 pixels (stretch).",
        "Images that you own or have licensed, of the kind that it was trained on. It reads images; it never talks to a web site, and",
        "| all | 52 | 0.7500 | 0.0625 |  |",
        "| 4 | 40 | 0.8000 | 0.0500 |  |",
        "| 5 | 12 | 0.5000 | 0.1250 | few: under 30 |",
        "95% interval of the exact match of all: 0.6000 to 0.8600.",
        "| `\\|` | 0.5000 | 3 of 6 | `0` 2, nothing 1 |",
        "| `a` | 1.0000 | 9 of 9 |  |",
        f"- fingerprint `{'f' * 32}`, version 3",
        "- rows: train 100, val 20, test 52",
        "- lengths of texts: 4 (130 images), 5 (42 images)",
        "- sizes of the images in pixels, the most frequent first: 200x50 (172)",
        "- `data/bundle/network.onnx`, the weights, read with onnxruntime (uint8 images in, logits out)",
        "Made 2026-11-21T16:45:04+00:00 with glyphmill 0.1.0.",
    ):
        assert line in card.splitlines(), line
    assert "`pip install keras==3 tensorflow==2`, then `python predict.py --runtime tensorflow ...`" in card


def test_steps_of_preprocessing_are_told():
    assert "32 pixels (stretch, crop auto, contrast clahe)." in changed(
        image=BUNDLE["image"] | {"crop": "auto", "contrast": "clahe"}
    )


def test_what_is_not_known_is_left_out():
    assert "Not measured." in changed(metrics={})
    card = changed(
        metrics={"rows": 12, "exact_match": 1.0, "cer": 0.0}, dataset=BUNDLE["dataset"] | {"lengths": {}, "sizes": {}}
    )
    assert "| all | 12 | 1.0000 | 0.0000 | few: under 30 |" in card
    assert "lengths" not in card
    assert "worst" not in card


def test_without_an_onnx_form():
    card = changed(files={"network.keras": ""})
    assert "`data/bundle/network.keras`, the weights, read with TensorFlow; there is no ONNX form" in card
    assert "onnxruntime" not in card
