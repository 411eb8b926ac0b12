"""Everything that is counted of a recogniser's readings, as one value that adds up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from model.decode import Reading
from model.evaluation.confidence import Confidences
from model.evaluation.confusions import Confusions
from model.evaluation.curves import Curves, scores_of
from model.evaluation.tally import Tally
from model.evaluation.timing import Times
from model.metrics import Scores
from pipelines.charset import Charset


class Batch(NamedTuple):
    """Some rows: their labels, readings and distributions (N, T, characters + 1), and the time that reading took."""

    labels: Sequence[str]
    readings: Sequence[Reading]
    distributions: np.ndarray
    seconds: float


@dataclass(frozen=True, eq=False)
class Statistics:
    """Counts over rows; adding them up in any order gives the same, and none is larger for more rows of the same kind.

    `folded` is the tally of texts and labels in which the usual confusable characters are one (`folding`).
    """

    curves: Curves
    scores: Scores = field(default_factory=Scores)
    tally: Tally = field(default_factory=Tally)
    folded: Tally = field(default_factory=Tally)
    confusions: Confusions = field(default_factory=Confusions)
    confidences: Confidences = field(default_factory=Confidences)
    times: Times = field(default_factory=Times)

    @classmethod
    def of(cls, batch: Batch, charset: Charset, fold: Mapping[int, str]) -> "Statistics":
        """Of some rows; `fold` is for `str.translate`."""
        labels, readings = batch.labels, batch.readings
        texts = [reading.text for reading in readings]
        folded = ([one.translate(fold) for one in many] for many in (texts, labels))
        exact = [text == label for text, label in zip(texts, labels, strict=True)]
        return cls(
            curves=Curves.of(*scores_of(readings, labels, batch.distributions, charset), charset.alphabet),
            scores=Scores.of(texts, labels),
            tally=Tally.of(texts, labels),
            folded=Tally.of(*folded),
            confusions=Confusions.of(texts, labels),
            confidences=Confidences.of([reading.confidence for reading in readings], exact),
            times=Times.of(batch.seconds, len(labels)),
        )

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})
