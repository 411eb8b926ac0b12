"""The ingest with a runner that is a plain loop: accounting, repeats, fingerprints, and every refusal."""

import hashlib
import os
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import fingerprint, group_count, ingest
from pipelines.manifest import open_dataset, versions
from pipelines.shards import pixels
from pipelines.storage import locate

SMALL = {"image": {"width": 16, "height": 8}, "shards": {"files": 7, "rows": 4}}


def settings(**changes: dict) -> IngestSettings:
    return IngestSettings.model_validate({key: SMALL.get(key, {}) | changes.get(key, {}) for key in {*SMALL, *changes}})


@pytest.fixture
def files(noise) -> dict[str, bytes]:
    """40 good files, and one of each kind that is not written."""
    good = {f"{n // 10}/{n:04d}.png": noise(n) for n in range(40)}
    return good | {
        "bad/0101.png": b"",
        "bad/0102.png": b"some text",
        "bad/0103.png": noise(103)[:200],
        "bad/12é4.png": noise(104),
        "copy/0005.1.png": noise(5),  # the same bytes and the same label as 0/0005.png
        "copy/0005.2.png": noise(5),
        "conflict/0201.png": noise(200),
        "conflict/0202.png": noise(200),
    }


ALPHABET = {"label": {"alphabet": "0123456789"}}
REASONS = {"empty_file": 1, "not_an_image": 1, "truncated": 1, "foreign_character": 1, "conflicting_label": 2, "duplicate": 2}


@pytest.fixture
def run(tmp_path, files, fill, loop):
    """Ingests the files (or others) into a folder of tmp_path, and gives the dataset."""

    def run(output: str = "shards", runner=None, given=None, root: str = "images", **changes: dict):
        source = tmp_path / root
        if not source.exists():
            fill(source, files if given is None else given)
        return ingest(str(source), str(tmp_path / output), settings(**changes), runner or loop())

    return run


def read_all(dataset) -> pa.Table:
    tables = [pq.read_table(dataset.location.join(shard.path).path) for shard in dataset.manifest.shards]
    return pa.concat_tables(tables).sort_by("id")


def told(call, *args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_listed_file_is_written_rejected_or_a_duplicate(run):
    manifest = run(**ALPHABET).dataset.manifest
    count = manifest.accounting
    assert (count.listed, count.written, count.rejected, count.duplicates) == (48, 40, 6, 2)
    assert count.reasons == REASONS
    assert sum(manifest.splits.values()) == sum(shard.rows for shard in manifest.shards) == 40


def test_the_rejects_table_names_every_file_that_was_not_written(run, tmp_path):
    dataset = run(**ALPHABET).dataset
    rejects = {row["path"]: row for row in pq.read_table(tmp_path / "shards/rejects").to_pylist()}
    assert {path: row["reason"] for path, row in rejects.items()} == {
        "bad/0101.png": "empty_file",
        "bad/0102.png": "not_an_image",
        "bad/0103.png": "truncated",
        "bad/12é4.png": "foreign_character",
        "conflict/0201.png": "conflicting_label",
        "conflict/0202.png": "conflicting_label",
        "copy/0005.1.png": "duplicate",
        "copy/0005.2.png": "duplicate",
    }
    assert rejects["copy/0005.1.png"]["detail"] == "the same bytes as 0/0005.png"
    assert "0201 and 0202" in rejects["conflict/0201.png"]["detail"]
    assert dataset.manifest.accounting.examples["truncated"].startswith("bad/0103.png: ")


def test_the_rows_are_the_files(run, files):
    dataset = run(**ALPHABET).dataset
    table = read_all(dataset)
    good = {path: data for path, data in files.items() if path[1] == "/"}
    assert {row["path"]: (row["label"], row["sha256"]) for row in table.select(["path", "label", "sha256"]).to_pylist()} == {
        path: (path[2:6], hashlib.sha256(data).hexdigest()) for path, data in good.items()
    }
    images = pixels(table["image"], (8, 16, 1))
    for path, image in zip(table["path"].to_pylist(), images, strict=True):
        spec = settings().image
        np.testing.assert_array_equal(image, spec.apply_bytes(good[path], settings().checks))


def test_shards_are_as_the_manifest_says(run):
    dataset = run(**ALPHABET).dataset
    for shard in dataset.manifest.shards:
        data = dataset.location.join(shard.path).read_bytes()
        parquet = pq.ParquetFile(pa.BufferReader(data))
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert shard.row_groups == tuple(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups))
        assert shard.path.startswith(f"{shard.split}/part-")


