"""One ingest task: a fact for every file, shards for the good ones, and a second pass without the repeats."""

import errno
import hashlib
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import IngestSettings
from pipelines.facts import FACTS, PLANNED, Fact, Planned, copies_in, read_facts
from pipelines.groups import GroupWriter, Job, Rewrite, contents, judge, read_statistics, rewrite_group
from pipelines.repeats import Repeat
from pipelines.scan import path_bytes, path_text
from pipelines.shards import pixels
from pipelines.storage import Location, locate

SETTINGS = IngestSettings.model_validate(
    {"image": {"width": 16, "height": 8}, "label": {"alphabet": "AB12", "max_length": 4}, "shards": {"rows": 2}}
)

# path, bytes (None: a good image) -> reason, what the detail says, and which facts are known all the same
FATES = [
    ("AB.png", None, None, None, {"label": "AB", "width": 24, "height": 12, "mode": "L", "format": "PNG"}),
    ("sub/AB.1.png", None, None, None, {"label": "AB"}),
    ("A.png", b"", "empty_file", "no bytes", {"label": None, "width": None, "sha256": hashlib.sha256(b"").hexdigest()}),
    ("A.png", b"some text", "not_an_image", "none of PNG", {"width": None, "size": 9}),
    ("AxB.png", None, "foreign_character", "'x' (U+0078)", {"label": None, "split": None, "width": 24}),
    ("ABABA.png", None, "too_long", "longer than 4", {"split": None, "height": 12}),
]


def row(tmp_path, path: str, size: int = 5, **planned: str):
    ((listed, data),) = contents(locate(tmp_path), [Planned(7, path_bytes(path), size, 99, **planned)], 1000)
    return judge(SETTINGS, listed, data)


@pytest.mark.parametrize(("path", "data", "reason", "detail", "known"), FATES)
def test_the_fact_of_a_file(tmp_path, fill, noise, path, data, reason, detail, known):
    data = noise(0) if data is None else data
    fill(tmp_path, {path: data})
    fact, image = row(tmp_path, path)
    assert (fact.id, fact.path, fact.size, fact.reason) == (7, path, len(data), reason)
    assert detail in fact.detail if detail else fact.detail is None
    assert {name: getattr(fact, name) for name in known} == known
    assert fact.sha256 == hashlib.sha256(data).hexdigest()
    assert (image is None) == (reason is not None)
    assert image is None or image.shape == (8, 16, 1)


@pytest.mark.parametrize(("path", "reason"), [("link.png", "unreadable"), ("folder", "unreadable"), ("gone.png", "vanished")])
def test_a_file_that_cannot_be_read_is_a_reject(tmp_path, path, reason):
    (tmp_path / "link.png").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    fact, image = row(tmp_path, path)
    assert (fact.reason, fact.size, fact.mtime_ns, image) == (reason, 5, 99, None)
    assert fact.detail


def test_a_huge_file_is_not_read(tmp_path):
    fact, image = row(tmp_path, "gone.png", size=1001)
    assert (fact.reason, fact.detail, image) == ("too_large", "1001 bytes are over checks.max_bytes 1000", None)


def test_what_the_plan_rejects_is_not_read(tmp_path):
    fact, image = row(tmp_path, "gone.png", reason="no_image", detail="row 3 names it")
    assert (fact.reason, fact.detail, fact.sha256, image) == ("no_image", "row 3 names it", None, None)


def test_a_file_with_the_bytes_of_its_row_has_no_new_fact(tmp_path, fill, noise):
    fill(tmp_path, {"AB.png": noise(0)})
    assert row(tmp_path, "AB.png", known=hashlib.sha256(noise(0)).hexdigest()) == (None, None)


def test_a_file_with_other_bytes_than_its_row_is_a_reject(tmp_path, fill, noise):
    fill(tmp_path, {"AB.png": noise(0)})
    fact, image = row(tmp_path, "AB.png", known="0" * 64)
    assert (fact.reason, fact.sha256, image) == ("changed", hashlib.sha256(noise(0)).hexdigest(), None)


def test_a_name_that_is_not_utf8_is_a_reject(tmp_path, noise):
    with open(os.fsencode(tmp_path) + b"/A\xff.png", "wb") as file:
        file.write(noise(0))
    fact, image = row(tmp_path, path_text(b"A\xff.png"))
    assert (fact.reason, fact.path, image) == ("no_label", "A\\udcff.png", None)
    assert "not valid UTF-8" in fact.detail


def good(number: int, split: str = "train", label: str = "AB") -> Fact:
    return Fact(number, f"{label}.{number}.png", 99, 5, f"{number:064d}", label, split, 24, 12, "L", "PNG")


def image(number: int) -> np.ndarray:
    return np.full((8, 16, 1), number, np.uint8)


FACTS_OF_A_GROUP = [
    good(0),
    good(1, "test"),
    good(2, label="B"),
    good(3)._replace(reason="too_long", detail="long"),
    good(4),
    good(5, "test"),
]


@pytest.fixture
def job(tmp_path):
    (tmp_path / "staging").mkdir()
    return Job(str(tmp_path / "input"), str(tmp_path / "staging"), SETTINGS)


def written(job: Job):
    with GroupWriter(job, 3, "done-00003.json") as writer:
        for fact in FACTS_OF_A_GROUP:
            writer.add(fact, None if fact.reason else image(fact.id))
    return writer.result


def statistics_rows(job: Job, result) -> dict[str, int]:
    return {split: value.rows for split, value in read_statistics(locate(job.staging).join(result.statistics.path)).items()}


