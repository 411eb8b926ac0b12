"""Files, listings and locks do the same on a local folder, on an S3 server and on a filesystem of fsspec."""

import hashlib
import os
import pickle
import subprocess
import sys

import pytest
from pyarrow import fs as pafs

from pipelines import lock
from pipelines.errors import DataError
from pipelines.lock import LEASE, locked
from pipelines.scan import LISTING, list_files
from pipelines.storage import Location, hashed_output, locate


@pytest.fixture
def filled(place) -> Location:
    place.make()
    for path in ("a.png", "sub/b.png", "sub/deep er/c?d#e%20.png", "sub/.hidden/d.png", ".e.png"):
        tree(place, path, path.encode())
    return place


def tree(place: Location, path: str, data: bytes) -> None:
    target = place.join(path)
    place.join(*path.split("/")[:-1]).make() if "/" in path else None
    target.write_bytes(data)


FILES = {b"a.png": 5, b"sub/b.png": 9, b"sub/deep er/c?d#e%20.png": 24}


def test_files_there_and_back(place):
    place.make()
    target = place.join("a b?c#d%20é.json")
    assert not target.exists()
    with pytest.raises(FileNotFoundError):
        target.read_bytes()
    for data in (b"one", b"", b"three"):
        target.write_bytes(data)
        assert target.read_bytes() == locate(target.uri).read_bytes() == data
    assert target.exists()
    assert (place.names(), place.files()) == ([target.path.rpartition("/")[2]], [(target.path.rpartition("/")[2], 5)])


def test_create_writes_where_nothing_is(place):
    place.make()
    assert place.join("a").create(b"one") is True
    assert place.join("a").create(b"two") is False
    assert place.join("a").read_bytes() == b"one"
    assert place.names() == ["a"]


def test_a_file_moves_over_another(place):
    place.make()
    for name in ("a", "b", "c"):
        place.join(name).write_bytes(name.encode())
    place.join("a").move(place.join("b"))
    place.join("c").move(place.join("new", "er", "c"))
    assert place.names() == ["b", "new"]
    assert place.join("b").read_bytes() == b"a"
    assert place.join("new", "er").files() == [("c", 1)]
    with pytest.raises(FileNotFoundError):
        place.join("a").move(place.join("b"))
    assert place.join("b").read_bytes() == b"a"


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_moves(filled, there):
    target = filled.join("new", "place")
    if there:  # such as a move that was cut short
        target.make()
        target.join("b.png").write_bytes(b"old")
        target.join("z.png").write_bytes(b"old")
    filled.join("sub").move_tree(target)
    assert not filled.join("sub").exists()
    assert target.names() == [".hidden", "b.png", "deep er"] + ["z.png"] * there
    assert target.join("b.png").read_bytes() == b"sub/b.png"
    assert target.join("deep er").files() == [("c?d#e%20.png", 24)]


def test_remove(filled):
    for path in ("sub", "a.png", "nothing", "sub"):
        filled.join(path).remove()
        assert not filled.join(path).exists()
    assert filled.names() == [".e.png"]
    assert filled.join("sub").names() == filled.join("sub").files() == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_names_are_no_patterns(place, kind):
    place.make()
    names = ["x[ab]?*", "xa1", "xa12"]
    for name in names:
        tree(place, name if kind == "file" else f"{name}/sub/y", b"1")
    place.join(names[0]).remove()
    assert place.names() == names[1:]


def test_make_where_it_stands(place):
    for _ in range(2):
        place.join("a", "b").make()
        assert place.join("a", "b").names() == []


def test_a_hashed_output(place):
    place.make()
    with hashed_output(place.join("file")) as sink:
        sink.write(b"some bytes")
    assert place.join("file").read_bytes() == b"some bytes"
    assert (sink.bytes, sink.sha256) == (10, hashlib.sha256(b"some bytes").hexdigest())


def test_the_listing_is_the_same_everywhere(filled):
    counts = []
    listing = list_files(filled, progress=counts.append)
    assert listing.schema.equals(LISTING)
    assert dict(zip(listing["path"].to_pylist(), listing["size"].to_pylist(), strict=True)) == FILES
    assert listing["id"].to_pylist() == sorted(listing["id"].to_pylist())
    assert counts == [3]


def test_a_file_is_left_out_of_the_listing(filled):
    for path, left in [("sub/b.png", {b"sub/b.png"}), ("sub", set()), ("../a.png", set())]:
        elsewhere = locate(filled.join(path).uri)
        assert set(list_files(filled, elsewhere)["path"].to_pylist()) == set(FILES) - left


@pytest.mark.parametrize("path", ["missing", "a.png", "empty"])
def test_what_cannot_be_listed_is_told_without_credentials(filled, path):
    filled.join("empty").make()
    secret = filled.join(path)._replace(uri=f"s3://name:secret@bucket/{path}")
    with pytest.raises(DataError, match=rf"^s3://\*\*\*@bucket/{path}: ") as caught:
        list_files(secret)
    assert "\n" not in str(caught.value)


def test_many_folders_are_listed(s3):
    for n in range(40):
        s3.join(f"{n // 8}", f"{n}", "x").write_bytes(b"x")
    assert list_files(s3).num_rows == 40


def test_one_writer_at_a_time(place, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0)
    with locked(place) as first:
        first.check()
        with pytest.raises(DataError, match=f"another ingest is writing here .pid {os.getpid()}") as caught, locked(place):
            pass
        assert str(caught.value).startswith(f"{place.uri}: ")
        assert "\n" not in str(caught.value)
        first.check()
    assert place.names() == []
    with locked(place):
        pass


def test_credentials_in_a_uri_reach_other_processes(s3_server, s3, monkeypatch):
    s3.join("file").write_bytes(b"data")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    place = locate(s3.join("file").uri.replace("s3://", "s3a://name:sec%2Fret@"))
    assert place.shown.startswith(f"s3a://***@{s3.path}/file?endpoint_override=http://127.0.0.1")
    script = "import sys; from pipelines.storage import locate; print(locate(sys.argv[1]).read_bytes())"
    ended = subprocess.run([sys.executable, "-c", script, place.uri], capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("b'data'\n", "")
    assert pickle.loads(pickle.dumps(place)).read_bytes() == b"data"


def test_a_bucket_that_is_missing_is_told(s3):
    nowhere = locate(s3.uri.replace(s3.path, "no-such-bucket"))
    with pytest.raises(DataError, match=r"no-such-bucket\S+: no such folder"):
        list_files(nowhere)
    with (
        pytest.raises(DataError, match=r"no-such-bucket\S+: cannot be written: Bucket 'no-such-bucket' not found"),
        locked(nowhere),
    ):
        pass


def test_a_server_that_went_away_is_told(s3_server, s3):
    s3.join("x").write_bytes(b"")
    gone = Location(
        pafs.S3FileSystem(
            endpoint_override="127.0.0.1:9",
            scheme="http",
            region="us-east-1",
            retry_strategy=pafs.AwsStandardS3RetryStrategy(0),
        ),
        s3.path,
        s3.uri,
    )
    with pytest.raises(DataError, match="cannot be written: "), locked(gone):
        pass
    with pytest.raises(DataError, match="cannot be listed: "):
        list_files(gone)
    assert LEASE not in s3.names()
