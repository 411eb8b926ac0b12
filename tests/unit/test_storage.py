"""Storage: names of places, and files that are there whole or not at all."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.errors import DataError
from pipelines.storage import hashed_output, locate


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("/a/../b", "/b"),
        ("file:///a/b", "/a/b"),
        ("file:///a/b/", "/a/b"),
        ("/a@b/c d", "/a@b/c d"),
    ],
)
def test_a_local_place(text, path):
    assert locate(text).path == path
    assert locate(locate(text).uri).path == path


def test_relative_and_home_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert locate("images").path == f"{tmp_path}/images"
    assert locate(Path("images")).uri == f"{tmp_path}/images"
    assert locate("../images").path == f"{tmp_path.parent}/images"
    assert locate("~/images").path == "/home/me/images"


@pytest.mark.parametrize("uri", ["nosuch://bucket/folder", "ftp://host/folder", "http://host/folder"])
def test_a_filesystem_that_arrow_does_not_reach_is_told_in_one_line(uri):
    with pytest.raises(DataError) as caught:
        locate(uri)
    assert str(caught.value).startswith(f"{uri}: Arrow does not reach this filesystem")
    assert "\n" not in str(caught.value)


def test_join():
    joined = locate("file:///a").join("b", "c.parquet")
    assert (joined.path, joined.uri) == ("/a/b/c.parquet", "file:///a/b/c.parquet")


def test_write_and_read(tmp_path):
    target = locate(tmp_path).join("file.json")
    assert not target.exists()
    target.write_bytes(b"one")
    target.write_bytes(b"two")
    assert target.exists()
    assert target.read_bytes() == b"two"
    assert locate(tmp_path).names() == ["file.json"]


class FailingFilesystem:
    """Stops in the middle of a file, as a full disk does."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def open_output_stream(self, path):
        Path(path).write_bytes(b"ha")
        raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    target = locate(tmp_path).join("file.json")
    target.write_bytes(b"whole")
    with pytest.raises(OSError, match="No space left"):
        target._replace(fs=FailingFilesystem(target.fs)).write_bytes(b"half")
    assert target.read_bytes() == b"whole"


def test_names_are_sorted_and_empty_where_nothing_is(tmp_path, fill):
    fill(tmp_path, {"b": b"", "a/x": b"", ".hidden": b""})
    assert locate(tmp_path).names() == [".hidden", "a", "b"]
    assert locate(tmp_path).join("missing").names() == []


def test_a_hashed_output_knows_what_passed_through(tmp_path):
    target = locate(tmp_path).join("file")
    with hashed_output(target) as sink:
        sink.write(b"some ")
        sink.write(pa.py_buffer(b"bytes"))
        assert sink.tell() == 10
    assert target.read_bytes() == b"some bytes"
    assert (sink.bytes, sink.sha256) == (10, hashlib.sha256(b"some bytes").hexdigest())
