"""Decoding of frames and positions made by hand: every text, product, peak and place is written down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.decode import greedy, positions, readings
from pipelines.charset import Charset

AB = Charset("ab")  # a is class 0, b is class 1, the blank is class 2


@pytest.mark.parametrize(
    ("classes", "probabilities", "text", "confidence", "characters", "frames"),
    [
        ([0, 2, 1], [0.9, 0.8, 0.5], "ab", 0.36, (0.9, 0.5), (0, 2)),
        ([0, 0, 2, 1], [0.9, 0.8, 0.5, 0.7], "ab", 0.252, (0.9, 0.7), (0, 3)),
        ([0, 0, 1, 1], [0.5, 1.0, 0.4, 0.2], "ab", 0.04, (1.0, 0.4), (1, 2)),
        ([0, 2, 0, 2], [0.5, 0.5, 0.6, 1.0], "aa", 0.15, (0.5, 0.6), (0, 2)),
        ([0, 2, 2, 0], [0.5, 0.5, 0.5, 0.5], "aa", 0.0625, (0.5, 0.5), (0, 3)),
        ([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.2], "b", 0.0012, (0.3,), (2,)),
        ([2, 2, 1, 2], [1.0, 0.5, 0.25, 1.0], "b", 0.125, (0.25,), (2,)),
        ([0, 1, 0, 1], [1.0, 1.0, 1.0, 1.0], "abab", 1.0, (1.0, 1.0, 1.0, 1.0), (0, 1, 2, 3)),
        ([2, 2, 2], [0.5, 0.5, 0.4], "", 0.1, (), ()),
        ([2], [0.7], "", 0.7, (), ()),
        ([1], [0.7], "b", 0.7, (0.7,), (0,)),
        ([1, 2], [0.0, 1.0], "b", 0.0, (0.0,), (0,)),
    ],
)
def test_frames_are_read(classes, probabilities, text, confidence, characters, frames):
    (reading,) = greedy(np.array([classes]), np.array([probabilities], np.float32), AB)
    assert reading.text == text
    assert reading.confidence == pytest.approx(confidence, abs=1e-6)
    assert reading.characters == pytest.approx(characters)
    assert reading.frames == frames


@pytest.mark.parametrize(
    ("classes", "probabilities", "text", "confidence", "characters", "frames"),
    [
        ([0, 1], [0.9, 0.5], "ab", 0.45, (0.9, 0.5), (0, 1)),
        ([0, 0], [0.9, 0.5], "aa", 0.45, (0.9, 0.5), (0, 1)),  # equal neighbours are two characters
        ([1, 2, 2], [0.5, 0.5, 0.8], "b", 0.2, (0.5,), (0,)),
        ([0, 2, 1], [0.5, 0.5, 0.8], "ab", 0.2, (0.5, 0.8), (0, 2)),
        ([2, 2], [0.5, 0.5], "", 0.25, (), ()),
    ],
)
def test_positions_are_read(classes, probabilities, text, confidence, characters, frames):
    (reading,) = positions(np.array([classes]), np.array([probabilities], np.float32), AB)
    assert reading.text == text
    assert reading.confidence == pytest.approx(confidence, abs=1e-6)
    assert reading.characters == pytest.approx(characters)
    assert reading.frames == frames


@pytest.mark.parametrize(("rule", "text"), [("ctc_greedy", "a"), ("positions", "aa")])
def test_a_rule_is_named(rule, text):
    assert [reading.text for reading in readings(rule, np.array([[0, 0, 2]]), np.ones((1, 3)), AB)] == [text]


def test_rows_are_read_each_for_itself():
    classes = np.array([[0, 2, 1], [2, 2, 2], [1, 1, 0]])
    probabilities = np.array([[0.5, 0.5, 0.5], [1, 1, 1], [0.5, 0.1, 1]], np.float32)
    readings = greedy(classes, probabilities, AB)
    assert [reading.text for reading in readings] == ["ab", "", "ba"]
    assert [reading.confidence for reading in readings] == pytest.approx([0.125, 1.0, 0.05])
    assert greedy(np.empty((0, 3), int), np.empty((0, 3)), AB) == []


def test_what_comes_back_is_plain_python():
    for rule in ("ctc_greedy", "positions"):
        (reading,) = readings(rule, np.array([[0, 1]]), np.array([[0.5, 0.5]], np.float32), AB)
        assert (type(reading.text), type(reading.confidence)) == (str, float)
        assert ({type(c) for c in reading.characters}, {type(f) for f in reading.frames}) == ({float}, {int})


def test_many_unsure_frames_do_not_overflow():
    (reading,) = greedy(np.full((1, 1000), 2), np.full((1, 1000), 0.01, np.float32), AB)
    assert 0 <= reading.confidence < 1e-30


@given(st.text("abcé𝔸", max_size=8), st.data())
def test_any_alignment_of_a_text_reads_as_the_text(text, data):
    charset = Charset("abcé𝔸")
    frames = [charset.blank] * data.draw(st.integers(0, 2))
    for i, character in enumerate(text):
        between = data.draw(st.integers(int(i > 0 and text[i - 1] == character), 2))  # a repeat needs a blank
        frames += [charset.blank] * between
        frames += [charset.alphabet.index(character)] * data.draw(st.integers(1, 3))
    frames += [charset.blank] * data.draw(st.integers(0 if frames else 1, 2))
    (reading,) = greedy(np.array([frames]), np.ones((1, len(frames)), np.float32), charset)
    assert reading.text == text
    assert len(reading.characters) == len(text)
