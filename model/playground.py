"""New images drawn over a model's alphabet, read by it, and shown: what it can do, to look at."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from model.gallery import Cell, gallery
from model.recognizer import Prediction
from pipelines import drawing
from pipelines.drawing import Drawing, DrawingSettings
from pipelines.errors import DataError
from pipelines.images import ImageChecks, decode

LENGTH, LONGEST = (4, 6), 64  # of labels where a bundle does not tell, and what drawing takes
LOWEST, LARGEST = 60, 4096  # pixels: in less height drawn characters are cut off; what drawing takes
SHOWN = 60  # pictures of a grid


class Drawn(NamedTuple):
    """What was drawn, and what was read of it."""

    drawing: Drawing
    prediction: Prediction

    @property
    def right(self) -> bool:
        return self.prediction.text == self.drawing.label and not self.prediction.error


def settings_for(bundle: dict[str, Any], count: int, seed: int) -> DrawingSettings:
    """What to draw for a bundle: its alphabet, its label lengths, and the most frequent size of what it was trained on.

    A size of low height is scaled up, so that whole characters are drawn. A bundle that does not tell them has labels of 4
    to 6 characters, and the size that its network sees. Raises DataError where no character of the alphabet can be drawn.
    """
    alphabet = "".join(c for c in bundle["alphabet"] if c not in "/\\\0." and not c.isspace())
    if not alphabet:
        raise DataError(f"alphabet {bundle['alphabet']!r}: none of its characters can be drawn; give images in place of --draw")
    lengths = [min(int(n), LONGEST) for n in bundle["dataset"].get("lengths", ()) if int(n)] or LENGTH
    sizes = [*bundle["dataset"].get("sizes", ()), f"{bundle['image']['width']}x{bundle['image']['height']}"]
    width, height = map(int, sizes[0].split("x"))
    scale = max(1.0, LOWEST / height)
    size = min(round(width * scale), LARGEST), min(round(height * scale), LARGEST)
    return DrawingSettings(count=count, alphabet=alphabet, length=(min(lengths), max(lengths)), size=size, seed=seed)


def play(settings: DrawingSettings, read: Callable[[Iterable[tuple[str, bytes]]], Iterable[Prediction]]) -> Iterator[Drawn]:
    """Draws, and has `read` make predictions of (name, PNG) in the same order."""
    planned = drawing.plan(settings)
    images = ((one.path, drawing.draw(settings, one)) for one in planned)
    return (Drawn(one, prediction) for one, prediction in zip(planned, read(images), strict=True))


def row(drawn: Drawn, width: int) -> str:
    """A line of the table: label, text, right or wrong, and confidence; columns have `width` characters."""
    label, read = drawn.drawing.label, drawn.prediction
    return f"{label:{width}}  {read.text:{width}}  {'right' if drawn.right else 'wrong':6}  {read.confidence:.2f}"


def told(drawn: Sequence[Drawn], settings: DrawingSettings) -> str:
    """The last line of the table."""
    right = sum(one.right for one in drawn)
    return f"{right} of {len(drawn)} read right ({right / len(drawn):.1%}); the same ones again: --seed {settings.seed}"


def grid(drawn: Sequence[Drawn], settings: DrawingSettings) -> bytes:
    """A PNG of the first SHOWN, drawn once more: pictures with label, text and confidence."""
    cells = [_cell(one, settings) for one in islice(drawn, SHOWN)]
    first = f", the first {SHOWN} of {len(drawn)}" if len(drawn) > SHOWN else ""
    return gallery(cells, f"{sum(one.right for one in drawn)} of {len(drawn)} drawn images read right{first}")


def _cell(one: Drawn, settings: DrawingSettings) -> Cell:
    pixels = np.asarray(decode(drawing.draw(settings, one.drawing), ImageChecks()).image)
    return Cell(pixels, one.drawing.label, one.prediction.text, f"{one.prediction.confidence:.2f}")
