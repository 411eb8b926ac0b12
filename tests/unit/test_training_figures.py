"""The curves of a run: one for each figure that a person asks for, of any history."""

import io
import math

import pytest
from PIL import Image

from model.figures import curves
from model.history import Epoch
from model.metrics import Scores

NAMES = {"loss", "scores", "positions", "learning_rate", "speed", "waiting", "memory"}


def history(epochs: int, places: int, loss: float = 1.0) -> list[Epoch]:
    scores = Scores(10, 5, 5, 40, tuple((place % 10, 10) for place in range(places)))
    return [Epoch(n, loss / n, loss, scores, 1e-3, 100.0, 0.01, 5.0, 800.0) for n in range(1, epochs + 1)]


@pytest.mark.parametrize(
    "epochs",
    [history(1, 4), history(30, 4), history(3, 40), history(2, 0), history(2, 4, math.nan), history(2, 4, math.inf)],
    ids=["one epoch", "thirty", "long labels", "no labels", "no number", "infinite"],
)
def test_every_history_is_drawn(epochs):
    drawn = curves(epochs)
    assert set(drawn) == NAMES
    for png in drawn.values():
        with Image.open(io.BytesIO(png)) as image:
            assert image.size == (768, 432)
