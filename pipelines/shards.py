"""Rows -> Parquet shards, and back to pixels without touching single rows; the same files are petastorm datasets."""

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from typing_extensions import Self

from pipelines.settings import Settings
from pipelines.storage import HashingSink, Location

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("length", pa.int32()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image", pa.binary()),
    ]
)


class ShardSettings(Settings):
    """`files` input files at most make one ingest task (a shard for each split); `rows` make a row group.

    `storage: tensor` writes the pixels that a network sees; `encoded` the bytes of the image file, which training decodes.
    """

    storage: Literal["tensor", "encoded"] = "tensor"
    files: int = Field(default=5000, ge=1)
    rows: int = Field(default=1000, ge=1)
    compression: Literal["lz4", "zstd", "none"] = "zstd"  # lz4 is read in two thirds of the time and 5 to 25% larger


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header `numpy.save` writes before a uint8 array of `shape`: the same bytes for every row."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def image_column(images: np.ndarray) -> pa.BinaryArray:
    """(N, H, W, C) uint8 -> a binary column of N `.npy` files, built as one buffer."""
    count, size = len(images), int(np.prod(images.shape[1:]))
    header = np.frombuffer(npy_header(images.shape[1:]), np.uint8)
    if count * (header.size + size) > np.iinfo(np.int32).max:
        raise ValueError(f"{count} images of {images.shape[1:]} are over 2 GiB; use a smaller shards.rows")
    rows = np.empty((count, header.size + size), np.uint8)  # C order for certain: np.concatenate chooses by its inputs
    rows[:, : header.size], rows[:, header.size :] = header, images.reshape(count, size)
    offsets = np.arange(count + 1, dtype=np.int32) * rows.shape[1]
    return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def pixels(column: pa.ChunkedArray, shape: tuple[int, int, int]) -> np.ndarray:
    """The `image` column of a row group as ONE (N, H, W, C) uint8 view over the Arrow buffer (read-only).

    Raises ValueError where the rows are not `.npy` arrays of `shape`.
    """
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows at all
        return np.empty((0, *shape), np.uint8)
    header = npy_header(shape)
    stride = len(header) + int(np.prod(shape))
    offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
    if len(array) and not (np.diff(offsets) == stride).all():
        raise ValueError(f"rows are not all of {stride} bytes, as images of shape {shape} are")
    data = np.frombuffer(array.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(len(array), stride)
    if not (data[:, : len(header)].view(np.uint64) == np.frombuffer(header, np.uint64)).all():  # of 64 bytes, or 128, ...
        raise ValueError(f"rows are not .npy arrays of shape {shape}")
    view = data[:, len(header) :].reshape(len(array), *shape)
    view.flags.writeable = False
    return view


class ShardWriter:
    """Writes row groups to one Parquet file; once closed it knows bytes, sha256 and row groups."""

    def __init__(self, location: Location, compression: str) -> None:
        self._stream = location.fs.open_output_stream(location.path)
        self._sink = HashingSink(self._stream)
        # Statistics and dictionaries of pixels or hashes cost time and help no reader.
        self._writer = pq.ParquetWriter(
            self._sink, SCHEMA, compression=compression, use_dictionary=["label"], write_statistics=["id", "label"]
        )
        self.location = location
        self.row_groups: list[int] = []

    def write(self, columns: Mapping[str, Sequence[object]], images: np.ndarray | Sequence[bytes]) -> None:
        """One row group from the columns of SCHEMA but `image`, and (N, H, W, C) uint8 pixels or the bytes of N files."""
        arrays = [pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names[:-1]]
        pictures = image_column(images) if isinstance(images, np.ndarray) else pa.array(images, pa.binary())
        table = pa.Table.from_arrays([*arrays, pictures], schema=SCHEMA)
        self._writer.write_table(table, row_group_size=len(images))
        self.row_groups.append(len(images))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
        self._stream.close()

    def abandon(self) -> None:
        """Lets go of a file that will not be whole, whatever its state."""
        for open_one in (self._writer, self._stream):
            with suppress(OSError, ValueError):  # the disk may be full, the file closed
                open_one.close()

    @property
    def bytes(self) -> int:
        return self._sink.bytes

    @property
    def sha256(self) -> str:
        return self._sink.sha256


def petastorm_metadata(
    shape: tuple[int, int, int], row_groups: Mapping[str, int], storage: Literal["tensor", "encoded"] = "tensor"
) -> bytes | None:
    """The file `_common_metadata`, which makes a folder a petastorm dataset; None where petastorm is not installed.

    `row_groups` counts the row groups of each file by name. The two keys are those that
    petastorm's own materialize_dataset writes. Its reader gives arrays of `shape`, or of encoded images their bytes.
    """
    try:
        from petastorm.codecs import NdarrayCodec
        from petastorm.etl.dataset_metadata import ROW_GROUPS_PER_FILE_KEY, UNISCHEMA_KEY
        from petastorm.unischema import Unischema, UnischemaField
    except ImportError:  # the stack of requirements/latest.txt has a pyarrow that petastorm cannot use
        return None
    types = {"id": np.int64, "length": np.int32, "width": np.int32, "height": np.int32}
    fields = [UnischemaField(name, types.get(name, np.str_), (), None, False) for name in SCHEMA.names[:-1]]
    if storage == "tensor":
        fields.append(UnischemaField("image", np.uint8, shape, NdarrayCodec(), False))
    else:
        fields.append(UnischemaField("image", np.bytes_, (), None, False))
    unischema = Unischema("GlyphmillRow", fields)
    metadata = {UNISCHEMA_KEY: pickle.dumps(unischema), ROW_GROUPS_PER_FILE_KEY: json.dumps(dict(row_groups))}
    buffer = io.BytesIO()
    pq.write_metadata(SCHEMA.with_metadata(metadata), buffer)
    return buffer.getvalue()
