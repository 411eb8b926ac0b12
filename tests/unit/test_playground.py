"""The playground: what is drawn for which bundle, and how it is shown; the reader is planted."""

import io

import numpy as np
import pytest
from PIL import Image

from model import playground
from model.playground import Drawn, settings_for
from model.recognizer import Prediction
from pipelines.drawing import Drawing, DrawingSettings, draw
from pipelines.errors import DataError

BUNDLE = {"alphabet": "abc", "image": {"height": 32, "width": 128}, "dataset": {}}


def bundle(alphabet: str = "abc", **dataset: object) -> dict:
    return BUNDLE | {"alphabet": alphabet, "dataset": dataset}


@pytest.mark.parametrize(
    ("given", "alphabet", "length", "size"),
    [
        (bundle(lengths={"4": 9, "5": 1}, sizes={"200x100": 9, "90x70": 1}), "abc", (4, 5), (200, 100)),
        (bundle(lengths={"5": 728}, sizes={"200x50": 728}), "abc", (5, 5), (240, 60)),
        (bundle(), "abc", (4, 6), (240, 60)),
        (bundle("a/b. c\\", lengths={"0": 3, "99": 1}, sizes={"9000x8000": 1}), "abc", (64, 64), (4096, 4096)),
    ],
    ids=["told", "low", "old bundle", "odd"],
)
def test_what_is_drawn(given, alphabet, length, size):
    assert settings_for(given, 3, 7) == DrawingSettings(count=3, alphabet=alphabet, length=length, size=size, seed=7)


def test_an_alphabet_that_cannot_be_drawn_is_told():
    with pytest.raises(DataError, match="none of its characters can be drawn"):
        settings_for(bundle("/. "), 3, 7)


@pytest.fixture
def drawn() -> list[Drawn]:
    return [
        Drawn(Drawing(0, "abca.png", "abca"), Prediction("abca.png", "abca", 0.875)),
        Drawn(Drawing(1, "bb.png", "bb"), Prediction("bb.png", "abb", 0.5)),
    ]


def test_images_are_read_in_their_order():
    settings, given = settings_for(bundle(), 3, 7), []

    def read(images):
        for path, data in images:
            given.append(data)
            yield Prediction(path, f"read of {path}", 0.5)

    found = list(playground.play(settings, read))
    assert [one.prediction.text for one in found] == [f"read of {one.drawing.path}" for one in found]
    assert given == [draw(settings, one.drawing) for one in found]
    assert not any(one.right for one in found)
    assert Image.open(io.BytesIO(given[0])).size == settings.size


def test_the_table(drawn):
    assert [playground.row(one, 5) for one in drawn] == ["abca   abca   right   0.88", "bb     abb    wrong   0.50"]
    settings = settings_for(bundle(), 2, 7)
    assert playground.told(drawn, settings) == "1 of 2 read right (50.0%); the same ones again: --seed 7"


def test_the_grid_is_a_picture(drawn):
    settings = settings_for(bundle(), 2, 7)
    small, large = (Image.open(io.BytesIO(playground.grid(drawn * n, settings))) for n in (1, 40))
    assert small.format == "PNG"
    assert large.height > small.height
    assert np.asarray(small.convert("L")).std() > 5
