"""The folder of a bundle: damaged, made up, or leading elsewhere."""

import hashlib
import json
from pathlib import Path

import pytest

from model.bundle import read_bundle, sha256_of, verify
from model.export import check_folder, write_checksums
from pipelines.errors import DataError

DATA = b"weights"
SHA256 = "9b74c9897bac770ffc029102a200c5de" * 2  # of something else


@pytest.fixture
def folder(tmp_path) -> Path:
    """A bundle of one file, and a file beside its folder that has the same contents."""
    made = tmp_path / "model" / "bundle"
    made.mkdir(parents=True)
    (made / "network.onnx").write_bytes(DATA)
    (tmp_path / "model" / "outside").write_bytes(DATA)
    tell(made, "network.onnx")
    return made


def tell(folder: Path, *names: str, **more: object) -> None:
    files = dict.fromkeys(names, hashlib.sha256(DATA).hexdigest())
    (folder / "bundle.json").write_text(json.dumps({"format": 2, "files": files} | more))


def refused(call, *args: object) -> str:
    with pytest.raises(DataError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_bundle_is_read(folder):
    assert sorted(read_bundle(folder)) == ["files", "format"]


def test_a_checksum(tmp_path):
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    assert sha256_of(tmp_path / "a") == hashlib.sha256(bytes(3 << 20)).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "a/../../outside",
        "sub/../network.onnx",
        "/etc/hostname",
        "{outside}",
        "",
        ".",
        "link",
        "links/outside",
        "a\0b",
    ],
)
def test_no_name_leads_out_of_the_folder(folder, name):
    outside = folder.parent / "outside"
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "links").symlink_to(folder.parent)
    name = name.format(outside=outside)
    tell(folder, "network.onnx", name)
    said = refused(read_bundle, folder)
    assert f"the file name {name!r} leads out of this folder; nothing of it is read" in said


def test_a_folder_that_is_reached_by_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert read_bundle(tmp_path / "link") == read_bundle(folder)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"network.onnx": SHA256}, "network.onnx: missing or damaged (checksum); download the model again"),
        ({"network.onnx": None}, "network.onnx: missing or damaged"),
        ({"network.onnx": 3}, "network.onnx: missing or damaged"),
        ({"network.keras": SHA256}, "network.keras: missing or damaged"),
        ({}, "names no files"),
        ([], "names no files"),
        ("text", "no bundle.json of a recogniser"),
        (None, "no bundle.json of a recogniser"),
    ],
)
def test_files_that_are_not_what_it_says(folder, files, said):
    tell(folder, files=files)
    assert said in refused(read_bundle, folder)


@pytest.mark.parametrize("number", [0, 3, "2", None, [2]])
def test_a_format_of_another_time(folder, number):
    tell(folder, "network.onnx", format=number)
    assert f"format {number!r}, and this version reads 1, 2; take a newer one" in refused(read_bundle, folder)


@pytest.mark.parametrize("name", ["predict.py", "code/model/a.py", "data/bundle/network.onnx"])
@pytest.mark.parametrize("how", ["damaged", "missing", "longer"])
def test_a_downloaded_folder_is_looked_at(tmp_path, fill, name, how):
    fill(tmp_path, dict.fromkeys(["predict.py", "code/model/a.py", "data/bundle/network.onnx", "MLmodel"], DATA))
    write_checksums(tmp_path)
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["code/model/a.py", "data/bundle/network.onnx", "predict.py"]
    (tmp_path / "MLmodel").write_bytes(b"MLflow writes it again")
    check_folder(tmp_path)
    if how == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"weightt" if how == "damaged" else DATA + b"s")
    assert refused(check_folder, tmp_path) == f"{tmp_path / name}: missing or damaged (checksum); download the model again"


def test_without_a_list_the_bundle_is_looked_at(folder, tmp_path):
    whole = tmp_path / "whole"
    (whole / "data").mkdir(parents=True)
    folder.rename(whole / "data" / "bundle")
    check_folder(whole)
    (whole / "data/bundle/network.onnx").write_bytes(b"weightt")
    assert "network.onnx: missing or damaged (checksum); download the model again" in refused(check_folder, whole)


def test_the_list_itself_may_be_damaged(tmp_path, fill):
    fill(tmp_path, {"SHA256SUMS": b"", "a": DATA})
    assert "SHA256SUMS: damaged" in refused(check_folder, tmp_path)
    for line in (b"\xff", b"nonsense", b"../a", hashlib.sha256(DATA).hexdigest().encode() + b"  ../a\n"):
        (tmp_path / "SHA256SUMS").write_bytes(line)
        assert str(tmp_path) in refused(check_folder, tmp_path)


def test_nothing_to_verify_is_fine(tmp_path):
    verify(tmp_path, {})
