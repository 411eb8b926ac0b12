"""Lists of files to leave out: how they are read, what they meet, and what an ingest and its next versions make of them."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError
from pipelines.exclusion import Exclusion, ExclusionRecord, excluded, read_exclusion
from pipelines.facts import PLANNED
from pipelines.ingest import Ingested, ingest
from pipelines.manifest import open_dataset, versions
from pipelines.scan import file_id
from pipelines.storage import locate

SETTINGS = IngestSettings.model_validate({"image": {"width": 16, "height": 8}, "shards": {"files": 3, "rows": 2}})
RECORD = ExclusionRecord(file="bad.txt", sha256="0", entries=1)


def told(call, *args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "entries"),
    [
        (b"a.png\nb/c.png\n", {"a.png": 1, "b/c.png": 2}),
        (b"\xef\xbb\xbfa.png\r\n\r\n# b.png\r\n  c d.png \r\n", {"a.png": 1, "c d.png": 4}),
        (b"a.png\n-17\na.png", {"a.png": 1, "-17": 2}),
        ("\u00e9#1.png".encode(), {"\u00e9#1.png": 1}),
    ],
)
def test_a_list_has_an_entry_a_line(tmp_path, data, entries):
    (tmp_path / "bad.txt").write_bytes(data)
    found = read_exclusion(str(tmp_path / "bad.txt"))
    assert found.entries == entries
    assert found.record == ExclusionRecord(
        file=str(tmp_path / "bad.txt"), sha256=hashlib.sha256(data).hexdigest(), entries=len(entries)
    )


def test_a_list_on_another_filesystem():
    locate("memory://lists/bad.txt").write_bytes(b"a.png\n")
    assert read_exclusion("memory://lists/bad.txt").entries == {"a.png": 1}


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "cannot be read"), (b"# a.png\n\n", "no line names a file"), (b"a.png\n\xff.png\n", "line 2 is not UTF-8")],
)
def test_a_list_that_is_none_is_told(tmp_path, data, said):
    if data is not None:
        (tmp_path / "bad.txt").write_bytes(data)
    message = told(read_exclusion, str(tmp_path / "bad.txt"))
    assert said in message
    assert "bad.txt" in message


def planned(**reasons: str | None) -> pa.Table:
    paths = [f"{name}.png" for name in reasons]
    rows = [
        {"id": file_id(path), "path": path.encode(), "size": 1, "mtime_ns": 0, "reason": reason}
        for path, reason in zip(paths, reasons.values(), strict=True)
    ]
    return pa.Table.from_pylist(rows, PLANNED).take(np.argsort([row["id"] for row in rows]))


@pytest.mark.parametrize(
    ("entries", "reasons", "strangers"),
    [
        (["A.png"], {"A.png": "excluded", "B.png": None, "C.png": "no_row", "D.png": "no_image"}, []),
        ([str(file_id("B.png")), "C.png"], {"A.png": None, "B.png": "excluded", "C.png": "excluded", "D.png": "no_image"}, []),
        (["A.png", str(file_id("A.png"))], {"A.png": "excluded", "B.png": None, "C.png": "no_row", "D.png": "no_image"}, []),
        (
            ["D.png", "E.png", "77"],
            {"A.png": None, "B.png": None, "C.png": "no_row", "D.png": "no_image"},
            ["D.png", "E.png", "77"],
        ),
    ],
)
def test_what_a_list_meets(entries, reasons, strangers):
    found = planned(A=None, B=None, C="no_row", D="no_image")
    marked, none = excluded(found, Exclusion({entry: line for line, entry in enumerate(entries, start=5)}, RECORD))
    assert {row["path"].decode(): row["reason"] for row in marked.to_pylist()} == reasons
    assert none == strangers
    assert marked.schema == PLANNED
    details = {row["path"]: row["detail"] for row in marked.to_pylist() if row["reason"] == "excluded"}
    assert set(details.values()) <= {"line 5 of bad.txt", "line 6 of bad.txt"}


@pytest.fixture
def run(tmp_path, fill, loop, noise):
    """Ingests a.png to e.png and what is added, with a list of what is left out."""

    def run(*lines: str, files=None, output="shards", runner=None, **options) -> Ingested:
        if files is None and not (tmp_path / "images").exists():
            files = {f"{name}.png": noise(i) for i, name in enumerate("abcde")}
        fill(tmp_path / "images", files or {})
        if lines:
            (tmp_path / "bad.txt").write_text("\n".join(lines), encoding="utf-8")
            options["exclude"] = str(tmp_path / "bad.txt")
        given = (str(tmp_path / "images"), str(tmp_path / output), SETTINGS, runner or loop())
        return ingest(*given, IngestOptions(**options))

    return run


def labels(tmp_path) -> list[str]:
    dataset = open_dataset(str(tmp_path / "shards"))
    return sorted(
        label
        for shard in dataset.manifest.shards
        for label in pq.read_table(tmp_path / "shards" / shard.path)["label"].to_pylist()
    )


def test_what_is_left_out_is_counted_and_the_list_is_on_record(run, tmp_path):
    done = run("# a comment", "b.png", str(file_id("d.png")), "z.png")
    count, manifest = done.dataset.manifest.accounting, done.dataset.manifest
    assert (count.listed, count.written, count.rejected, count.duplicates) == (5, 3, 2, 0)
    assert count.reasons == {"excluded": 2}
    assert labels(tmp_path) == ["a", "c", "e"]
    assert manifest.exclusions == (read_exclusion(str(tmp_path / "bad.txt")).record,)
    rejects = pq.read_table(tmp_path / "shards/rejects").to_pylist()
    assert sorted((row["path"], row["detail"]) for row in rejects) == [
        ("b.png", f"line 2 of {tmp_path / 'bad.txt'}"),
        ("d.png", f"line 3 of {tmp_path / 'bad.txt'}"),
    ]
    assert "warning: 1 entries of the exclusion list name no file of the input, such as z.png" in done.notes


def test_a_file_that_is_left_out_is_not_decoded(run, noise, tmp_path):
    files = {"a.png": noise(1), "b.png": b"not an image", "c.png": noise(1)}  # c repeats a
    count = run("b.png", "a.png", files=files).dataset.manifest.accounting
    assert (count.written, count.reasons) == (1, {"excluded": 2})
    assert labels(tmp_path) == ["c"]


def test_what_is_left_out_is_not_what_is_bad(run):
    assert run("a.png", "b.png", "c.png", max_reject_fraction=0.0).dataset.manifest.accounting.rejected == 3


def test_the_same_list_again_is_nothing_to_do(run):
    def no_runner():
        raise AssertionError("there is no work to do")

    first = run("b.png")
    assert run("b.png", runner=no_runner).unchanged
    assert run("b.png", runner=no_runner, append=True).unchanged
    assert first.dataset.manifest.version == 1


def test_another_list_makes_another_dataset(run):
    first = run("b.png").dataset.manifest
    assert "with --exclude into a new --output" in told(run, "c.png", "b.png")
    assert run("b.png", "c.png", output="other").dataset.manifest.fingerprint != first.fingerprint


def test_what_is_left_out_stays_out_of_later_versions(run, noise, tmp_path):
    run("b.png")
    count = run(files={"f.png": noise(50)}, append=True).dataset.manifest.accounting
    assert (count.listed, count.written, count.reasons) == (6, 5, {"excluded": 1})
    assert labels(tmp_path) == ["a", "c", "d", "e", "f"]
    run(files={"b.png": noise(60), "g.png": noise(61)}, append=True)  # other bytes are no reason to take it
    assert labels(tmp_path) == ["a", "c", "d", "e", "f", "g"]


def test_new_files_can_be_left_out_when_they_are_appended(run, noise, tmp_path):
    run()
    manifest = run("g.png", files={"f.png": noise(50), "g.png": noise(51)}, append=True).dataset.manifest
    assert (manifest.accounting.listed, manifest.accounting.written, manifest.accounting.reasons) == (7, 6, {"excluded": 1})
    assert len(manifest.exclusions) == 1
    assert labels(tmp_path) == ["a", "b", "c", "d", "e", "f"]


def test_a_row_that_stands_is_not_left_out_by_appending(run, tmp_path):
    run()
    message = told(run, "b.png", "d.png", append=True)
    assert "2 files that --exclude names have rows in version 1" in message
    assert "into a new --output" in message
    assert versions(locate(str(tmp_path / "shards"))) == [1]


def test_the_job_takes_a_list(tmp_path, fill, noise):
    fill(tmp_path / "images", {f"{name}.png": noise(i) for i, name in enumerate("abc")})
    (tmp_path / "bad.txt").write_text("b.png\nx.png\n")
    command = [
        sys.executable,
        "-m",
        "jobs.ingest",
        "--runner",
        "local",
        "--workers",
        "1",
        "--exclude",
        str(tmp_path / "bad.txt"),
    ]
    places = ["--input", str(tmp_path / "images"), "--output", str(tmp_path / "shards")]
    done = subprocess.run([*command, *places], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert "3 listed = 2 written + 1 rejected + 0 duplicates" in done.stdout
    assert "rejected     1 excluded, such as b.png: line 1 of" in done.stdout
    assert "warning: 1 entries of the exclusion list name no file of the input, such as x.png" in done.stdout