def test_nothing_is_left_beside_the_dataset(run, tmp_path):
    dataset = run(**ALPHABET).dataset
    assert sorted(os.listdir(tmp_path / "shards")) == [
        "files",
        "manifests",
        "rejects",
        "statistics",
        "test",
        "train",
        "val",
    ]
    on_disk = {f"{split}/{name}" for split in ("train", "val", "test") for name in os.listdir(tmp_path / "shards" / split)}
    assert on_disk - {f"{split}/_common_metadata" for split in ("train", "val", "test")} == {
        s.path for s in dataset.manifest.shards
    }


def test_splits_and_statistics_belong_to_the_written_rows_only(run):
    manifest = run(**ALPHABET).dataset.manifest
    for split in ("train", "val", "test"):
        assert manifest.statistics[split]["rows"] == manifest.splits[split]
    assert manifest.statistics["all"]["rows"] == 40
    assert manifest.statistics["all"]["lengths"] == {"4": 40}
    assert manifest.statistics["all"]["characters"]["0"] == 40 * 2 + 10 + 4  # two in front, ten tens, four units
    assert manifest.alphabet == "0123456789"
    assert manifest.image_shape == (8, 16, 1)


def test_without_an_alphabet_it_is_that_of_the_written_rows(run, noise):
    given = {"zé.png": noise(1), "𝔸a.png": noise(2), "Q1.png": noise(3), "Q2.png": noise(3)}
    assert run(given=given).dataset.manifest.alphabet == "azé𝔸"


@pytest.fixture
def reference(run) -> str:
    return run("reference", **ALPHABET).dataset.manifest.fingerprint


def test_the_fingerprint_does_not_depend_on_groups_or_the_order_of_tasks(run, loop, reference):
    for number, (files, rows, backwards) in enumerate([(1, 1, False), (3, 100, True), (5000, 2, False), (7, 4, True)]):
        changes = {"shards": {"files": files, "rows": rows}}
        dataset = run(f"other{number}", runner=loop(backwards), **ALPHABET, **changes).dataset
        assert dataset.manifest.fingerprint == reference
        assert sum(dataset.manifest.splits.values()) == 40


def test_the_fingerprint_does_not_depend_on_the_folder_or_the_order_of_its_files(run, files, fill, tmp_path, reference):
    shuffled = list(files.items())
    random.Random(1).shuffle(shuffled)
    fill(tmp_path / "moved", dict(shuffled))
    assert run("other", root="moved", **ALPHABET).dataset.manifest.fingerprint == reference


@pytest.mark.parametrize(
    "changes",
    [{"image": {"width": 24}}, {"image": {"mode": "rgb"}}, {"label": {"alphabet": "012345678"}}],
    ids=["width", "mode", "label"],
)
def test_the_fingerprint_depends_on_pixels_and_rows(run, reference, changes):
    assert run("other", **(ALPHABET | changes)).dataset.manifest.fingerprint != reference


def test_a_bad_file_more_does_not_change_the_fingerprint(run, files, reference):
    dataset = run("other", root="more", given=files | {"bad/0300.png": b""}, **ALPHABET).dataset
    assert dataset.manifest.fingerprint == reference


def test_the_fingerprint_is_this_hash():
    written = pa.table({"id": [7, -5], "sha256": ["bb", "aa"], "label": ["é", "A"]})
    text = '{"background": 255, "fit": "stretch", "height": 64, "mode": "gray", "width": 160}\n-5\taa\tA\n7\tbb\té'
    assert (
        fingerprint(IngestSettings(), written) == hashlib.sha256(text.encode()).hexdigest()[:32]
    )  # MLflow takes digests up to 36


def test_the_same_files_give_the_same_shards(run):
    first, again = (run(output, **ALPHABET).dataset.manifest for output in ("one", "two"))
    assert first.shards == again.shards


