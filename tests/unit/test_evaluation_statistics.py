"""The parts of an evaluation's statistics: intervals, confusable pairs, curves, confidences, times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein
from sklearn.metrics import average_precision_score, roc_auc_score

from model.alignment import aligned
from model.evaluation.bins import BINS, EDGES, bins_of
from model.evaluation.confidence import Bin, Confidences, Coverage
from model.evaluation.confusions import Confusions, Swap
from model.evaluation.curves import Curves
from model.evaluation.errors import ErrorTable, Foremost, Read, look_at
from model.evaluation.folding import fold_table, usual_pairs
from model.evaluation.tally import Tally, wilson
from model.evaluation.timing import Times


@pytest.mark.parametrize(
    ("label", "text", "pairs"),
    [
        ("ab", "ab", [("a", "a"), ("b", "b")]),
        ("ab", "xb", [("a", "x"), ("b", "b")]),
        ("abc", "ac", [("a", "a"), ("b", ""), ("c", "c")]),
        ("ac", "abc", [("a", "a"), ("", "b"), ("c", "c")]),
        ("ab", "", [("a", ""), ("b", "")]),
        ("", "a", [("", "a")]),
        ("", "", []),
    ],
)
def test_alignment(label, text, pairs):
    assert aligned(label, text) == pairs


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_an_alignment_has_all_characters_and_the_fewest_edits(label, text):
    pairs = aligned(label, text)
    assert ("".join(a for a, _ in pairs), "".join(b for _, b in pairs)) == (label, text)
    assert sum(a != b for a, b in pairs) == Levenshtein.distance(label, text)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [(0, 0, 0, 1), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (8, 10, 0.4902, 0.9433), (950, 1000, 0.9347, 0.9619)],
)
def test_wilson(right, of, low, high):
    assert wilson(right, of) == pytest.approx((low, high), abs=1e-4)


def test_the_bootstrap_agrees_with_the_binomial_and_is_seeded():
    """800 of 1,000 rows right, the others one edit in four characters: the normal approximation gives 0.0248 to each side."""
    tally = Tally({(0, 4): 800, (1, 4): 200})
    exact, cer = tally.intervals()
    assert exact == pytest.approx((0.8 - 0.0248, 0.8 + 0.0248), abs=0.002)
    assert cer == pytest.approx((0.05 - 0.0062, 0.05 + 0.0062), abs=0.0006)
    assert tally.intervals() == (exact, cer)


def test_rows_with_many_edits_widen_the_interval():
    few, many = Tally({(0, 4): 800, (1, 4): 200}), Tally({(0, 4): 950, (4, 4): 50})
    assert few.cer == many.cer == 0.05
    widths = [tally.intervals()[1].high - tally.intervals()[1].low for tally in (few, many)]
    assert widths[1] > 1.8 * widths[0]  # sqrt(50 * 16 / 200) = 2


@pytest.mark.parametrize(
    ("rows", "exact", "cer"),
    [
        ({(0, 4): 10}, (0.7225, 1), (0, 0.0876)),  # no error in 10 rows of 40 characters does not say that there are none
        ({(4, 4): 10}, (0, 0.2775), (1, 1)),
        ({}, (0, 1), (0, 1)),
    ],
)
def test_intervals_of_what_cannot_vary(rows, exact, cer):
    assert Tally(rows).intervals() == (pytest.approx(exact, abs=1e-4), pytest.approx(cer, abs=1e-4))


@pytest.mark.parametrize(
    ("alphabet", "pairs"),
    [
        ("0123456789", []),
        ("01OIl", ["0O", "1I", "1l", "Il"]),
        ("ABab", ["Aa", "Bb"]),
        ("0Oo", ["Oo", "0O", "0o"]),
    ],
)
def test_usual_pairs(alphabet, pairs):
    assert usual_pairs(alphabet) == pairs


@pytest.mark.parametrize(
    ("pairs", "text", "folded"),
    [
        ([], "0Oo", "0Oo"),
        (["0O", "Oo"], "0OoA", "000A"),
        (["Oo", "0O"], "0OoA", "000A"),
        (["1I", "Il", "ab", "bc", "Ia"], "1Ilabc", "111111"),
    ],
)
def test_folding_joins_what_pairs_join(pairs, text, folded):
    assert text.translate(fold_table(pairs)) == folded


def confused(**counts: int) -> Confusions:
    """Of single characters: `ab=3` is three times b read for a."""
    return Confusions({(0, pair[0], pair[1]): n for pair, n in counts.items()})


def test_confusable_pairs_are_found_in_either_direction():
    found = confused(XY=6, YX=4, XX=90, AB=4, CX=1).swaps()
    assert found == [Swap("XY", 10, 10 / 11)]  # four are too few


def test_a_one_sided_pair_is_found_too():
    assert confused(XY=5).swaps() == [Swap("XY", 5, 1.0)]


def test_three_that_are_alike():
    assert [swap.pair for swap in confused(ab=5, bc=5, ca=5).swaps()] == ["ab", "ac", "bc"]


def test_a_model_that_confuses_everything_has_no_pairs():
    letters = "abcdefghij"
    assert confused(**{a + b: 9 for a in letters for b in letters if a != b}).swaps() == []
    assert confused(**{a + "a": 9 for a in letters[1:]}).swaps() == []  # all is read as one


@given(st.floats(0, 1))
def test_a_probability_lies_in_its_bin(probability):
    (index,) = bins_of(np.array([probability]))
    assert 0 <= index < BINS
    assert EDGES[index] <= max(probability, EDGES[0]) * (1 + 1e-9)
    assert min(probability, EDGES[-1]) <= EDGES[index + 1] * (1 + 1e-9)


@pytest.mark.parametrize("scale", [0.5, 3, 12, 40])
def test_curves_are_those_of_scikit_learn(scale):
    rng = np.random.default_rng(7)
    classes = rng.integers(0, 6, 4000)
    logits = rng.normal(size=(4000, 6)) + 1.5 * np.eye(6)[classes]
    scores = np.exp(scale * (logits - logits.max(1, keepdims=True)))
    scores = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    curves = Curves.of(scores, classes, "ABCDEF")
    answers = np.eye(6)[classes]
    assert curves.micro.auc == pytest.approx(roc_auc_score(answers.ravel(), scores.ravel()), abs=1e-3)
    assert curves.micro.average_precision == pytest.approx(average_precision_score(answers.ravel(), scores.ravel()), abs=3e-3)
    for place, curve in enumerate(curves.by_character().values()):
        assert curve.auc == pytest.approx(roc_auc_score(answers[:, place], scores[:, place]), abs=1e-3)
        assert curve.average_precision == pytest.approx(average_precision_score(answers[:, place], scores[:, place]), abs=6e-3)


def test_curves_of_nothing():
    nothing = Curves.of(np.zeros((0, 3)), np.zeros(0, np.int64), "ABC")
    assert nothing.micro is None
    assert nothing.by_character() == {}
    foreign = Curves.of(np.full((1, 3), 1 / 3), np.array([-1]), "ABC")
    assert (foreign.positive.sum(), foreign.negative.sum(), foreign.micro) == (0, 3, None)
    with pytest.raises(ValueError, match="do not add up"):
        nothing + Curves.none("AB")


SURE = [0.95, 0.95, 0.95, 0.95, 0.55, 0.55, 0.05, 1.0]
EXACT = [True, True, True, False, True, False, False, True]


def test_calibration_by_hand():
    found = Confidences.of(SURE, EXACT)
    # of 15 bins: 0.05 in the first, 0.55 in the ninth, 0.95 and 1 in the last
    assert found.reliability == [
        Bin(0.0, 1 / 15, 1, pytest.approx(0.05), 0),
        Bin(8 / 15, 9 / 15, 2, pytest.approx(0.55), 1),
        Bin(14 / 15, 1.0, 5, pytest.approx(0.96), 4),
    ]
    assert found.calibration_error == pytest.approx((1 * 0.05 + 2 * 0.05 + 5 * 0.16) / 8)


def test_coverage_by_hand():
    found = Confidences.of(SURE, EXACT)
    assert [(point.coverage, point.accuracy) for point in found.coverage] == [
        (1 / 8, 1.0),
        (5 / 8, 4 / 5),
        (7 / 8, 5 / 7),
        (1.0, 5 / 8),
    ]
    assert found.coverage[1].confidence == pytest.approx(0.95, abs=0.003)
    assert found.accepted_at(0.8).coverage == 5 / 8
    assert found.accepted_at(0.5).coverage == 1
    assert found.accepted_at(1.0) == Coverage(found.coverage[0].confidence, 1 / 8, 1.0)
    assert Confidences.of([0.5], [False]).accepted_at(0.99) is None
    assert Confidences().calibration_error == 0


def test_times():
    times = sum([Times.of(0.010, 10), Times.of(0.100, 10), Times.of(0.002, 1)], Times())
    assert times.images == 21
    assert times.mean_ms == pytest.approx(112 / 21)
    assert times.percentile_ms(40) == pytest.approx(1, rel=0.01)
    assert times.percentile_ms(50) == pytest.approx(2, rel=0.01)
    assert times.percentile_ms(95) == pytest.approx(10, rel=0.01)


def read(row: int, label: str, text: str, confidence: float) -> Read:
    return Read(row + 100, f"{row}.png", label, text, confidence, Levenshtein.distance(label, text), row)


ROWS = [read(0, "0A", "OA", 0.9), read(3, "0B", "OB", 0.5), read(4, "AB", "A", 0.7), read(9, "\u20280\n", "8\t", 0.9)]


@pytest.mark.parametrize("named", [True, False])
def test_the_error_table(tmp_path, named):
    path = tmp_path / "errors.jsonl" if named else None
    with ErrorTable.opened(path) as table:
        table.write(ROWS[:2])
        table.write(ROWS[2:])
        assert list(table) == list(table) == ROWS
        found = look_at(table, fold_table(["0O"]), [("0", "O"), ("B", "")], surest=2, examples=1)
    assert found.folded == Tally({(0, 2): 2, (1, 2): 1, (3, 3): 1})
    assert found.surest == (ROWS[0], ROWS[3])
    assert found.examples == {("0", "O"): (ROWS[0],), ("B", ""): (ROWS[2],)}
    assert not named or len(path.read_text().split("\n")) == 5


@given(st.permutations(ROWS))
def test_the_foremost_are_the_same_in_any_order(rows):
    foremost = Foremost(3)
    for row in rows:
        foremost.offer(row, row.confidence)
    assert foremost.rows == (ROWS[0], ROWS[3], ROWS[2])
