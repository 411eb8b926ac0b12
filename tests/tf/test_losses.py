"""CTC against counts made by hand, and against all alignments written out one by one; positions against logarithms."""

import math
from itertools import groupby, product

import numpy as np
import pytest
import tensorflow as tf

from model import losses

pytestmark = pytest.mark.tf


def ctc(labels, lengths, logits) -> np.ndarray:
    return losses.ctc(tf.constant(labels, tf.int32), tf.constant(lengths, tf.int32), tf.constant(logits, tf.float32)).numpy()


def all_alignments(label: list[int], logits: np.ndarray) -> float:
    """The loss as CTC defines it: minus the log of the summed probability of every path that reads as the label."""
    frames, classes = logits.shape
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = 0.0
    for path in product(range(classes), repeat=frames):
        if [c for c, _ in groupby(path) if c != classes - 1] == label:
            total += math.prod(probabilities[t, c] for t, c in enumerate(path))
    return -math.log(total)


@pytest.mark.parametrize(
    ("label", "alignments"),
    [
        ([0], 6),  # a--, -a-, --a, aa-, -aa, aaa
        ([0, 1], 5),  # aab, abb, ab-, a-b, -ab
        ([0, 0], 1),  # a-a
        ([0, 1, 0], 1),  # aba
    ],
)
def test_even_frames_count_the_alignments(label, alignments):
    padded = label + [-1] * (3 - len(label))
    (loss,) = ctc([padded], [len(label)], np.zeros((1, 3, 3)))  # each of the 27 paths over a, b and the blank is as likely
    assert loss == pytest.approx(math.log(27 / alignments), abs=1e-5)


@pytest.mark.parametrize("label", [[0], [1, 0], [2, 2], [0, 1, 2], [1, 1, 0], [2, 1, 2, 1]])
def test_uneven_frames_weigh_the_alignments(label):
    logits = np.random.default_rng(len(label)).normal(0, 2, (5, 4))
    (loss,) = ctc([label + [-1] * (4 - len(label))], [len(label)], logits[None])
    assert loss == pytest.approx(all_alignments(label, logits), rel=1e-5)


def test_rows_do_not_touch_one_another():
    logits = np.random.default_rng(0).normal(size=(3, 5, 4))
    labels = [[0, 1, 2], [2, 0, 0], [1, 0, 0]]  # what stands after the length is padding, whatever it is
    batch = ctc(labels, [3, 1, 2], logits)
    expected = [all_alignments(label[:n], row) for label, n, row in zip(labels, [3, 1, 2], logits, strict=True)]
    np.testing.assert_allclose(batch, expected, rtol=1e-5)


def test_a_padding_row_is_finite_and_gives_no_gradient():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(3, 5, 4)), dtype=tf.float32)
    weights = tf.constant([1.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        rows = losses.ctc(tf.constant([[0, 1], [-1, -1], [-1, -1]]), tf.constant([2, 0, 0]), logits)
        loss = tf.reduce_sum(rows * weights)
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(rows.numpy()).all()
    assert np.isfinite(gradient).all()
    assert (gradient[1:] == 0).all()
    assert (gradient[0] != 0).any()


def test_a_batch_of_nothing_but_padding_is_finite():
    assert np.isfinite(ctc(np.full((2, 3), -1), [0, 0], np.zeros((2, 5, 4)))).all()


def test_it_runs_in_a_graph():
    logits = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    labels, lengths = np.array([[0, 1], [2, -1]], np.int32), np.array([2, 1], np.int32)
    np.testing.assert_allclose(tf.function(losses.ctc)(labels, lengths, logits), ctc(labels, lengths, logits), rtol=1e-5)


@pytest.mark.parametrize(
    ("label", "probability"),
    [
        ([0, 1], 0.5 * 0.25),
        ([2, 2], 0.125 * 0.125),
        ([1], 0.25 * 0.125),  # the blank at the second place
        ([], 0.125 * 0.125),
    ],
)
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_positions_multiply(label, probability, padding):
    """Two positions, each with 0.5, 0.25 and 0.125 for a, b and c, and 0.125 for the blank, where `c` is class 2."""
    logits = tf.math.log(tf.tile([[[0.5, 0.25, 0.125, 0.125]]], [1, 2, 1]))
    padded = np.array([label + [-1] * (max(len(label), 1) + padding - len(label))], np.int32)
    (loss,) = losses.positions(tf.constant(padded), tf.constant([len(label)]), logits).numpy()
    assert loss == pytest.approx(-math.log(probability), rel=1e-6)


def test_positions_of_padding_give_no_gradient():
    logits = tf.Variable(np.random.default_rng(0).normal(size=(2, 3, 4)), dtype=tf.float32)
    with tf.GradientTape() as tape:
        rows = losses.positions(tf.constant([[0, 1], [-1, -1]]), tf.constant([2, 0]), logits)
        loss = tf.reduce_sum(rows * [1.0, 0.0])
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(rows.numpy()).all()
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).all()
