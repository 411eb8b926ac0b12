"""Appending: what is new is added, what stood keeps its row, and both together are what one ingest of all gives."""

import hashlib
import io
import os
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.facts import read_parts
from pipelines.ingest import Ingested, ingest
from pipelines.manifest import Dataset, open_dataset, versions
from pipelines.publish import read_version_statistics
from pipelines.shards import pixels
from pipelines.storage import locate
from pipelines.versions import damaged

IMAGE, SHARDS = {"width": 16, "height": 8}, {"files": 3, "rows": 2}
SETTINGS = IngestSettings.model_validate({"image": IMAGE, "shards": SHARDS})


def no_runner():
    raise AssertionError("there is no work to do")


def outcomes(dataset: Dataset, since: Dataset | None = None) -> dict[str, str | None]:
    """The reason (None: written) of every file that `since` does not tell of."""
    old = since.manifest.files if since else ()
    new = [part for part in dataset.manifest.files if part not in old]
    return dict(zip(*read_parts(dataset.location, new, ["path", "reason"]).to_pydict().values(), strict=True))


def rows(dataset: Dataset) -> dict[str, tuple]:
    """Shard, id, label and a digest of the pixels of every row, by path."""
    found = {}
    for shard in dataset.manifest.shards:
        table = pq.read_table(dataset.location.join(shard.path).path)
        images = pixels(table["image"], dataset.manifest.image_shape)
        for row, image in zip(table.select(["path", "id", "label"]).to_pylist(), images, strict=True):
            found[row["path"]] = (shard.path, row["id"], row["label"], hashlib.sha256(image.tobytes()).hexdigest())
    return found


