"""Scan: what is listed, in which order, and what is said where nothing can be."""

import os
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs as pafs

from pipelines import scan
from pipelines.errors import DataError
from pipelines.scan import LISTING, file_id, list_files, path_bytes, path_text
from pipelines.storage import Location, locate

# id = the first 8 bytes of SHA-256 of the path, big-endian, signed: from `printf a.png | sha256sum`
IDS = {
    "a.png": 9_153_304_788_650_147_672,
    "b.png": 6_870_761_199_528_508_404,
    "sub/c.png": -6_807_801_756_221_114_386,
    "sub/deep/d.jpg": -7_135_130_305_113_356_906,
    "no_extension": 6_437_936_824_625_204_884,
    "𝔸.png": 8_632_042_989_247_813_315,
}


def listed(folder) -> list[str]:
    return [path_text(path) for path in list_files(locate(folder))["path"].to_pylist()]


@pytest.mark.parametrize("path", IDS)
def test_an_id_is_a_hash_of_the_path(path):
    assert file_id(path) == IDS[path]


def test_files_are_listed_in_the_order_of_their_ids(tmp_path, fill):
    fill(tmp_path, {path: b"x" * n for n, path in enumerate(IDS)})
    listing = list_files(locate(tmp_path))
    assert listing.schema.equals(LISTING)
    assert listing["id"].to_pylist() == sorted(IDS.values())
    assert {path_text(p): n for p, n in zip(listing["path"].to_pylist(), listing["size"].to_pylist(), strict=True)} == {
        path: n for n, path in enumerate(IDS)
    }
    assert listing["mtime_ns"].to_pylist()[0] == (tmp_path / listed(tmp_path)[0]).stat().st_mtime_ns


def test_the_place_of_the_folder_does_not_matter(tmp_path, fill):
    for name in ("here", "far/away"):
        fill(tmp_path / name, dict.fromkeys(IDS, b"x"))
    assert listed(tmp_path / "here") == listed(tmp_path / "far/away")


def test_hidden_files_and_folders_are_left_out_and_nothing_else(tmp_path, fill):
    fill(tmp_path, dict.fromkeys([".DS_Store", ".git/a.png", "sub/.b.png", "a.png", "Thumbs.db", "sub/c", "_d.txt"], b"x"))
    (tmp_path / "empty folder").mkdir()
    assert sorted(listed(tmp_path)) == ["Thumbs.db", "_d.txt", "a.png", "sub/c"]


def test_other_filesystems_list_the_same(tmp_path, fill):
    fill(tmp_path, {**dict.fromkeys(IDS, b"xyz"), ".hidden": b"x", ".git/a.png": b"x"})
    elsewhere = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "", "mem://x")
    names = ["id", "path", "size"]
    assert list_files(elsewhere).select(names).equals(list_files(locate(tmp_path)).select(names))


def test_links_are_followed_and_broken_ones_are_listed(tmp_path, fill):
    fill(tmp_path / "elsewhere", {"a.png": b"four"})
    root = fill(tmp_path / "root", {"b.png": b""})
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "file.png").symlink_to(tmp_path / "elsewhere/a.png")
    (root / "broken.png").symlink_to("nowhere")
    rows = list_files(locate(root)).to_pylist()
    assert {row["path"]: row["size"] for row in rows} == {b"folder/a.png": 4, b"file.png": 4, b"b.png": 0, b"broken.png": 7}


def test_names_that_are_not_utf8_are_listed_as_they_are(tmp_path):
    os.mkdir(os.fsencode(tmp_path) + b"/\xe9t\xe9")
    open(os.fsencode(tmp_path) + b"/\xe9t\xe9/\xff.png", "wb").close()
    assert list_files(locate(tmp_path))["path"].to_pylist() == [b"\xe9t\xe9/\xff.png"]


@given(st.binary(max_size=20))
def test_path_bytes_is_the_inverse_of_path_text(path):
    assert path_bytes(path_text(path)) == path


