"""Probabilities of texts under planted distributions: counted by hand, and against a sum over all paths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.decode import readings, sure_readings
from model.likelihood import log_likelihood
from pipelines.charset import Charset

A, B, BLANK = 0, 1, 2
AB = Charset("ab")
FRAMES = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]  # a, b, blank


def one(rule: str, frames, label: list[int]) -> float:
    found = log_likelihood(rule, np.array([frames], np.float32), np.array([[*label, -1, -1]]), np.array([len(label)]))
    return math.exp(found[0])


@pytest.mark.parametrize(
    ("rule", "label", "expected"),
    [
        ("ctc_greedy", [], 0.1 * 0.3),
        ("ctc_greedy", [A], 0.6 * 0.2 + 0.6 * 0.3 + 0.1 * 0.2),  # aa, a-, -a
        ("ctc_greedy", [B], 0.3 * 0.5 + 0.3 * 0.3 + 0.1 * 0.5),
        ("ctc_greedy", [A, B], 0.6 * 0.5),
        ("ctc_greedy", [A, A], 0.0),  # needs a blank between, so three frames
        ("positions", [], 0.1 * 0.3),
        ("positions", [A], 0.6 * 0.3 + 0.1 * 0.2),  # a-, -a
        ("positions", [A, A], 0.6 * 0.2),
        ("positions", [A, B], 0.6 * 0.5),
        ("positions", [A, B, A], 0.0),
    ],
)
def test_a_text_has_the_sum_of_the_paths_that_decode_to_it(rule, label, expected):
    assert one(rule, FRAMES, label) == pytest.approx(expected, rel=1e-6)


def test_a_label_that_needs_a_blank_between():
    assert one("ctc_greedy", [*FRAMES, [0.7, 0.1, 0.2]], [A, A]) == pytest.approx(0.6 * 0.3 * 0.7, rel=1e-6)


def test_no_probability_is_taken_for_impossible_but_for_a_label_that_does_not_fit():
    sure = np.array([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    labels, lengths = np.array([[B, 0, 0]]), np.array([1])
    assert log_likelihood("positions", sure, labels, lengths)[0] == pytest.approx(math.log(1e-30))
    assert log_likelihood("positions", sure, labels, np.array([3]))[0] == -math.inf


@pytest.mark.parametrize("rule", ["ctc_greedy", "positions"])
@given(seed=st.integers(0, 2**32 - 1))
def test_it_is_the_sum_over_all_paths(rule, seed):
    frames = np.random.default_rng(seed).dirichlet([0.5, 0.5, 0.5], 4)
    paths = np.array(list(itertools.product(range(3), repeat=4)))
    texts = readings(rule, paths, np.ones(paths.shape), AB)
    sums: dict[str, float] = {}
    for path, reading in zip(paths, texts, strict=True):
        sums[reading.text] = sums.get(reading.text, 0.0) + float(np.prod(frames[np.arange(4), path]))
    labels = [text for text in sums if sums[text] > 1e-12]
    found = log_likelihood(
        rule, np.repeat(frames[None], len(labels), 0), AB.encode(labels), np.array([len(label) for label in labels])
    )
    np.testing.assert_allclose(np.exp(found), [sums[label] for label in labels], rtol=1e-6)


@pytest.mark.parametrize("rule", ["ctc_greedy", "positions"])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_reading_of_ctc_is_as_sure_as_its_text_is_probable(rule, seed):
    frames = np.random.default_rng(seed).dirichlet([0.3, 0.3, 0.3], (6, 5)).astype(np.float32)
    found = sure_readings(rule, frames, AB)
    best = readings(rule, frames.argmax(-1), frames.max(-1), AB)
    assert [one[:1] + one[2:] for one in found] == [one[:1] + one[2:] for one in best]
    lengths = np.array([len(one.text) for one in found])
    sums = np.exp(log_likelihood(rule, frames, AB.encode([one.text for one in found]), lengths))
    expected = sums if rule == "ctc_greedy" else [one.confidence for one in best]
    np.testing.assert_allclose([one.confidence for one in found], expected, rtol=1e-6)


def test_nothing_read_is_as_sure_as_all_blanks():
    frames = np.array([[[0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]], np.float32)
    (reading,) = sure_readings("ctc_greedy", frames, AB)
    assert (reading.text, reading.confidence) == ("", pytest.approx(0.48))


def test_rows_do_not_touch_one_another():
    frames = np.random.default_rng(0).dirichlet([1, 1, 1], (3, 5))
    labels, lengths = np.array([[A, B, A], [B, -1, -1], [A, A, -1]]), np.array([3, 1, 2])
    together = log_likelihood("ctc_greedy", frames, labels, lengths)
    alone = [log_likelihood("ctc_greedy", frames[[i]], labels[[i]], lengths[[i]])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone)
