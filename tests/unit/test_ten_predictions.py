"""Ten planted predictions whose statistics are counted by hand, read by both decode rules."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.decode import readings
from model.evaluation.confusions import Operations, Rates
from model.evaluation.curves import Curves
from model.evaluation.folding import fold_table
from model.evaluation.matrices import busiest, counted, shares
from model.evaluation.statistics import Batch, Statistics
from pipelines.charset import Charset

ALPHABET = "01ABO"
TEN = [  # label, what is read
    ("A0B", "A0B"),
    ("A0B", "AOB"),
    ("O01", "OO1"),
    ("01", "01"),
    ("01", "0"),
    ("BA", "BAA"),
    ("BB", "BB"),
    ("1", ""),
    ("OA", "0A"),
    ("AB", "OB"),
]
MATRIX = [  # rows: the label's 0, 1, A, B, O, nothing; columns: the same, as read
    [3, 0, 0, 0, 2, 0],
    [0, 2, 0, 0, 0, 2],
    [0, 0, 4, 0, 1, 0],
    [0, 0, 0, 6, 0, 0],
    [1, 0, 0, 0, 1, 0],
    [0, 0, 1, 0, 0, 0],
]
CHARSET = Charset(ALPHABET)
FOLD = fold_table(["0O"])


def distributions(texts: list[str], rule: str) -> np.ndarray:
    """(N, 8, 6): 0.9 for the class that the rule needs at each frame, 0.02 for each other; CTC with blanks in between."""
    found = np.full((len(texts), 8, 6), 0.02, np.float32)
    for row, text in enumerate(texts):
        spaced = [c for character in text for c in (character, "")] if rule == "ctc_greedy" else list(text)
        for frame in range(8):
            character = spaced[frame] if frame < len(spaced) else ""
            found[row, frame, ALPHABET.index(character) if character else 5] = 0.9
    return found


def batch_of(pairs: list[tuple[str, str]], rule: str) -> Batch:
    planted = distributions([text for _, text in pairs], rule)
    found = readings(rule, planted.argmax(-1), planted.max(-1), CHARSET)
    assert [reading.text for reading in found] == [text for _, text in pairs]
    return Batch([label for label, _ in pairs], found, planted, 0.01 * len(pairs))


def statistics_of(pairs: list[tuple[str, str]], rule: str = "positions") -> Statistics:
    return Statistics.of(batch_of(pairs, rule), CHARSET, FOLD)


@pytest.fixture(scope="module", params=["ctc_greedy", "positions"])
def ten(request) -> Statistics:
    return statistics_of(TEN, request.param)


def test_exact_match_and_character_error_rate(ten):
    assert (ten.tally.rows, ten.tally.exact, ten.tally.edits, ten.tally.characters) == (10, 3, 7, 22)
    assert (ten.tally.exact_match, ten.tally.cer) == (0.3, 7 / 22)
    assert (ten.scores.exact, ten.scores.edits) == (3, 7)


def test_folded(ten):
    assert (ten.folded.rows, ten.folded.exact, ten.folded.edits, ten.folded.characters) == (10, 6, 4, 22)


def test_confusion_matrix(ten):
    names, more = busiest(ten.confusions.pairs(), 40)
    assert (names, more) == (list(ALPHABET), 0)
    assert counted(ten.confusions.pairs(), names).tolist() == MATRIX


def test_only_the_busiest_characters(ten):
    assert busiest(ten.confusions.pairs(), 2) == (["0", "O"], 3)  # three errors and four; A and 1 have two
    assert counted(ten.confusions.pairs(), ["0", "O"]).tolist() == [[3, 2, 0], [1, 1, 0], [0, 0, 0]]


def test_shares_are_of_all_that_stood_there_shown_or_not(ten):
    assert shares(ten.confusions.pairs(), ["0"]).tolist() == [[60, 0], [0, 0]]
    assert shares(ten.confusions.pairs(), ["1", "A"]).tolist() == [[50, 0, 50], [0, 80, 0], [0, 100, 0]]


@pytest.mark.parametrize(
    ("right", "most", "names", "more"),
    [
        ("abc", 3, "abc", 0),
        ("abcd", 3, "x", 4),  # of more than fit, those with errors alone
        ("abxxd", 2, "x", 3),
    ],
)
def test_busiest_of_few_errors(right, most, names, more):
    pairs = {(c, c): 5 for c in right} | ({("x", ""): 1} if names == "x" else {})
    assert busiest(pairs, most) == (list(names), more)


def test_the_first_place(ten):
    names = list(ALPHABET)
    assert counted(ten.confusions.pairs(0), names).tolist() == [
        [2, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 2, 0, 1, 0],
        [0, 0, 0, 2, 0, 0],
        [1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_rates(ten):
    confusions = ten.confusions
    assert confusions.rates == Rates(16, 22, 21, 23)
    assert confusions.by_place() == [Rates(7, 10, 9, 10), Rates(6, 9, 9, 10), Rates(3, 3, 3, 3)]
    assert confusions.by_character() == {
        "0": Rates(3, 5, 4, 6),
        "1": Rates(2, 4, 2, 4),
        "A": Rates(4, 5, 5, 6),
        "B": Rates(6, 6, 6, 6),
        "O": Rates(1, 2, 4, 5),
    }
    assert confusions.lengths == {1: Rates(0, 1, 0, 1), 2: Rates(9, 12, 12, 13), 3: Rates(7, 9, 9, 9)}
    zero = confusions.by_character()["0"]
    assert (zero.accuracy, zero.recall, zero.precision) == (3 / 6, 3 / 5, 3 / 4)


def test_operations(ten):
    assert ten.confusions.totals() == Operations(right=16, substituted=4, dropped=2, inserted=1)
    assert ten.confusions.operations() == {
        "0": Operations(3, substituted=2),
        "1": Operations(2, dropped=2),
        "A": Operations(4, substituted=1, inserted=1),
        "O": Operations(1, substituted=1),
        "B": Operations(6),
    }
    assert ten.confusions.wrong() == [("0", "O", 2), ("1", "", 2), ("", "A", 1), ("A", "O", 1), ("O", "0", 1)]


def test_what_is_scored(ten):
    """20 characters stand opposite one of the label; each asks five questions."""
    assert (ten.curves.positive.sum(), ten.curves.negative.sum()) == (20, 80)
    assert ten.curves.positive.sum(1).tolist() == [5, 2, 5, 6, 2]
    # without the blank 0.9 / 0.98 and 0.02 / 0.98: 16 of 20 yes and 4 of 80 no have the higher
    assert ten.curves.micro.auc == pytest.approx((16 * 76 + 0.5 * (16 * 4 + 4 * 76)) / (20 * 80))
    assert ten.curves.micro.average_precision == pytest.approx(0.8 * 8.5 / (8.5 + 2) + 0.2 * 18.5 / (18.5 + 4 + 38))


def test_both_rules_score_the_same():
    ours, theirs = (statistics_of(TEN, rule).curves for rule in ("ctc_greedy", "positions"))
    np.testing.assert_array_equal(ours.positive, theirs.positive)
    np.testing.assert_array_equal(ours.negative, theirs.negative)


def values(statistics: Statistics) -> list:
    """Everything that is counted, comparable."""
    curves, confidences = statistics.curves, statistics.confidences
    arrays = [curves.positive, curves.negative, confidences.coarse, confidences.fine]
    tallies = [dict(statistics.tally.rows_with), dict(statistics.folded.rows_with)]
    places = dict(statistics.confusions.places)
    return [*(array.tolist() for array in arrays), *tallies, places, statistics.confusions.lengths, statistics.scores]


@given(st.randoms(), st.integers(1, 10))
def test_no_order_of_adding_matters(rng: random.Random, parts):
    pairs = TEN.copy()
    rng.shuffle(pairs)
    found = [statistics_of(pairs[i::parts]) for i in range(parts)]
    while len(found) > 1:
        one, other = (found.pop(rng.randrange(len(found))) for _ in range(2))
        found.append(one + other)
    whole = statistics_of(TEN)
    assert values(found[0]) == values(whole)
    assert found[0].times.images == whole.times.images == 10


def test_nothing_added_changes_nothing():
    whole = statistics_of(TEN)
    nothing = Statistics(Curves.none(ALPHABET))
    assert values(whole + nothing) == values(nothing + whole) == values(whole)
