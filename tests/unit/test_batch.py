"""A folder read by a recogniser that only counts bytes: every file a row, whoever runs it, killed or not, and what is refused."""

import json
import os
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipelines import batch
from pipelines.batch import BatchModel, BatchSettings, Crew, predict_folder, summary_line
from pipelines.errors import DataError
from pipelines.lock import locked
from pipelines.pool import PoolRunner
from pipelines.predictions import Row
from pipelines.storage import locate

MODEL = BatchModel(uri="models:/m/3", fingerprint="f" * 32, dataset="d", alphabet="01", max_bytes=20)
FILES = {f"{n % 3}/{n:02d}.png": b"x" * (n % 7 + 1) for n in range(30)} | {"bad/a.png": b"", "bad/b.png": b"x" * 21}
PARTS = [f"part-0000{n}.parquet" for n in range(7)]  # of up to 5 files


class Killed(BaseException):
    """What no handler catches."""


def counting(images):
    for path, data in images:
        size = len(data)
        yield Row(path, str(size), 1 / size, (1 / size,)) if data else Row(path, error="empty_file: no bytes")


def reader():
    return counting


@pytest.fixture
def images(tmp_path, fill) -> Path:
    return fill(tmp_path / "images", FILES)


@pytest.fixture
def read(images, tmp_path, loop):
    """Reads the images to a folder of `tmp_path`; what is given replaces a default."""

    def read(output="read", runner=None, open_reader=reader, model=MODEL, limit=None, root=images, **settings):
        crew = (lambda: Crew(runner or loop(), open_reader)) if runner is not no_crew else no_crew
        made = BatchSettings.model_validate({"files": 5} | settings)
        return predict_folder(str(root), str(tmp_path / output), model, made, crew, limit=limit)

    return read


def no_crew():
    raise AssertionError("there is no work to do")


