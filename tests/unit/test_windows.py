"""What windows are made of: texts as code points, memory that is used again."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.buffers import ALIGNMENT, Buffers, aligned, shaped
from model.windows import Batch, code_points, facts_of
from pipelines.charset import Charset

texts = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5), max_size=8)


@pytest.mark.parametrize(
    ("labels", "points"),
    [
        (["AB", "C"], [[65, 66], [67, 0]]),
        (["né", "ß"], [[110, 233], [223, 0]]),
        (["😀", "a😀b"], [[128512, 0, 0], [97, 128512, 98]]),
        ([], np.zeros((0, 0), int).tolist()),
    ],
)
def test_code_points(labels, points):
    found, lengths = code_points(pa.chunked_array([pa.array(labels, pa.string())]))
    assert found.tolist() == points
    assert lengths.tolist() == [len(label) for label in labels]


@given(texts, texts, st.integers(0, 3))
def test_code_points_of_chunks_and_slices_are_those_of_the_texts(first, second, start):
    column = pa.chunked_array([pa.array(first, pa.string()), pa.array(second, pa.string())]).slice(start)
    points, lengths = code_points(column)
    labels = (first + second)[start:]
    assert ["".join(map(chr, row[:n])) for row, n in zip(points, lengths, strict=True)] == labels
    if labels:
        charset = Charset.of(labels)
        np.testing.assert_array_equal(charset.encode_points(points, lengths, 6), charset.encode(labels, 6))


def test_a_block_is_used_again_when_nothing_looks_into_it():
    buffers = Buffers(1000)
    first = buffers.take()
    address, view = first.ctypes.data, shaped(first, (5, 6), np.int32)[2:]
    del first
    second = buffers.take()
    assert view.ctypes.data == address + 48
    assert abs(second.ctypes.data - address) >= 1000  # the view lives
    del view
    assert buffers.take().ctypes.data == address


def test_blocks_and_arrays_are_aligned():
    for size in (1, 63, 64, 100_001):
        assert Buffers(size).take().ctypes.data % ALIGNMENT == 0
        assert len(Buffers(size).take()) == size
        assert aligned((size, 3), np.int32).ctypes.data % ALIGNMENT == 0
        assert aligned((size, 3), np.int32).shape == (size, 3)


def test_rows_are_put_in_their_places_and_the_rest_is_empty():
    batch = Batch.empty(4, (1, 2, 1), 3)
    images = np.array([[[[1], [2]]], [[[3], [4]]]], np.uint8)
    batch.put(np.array([2, 0]), images, facts_of(np.array([[5, 6, 7], [8, 9, -1]]), np.array([3, 2])))
    batch.put(slice(1, 2), images[:1], facts_of(np.array([[1, -1, -1]]), np.array([1])))
    batch.clear(3)
    assert batch.images.reshape(4, 2).tolist() == [[3, 4], [1, 2], [1, 2], [0, 0]]
    assert batch.facts.tolist() == [[8, 9, -1, 2, 1], [1, -1, -1, 1, 1], [5, 6, 7, 3, 1], [-1, -1, -1, 0, 0]]
