"""Versions: listed, compared, checked against their checksums, and pruned without a loss to the others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import publish
from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import ingest
from pipelines.lock import locked
from pipelines.manifest import Dataset, open_dataset, versions
from pipelines.storage import locate
from pipelines.versions import Comparison, all_versions, compare, damaged, prune, version_line

ROOT = Path(__file__).parents[2]
SETTINGS = {"image": {"width": 16, "height": 8}, "shards": {"files": 4, "rows": 2}}
FILES = [("A", 0), ("B", 1), ("C", 2), ("bad", None)], [("D", 3), ("B.1", 1)], [("E", 4)]  # by version: label and seed


@pytest.fixture
def make(tmp_path, fill, noise, loop):
    def make(count: int, output: str = "shards", root: str = "images", **changes) -> str:
        for number, files in enumerate(FILES[:count]):
            fill(tmp_path / root, {f"{name}.png": b"text" if seed is None else noise(seed) for name, seed in files})
            settings = IngestSettings.model_validate(SETTINGS | changes)
            ingest(str(tmp_path / root), str(tmp_path / output), settings, loop(), IngestOptions(append=number > 0))
        return str(tmp_path / output)

    return make


@pytest.fixture
def three(make) -> str:
    return make(3)


def tree(uri: str) -> dict[str, bytes]:
    return {str(path.relative_to(uri)): path.read_bytes() for path in Path(uri).rglob("*") if path.is_file()}


def run(*args: object, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "jobs/versions.py"), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


# --- list and compare


def test_every_version_is_listed(three):
    found = all_versions(three)
    assert [dataset.manifest.version for dataset in found] == [1, 2, 3]
    assert [dataset.manifest for dataset in found] == [open_dataset(f"{three}@{n}").manifest for n in (1, 2, 3)]
    assert all_versions(f"{three}@2") == found


def test_a_version_in_a_line(three):
    fields = version_line(open_dataset(f"{three}@2")).split()
    manifest = open_dataset(f"{three}@2").manifest
    assert fields[:5] == ["2", "of", "1", manifest.created, manifest.fingerprint[:16]]
    assert " ".join(fields[5:11]) == " ".join(f"{split} {manifest.splits[split]}" for split in ("train", "val", "test"))
    assert " ".join(fields[11:]) == "listed 6 = 4 + 1 + 1 0.0 MiB"
    assert version_line(open_dataset(f"{three}@1")).split()[:2] == ["1", "first"]


#: of three versions: before, after -> both, added, removed, moved, relabelled, changed
COMPARED = [
    (1, 3, Comparison(3, 2, 0, 0, 0, 0)),
    (3, 1, Comparison(3, 0, 2, 0, 0, 0)),
    (2, 3, Comparison(4, 1, 0, 0, 0, 0)),
    (2, 2, Comparison(4, 0, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("before", "after", "expected"), COMPARED)
def test_versions_beside_each_other(three, before, after, expected):
    assert compare(open_dataset(f"{three}@{before}"), open_dataset(f"{three}@{after}")) == expected


OTHERS = [  # settings of another dataset of the same files -> relabelled, moved
    ({"label": {"case": "lower"}}, 3, 0),
    ({"split": {"train": 1, "val": 0, "test": 0}}, 0, 1),
]


@pytest.mark.parametrize(("changes", "relabelled", "moved"), OTHERS, ids=["labels", "splits"])
def test_datasets_beside_each_other(make, changes, relabelled, moved):
    one, other = open_dataset(make(1)), open_dataset(make(1, "other", **changes))
    outside = 3 - one.manifest.splits["train"]
    assert compare(one, other) == Comparison(3, 0, 0, moved * outside, relabelled, 0)


def test_other_bytes_under_the_same_path(make, tmp_path, fill, noise, loop):
    one = open_dataset(make(1))
    fill(tmp_path / "images", {"A.png": noise(77), "X.png": noise(78)})
    (tmp_path / "images/B.png").unlink()
    given = (str(tmp_path / "images"), str(tmp_path / "other"), IngestSettings.model_validate(SETTINGS))
    assert compare(one, ingest(*given, loop()).dataset)._replace(moved=0) == Comparison(2, 1, 1, 0, 0, 1)


# --- verify


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = [
    ("missing", lambda path: path.unlink(), "missing"),
    ("truncated", lambda path: os.truncate(path, 10), "10 bytes, {} in the manifest"),
    ("flipped", flip, "its checksum is not the one in the manifest"),
]


@pytest.mark.parametrize(("harm", "expected"), [row[1:] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
@pytest.mark.parametrize("kind", ["shards", "files", "rejects"])
def test_damage_is_found_and_named(three, kind, harm, expected):
    dataset = open_dataset(three)
    part = getattr(dataset.manifest, kind)[0]
    assert {wrong for _, wrong in damaged(dataset)} == {None}
    harm(Path(three, part.path))
    assert {p.path: wrong for p, wrong in damaged(dataset) if wrong} == {part.path: expected.format(part.bytes)}


def test_what_a_later_version_holds_is_no_damage_of_an_older_one(three):
    new = set(open_dataset(three).manifest.shards) - set(open_dataset(f"{three}@2").manifest.shards)
    flip(Path(three, new.pop().path))
    assert not [part for part, wrong in damaged(open_dataset(f"{three}@2")) if wrong]
    assert len([part for part, wrong in damaged(open_dataset(three)) if wrong]) == 1


# --- prune


def names_of(dataset: Dataset) -> set[str]:
    manifest = dataset.manifest
    return {part.path for part in (*manifest.shards, *manifest.files, *manifest.rejects)}


@pytest.mark.parametrize("drop", [[1], [2], [1, 2], [2, 1, 2], []], ids=str)
def test_what_stays_is_whole_and_nothing_else_is_there(three, drop):
    named = {n: names_of(open_dataset(f"{three}@{n}")) for n in (1, 2, 3)}
    stay = [n for n in (1, 2, 3) if n not in drop]
    before = tree(three)
    removed = prune(three, drop)
    assert versions(locate(three)) == stay
    kept = set().union(*(named[n] for n in stay))
    parts = {path for path in tree(three) if path.endswith(".parquet") and not path.startswith("statistics/")}
    assert parts == kept
    assert set(os.listdir(Path(three, "statistics"))) == {f"v{n:06d}" for n in stay}
    gone = set(before) - set(tree(three))
    assert gone == {path for path in before if any(path == name or path.startswith(f"{name}/") for name in removed)}
    for n in stay:
        assert not [part for part, wrong in damaged(open_dataset(f"{three}@{n}")) if wrong]


def test_orphans_go(three, fill):
    fill(Path(three), {"train/part-orphan.parquet": b"x", "files/part-orphan.parquet": b"x", "report/index.html": b"x"})
    assert set(prune(three, [])) == {"train/part-orphan.parquet", "files/part-orphan.parquet"}
    assert Path(three, "report/index.html").exists()


def test_what_was_decided_is_published_before_anything_goes(three, make, tmp_path, fill, noise, loop, monkeypatch):
    fill(tmp_path / "images", {"F.png": noise(60)})
    with monkeypatch.context() as patch:
        patch.setattr(publish, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ingest(str(tmp_path / "images"), three, None, loop(), IngestOptions(append=True))
    prune(three, [1])
    assert versions(locate(three)) == [2, 3, 4]
    assert not [part for part, wrong in damaged(open_dataset(three)) if wrong]


def test_a_pruned_dataset_takes_more(three, make, tmp_path, fill, noise, loop):
    prune(three, [1, 2])
    fill(tmp_path / "images", {"F.png": noise(60)})
    after = ingest(str(tmp_path / "images"), three, None, loop(), IngestOptions(append=True)).dataset.manifest
    assert (after.version, after.parent, after.accounting.written) == (4, 3, 6)


REFUSED = [
    ([4], "no version 4; there are 1, 2, 3"),
    ([1, 0], "no version 0; there are 1, 2, 3"),
    ([3], "version 3 is the newest and stays; to remove a dataset remove its folder"),
    ([1, 2, 3], "version 3 is the newest and stays; to remove a dataset remove its folder"),
]


@pytest.mark.parametrize(("drop", "message"), REFUSED)
def test_what_cannot_be_pruned(three, drop, message):
    before = tree(three)
    with pytest.raises(DataError) as caught:
        prune(three, drop)
    assert str(caught.value) == f"{three}: {message}"
    assert tree(three) == before


def test_nothing_is_pruned_while_an_ingest_is_at_work(three):
    with locked(locate(three)), pytest.raises(DataError, match="is writing here"):
        prune(three, [1])
    assert versions(locate(three)) == [1, 2, 3]


def test_no_dataset_is_told_and_not_made(tmp_path):
    with pytest.raises(DataError, match="no such dataset folder"):
        prune(str(tmp_path / "none"), [1])
    assert os.listdir(tmp_path) == []


# --- as commands


def test_list_and_verify_as_commands(three):
    assert [line.split()[0] for line in run("list", three).stdout.splitlines()] == ["1", "2", "3"]
    flip(Path(three, open_dataset(three).manifest.shards[0].path))
    done = run("verify", three)
    assert (done.returncode, done.stdout) == (1, "")
    assert "1 of " in done.stderr
    assert open_dataset(three).manifest.shards[0].path in done.stderr


#: arguments of prune -> the versions that are left
KEPT = [(["--keep", 2], [2, 3]), (["--keep", 3], [1, 2, 3]), (["--keep", 4], [1, 2, 3]), (["--drop", 1, 2], [3])]


@pytest.mark.parametrize(("arguments", "left"), KEPT, ids=str)
def test_prune_as_a_command(three, monkeypatch, capsys, arguments, left):
    from jobs.versions import main

    monkeypatch.setattr(sys, "argv", ["versions", "prune", three, *map(str, arguments)])
    main()
    assert versions(locate(three)) == left
    assert capsys.readouterr().out.endswith(f"{3 - len(left)} versions removed\n")


@pytest.mark.parametrize("keep", ["0", "-1"])
def test_to_keep_none_is_refused(three, monkeypatch, keep):
    from jobs.versions import main

    monkeypatch.setattr(sys, "argv", ["versions", "prune", three, "--keep", keep])
    with pytest.raises((DataError, SystemExit)):
        main()
    assert versions(locate(three)) == [1, 2, 3]


def test_a_version_that_is_named_does_not_become_a_folder(three):
    prune(f"{three}@2", [1])
    assert versions(locate(three)) == [2, 3]
    assert sorted(os.listdir(Path(three).parent)) == ["images", "shards"]