def told(call, *args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


def test_every_file_is_a_row(read, tmp_path):
    done = read()
    table = pd.read_parquet(tmp_path / "read")
    assert list(table.columns) == ["path", "text", "confidence", "characters", "error"]
    assert sorted(table["path"]) == sorted(FILES)
    rows = table.set_index("path")
    assert rows.loc["1/04.png", "text"] == "5"
    assert rows.loc["1/04.png", "characters"] == pytest.approx([0.2])
    assert pd.isna(rows.loc["1/04.png", "error"])
    assert rows.loc["bad/a.png", "error"] == "empty_file: no bytes"
    assert rows.loc["bad/b.png", "error"].startswith("too_large: 21 bytes")
    assert pd.isna(rows.loc["bad/b.png", "text"])
    assert sorted(os.listdir(tmp_path / "read")) == ["_summary.json", *PARTS]
    held = json.loads((tmp_path / "read/_summary.json").read_text())
    counts = {name: held[name] for name in ("files", "read", "failed", "parts", "continued", "limit")}
    assert counts == {"files": 32, "read": 30, "failed": 2, "parts": 7, "continued": 0, "limit": None}
    assert held["reasons"] == {"empty_file": 1, "too_large": 1}
    assert (held["model"]["uri"], held["model"]["fingerprint"]) == ("models:/m/3", "f" * 32)
    assert held["images_per_s"] > 0
    assert not done.unchanged
    lines = summary_line(done.summary).splitlines()
    assert lines[0].startswith("32 images in 7 parts: 30 read, 2 not; ")
    assert lines[1:] == ["not read: 1 empty_file, 1 too_large; see the column error"]


def test_a_name_that_is_not_utf8_is_a_row(read, tmp_path, images):
    with open(os.fsencode(images) + b"/caf\xe9.png", "wb") as file:
        file.write(b"xx")
    read()
    rows = pd.read_parquet(tmp_path / "read").set_index("path")
    assert rows.loc["caf\\udce9.png", "text"] == "2"


def test_whoever_runs_it_the_files_are_the_same(read, loop, tmp_path):
    read("forwards")
    read("backwards", runner=loop(backwards=True))
    read("pool", runner=PoolRunner(2))
    assert list(contents(tmp_path / "forwards")) != []
    assert contents(tmp_path / "forwards") == contents(tmp_path / "backwards") == contents(tmp_path / "pool")


@pytest.mark.parametrize(("limit", "rows"), [(1, 1), (5, 5), (6, 6), (31, 31), (32, 32), (100, 32)])
def test_a_limit_takes_so_many(read, tmp_path, limit, rows):
    done = read(limit=limit).summary
    assert (done.files, done.limit, done.parts) == (rows, limit, -(-rows // 5))
    assert len(pd.read_parquet(tmp_path / "read")) == rows


def test_a_smaller_limit_takes_some_of_the_same(read, tmp_path):
    read("few", limit=7)
    read("more", limit=20)
    few, more = (set(pd.read_parquet(tmp_path / name)["path"]) for name in ("few", "more"))
    assert few < more < set(FILES)


@pytest.fixture
def killed_after(loop):
    """A runner that is killed when so many parts stand."""

    class Dying(loop):
        def __init__(self, parts: int) -> None:
            super().__init__()
            self.parts = parts

        def map(self, work, tasks, what, files):
            super().map(work, tasks[: self.parts], what, files)
            raise Killed

    return Dying


@pytest.mark.parametrize("parts", [0, 1, 3, 7])
def test_killed_and_started_again_it_does_only_what_is_missing(read, tmp_path, loop, killed_after, capsys, parts):
    read("undisturbed")
    with pytest.raises(Killed):
        read(runner=killed_after(parts))
    (tmp_path / "read/.part-00006.parquet.deadbeef").write_bytes(b"half a pa")
    assert not (tmp_path / "read/_summary.json").exists()
    before = {path: path.stat().st_ino for path in (tmp_path / "read").glob("part-*")}
    assert len(before) == parts
    runner = loop()
    done = read(runner=runner if parts < 7 else no_crew)
    assert f"continuing an interrupted batch: {parts} of 7 parts were finished" in capsys.readouterr().err
    assert runner.calls == ([("read", 7 - parts)] if parts < 7 else [])
    assert {path: path.stat().st_ino for path in before} == before
    assert contents(tmp_path / "read") == contents(tmp_path / "undisturbed")
    assert done.summary.files == 32
    assert done.summary.continued == sum(len(pq.read_table(path)) for path in before)
    assert sorted(os.listdir(tmp_path / "read")) == ["_summary.json", *PARTS]


def test_a_killed_run_goes_on_with_less_memory(read, tmp_path, killed_after, loop):
    with pytest.raises(Killed):
        read(runner=killed_after(3), batch=64, threads=4)
    runner = loop()
    assert read(runner=runner, batch=8, threads=1).summary.settings.batch == 8
    assert runner.calls == [("read", 4)]
    assert read(runner=no_crew).unchanged


def test_a_damaged_part_is_made_again(read, tmp_path, killed_after, loop):
    with pytest.raises(Killed):
        read(runner=killed_after(3))
    (tmp_path / "read" / PARTS[1]).write_bytes(b"PAR1 and nothing")
    runner = loop()
    read(runner=runner)
    assert runner.calls == [("read", 5)]
    assert len(pd.read_parquet(tmp_path / "read")) == 32


def test_a_second_run_changes_nothing_and_starts_nothing(read, tmp_path):
    first = read()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "read").iterdir()}
    second = read(runner=no_crew)
    assert second.unchanged
    assert second.summary == first.summary
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "read").iterdir()} == stamps


def test_the_same_model_under_another_name_is_the_same(read):
    read()
    assert read(runner=no_crew, model=MODEL.model_copy(update={"uri": "model_out"})).unchanged


OTHER = {
    "model": (
        {"model": MODEL.model_copy(update={"uri": "models:/m/4", "fingerprint": "0"})},
        "holds what another model read (models:/m/3, not models:/m/4)",
    ),
    "settings": ({"files": 6}, "was made with other settings (files=5, not 6)"),
    "image": ({"image": {"crop": "none"}}, "was made with other settings (image.crop=unset, not none)"),
    "limit": ({"limit": 9}, "was made with --limit none, not 9"),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("change", "message"), OTHER.values(), ids=list(OTHER))
def test_another_run_on_the_same_output_is_refused(read, tmp_path, killed_after, whole, change, message):
    if whole:
        read()
    else:
        with pytest.raises(Killed):
            read(runner=killed_after(2))
    before = contents(tmp_path / "read")
    assert told(read, runner=no_crew, **change) == f"{tmp_path}/read: {message}; choose a new --output"
    assert contents(tmp_path / "read") == before