def rows_of(job: Job, result) -> dict[str, list[list[int]]]:
    """By split, the ids of every row group; checks that each row has its own pixels."""
    found = {}
    for shard in result.shards:
        parquet = pq.ParquetFile(f"{job.staging}/{shard.path}")
        groups = [parquet.read_row_group(i) for i in range(parquet.num_row_groups)]
        for group in groups:
            assert pixels(group["image"], (8, 16, 1))[:, 0, 0, 0].tolist() == group["id"].to_pylist()
        found[shard.split] = [group["id"].to_pylist() for group in groups]
    return found


def test_a_group_becomes_one_shard_for_each_split_in_row_groups(job):
    result = written(job)
    assert (result.number, result.files, result.reasons) == (3, 6, {"too_long": 1})
    assert rows_of(job, result) == {"train": [[0, 2], [4]], "test": [[1, 5]]}
    assert {shard.split: shard.row_groups for shard in result.shards} == {"train": (2, 1), "test": (2,)}
    assert statistics_rows(job, result) == {"train": 3, "test": 2}
    assert list(read_facts(locate(job.staging).join(result.facts.path))) == FACTS_OF_A_GROUP
    for shard in result.shards:
        data = locate(job.staging).join(shard.path).read_bytes()
        assert (shard.bytes, shard.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_row_holds_the_facts_of_its_file(job):
    shard = next(shard for shard in written(job).shards if shard.split == "test")
    first = pq.read_table(f"{job.staging}/{shard.path}").to_pylist()[0]
    assert {name: value for name, value in first.items() if name != "image"} == {
        "id": 1,
        "path": "AB.1.png",
        "label": "AB",
        "length": 2,
        "sha256": f"{1:064d}",
        "width": 24,
        "height": 12,
    }


def test_a_retried_task_never_meets_the_files_of_another_attempt(job):
    first, again = written(job), written(job)
    names = [{part.path for part in (result.facts, result.statistics, *result.shards)} for result in (first, again)]
    assert not names[0] & names[1]
    assert [shard.sha256 for shard in first.shards] == [shard.sha256 for shard in again.shards]


def test_a_rewrite_drops_the_repeats_and_keeps_all_else(job):
    repeats = (Repeat(3, 2, "duplicate", "the same bytes as A.png"), Repeat(3, 1, "conflicting_label", "A and B"))
    result = rewrite_group(Rewrite(job, written(job), repeats))
    assert rows_of(job, result) == {"train": [[0, 4]], "test": [[5]]}
    assert result.reasons == {"too_long": 1, "duplicate": 1, "conflicting_label": 1}
    assert (result.number, result.files) == (3, 6)
    assert statistics_rows(job, result) == {"train": 2, "test": 1}
    facts = {fact.id: fact for fact in read_facts(locate(job.staging).join(result.facts.path))}
    assert (facts[2].reason, facts[2].detail) == ("duplicate", "the same bytes as A.png")
    assert [facts[i] for i in (0, 3, 4, 5)] == [FACTS_OF_A_GROUP[i] for i in (0, 3, 4, 5)]


def test_a_rewrite_may_leave_nothing(job):
    repeats = tuple(Repeat(3, i, "duplicate", "") for i in (0, 1, 2, 4, 5))
    result = rewrite_group(Rewrite(job, written(job), repeats))
    assert (result.shards, statistics_rows(job, result), result.reasons) == ((), {}, {"too_long": 1, "duplicate": 5})


def test_the_columns_of_facts_are_their_fields():
    assert FACTS.names == list(Fact._fields)
    assert PLANNED.names == list(Planned._fields)


class TornError(OSError):
    pass


def test_an_attempt_that_fails_leaves_nothing(job):
    def fail():
        with GroupWriter(job, 3, "done-00003.json") as writer:
            for fact in FACTS_OF_A_GROUP:
                writer.add(fact, None if fact.reason else image(fact.id))
            raise TornError

    with pytest.raises(TornError):
        fail()
    assert os.listdir(job.staging) == []


@pytest.mark.parametrize(
    ("code", "raised"),
    [(errno.EMFILE, True), (errno.ESTALE, True), (errno.ENOTCONN, True), (errno.EIO, False), (errno.EACCES, False)],
)
def test_an_outage_fails_the_task_and_rejects_no_file(tmp_path, monkeypatch, code, raised):
    def fail(place):
        raise OSError(code, os.strerror(code), place.path)

    monkeypatch.setattr(Location, "read_bytes", fail)
    if raised:
        with pytest.raises(OSError, match=re.escape(os.strerror(code))):
            row(tmp_path, "AB.png")
    else:
        assert row(tmp_path, "AB.png")[0].reason == "unreadable"


def test_what_a_table_called_a_conflict_unread_takes_no_part_in_repeats(tmp_path):
    facts = [good(0), Fact(1, "x.png", 0, reason="conflicting_label"), good(2)._replace(reason="conflicting_label")]
    columns = [pa.array(column, kind.type) for column, kind in zip(zip(*facts, strict=True), FACTS, strict=True)]
    pq.write_table(pa.Table.from_arrays(columns, schema=FACTS), tmp_path / "facts.parquet")
    assert copies_in(locate(tmp_path / "facts.parquet"), -1, kept=True)["id"].to_pylist() == [0, 2]
    assert copies_in(locate(tmp_path / "facts.parquet"), 0, kept=False)["id"].to_pylist() == [0]