def told(folder) -> str:
    with pytest.raises(DataError) as caught:
        list_files(locate(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_files_is_told_with_its_name_and_the_remedy(tmp_path, fill):
    fill(tmp_path, {"file.png": b"x", "hidden/.a.png": b"x"})
    (tmp_path / "empty/sub").mkdir(parents=True)
    assert told(tmp_path / "missing") == f"{tmp_path}/missing: no such folder; --input names the folder that holds the images"
    assert told(tmp_path / "file.png").startswith(f"{tmp_path}/file.png: a file, not a folder; --input")
    for name in ("empty", "hidden"):
        assert told(tmp_path / name).startswith(f"{tmp_path}/{name}: the folder holds no file; --input")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told(tmp_path, fill):
    fill(tmp_path, {"closed/a.png": b"x", "b.png": b"x"})
    (tmp_path / "closed").chmod(0)
    try:
        assert "closed" in told(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_links_in_a_circle_are_told(tmp_path, fill):
    fill(tmp_path, {"sub/a.png": b"x"})
    (tmp_path / "sub/again").symlink_to("..")
    assert told(tmp_path) == f"{tmp_path}/sub/again: cannot be listed: Too many levels of symbolic links"


def test_a_circle_through_other_folders_is_told(tmp_path, fill):
    fill(tmp_path, {"root/a.png": b"x", "x/a.png": b"x", "y/a.png": b"x"})
    for link, target in [("root/x", "x"), ("x/y1", "y"), ("x/y2", "y"), ("y/x1", "x"), ("y/x2", "x")]:
        (tmp_path / link).symlink_to(tmp_path / target)
    assert told(tmp_path / "root").endswith("cannot be listed: Too many levels of symbolic links")


def test_two_links_to_one_folder_are_no_circle(tmp_path, fill):
    fill(tmp_path, {"root/a.png": b"x", "x/b.png": b"x"})
    for link in ("1", "2"):
        (tmp_path / "root" / link).symlink_to("../x")
    assert sorted(listed(tmp_path / "root")) == ["1/b.png", "2/b.png", "a.png"]


def test_pipes_are_left_out_and_a_link_to_itself_is_listed(tmp_path, fill):
    fill(tmp_path, {"a.png": b"x"})
    os.mkfifo(tmp_path / "pipe.png")
    for link, target in [("to_pipe.png", "pipe.png"), ("device.png", "/dev/zero"), ("itself.png", "itself.png")]:
        (tmp_path / link).symlink_to(target)
    assert sorted(listed(tmp_path)) == ["a.png", "itself.png"]


def test_what_goes_while_it_is_listed_is_not_listed(tmp_path, fill, monkeypatch):
    monkeypatch.setattr(scan, "BATCH", 1)
    root = fill(tmp_path / "root", {path: b"x" for n in range(9) for path in (f"{n}.png", f"{n}/a.png")})
    assert list_files(locate(root), progress=lambda _: shutil.rmtree(root, ignore_errors=True)).num_rows == 1


def test_a_deep_tree_is_listed(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):  # more than Python's limit of recursion
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(os.open("a.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert listed(tmp_path) == ["d/" * 1500 + "a.png"]
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # too deep for Python's own


def test_progress_counts_and_batches_make_one_listing(tmp_path, fill, monkeypatch):
    fill(tmp_path, {f"{n % 3}/{n}.png": b"x" * n for n in range(25)})
    whole, counts = list_files(locate(tmp_path)), []
    monkeypatch.setattr(scan, "BATCH", 10)
    assert list_files(locate(tmp_path), progress=counts.append).equals(whole)
    assert counts == [10, 20, 25]


@pytest.mark.parametrize("path", ["root/sub/b.csv", "link/sub/b.csv", "root/sub2/../sub/b.csv"])
def test_a_file_is_left_out(tmp_path, fill, path):
    fill(tmp_path, {"root/a.png": b"x", "root/sub/b.csv": b"x", "root/b.csv": b"x", "root/sub2/b.csv": b"x"})
    (tmp_path / "link").symlink_to("root")
    for root in ("root", "link"):
        found = list_files(locate(tmp_path / root), leave_out=locate(f"{tmp_path}/{path}"))["path"].to_pylist()
        assert sorted(found) == [b"a.png", b"b.csv", b"sub2/b.csv"]


def test_a_file_elsewhere_is_not_left_out(tmp_path, fill):
    fill(tmp_path, {"root/a.csv": b"x", "a.csv": b"x", "root2/a.csv": b"x"})
    for path in ("a.csv", "root2/a.csv", "none/a.csv"):
        assert list_files(locate(tmp_path / "root"), leave_out=locate(tmp_path / path)).num_rows == 1


def test_a_folder_with_the_left_out_file_alone_holds_none(tmp_path, fill):
    fill(tmp_path, {"labels.csv": b"x"})
    with pytest.raises(DataError, match="the folder holds no file"):
        list_files(locate(tmp_path), leave_out=locate(tmp_path / "labels.csv"))


def test_paths_with_one_id_are_told(tmp_path, fill, monkeypatch):
    fill(tmp_path, dict.fromkeys(["a.png", "b.png", "c.png"], b"x"))
    monkeypatch.setattr(scan, "_ids", lambda paths: np.array([7 if path < b"c" else 8 for path in paths]))
    message = told(tmp_path)
    assert message.endswith(" hash to the same id 7; rename one of them")
    assert {"a.png", "b.png"} == set(message.removeprefix(f"{tmp_path}: ").split(" hash")[0].split(" and "))