def test_other_images_on_the_same_output_are_refused(read, images):
    read()
    (images / "new.png").write_bytes(b"x")
    assert f"is of other images (32 files of {images} as they were then); choose a new --output" in told(read, runner=no_crew)


@pytest.mark.parametrize("name", ["notes.txt", "part-1.parquet", "train/part-00000.parquet", "part-00000.parquet"])
def test_an_output_that_holds_something_else_is_refused_and_left_alone(read, tmp_path, fill, name):
    fill(tmp_path / "read", {name: b"precious"})
    message = told(read, runner=no_crew)
    assert message.startswith(f"{tmp_path}/read: holds ")
    assert message.endswith("--output names a new or empty folder")
    assert [path.name for path in (tmp_path / "read").iterdir()] == [name.partition("/")[0]]
    assert (tmp_path / "read" / name).read_bytes() == b"precious"


def test_a_summary_that_cannot_be_read_is_told(read, tmp_path, fill):
    fill(tmp_path / "read", {"_summary.json": b"{}"})
    assert told(read, runner=no_crew) == f"{tmp_path}/read/_summary.json: cannot be read; choose a new --output"


BAD_INPUT = {"missing": "no such folder", "empty": "the folder holds no file", "images/bad/a.png": "a file, not a folder"}


@pytest.mark.parametrize(("root", "message"), BAD_INPUT.items())
def test_an_input_without_images_is_refused_and_makes_nothing(read, tmp_path, root, message):
    (tmp_path / "empty").mkdir()
    assert message in told(read, runner=no_crew, root=tmp_path / root)
    assert not (tmp_path / "read").exists()


@pytest.mark.parametrize(("output", "message"), [("images/read", "lies inside --input"), ("images/bad/a.png", "lies inside")])
def test_an_output_inside_the_input_is_refused(read, output, message):
    assert message in told(read, output, runner=no_crew)


def test_an_output_that_is_a_file_is_refused(read, tmp_path):
    (tmp_path / "read").write_bytes(b"precious")
    assert told(read, runner=no_crew).startswith(f"{tmp_path}/read: a file")


def test_the_second_of_two_writers_is_refused(read, tmp_path):
    with locked(locate(tmp_path / "read"), "batch"):
        message = told(read, runner=no_crew)
    assert message == f"{tmp_path}/read: another batch is writing here (pid {os.getpid()}); wait for it to end"


def test_an_input_that_went_away_is_told_and_read_when_it_is_back(read, images, tmp_path, loop):
    class Losing(loop):
        def map(self, work, tasks, what, files):
            images.rename(tmp_path / "away")
            return super().map(work, tasks, what, files)

    message = told(read, runner=Losing())
    assert "31 of 32 files could not be read: the input went away while the batch ran" in message
    assert not (tmp_path / "read/_summary.json").exists()
    (tmp_path / "away").rename(images)
    assert read().summary.failed == 2


def test_a_file_that_vanished_is_a_row(read, images, tmp_path, loop):
    class Losing(loop):
        def map(self, work, tasks, what, files):
            (images / "0/00.png").unlink()
            return super().map(work, tasks, what, files)

    assert read(runner=Losing()).summary.reasons["vanished"] == 1
    rows = pd.read_parquet(tmp_path / "read").set_index("path")
    assert rows.loc["0/00.png", "error"].startswith("vanished: ")
    assert len(rows) == 32


@pytest.mark.parametrize(
    "settings", [{"batch": 0}, {"files": 0}, {"threads": 0}, {"runtime": "torch"}, {"image": {"width": "9"}}]
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        BatchSettings.model_validate(settings)


def test_the_plan_tells_no_credentials(images, tmp_path, loop, monkeypatch):
    read = partial(predict_folder, model=MODEL, settings=BatchSettings(), crew=lambda: Crew(loop(), reader))
    secret = locate(images)._replace(uri="s3://name:secret@bucket/images")
    monkeypatch.setattr(batch, "locate", lambda uri: secret if uri == "secret" else locate(uri))
    monkeypatch.setattr("pipelines.predictions.locate", lambda uri: secret if uri == secret.uri else locate(uri))
    read("secret", str(tmp_path / "read"))
    assert b"secret" not in (tmp_path / "read/_summary.json").read_bytes()
