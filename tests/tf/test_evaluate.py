"""Scores over a split against a count by hand, with a recogniser whose mistakes are planted."""

from types import SimpleNamespace

import numpy as np
import pytest

from model.decode import Reading
from model.evaluate import Wrong, comparable, evaluate
from model.metrics import Scores
from pipelines.preprocess import PreprocessSpec
from pipelines.scan import file_id

pytestmark = pytest.mark.tf


class Planted:
    """Reads every picture right but those in `mistakes`."""

    def __init__(self, labels, picture, mistakes, **image):
        self.image = PreprocessSpec(**({"height": 16, "width": 32} | image))
        self.texts = {picture(label).tobytes(): mistakes.get(label, label) for label in labels}

    def read_pixels(self, images: np.ndarray) -> list[Reading]:
        return [Reading(self.texts.get(image.tobytes(), "?"), 0.5, ()) for image in images]


@pytest.fixture
def labels():
    """The test split of `digits`: seven labels of two digits, five of three."""
    return ["07", "11", "13", "15", "24", "27", "30", "104", "112", "113", "117", "118"]


@pytest.fixture
def planted():
    """What is read instead: two edits, two edits, and one."""
    return {"07": "", "11": "1177", "118": "x18"}


def test_scores_are_those_counted_by_hand(digits, labels, picture, planted):
    found = evaluate(Planted(labels, picture, planted), digits, "test")
    assert found.scores == Scores(rows=12, exact=9, edits=5, characters=29, positions=((10, 12), (11, 12), (5, 5)))
    assert found.by_length == {
        2: Scores(7, 5, 4, 14, ((6, 7), (6, 7))),
        3: Scores(5, 4, 1, 15, ((4, 5), (5, 5), (5, 5))),
    }
    assert (found.split, found.fingerprint) == ("test", digits.manifest.fingerprint)
    assert {(wrong.label, wrong.text) for wrong in found.wrong} == set(planted.items())
    wrong = next(wrong for wrong in found.wrong if wrong.label == "07")
    assert wrong == Wrong(file_id("07.png"), "07.png", "07", "", 0.5)
    assert found.ms_per_image > 0


def test_the_summary_is_plain_values(digits, labels, picture, planted):
    summary = evaluate(Planted(labels, picture, planted), digits, "test").summary()
    assert summary.pop("ms_per_image") > 0
    assert summary == {
        "split": "test",
        "fingerprint": digits.manifest.fingerprint,
        "rows": 12,
        "exact_match": 0.75,
        "cer": 5 / 29,
        "by_length": {
            "2": {"rows": 7, "exact_match": 5 / 7, "cer": 4 / 14},
            "3": {"rows": 5, "exact_match": 0.8, "cer": 1 / 15},
        },
    }


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"width": 40}, "image.width 32 (model: 40)"),
        ({"fit": "pad"}, "image.fit stretch (model: pad)"),
        ({"mode": "rgb", "height": 20}, "image.mode gray (model: rgb), image.height 16 (model: 20)"),
    ],
)
def test_another_preprocessing_is_told(digits, labels, picture, told, image, said):
    other = Planted(labels, picture, {}, **image)
    assert not comparable(other, digits)
    message = told(evaluate, other, digits, "test")
    assert said in message
    assert digits.location.uri in message


def test_the_label_rule_and_the_split_do_not_matter(labels, picture, dataset_of):
    assert comparable(SimpleNamespace(image=PreprocessSpec(height=16, width=32)), dataset_of(split={"salt": "other"}))


def test_an_unknown_split_is_told(digits, labels, picture, told):
    assert "no split is named 'all'" in told(evaluate, Planted(labels, picture, {}), digits, "all")