def test_appended_files_never_move_an_old_row(run, files, noise):
    grown = files | {f"new/{n:04d}.png": noise(n) for n in range(1000, 1040)}
    before, after = run("before", **ALPHABET).dataset, run("after", root="grown", given=grown, **ALPHABET).dataset

    def split_of(dataset) -> dict[int, str]:
        tables = [(shard.split, pq.read_table(dataset.location.join(shard.path).path)) for shard in dataset.manifest.shards]
        return {row: split for split, table in tables for row in table["id"].to_pylist()}

    assert split_of(before).items() <= split_of(after).items()


@pytest.mark.parametrize(
    ("files", "size", "groups"),
    [(0, 5000, 1), (1, 5000, 1), (500, 5000, 1), (501, 5000, 2), (4000, 5000, 8), (40_001, 5000, 9), (10, 1, 10), (100, 7, 15)],
)
def test_the_number_of_tasks_is_a_function_of_the_data_alone(files, size, groups):
    assert group_count(files, size) == groups


# --- what a run finds in its output folder


def no_runner():
    raise AssertionError("there is no work to do")


def test_a_second_run_changes_nothing_and_starts_nothing(run, tmp_path):
    first = run(**ALPHABET)
    assert not first.unchanged
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")}
    second = run(runner=no_runner, **ALPHABET)
    assert second.unchanged
    assert second.dataset.manifest == first.dataset.manifest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*")} == stamps


def test_other_settings_on_the_same_output_are_refused(run, tmp_path):
    run(**ALPHABET)
    message = told(run, runner=no_runner, label={"alphabet": "0123456789"}, image={"width": 32})
    assert message.startswith(f"{tmp_path}/shards: holds version 1 of the same images with other settings")
    assert "choose a new --output" in message
    assert versions(locate(tmp_path / "shards")) == [1]


def test_other_images_on_the_same_output_are_refused(run, tmp_path, noise):
    run(**ALPHABET)
    (tmp_path / "images/0099.png").write_bytes(noise(99))
    assert "holds version 1 of other images" in told(run, runner=no_runner, **ALPHABET)


@pytest.mark.parametrize("names", [["notes.txt"], ["train/mine.txt"], ["manifests/v1.json"]])
def test_an_output_that_holds_something_else_is_refused_and_left_alone(run, tmp_path, fill, names):
    fill(tmp_path / "shards", dict.fromkeys(names, b"precious"))
    message = told(run, runner=no_runner)
    assert message.startswith(f"{tmp_path}/shards: holds ")
    assert "--output names a new or empty folder" in message
    assert [(tmp_path / "shards" / name).read_bytes() for name in names] == [b"precious"]


def test_hidden_files_in_the_output_stay(run, tmp_path, fill):
    fill(tmp_path / "shards", {".DS_Store": b"of a desktop"})
    run(**ALPHABET)
    assert run(runner=no_runner, **ALPHABET).unchanged
    assert (tmp_path / "shards/.DS_Store").read_bytes() == b"of a desktop"


def test_an_output_whose_name_ends_like_a_version_is_refused(run):
    assert "choose another name for --output" in told(run, "shards@2", runner=no_runner)


def test_an_output_that_is_a_file_is_refused(run, tmp_path):
    (tmp_path / "shards").write_bytes(b"precious")
    assert told(run, runner=no_runner).startswith(f"{tmp_path}/shards: a file")


INSIDE = ["images", "images/", "images/shards", "images/../images/shards", "other/../images/shards", "file://{}/images/shards"]
OUTSIDE = ["images-shards", "shards", "images/../shards", "file://{}/images-shards"]


@pytest.mark.parametrize("output", INSIDE)
def test_an_output_inside_the_input_is_refused(tmp_path, fill, noise, output):
    fill(tmp_path / "images", {"AB.png": noise(1)})
    output = output.format(tmp_path) if "://" in output else f"{tmp_path}/{output}"
    assert "lies inside --input" in told(ingest, str(tmp_path / "images"), output, settings(), no_runner)
    assert os.listdir(tmp_path / "images") == ["AB.png"]


@pytest.mark.parametrize("output", OUTSIDE)
def test_an_output_beside_the_input_is_taken(tmp_path, fill, noise, loop, output):
    fill(tmp_path / "images", {"AB.png": noise(1)})
    output = output.format(tmp_path) if "://" in output else f"{tmp_path}/{output}"
    assert ingest(str(tmp_path / "images"), output, settings(), loop()).dataset.manifest.accounting.written == 1


