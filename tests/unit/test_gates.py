"""Gains against their exact probabilities, and who passes: a worse, an equal and a better challenger, a slow one, a poorer one."""

import numpy as np
import pytest

from model.gates import Candidate, Limits, exact_gain, first, gain, judge


def rows(count: int, gained: int, lost: int) -> np.ndarray:
    differences = np.zeros(count, np.int8)
    differences[:gained], differences[gained : gained + lost] = 1, -1
    return differences


@pytest.mark.parametrize(
    ("count", "gained", "lost", "chance"),
    [  # P(G - L >= 2 (gained - lost)) of the multinomial with those shares, by convolution; or 2 ** -(gained + lost)
        (100, 0, 0, 1.0),
        (100, 3, 0, 0.125),
        (100, 4, 0, 0.0625),
        (100, 5, 0, 0.0312),
        (100, 6, 0, 0.0168),
        (100, 10, 0, 0.0020),
        (100, 10, 10, 0.5447),
        (100, 15, 10, 0.1822),
        (100, 12, 3, 0.0139),
        (100, 3, 12, 0.9928),
        (1000, 20, 12, 0.0925),
        (1000, 26, 12, 0.0153),
        (1000, 30, 12, 0.0040),
        (400, 4, 1, 0.1301),
        (12, 12, 0, 0.0002),
        (1, 1, 0, 0.5),  # one row proves nothing
    ],
)
def test_how_often_chance_gives_as_much(count, gained, lost, chance):
    found = gain(rows(count, gained, lost))
    assert found.chance == pytest.approx(chance, abs=0.012)
    assert found.mean == pytest.approx((gained - lost) / count)
    assert found.low <= found.mean <= found.high


def test_a_gain_is_seeded_and_does_not_depend_on_the_order_of_rows():
    differences = np.random.default_rng(3).integers(-1, 2, 500)
    assert gain(differences) == gain(differences) == gain(np.sort(differences))
    assert gain(differences, seed=1) != gain(differences)


def test_an_interval_of_a_gain():
    """40 gained and 10 lost of 1,000: the variance of a row is 0.05 - 0.03 ** 2, so 1.96 standard errors are 0.0137."""
    found = gain(rows(1000, 40, 10))
    assert (found.low, found.high) == pytest.approx((0.03 - 0.0137, 0.03 + 0.0137), abs=0.002)


def test_no_rows_gain_nothing():
    assert not gain(np.zeros(0, np.int8)).real


def candidate(wrong: int, edits: int = 1, ms: float = 1.0, alphabet: str = "abc", name: str = "the champion, version 1"):
    """A model of 1,000 rows of 4 characters that has `edits` character errors in each of the last `wrong` rows."""
    found = np.zeros(1000, np.uint16)
    found[len(found) - wrong :] = edits
    return Candidate(name, alphabet, found, 4000, ms)


@pytest.mark.parametrize(
    ("new", "limits", "passed", "reason"),
    [
        (candidate(20), Limits(), True, "better: exact match 0.9800 (CER 0.0050) against 0.9500 (0.0125) of the champion, version 1"),
        (candidate(50), Limits(), False, "not better by more than the noise: exact match 0.9500 (CER 0.0125) against 0.9500"),
        (candidate(47), Limits(), False, "not better by more than the noise: exact match 0.9530"),
        (candidate(80), Limits(), False, "worse: exact match 0.9200 (CER 0.0200) against 0.9500 (0.0125) of the champion, version 1"),
        (candidate(20, alphabet="cbad"), Limits(), True, "better"),
        (candidate(0, alphabet="ab"), Limits(), False, "does not read 'c', which the champion, version 1 does"),
        (candidate(20, ms=1.9), Limits(slowdown=2.0), True, "better"),
        (candidate(0, ms=2.1), Limits(slowdown=2.0), False, "too slow: 2.10 ms for an image, more than 2 times the 1.00 of the champion"),
        (candidate(50, ms=9.9), Limits(slowdown=2.0), False, "not better by more than the noise"),
        (candidate(0, ms=5.1), Limits(ms_per_image=5), False, "too slow: 5.10 ms for an image, at most 5 are wanted (tracking.max_ms"),
        (candidate(20, ms=9.0), Limits(), True, "better"),
    ],
)  # fmt: skip
def test_who_passes(new, limits, passed, reason):
    found = judge(new, candidate(50), limits)
    assert found.passed == passed
    assert found.reason.startswith(reason)


def test_the_reason_has_the_interval_and_the_probability():
    reason = judge(candidate(20), candidate(50)).reason
    assert "version 1, on the same 1000 rows: +3.00 points, 95% interval +2.00 to +4.10, p < 0.001" in reason


def test_one_that_is_too_slow_is_told_that_it_would_be_better():
    reason = judge(candidate(20, ms=3.0), candidate(50), Limits(slowdown=2.0)).reason
    assert "of the champion, version 1 (tracking.max_slowdown), though better: exact match 0.9800" in reason


@pytest.mark.parametrize(
    ("wrong", "edits", "passed", "reason"),
    [
        (50, 1, True, "-0.0500 character errors a row, p < 0.001"),
        (50, 2, False, "+0.0000 character errors a row, p = 1.000"),
        (50, 3, False, "+0.0500 character errors a row"),
        (55, 1, True, "-0.0450 character errors a row, p < 0.001"),  # five rows may be lost by chance
        (80, 1, False, "on the same 1000 rows: -3.00 points, 95% interval -4.10 to -2.00, p < 0.001"),  # 80 character errors, not 100
    ],
)  # fmt: skip
def test_fewer_character_errors_are_better_where_no_exact_match_is_lost(wrong, edits, passed, reason):
    found = judge(candidate(wrong, edits), candidate(50, 2))
    assert found.passed == passed
    assert reason in found.reason


def test_equal_exact_match_in_other_rows_is_no_gain():
    other = candidate(50)._replace(edits=candidate(50).edits[::-1])
    assert exact_gain(other, candidate(50)).mean == 0
    assert not judge(other, candidate(50)).passed


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
def test_an_equal_challenger_passes_by_chance_in_few_of_many_trials(rate):
    """Of two models with the same share of wrong rows the second passes in at most 5% of cases, and some noise."""
    draw = np.random.default_rng(0)
    drawn = (draw.random((2, 300, 500)) < rate).astype(np.uint16)
    models = [[Candidate("one", "a", edits, 2000, 1.0) for edits in many] for many in drawn]
    passed = [judge(new, old).passed for new, old in zip(*models, strict=True)]
    assert sum(passed) <= 0.05 * 300 + 8


def test_the_first_passes_unless_it_is_too_slow():
    assert first(candidate(900)) == (True, "there was no champion")
    slow = first(candidate(0, ms=6.0), Limits(ms_per_image=5))
    assert not slow.passed
    assert slow.reason.startswith("there was no champion, but too slow: 6.00 ms")
