"""Figures of an evaluation of few, many and odd characters: PNG of a bearable size, without a warning."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from model.decode import Reading
from model.evaluation.curves import Curves
from model.evaluation.figures import figures
from model.evaluation.statistics import Batch, Statistics
from pipelines.charset import Charset

CJK = "".join(chr(0x4E00 + i) for i in range(300))
ALWAYS = {"metrics", "confusions", "positions", "lengths", "characters", "operations", "reliability", "coverage"}


def judged(alphabet: str, length: int, wrong: float, rows: int = 60) -> Statistics:
    """Random labels, read with a share of wrong characters."""
    rng = np.random.default_rng(3)
    charset = Charset(alphabet)
    labels = ["".join(rng.choice(list(alphabet), length)) for _ in range(rows)]
    texts = ["".join(c if rng.random() > wrong else rng.choice([*alphabet, "", c + c]) for c in label) for label in labels]
    readings = [Reading(text, float(rng.random()), (0.5,) * len(text), tuple(range(len(text)))) for text in texts]
    distributions = rng.dirichlet(np.ones(len(alphabet) + 1), (rows, 2 * length)).astype(np.float32)
    return Statistics.of(Batch(labels, readings, distributions, 0.1), charset, {})


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        yield


@pytest.mark.parametrize(
    ("alphabet", "length", "wrong"),
    [
        ("0123456789", 4, 0.3),
        ("0123456789", 4, 0.0),
        ("0123456789", 4, 1.0),
        ("{}$_^\\ \u0301\u200b😀<", 3, 0.4),
        (CJK, 12, 0.2),
        ("A", 1, 0.5),
    ],
    ids=["digits", "all right", "all wrong", "odd", "many", "one"],
)
def test_every_figure_is_drawn(alphabet, length, wrong):
    statistics = judged(alphabet, length, wrong)
    drawn = figures(statistics, statistics.folded, statistics.folded)
    assert set(drawn) >= ALWAYS
    assert ("confusions_by_position" in drawn) == (length > 1)
    for name, png in drawn.items():
        image = Image.open(io.BytesIO(png))
        image.load()
        assert (image.format, image.width <= 1400, image.height <= 2000, len(png) < 400_000) == ("PNG", True, True, True), name


def test_where_nothing_was_read_nothing_is_scored():
    batch = Batch(["01", "1"], [Reading("", 0.9, ()), Reading("", 0.2, ())], np.zeros((2, 3, 3), np.float32), 0.1)
    statistics = Statistics.of(batch, Charset("01"), {})
    assert set(figures(statistics, statistics.folded, statistics.folded)) == ALWAYS | {"confusions_by_position"}
    assert Curves.none("01").micro is None
