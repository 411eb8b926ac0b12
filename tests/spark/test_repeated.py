"""Repeats and shared labels on Spark: what a pool finds in the same files of facts, however many tasks look for it."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import DataError
from pipelines.facts import FACTS
from pipelines.ingest import Facts
from pipelines.pool import PoolRunner
from pipelines.repeats import Copy
from pipelines.spark import ingest as on_spark
from pipelines.spark.ingest import SparkRunner

pytestmark = pytest.mark.spark

# id, path, sha256, label, split, reason: of an older version, and of two groups
KEPT = [
    (1, "k.png", "s1", "A", "train", None),
    (2, "l.png", "s2", "B", "val", "conflicting_label"),
    (3, "m.png", "s3", "C", "val", "duplicate"),
    (10, "n.png", "s5", "E", "val", "conflicting_label"),  # its file was mended: it is in the second group too
    (11, "o.png", "s5", "F", "val", "conflicting_label"),
]
FIRST = [
    (4, "a.png", "s1", "A", "test", None),
    (5, "b.png", "s3", "C", "test", None),
    (6, "c.png", None, None, None, "no_label"),
]
SECOND = [
    (7, "d.png", "s2", "A", "train", None),
    (8, "e.png", "s3", "C", "train", None),
    (9, "f.png", "s4", "D", "train", "too_long"),
    (10, "n.png", "s6", "E", "val", None),
    (-12, "ö.png", "s6", "E", "train", None),
]
REPEATED = [
    [Copy(False, "test", "a.png", "A", 7, 4), Copy(True, "train", "k.png", "A", -1, 1)],
    [Copy(False, "test", "b.png", "C", 7, 5), Copy(False, "train", "e.png", "C", 8, 8)],
    [Copy(False, "train", "d.png", "A", 8, 7), Copy(True, "val", "l.png", "B", -1, 2, False)],
    [Copy(False, "val", "n.png", "E", 8, 10), Copy(False, "train", "ö.png", "E", 8, -12)],
    [Copy(True, "val", "n.png", "E", -1, 10, False), Copy(True, "val", "o.png", "F", -1, 11, False)],
]
SHARED = [
    {"splits": ["train", "val"], "labels": 1, "rows": 3, "examples": ["E"]},
    {"splits": ["train", "test"], "labels": 2, "rows": 5, "examples": ["A", "C"]},
]


def facts_of(folder, kept: list[tuple], *groups: list[tuple]) -> Facts:
    names, uris = ("id", "path", "sha256", "label", "split", "reason"), []
    for number, rows in enumerate([kept, *groups]):
        facts = [dict.fromkeys(FACTS.names) | dict(zip(names, row, strict=True)) | {"size": 1, "mtime_ns": 1} for row in rows]
        uris.append(f"{folder}/facts é {number}.parquet")
        pq.write_table(pa.Table.from_pylist(facts, FACTS), uris[-1])
    return Facts(list(enumerate(uris[1:], start=7)), uris[:1], sum(map(len, (kept, *groups))))


@pytest.mark.parametrize("rows_per_task", [3, 1000])
def test_what_is_repeated(spark, tmp_path, monkeypatch, rows_per_task):
    monkeypatch.setattr(on_spark, "ROWS_PER_TASK", rows_per_task)
    facts = facts_of(tmp_path, KEPT, FIRST, SECOND)
    assert sorted(SparkRunner(spark).repeated(facts)) == sorted(PoolRunner(1).repeated(facts)) == sorted(REPEATED)
    assert SparkRunner(spark).shared_labels(facts) == PoolRunner(1).shared_labels(facts) == SHARED


@pytest.mark.parametrize("groups", [[[]], [FIRST], [[], KEPT[:1]]], ids=["none", "one group", "an empty one"])
def test_where_nothing_is_repeated(spark, tmp_path, groups):
    facts = facts_of(tmp_path, [], *groups)
    assert SparkRunner(spark).repeated(facts) == []
    assert SparkRunner(spark).shared_labels(facts) == []


def test_many_rows(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(on_spark, "ROWS_PER_TASK", 50)
    chance = random.Random(3)
    every = [
        (n, f"{n}.png", f"s{chance.randrange(250)}", chance.choice("ABCDEFGHIJ") * chance.randrange(1, 4), chance.choice(["train", "val", "test"]), None)
        for n in range(400)
    ]  # fmt: skip
    facts = facts_of(tmp_path, every[:100], every[100:150], every[150:399], every[399:])
    found = SparkRunner(spark).repeated(facts)
    assert len(found) > 50
    assert sorted(found) == sorted(PoolRunner(1).repeated(facts))
    assert SparkRunner(spark).shared_labels(facts) == PoolRunner(1).shared_labels(facts)


def test_facts_that_cannot_be_read_are_told_in_one_line(spark, tmp_path):
    with pytest.raises(DataError, match="gone.parquet") as caught:
        SparkRunner(spark).repeated(Facts([(0, str(tmp_path / "gone.parquet"))], [], 1))
    assert "\n" not in str(caught.value)