def test_from_within_the_input_folder(tmp_path, fill, noise, loop, monkeypatch):
    fill(tmp_path / "images", {"AB.png": noise(1)})
    monkeypatch.chdir(tmp_path / "images")
    assert ingest(".", "../shards", settings(), loop()).dataset.manifest.accounting.written == 1


def test_what_an_interrupted_run_left_is_cleaned(run, tmp_path, fill):
    fill(tmp_path / "shards", {"_staging/facts-old.parquet": b"x", "train/part-old.parquet": b"x", "rejects/old.parquet": b"x"})
    assert run(**ALPHABET).dataset.manifest.accounting.written == 40
    assert not [path for path in (tmp_path / "shards").rglob("*") if "old" in path.name or path.name == "_staging"]


def test_staging_left_after_publishing_is_cleaned(run, tmp_path, fill):
    run(**ALPHABET)
    fill(tmp_path / "shards", {"_staging/facts-old.parquet": b"x"})
    assert run(runner=no_runner, **ALPHABET).unchanged
    assert not (tmp_path / "shards/_staging").exists()


def test_a_run_that_fails_publishes_nothing_and_the_next_one_works(run, tmp_path, loop):
    class Failing(loop):
        def repeated(self, facts):
            raise DataError("a task failed")

    assert told(run, runner=Failing(), **ALPHABET) == "a task failed"
    assert "no manifest" in told(open_dataset, str(tmp_path / "shards"))
    assert run(**ALPHABET).dataset.manifest.accounting.written == 40


# --- inputs that make no dataset


def test_an_input_that_is_missing_or_empty_leaves_no_output(tmp_path, loop):
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        assert name in told(ingest, str(tmp_path / name), str(tmp_path / "shards"), settings(), no_runner)
    assert not (tmp_path / "shards").exists()


NO_IMAGE = {"a.txt": b"text", "b.txt": b"text", "c.png": b""}


def test_a_folder_without_an_image_says_why_and_publishes_nothing(run, tmp_path):
    message = told(run, given=NO_IMAGE)
    assert message.startswith(f"{tmp_path}/images: none of its 3 files can be used: 2 not_an_image, such as ")
    assert not any(path.is_file() for path in (tmp_path / "shards").rglob("*"))
    assert "no manifest" in told(open_dataset, str(tmp_path / "shards"))


def test_a_pattern_that_matches_nothing_says_so(run):
    message = told(run, label={"pattern": "_(?P<label>[A-Z]+)_"})
    assert "none of its 48 files can be used" in message
    assert "no_label" in message
    assert "label.pattern _(?P<label>[A-Z]+)_ does not match" in message


def test_two_labels_for_the_only_bytes_leave_nothing(run, noise):
    message = told(run, given={"A.png": noise(1), "B.png": noise(1)})
    assert "2 conflicting_label" in message
    assert "labelled A and B" in message


def test_one_file_is_a_dataset(run, noise):
    manifest = run(given={"AB.png": noise(1)}).dataset.manifest
    assert (manifest.accounting.listed, manifest.accounting.written) == (1, 1)


def test_names_that_are_not_utf8_are_rejected_by_name(run, tmp_path, noise):
    os.mkdir(tmp_path / "images")
    for name in (b"AB.png", b"A\xff.png"):
        with open(os.fsencode(tmp_path / "images") + b"/" + name, "wb") as file:
            file.write(noise(len(name)))
    dataset = run().dataset
    assert (dataset.manifest.accounting.written, dataset.manifest.accounting.reasons) == (1, {"no_label": 1})
    assert dataset.manifest.accounting.examples["no_label"].startswith("A\\udcff.png: ")


def test_only_groups_with_repeats_are_written_again(run, loop, noise):
    runner = loop()
    run(runner=runner, given={f"{n:04d}.png": noise(n) for n in range(20)} | {"0003.1.png": noise(3)})
    assert runner.calls == [("ingest", 3), ("drop repeats", 1)]


def test_where_nothing_repeats_nothing_is_written_again(run, loop, noise):
    runner = loop()
    run(runner=runner, given={f"{n:04d}.png": noise(n) for n in range(20)})
    assert runner.calls == [("ingest", 3)]
