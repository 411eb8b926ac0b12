"""The sentences of an evaluation are true of what is planted."""

from types import SimpleNamespace

import numpy as np
import pytest

from model.decode import Reading
from model.evaluation.findings import findings
from model.evaluation.folding import fold_table
from model.evaluation.statistics import Batch, Statistics
from pipelines.charset import Charset

ALPHABET = "0123456789`O"


def details_of(rows: list[tuple[str, str, float, int]], pairs: tuple[str, ...] = ()) -> SimpleNamespace:
    """Of (label, text, confidence, how often)."""
    rows = [row for row in rows for _ in range(row[3])]
    readings = [Reading(text, sure, (sure,) * len(text), tuple(range(len(text)))) for _, text, sure, _ in rows]
    labels = [label for label, *_ in rows]
    planted = np.full((len(rows), 4, len(ALPHABET) + 1), 0.05, np.float32)
    statistics = Statistics.of(Batch(labels, readings, planted, 1.0), Charset(ALPHABET), fold_table(pairs))
    return SimpleNamespace(
        statistics=statistics,
        swaps=statistics.confusions.swaps(),
        found=SimpleNamespace(pairs=pairs, tally=statistics.folded),
    )


SURE = [("12", "12", 0.99, 97), ("32", "92", 0.5, 3)]
HARDLY = [("12", "", 0.9, 50), ("12", "12", 0.9, 50)]


@pytest.mark.parametrize(
    ("rows", "pairs", "said"),
    [
        ([("12", "12", 0.9, 9)], (), ["Every one of the 9 images was read exactly: a harder or larger split would tell more."]),
        (SURE, (), ["Wrong characters: 3 substituted, 0 dropped, 0 inserted.", "All of them: `3` read as `9` (3).", "Refusing the least confident 3.0% leaves 100.0% right."]),
        (HARDLY, (), ["It hardly reads: 50% of the characters are wrong. Look at its training, the alphabet and the preprocessing before single confusions.", "Wrong characters: 0 substituted, 100 dropped, 0 inserted: characters are lost rather than taken for others.", "Wrong texts: 50; 0% of them in one character only.", "Its confidence is not to be taken as a probability: it is 40.0 points off on average (mean 90.0%, right 50.0%).", "No threshold of confidence that keeps 10% of the images or more leaves 99% right."]),
        ([("O", "0", 0.9, 6), ("0", "0", 0.9, 94)], ("0O",), ["100% of the wrong texts are right once confusable characters count as one; the data show these to be: `0` and `O` (6)."]),
        ([("`", "", 0.9, 1), ("12", "12", 0.9, 9)], (), ["All of them: `U+0060` read as nothing (1)."]),
        ([("12", "12", 0.9, 99), ("1234", "1235", 0.9, 99), ("1234", "1234", 0.9, 9)], (), ["Labels of 4 characters are the hardest (8.3% exact, of 2 100.0%).", "Place 4 of the label is the hardest (8.3% of its characters are read, at place 1 100.0%)."]),
    ],
    ids=["nothing wrong", "good", "bad", "folded", "backtick", "long labels"],
)  # fmt: skip
def test_what_is_said(rows, pairs, said):
    told = findings(details_of(rows, pairs))
    assert [sentence for sentence in said if sentence not in told] == []


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (SURE, ["hardly", "Place", "Labels", "confusable", "No threshold", "lost"]),
        (HARDLY, ["Refusing", "confusable", "Place", "invented"]),
    ],
)
def test_what_is_not_said(rows, words):
    told = " ".join(findings(details_of(rows)))
    assert [word for word in words if word in told] == []


def test_scattered_errors_are_not_named():
    digits = "0123456789"
    rows = [(a, b, 0.5, 1) for a in digits for b in digits if a != b] + [(a, a, 0.9, 20) for a in digits]
    assert "No confusion stands out: the 5 most frequent of 90 kinds are 6% of them." in findings(details_of(rows))
