"""Shards: the bytes of rows, and pixels read back without a copy."""

import hashlib
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.shards import SCHEMA, ShardWriter, image_column, npy_header, pixels
from pipelines.storage import locate

SHAPE = (8, 10, 3)


def noise(count: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def rows(count: int) -> dict[str, list[object]]:
    return {
        "id": list(range(count)),
        "path": [f"{i}.png" for i in range(count)],
        "label": ["AB"] * count,
        "length": [2] * count,
        "sha256": ["0" * 64] * count,
        "width": [20] * count,
        "height": [10] * count,
    }


def chunked(*arrays: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array(arrays, pa.binary())


def test_the_columns_are_those_of_the_design():
    assert [f"{field.name} {field.type}" for field in SCHEMA] == [
        "id int64",
        "path string",
        "label string",
        "length int32",
        "sha256 string",
        "width int32",
        "height int32",
        "image binary",
    ]


@pytest.mark.parametrize("shape", [(64, 160, 1), (50, 200, 3), (8, 8, 1), (1024, 4096, 3)])
def test_the_header_is_the_one_that_numpy_writes(shape):
    header = npy_header(shape)
    assert len(header) == 128
    assert header == npy(np.zeros(shape, np.uint8))[:128]


@given(hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 4)))
def test_every_row_is_a_npy_file_and_reads_back(images):
    column = image_column(images)
    assert column.to_pylist() == [npy(image) for image in images]
    np.testing.assert_array_equal(pixels(chunked(column), images.shape[1:]), images)


def test_views_that_are_not_contiguous_are_written_right():
    images = noise(6)[::2, :, ::-1]
    assert image_column(images).to_pylist() == [npy(np.ascontiguousarray(image)) for image in images]


def test_pixels_are_one_view_over_the_arrow_buffer():
    column = image_column(noise(5))
    view = pixels(chunked(column), SHAPE)
    assert np.shares_memory(view, np.frombuffer(column.buffers()[2], np.uint8))
    assert not view.flags.owndata
    assert not view.flags.writeable


@pytest.mark.parametrize("compression", ["lz4", "zstd", "none"])
def test_a_shard_reads_back_one_view_for_each_row_group(tmp_path, compression):
    images, location = noise(5), locate(tmp_path).join("part.parquet")
    with ShardWriter(location, compression) as shard:
        shard.write(rows(3), images[:3])
        shard.write(rows(2), images[3:])
    data = location.read_bytes()
    assert (shard.bytes, shard.sha256, shard.row_groups) == (len(data), hashlib.sha256(data).hexdigest(), [3, 2])
    parquet = pq.ParquetFile(tmp_path / "part.parquet")
    assert parquet.schema_arrow.remove_metadata().equals(SCHEMA)
    assert [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)] == [3, 2]
    for group, expected in enumerate((images[:3], images[3:])):
        column = parquet.read_row_group(group)["image"]
        view = pixels(column, SHAPE)
        np.testing.assert_array_equal(view, expected)
        assert np.shares_memory(view, np.frombuffer(column.chunk(0).buffers()[2], np.uint8))
        assert not view.flags.owndata
        assert not view.flags.writeable


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_slices_of_a_column(count, start, length):
    images = noise(count)
    column = chunked(image_column(images)).slice(start, length)
    np.testing.assert_array_equal(pixels(column, SHAPE), images[start : start + length])


@given(st.lists(st.integers(0, 4), max_size=4))
def test_columns_of_any_number_of_chunks(counts):
    parts = [noise(count, seed=seed) for seed, count in enumerate(counts)]
    column = chunked(*(image_column(part) if len(part) else pa.array([], pa.binary()) for part in parts))
    np.testing.assert_array_equal(pixels(column, SHAPE), np.concatenate([noise(0), *parts]))


@pytest.mark.parametrize("shape", [(8, 10, 1), (10, 8, 3), (8, 30, 1), (9, 10, 3)])
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        pixels(chunked(image_column(noise(2, shape))), SHAPE)


@pytest.mark.parametrize(
    "bad",
    [
        [b"\x89PNG", b"\x89PNG"],
        [npy(noise(1)[0]), None],
        [npy(noise(1)[0]), b""],
        [npy(noise(1)[0]), npy(noise(1)[0])[:-1]],
        [npy(noise(1)[0]), b"x" + npy(noise(1)[0])[1:]],
        [npy(np.asfortranarray(noise(1)[0]))],
        [npy(noise(1)[0].astype(np.int8))],
    ],
)
def test_rows_that_are_no_npy_of_the_shape_are_refused(bad):
    with pytest.raises(ValueError, match="shape"):
        pixels(chunked(pa.array(bad, pa.binary())), SHAPE)


def test_a_row_group_over_2_gib_is_refused_before_it_is_built():
    images = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (3, 1024, 4096, 200))
    with pytest.raises(ValueError, match="smaller shards.rows"):
        image_column(images)
