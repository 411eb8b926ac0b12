"""Exact match and character error rate against counts made by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.metrics import Scores

PLANTED = [  # label, what was read, edits
    ("1234", "1234", 0),
    ("1234", "1243", 2),  # two swapped neighbours are two edits
    ("1234", "124", 1),
    ("1234", "12344", 1),
    ("1234", "", 4),
    ("ab", "abab", 2),
    ("a", "A", 1),  # case counts
    ("é", "é", 0),
    ("kitten", "sitting", 3),
    ("0000", "0001", 1),
]


POSITIONS = ((7, 10), (7, 8), (4, 7), (3, 7), (0, 1), (1, 1))  # kitten is the only label of six characters


def test_ten_planted_predictions():
    scores = Scores.of([text for _, text, _ in PLANTED], [label for label, _, _ in PLANTED])
    assert scores == Scores(rows=10, exact=2, edits=15, characters=34, positions=POSITIONS)
    assert scores.exact_match == 0.2
    assert scores.cer == pytest.approx(0.4411765, abs=1e-7)  # 15 / 34


@pytest.mark.parametrize(("label", "text", "edits"), PLANTED)
def test_edits(label, text, edits):
    scores = Scores.of([text], [label])
    assert (scores.rows, scores.exact, scores.edits, scores.characters) == (1, int(edits == 0), edits, len(label))


@pytest.mark.parametrize(
    ("texts", "labels", "positions", "shares"),
    [
        (["abc"], ["abc"], ((1, 1), (1, 1), (1, 1)), (1.0, 1.0, 1.0)),
        (["bc"], ["abc"], ((0, 1), (0, 1), (0, 1)), (0.0, 0.0, 0.0)),  # one character missing shifts all that follow
        (["abcd"], ["ab"], ((1, 1), (1, 1)), (1.0, 1.0)),
        (["ax", "ab", ""], ["ab", "abc", "a"], ((2, 3), (1, 2), (0, 1)), (2 / 3, 0.5, 0.0)),
    ],
)
def test_positions(texts, labels, positions, shares):
    scores = Scores.of(texts, labels)
    assert scores.positions == positions
    assert scores.by_position == shares


def test_counts_are_a_list_and_back():
    scores = Scores(10, 2, 15, 34, ((7, 10), (6, 8)))
    assert scores.counts(3) == [10, 2, 15, 34, 7, 10, 6, 8, 0, 0]
    assert Scores.from_counts([10, 2, 15, 34, 7, 10, 6, 8, 0, 0]) == scores


@given(st.randoms(), st.integers(1, 10))
def test_scores_add_up_in_any_order(rng: random.Random, parts):
    pairs = PLANTED.copy()
    rng.shuffle(pairs)
    total = sum(
        (Scores.of([t for _, t, _ in p], [label for label, _, _ in p]) for p in (pairs[i::parts] for i in range(parts))),
        Scores(),
    )
    assert total == Scores(10, 2, 15, 34, POSITIONS)


def test_nothing_added_changes_nothing():
    one = Scores(3, 1, 2, 12)
    assert one + Scores() == Scores() + one == one
    assert Scores.of([], []) == Scores()


def test_no_rows_have_no_scores():
    assert (Scores().exact_match, Scores().cer) == (0.0, 0.0)


def test_the_error_rate_may_pass_one():
    assert Scores.of(["abcdef"], ["xy"]).cer == 3.0


def test_texts_and_labels_come_in_pairs():
    with pytest.raises(ValueError, match="zip"):
        Scores.of(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("one", "other", "better"),
    [
        (Scores(10, 9, 1, 40), Scores(10, 8, 9, 40), True),
        (Scores(10, 8, 9, 40), Scores(10, 9, 1, 40), False),
        (Scores(10, 8, 2, 40), Scores(10, 8, 3, 40), True),
        (Scores(10, 8, 3, 40), Scores(10, 8, 2, 40), False),
        (Scores(10, 8, 2, 40), Scores(10, 8, 2, 40), False),
        (Scores(10, 9, 30, 40), Scores(10, 8, 2, 40), True),  # exact match first
        (Scores(20, 17, 3, 80), Scores(10, 8, 2, 40), True),  # shares, not counts
        (Scores(10, 8, 2, 40), Scores(20, 16, 4, 80), False),
        (Scores(10, 0, 40, 40), Scores(), False),
    ],
)
def test_better_than(one, other, better):
    assert one.better_than(other) is better
