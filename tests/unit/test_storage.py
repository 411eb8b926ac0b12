"""Storage: names of places, and files that are there whole or not at all."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs as pafs

from pipelines.errors import DataError
from pipelines.storage import Location, hashed_output, locate, redacted


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


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("nosuch://bucket/folder", "nosuch://bucket/folder: this filesystem cannot be reached: Protocol not known: nosuch"),
        ("http://host/folder", "http://host/folder: this filesystem cannot be reached: a web site; download the files into"),
        ("ftp://host/folder", "ftp://host/folder: this filesystem cannot be reached: a web site; download the files into"),
        ("file://host/folder", "file://host/folder: this filesystem cannot be reached: the host host in a file:// URI; write"),
        ("s3:///folder", "s3:///folder: this filesystem cannot be reached: Missing bucket name in S3 URI"),
        ("az://c/a", "az://c/a: this filesystem cannot be reached: Install adlfs to access Azure"),
        ("dropbox://folder", "dropbox://folder: this filesystem cannot be reached: DropboxFileSystem requires "),
        (
            "s3://name:secret@bucket?colour=red",
            "s3://***@bucket?colour=***: this filesystem cannot be reached: Unexpected query",
        ),
        ("s3://name:se/cret@bucket", "s3://***@bucket: this filesystem cannot be reached: "),
    ],
)
def test_a_filesystem_that_cannot_be_reached_is_told_in_one_line(uri, told):
    with pytest.raises(DataError) as caught:
        locate(uri)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.skipif("AzureFileSystem" in vars(pafs), reason="this Arrow reaches Azure itself")
def test_what_arrow_has_not_names_the_package_to_install():
    with pytest.raises(DataError, match="^abfss://c@account/a: this filesystem cannot be reached: Install adlfs"):
        locate("abfss://c@account/a")


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"one")
    real = os.fstat

    def fstat(descriptor):
        info = real(descriptor)
        with open(tmp_path / "file", "ab") as file:
            file.write(b"and more")
        return info

    monkeypatch.setattr(os, "fstat", fstat)
    assert locate(tmp_path / "file").read_bytes() == b"oneand more"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/a/b?key=c@d", "/a/b?key=***"),
        ("hdfs://host:8020/a@b/c", "hdfs://host:8020/a@b/c"),
        ("abfss://container@account.dfs.core.windows.net/a", "abfss://container@account.dfs.core.windows.net/a"),
        ("s3://bucket/a?region=eu&endpoint_override=http://h:9000", "s3://bucket/a?region=eu&endpoint_override=http://h:9000"),
        ("s3://name:secret@bucket/a@b", "s3://***@bucket/a@b"),
        ("s3://name:sec@ret@bucket/a", "s3://***@bucket/a"),
        ("s3://name:s/e?c@bucket/a", "s3://***@bucket/a"),
        ("abfss://c@a/b?account_key=abc==&user=me", "abfss://c@a/b?account_key=***&user=me"),
        ("cannot open 's3://name:secret@bucket': no", "cannot open 's3://***@bucket': no"),
    ],
)
def test_credentials_are_not_shown(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown


def test_a_location_is_printed_without_credentials():
    place = Location(pafs.LocalFileSystem(), "bucket/a", "s3://name:secret@bucket/a?region=eu")
    assert (repr(place), place.shown) == ("Location(s3://***@bucket/a?region=eu)", "s3://***@bucket/a?region=eu")
    assert place.join("b").uri == "s3://name:secret@bucket/a/b?region=eu"


@pytest.mark.parametrize(
    ("uri", "tail", "path", "joined"),
    [
        ("/a", "b/c.png", "/a/b/c.png", "/a/b/c.png"),
        ("/", "b", "/b", "/b"),
        ("/a?b", "c#d?e", "/a?b/c#d?e", "/a?b/c#d?e"),
        ("file:///a", "b/c.png", "/a/b/c.png", "file:///a/b/c.png"),
        ("file:///", "b", "/b", "file:///b"),
        ("file:///a%20b", "c d%20?#e@3", "/a b/c d%20?#e@3", "file:///a%20b/c%20d%2520%3F%23e%403"),
        ("file:///a b", "\udcff", "/a b/\udcff", "file:///a b/%FF"),
        ("memory://x?y=1", "b c", "/x/b c", "memory://x/b%20c?y=1"),
    ],
)
def test_join(uri, tail, path, joined):
    place = locate(uri).join(*tail.split("/"))
    assert (place.path, place.uri) == (path, joined)
    assert locate(place.uri)[1:] == (path, joined)


def test_a_filesystem_is_made_once_a_process():
    assert locate("memory://x/a").fs is locate("memory://x/b/c").fs
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_filesystem_in_a_child, ("memory://x/a",)) != id(locate("memory://x/a").fs)


def _filesystem_in_a_child(uri):
    return id(locate(uri).fs)


@pytest.mark.parametrize("uri", ["/a/b", "memory://x/y"])
def test_a_location_can_be_sent_to_another_process(uri):
    assert pickle.loads(pickle.dumps(locate(uri))) == locate(uri)


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

    def open_output_stream(self, path, **options):
        Path(path).write_bytes(b"ha")
        raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    target = locate(tmp_path).join("file.json")
    target.write_bytes(b"whole")
    with pytest.raises(OSError, match="No space left"):
        target._replace(fs=FailingFilesystem(target.fs)).write_bytes(b"half")
    assert target.read_bytes() == b"whole"


def test_a_local_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = locate(tmp_path).join("file.json")
    target.write_bytes(b"whole")
    script = "import resource, sys; from pipelines.storage import locate\n"
    script += "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); place = locate(sys.argv[1])\n"
    script += "for write in place.write_bytes, locate(sys.argv[1] + '.new').create:\n"
    script += "    try: write(b'half' * 4096)\n"
    script += "    except OSError as error: print(error.errno)\n"
    ended = subprocess.run([sys.executable, "-c", script, target.path], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(errno.EFBIG)] * 2
    assert locate(tmp_path).names() == ["file.json"]
    assert target.read_bytes() == b"whole"


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, error in [
        ("pipe", "not a regular file"),
        ("", "a folder"),
        ("none", "No such file"),
        ("pipe/x", "Not a dir"),
    ]:
        with pytest.raises(OSError, match=error):
            locate(tmp_path / path).read_bytes()
    with pytest.raises(OSError, match="not a regular file"):
        locate("/dev/zero").read_bytes()


def test_packed_files_are_read_as_they_are(tmp_path):
    elsewhere = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "a.gz", "mem://x")
    elsewhere.write_bytes(b"not gzip")
    assert elsewhere.read_bytes() == locate(tmp_path / "a.gz").read_bytes() == b"not gzip"


def test_names_that_are_not_utf8(tmp_path):
    place = locate(tmp_path).join("\udcff")
    place.make()
    place.join("\udcfe.json").write_bytes(b"data")
    assert place.join("\udcfe.json").read_bytes() == b"data"
    assert (locate(tmp_path).names(), place.names(), place.files()) == (["\udcff"], ["\udcfe.json"], [("\udcfe.json", 4)])
    assert place.join("\udcfe.json").create(b"new") is False
    place.move_tree(locate(tmp_path).join("b"))
    locate(tmp_path).join("b").remove()
    assert locate(tmp_path).names() == []


def test_many_create_one_file_and_one_does(tmp_path):
    target = locate(tmp_path).join("file")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        created = pool.map(target.create, [bytes([n]) * 100_000 for n in range(32)], chunksize=1)
    assert sum(created) == 1
    assert target.read_bytes() == bytes([created.index(True)]) * 100_000
    assert locate(tmp_path).names() == ["file"]


@pytest.mark.parametrize("there", [True, False])
def test_create_where_there_are_no_hard_links(tmp_path, monkeypatch, there):
    def link(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    target = locate(tmp_path).join("file")
    if there:
        target.write_bytes(b"old")
    assert target.create(b"new") is not there
    assert target.read_bytes() == (b"old" if there else b"new")
    assert locate(tmp_path).names() == ["file"]


def test_a_written_file_has_the_rights_of_any_other(tmp_path):
    locate(tmp_path).join("file").write_bytes(b"")
    (tmp_path / "other").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_moves_at_once(tmp_path, fill):
    fill(tmp_path, {"a/b/c": b"1"})
    inode = (tmp_path / "a/b/c").stat().st_ino
    locate(tmp_path / "a").move_tree(locate(tmp_path / "new/a"))
    assert (tmp_path / "new/a/b/c").stat().st_ino == inode
    assert locate(tmp_path).names() == ["new"]


def test_a_link_is_removed_and_not_what_it_names(tmp_path, fill):
    fill(tmp_path, {"a/b": b"1"})
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "dangling").symlink_to("none")
    locate(tmp_path / "link").remove()
    locate(tmp_path / "dangling").remove()
    assert locate(tmp_path).names() == ["a"]
    assert locate(tmp_path / "a").names() == ["b"]


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