def bmp(value: int) -> bytes:
    """A file of always the same size."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 16), value, np.uint8)).save(buffer, "BMP")
    return buffer.getvalue()


@pytest.fixture
def old(noise) -> dict[str, bytes]:
    """Six rows, and one file each that is empty, a repeat, and two in conflict."""
    good = {f"{name}.png": noise(i) for i, name in enumerate("ABCabc")}
    return good | {"bad/E.png": b"", "A.1.png": noise(0), "x/K.png": noise(90), "y/L.png": noise(90)}


OLD = {
    **dict.fromkeys([f"{name}.png" for name in "BCabc"]),
    "A.1.png": None,
    "A.png": "duplicate",  # the first path stays
    "bad/E.png": "empty_file",
    "x/K.png": "conflicting_label",
    "y/L.png": "conflicting_label",
}


@pytest.fixture
def run(tmp_path, fill, loop):
    """Adds files to a folder of tmp_path and ingests it; the options are those of IngestOptions."""

    def run(files=None, output="shards", root="images", settings=SETTINGS, runner=None, **options) -> Ingested:
        fill(tmp_path / root, files or {})
        given = (str(tmp_path / root), str(tmp_path / output), settings, runner or loop())
        return ingest(*given, IngestOptions(**options))

    return run


@pytest.fixture
def first(run, old) -> Dataset:
    dataset = run(old).dataset
    assert outcomes(dataset) == OLD
    return dataset


def new_files(noise) -> dict[str, bytes]:
    return {f"new/é{n:02d}.png": noise(100 + n) for n in range(12)} | {"new/bad.png": b"text", "new/é00.1.png": noise(100)}


def test_only_what_is_new_is_read_and_old_rows_stay(first, run, loop, noise):
    runner, before = loop(), rows(first)
    done = run(new_files(noise), runner=runner, append=True)
    assert runner.calls[0] == ("ingest", 5)
    assert outcomes(done.dataset, since=first) == {
        **{f"new/é{n:02d}.png": None for n in range(1, 12)},
        "new/é00.1.png": None,
        "new/é00.png": "duplicate",
        "new/bad.png": "not_an_image",
    }
    after, manifest = rows(done.dataset), done.dataset.manifest
    assert {path: after[path] for path in before} == before
    assert len(after) == 6 + 12
    assert (manifest.version, manifest.parent, sum(manifest.splits.values())) == (2, 1, 18)
    assert set(first.manifest.shards) < set(manifest.shards)
    assert done.notes == ("10 files of the input were known",)


def test_version_1_and_what_was_appended_are_one_ingest_of_all(first, run, noise):
    appended = run(new_files(noise), append=True).dataset
    whole = run(output="fresh").dataset
    assert appended.manifest.fingerprint == whole.manifest.fingerprint != first.manifest.fingerprint
    assert read_version_statistics(appended) == read_version_statistics(whole)
    for name in ("statistics", "splits", "alphabet", "image_shape", "input_digest", "settings"):
        assert getattr(appended.manifest, name) == getattr(whole.manifest, name)
    assert (first.manifest.alphabet, appended.manifest.alphabet) == ("ABCabc", "0123456789ABCabcé")
    ours, theirs = appended.manifest.accounting, whole.manifest.accounting
    assert (ours.listed, ours.written, ours.rejected, ours.duplicates) == (24, 18, 4, 2)
    assert ours.model_copy(update={"examples": {}}) == theirs.model_copy(update={"examples": {}})


def test_three_versions_add_up_and_stay_readable(first, run, noise, tmp_path):
    second = run({"Q.png": noise(50), "bad/F.png": b"x"}, append=True).dataset
    third = run({"R.png": noise(51), "A.2.png": noise(0)}, append=True).dataset
    assert [(d.manifest.parent, *list(d.manifest.accounting)[:4]) for d in (first, second, third)] == [
        (None, ("listed", 10), ("written", 6), ("rejected", 3), ("duplicates", 1)),
        (1, ("listed", 12), ("written", 7), ("rejected", 4), ("duplicates", 1)),
        (2, ("listed", 14), ("written", 8), ("rejected", 4), ("duplicates", 2)),
    ]
    for version, dataset in enumerate((first, second, third), 1):
        read = open_dataset(f"{tmp_path}/shards@{version}")
        assert read.manifest == dataset.manifest
        assert len(rows(read)) == dataset.manifest.accounting.written == 5 + version
        assert [part.path for part, wrong in damaged(read) if wrong] == []
        assert read_version_statistics(read)["train"].rows == dataset.manifest.splits["train"]
        rejected = [
            row for part in read.manifest.rejects for row in pq.read_table(read.location.join(part.path).path).to_pylist()
        ]
        assert {row["path"]: row["reason"] for row in rejected} == {p: r for p, r in outcomes(read).items() if r}
    assert third.manifest.accounting.reasons == {
        "conflicting_label": 2, "duplicate": 2, "empty_file": 1, "not_an_image": 1,
    }  # fmt: skip


def test_petastorm_reads_every_row_of_all_versions_once(first, run, noise):
    petastorm = pytest.importorskip("petastorm", reason="the latest stack has a pyarrow that petastorm cannot use")
    dataset = run(new_files(noise), append=True).dataset
    assert dataset.manifest.petastorm
    read = []
    for split in {shard.split for shard in dataset.manifest.shards}:
        url = f"file://{dataset.location.join(split).path}"
        with petastorm.make_reader(url, reader_pool_type="dummy", num_epochs=1) as reader:
            read += [(row.path, row.label, hashlib.sha256(row.image.tobytes()).hexdigest()) for row in reader]
    assert sorted(read) == sorted((path, label, digest) for path, (_, _, label, digest) in rows(dataset).items())


# what is put into the input folder, as names of `noise` seeds or bytes -> what became of those files
ADDED = [
    ("nothing but new", {"F.png": 60}, {"F.png": None}),
    ("other bytes for an old row", {"B.png": 60}, {"B.png": "changed"}),
    ("an old row, now damaged", {"B.png": b"text"}, {"B.png": "changed"}),
    ("an old row with the bytes of another", {"B.png": 2}, {"B.png": "changed"}),
    ("a reject that was mended", {"bad/E.png": 60}, {"bad/E.png": None}),
    ("a reject that is bad in another way", {"bad/E.png": b"text"}, {"bad/E.png": "not_an_image"}),
    ("a conflict that was mended", {"x/K.png": 60, "z/K.png": 60}, {"x/K.png": None, "z/K.png": "duplicate"}),
    ("bytes and label of an old row", {"z/B.png": 1}, {"z/B.png": "duplicate"}),
    ("the same, and a path before it", {"0/B.png": 1, "B.0.png": 1}, {"0/B.png": "duplicate", "B.0.png": "duplicate"}),
    ("bytes of an old row, another label", {"Q.png": 1}, {"Q.png": "conflicting_label"}),
    ("bytes of an old conflict, one of its labels", {"z/K.png": 90}, {"z/K.png": "conflicting_label"}),
    ("bytes of an old conflict, a third label", {"M.png": 90, "K.2.png": 90}, dict.fromkeys(["M.png", "K.2.png"], "conflicting_label")),
    ("a repeat among new ones", {"F.png": 60, "F.1.png": 60}, {"F.1.png": None, "F.png": "duplicate"}),
    ("a conflict among new ones", {"F.png": 60, "G.png": 60}, dict.fromkeys(["F.png", "G.png"], "conflicting_label")),
]  # fmt: skip


@pytest.mark.parametrize(("added", "became"), [row[1:] for row in ADDED], ids=[row[0] for row in ADDED])
def test_what_becomes_of_what_is_added(first, run, noise, added, became):
    before = rows(first)
    files = {path: data if isinstance(data, bytes) else noise(data) for path, data in added.items()}
    after = run(files, append=True).dataset
    assert outcomes(after, since=first) == became
    assert rows(after).items() >= before.items()
    assert rows(after).keys() - before.keys() == {path for path, reason in became.items() if not reason}
    count, was = after.manifest.accounting, first.manifest.accounting
    assert count.listed == was.listed + len(became) == count.written + count.rejected + count.duplicates
    assert run(append=True, runner=no_runner).unchanged


# --- nothing to do


def test_the_second_time_nothing_is_done(first, run, noise, tmp_path):
    run({"F.png": noise(60), "B.png": noise(61)}, append=True)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")}
    for options in ({"append": True}, {"append": True, "settings": None}, {}):
        again = run(runner=no_runner, **options)
        assert (again.unchanged, again.dataset.manifest.version) == (True, 2)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")} == stamps


@pytest.mark.parametrize("path", ["B.png", "A.png", "bad/E.png", "x/K.png"], ids=["row", "duplicate", "empty", "conflict"])
def test_a_touched_file_is_no_new_outcome(first, run, tmp_path, path):
    os.utime(tmp_path / "images" / path, (1, 1))
    done = run(append=True)
    assert (done.unchanged, versions(first.location)) == (True, [1])
    assert not (tmp_path / "shards/_staging").exists()


def test_a_touched_row_is_told(first, run, loop, tmp_path):
    os.utime(tmp_path / "images/B.png", (1, 1))
    runner = loop()
    assert "1 files were looked at again and are as they were" in run(runner=runner, append=True).notes
    assert runner.calls == [("ingest", 1)]


def test_files_that_are_gone_are_told_and_their_rows_stay(first, run, noise, tmp_path):
    for path in ("B.png", "bad/E.png"):
        (tmp_path / "images" / path).unlink()
    told = "2 files of older versions are not in the input any more; their rows stay"
    assert run(append=True, runner=no_runner).notes == (told,)
    after = run({"F.png": noise(60)}, append=True)
    assert told in after.notes
    assert rows(after.dataset).items() >= rows(first).items()


def test_another_input_folder_is_added(first, run, noise):
    after = run({"m/F.png": noise(60), "A.png": noise(61)}, root="more", append=True)
    assert outcomes(after.dataset, since=first) == {"m/F.png": None, "A.png": None}  # A.png was a duplicate, and no row
    assert "9 files of older versions are not in the input any more; their rows stay" in after.notes
    assert len(rows(after.dataset)) == 8


# --- verify


def test_verify_finds_other_bytes_of_the_same_size_and_time(run, loop, tmp_path):
    first = run({"A.png": bmp(1), "B.png": bmp(2), "C.png": b""}).dataset
    stamp = (tmp_path / "images/A.png").stat().st_mtime_ns
    (tmp_path / "images/A.png").write_bytes(bmp(3))
    os.utime(tmp_path / "images/A.png", ns=(stamp, stamp))
    assert run(append=True, runner=no_runner).unchanged
    runner = loop()
    second = run(append=True, verify=True, runner=runner)
    assert runner.calls == [("ingest", 1)]
    assert outcomes(second.dataset, since=first) == {"A.png": "changed"}
    assert rows(second.dataset) == rows(first)
    assert run(append=True, verify=True).unchanged  # told once


def test_verify_finds_nothing(first, run):
    done = run(append=True, verify=True)
    assert done.unchanged
    assert "6 files were looked at again and are as they were" in done.notes


# --- settings


def test_without_settings_those_of_the_version_are_taken(first, run, noise):
    after = run({"F.png": noise(60)}, settings=None, append=True).dataset.manifest
    assert IngestSettings.model_validate(after.settings) == SETTINGS
    assert after.image_shape == (8, 16, 1)


@pytest.mark.parametrize("changes", [{"image": IMAGE | {"width": 24}}, {"label": {"case": "lower"}}, {"split": {"salt": "x"}}])
def test_other_settings_are_refused(first, run, noise, changes):
    other = IngestSettings.model_validate({"image": IMAGE, "shards": SHARDS} | changes)
    with pytest.raises(DataError, match=r"version 1 was made with other settings; .* need a new --output$") as caught:
        run({"F.png": noise(60)}, settings=other, append=True, runner=no_runner)
    assert "\n" not in str(caught.value)
    assert versions(locate(first.location.uri)) == [1]


# --- files that an older version could not read, or that a table did not name


def test_a_file_that_vanished_is_added_when_it_is_back(run, loop, noise, tmp_path):
    class Vanishing(loop):
        def map(self, *args):
            lost.rename(tmp_path / "lost.png")
            return super().map(*args)

    lost = tmp_path / "images/B.png"
    first = run({"A.png": noise(1), "B.png": noise(2)}, runner=Vanishing()).dataset
    assert outcomes(first) == {"A.png": None, "B.png": "vanished"}
    (tmp_path / "lost.png").rename(lost)  # with the size and the time that it had
    assert outcomes(run(append=True).dataset, since=first) == {"B.png": None}


TABLED = IngestSettings.model_validate(
    {"image": IMAGE, "shards": SHARDS, "label": {"table": {"file": "t.csv", "image": "i", "label": "l", "extension": ".png"}, "case": "lower"}}
)  # fmt: skip


def test_a_label_that_the_table_changed_is_told_and_the_row_stays(run, noise):
    images = {f"{n}.png": noise(n) for n in range(4)}
    first = run({**images, "t.csv": b"i,l\n0,aa\n1,bb\n2,cc\n"}, settings=TABLED).dataset
    assert outcomes(first) == {"0.png": None, "1.png": None, "2.png": None, "3.png": "no_row"}
    table = b"i,l\n0,aa\n1,BB\n2,changed\n4,new\n"  # BB is bb in lower case
    after = run({"t.csv": table, "4.png": noise(4)}, settings=None, append=True)
    assert outcomes(after.dataset, since=first) == {"4.png": None}
    assert {path: row[2] for path, row in rows(after.dataset).items()} == {
        "0.png": "aa",
        "1.png": "bb",
        "2.png": "cc",
        "4.png": "new",
    }
    assert "1 files have another label or split in the table now; their rows keep what they have" in after.notes


def test_an_image_is_added_when_the_table_names_it(run, noise):
    images = {f"{n}.png": noise(n) for n in range(3)}
    first = run({**images, "t.csv": b"i,l\n0,aa\n1,\n9,zz\n"}, settings=TABLED).dataset
    assert outcomes(first) == {"0.png": None, "1.png": "no_label", "2.png": "no_row", "9.png": "no_image"}
    after = run({"t.csv": b"i,l\n0,aa\n1,bb\n2,cc\n9,zz\n", "9.png": noise(9)}, settings=None, append=True).dataset
    assert outcomes(after, since=first) == {"1.png": None, "2.png": None, "9.png": None}


def test_an_image_is_added_when_the_table_has_a_label_that_can_be_used(run, noise):
    short = TABLED.model_copy(update={"label": TABLED.label.model_copy(update={"alphabet": "abc", "max_length": 2})})
    first = run({**{f"{n}.png": noise(n) for n in range(3)}, "t.csv": b"i,l\n0,aa\n1,b?\n2,ccc\n"}, settings=short).dataset
    assert outcomes(first) == {"0.png": None, "1.png": "foreign_character", "2.png": "too_long"}
    after = run({"t.csv": b"i,l\n0,aa\n1,bb\n2,cc\n"}, settings=None, append=True).dataset
    assert outcomes(after, since=first) == {"1.png": None, "2.png": None}


def test_a_file_that_can_never_be_read_is_counted_once(run, tmp_path, noise):
    run({f"{n}.png": noise(n) for n in range(4)})
    (tmp_path / "images/link.png").symlink_to("nowhere")
    counts = []
    for n in range(10, 13):
        counts.append(run({f"{n}.png": noise(n)}, append=True).dataset.manifest.accounting)
    assert [(count.listed, count.written, count.reasons) for count in counts] == [
        (6 + n, 5 + n, {"unreadable": 1}) for n in range(3)
    ]
    assert run(append=True).unchanged


def test_a_damaged_file_of_an_older_version_is_named(run, noise):
    first = run({"A.png": noise(1)}).dataset
    part = first.location.join(first.manifest.files[0].path)
    part.write_bytes(b"x" + part.read_bytes()[1:-4] + b"xxxx")
    with pytest.raises(DataError, match=re.escape(part.path)) as caught:
        run({"B.png": noise(2)}, append=True)
    assert "\n" not in str(caught.value)
