"""Charsets: encode and decode are inverse for any alphabet in any order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.charset import Charset
from pipelines.errors import DataError

# any characters in any order, those beyond the basic plane too; no file name can hold a NUL
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
alphabets = st.lists(characters, min_size=1, max_size=40, unique=True).map("".join)
alphabets_and_labels = alphabets.flatmap(lambda a: st.tuples(st.just(a), st.lists(st.text(a, max_size=9), max_size=9)))


@given(alphabets_and_labels, st.integers(0, 3))
def test_decode_is_the_inverse_of_encode(alphabet_and_labels, room):
    alphabet, labels = alphabet_and_labels
    charset = Charset(alphabet)
    longest = max(map(len, labels), default=0)
    assert charset.decode(charset.encode(labels)) == labels
    assert charset.decode(charset.encode(labels, longest + room)) == labels


@given(alphabets_and_labels)
def test_every_index_is_the_place_in_the_alphabet_or_padding(alphabet_and_labels):
    alphabet, labels = alphabet_and_labels
    indices = Charset(alphabet).encode(labels)
    assert indices.dtype == np.int32
    assert [[alphabet[i] for i in row if i >= 0] for row in indices.tolist()] == [list(label) for label in labels]


@pytest.mark.parametrize(
    ("alphabet", "labels", "length", "indices"),
    [
        ("abc", ["abc", "c", ""], None, [[0, 1, 2], [2, -1, -1], [-1, -1, -1]]),
        ("cab", ["abc"], None, [[1, 2, 0]]),
        ("𝔸aé", ["é𝔸", "a"], 4, [[2, 0, -1, -1], [1, -1, -1, -1]]),
        ("0123456789", ["0012"], 4, [[0, 0, 1, 2]]),
        ("ab", ["", ""], 2, [[-1, -1], [-1, -1]]),
        ("ab", ["", ""], None, [[], []]),
        ("ab", [], None, []),
    ],
)
def test_encode(alphabet, labels, length, indices):
    assert Charset(alphabet).encode(labels, length).tolist() == indices


def test_no_labels_at_all_have_the_length_asked_for():
    assert Charset("ab").encode([], 5).shape == (0, 5)


def test_decode_leaves_out_padding_and_blank():
    charset = Charset("xyz")
    assert charset.blank == len(charset) == 3
    assert charset.decode(np.array([[-1, 0, 3, 2, -1], [3, 3, 3, 3, 3]])) == ["xz", ""]


@pytest.mark.parametrize(
    ("alphabet", "label", "character"),
    [("abc", "abz", "z"), ("xyz", "a", "a"), ("ac", "b", "b"), ("ab", "a𝔸", "𝔸"), ("b", "a b", "a")],
)
def test_a_foreign_character_is_named(alphabet, label, character):
    with pytest.raises(DataError) as caught:
        Charset(alphabet).encode([alphabet, label])
    assert f"character {character!r} is not in the alphabet {alphabet!r}" in str(caught.value)


def test_a_label_that_is_too_long_is_named():
    with pytest.raises(DataError, match="label 'abab' has 4 characters, more than the 3 that fit"):
        Charset("ab").encode(["a", "abab"], 3)


@pytest.mark.parametrize("alphabet", ["", "aba"])
def test_an_alphabet_has_each_character_once(alphabet):
    with pytest.raises(DataError, match="each character once, at least one"):
        Charset(alphabet)


@given(st.lists(st.text(characters), min_size=1).filter(any), st.randoms())
def test_the_charset_of_labels_is_in_code_point_order_whatever_theirs(labels, random):
    charset = Charset.of(labels)
    assert charset.alphabet == "".join(sorted(set("".join(labels))))
    random.shuffle(labels)
    assert Charset.of(labels) == charset


def test_charsets_are_equal_where_alphabets_are():
    assert Charset("ab") == Charset("ab")
    assert Charset("ab") != Charset("ba")
    assert len({Charset("ab"), Charset("ab"), Charset("ba")}) == 2
    assert repr(Charset("ab")) == "Charset('ab')"
