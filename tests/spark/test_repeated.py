"""Repeats: tables of written rows, and of those that must go."""

import pytest

from pipelines.spark.ingest import WRITTEN, repeated

pytestmark = pytest.mark.spark

# written rows: group, id, path, sha256, label
WRITTEN_ROWS = [
    (0, 1, "one.png", "s1", "A"),  # alone
    (0, 2, "b/copy.png", "s2", "B"),  # three with the same bytes and label: the first path stays, wherever it stands
    (1, 3, "a/copy.png", "s2", "B"),
    (2, 4, "c/copy.png", "s2", "B"),
    (1, 5, "y.png", "s3", "Y"),  # the same bytes under two labels: none can be believed
    (2, 6, "x.png", "s3", "X"),
    (0, 7, "z.png", "s4", "Z"),  # three files, two labels: all go, the two that agree too
    (0, 8, "z.1.png", "s4", "Z"),
    (0, 9, "q.png", "s4", "Q"),
    (2, -10, "same label.png", "s5", "A"),  # a label may come as often as it likes
]
REPEATS = [
    (0, 2, "duplicate", "the same bytes as a/copy.png"),
    (0, 7, "conflicting_label", "the same bytes are labelled Q and Z"),
    (0, 8, "conflicting_label", "the same bytes are labelled Q and Z"),
    (0, 9, "conflicting_label", "the same bytes are labelled Q and Z"),
    (1, 5, "conflicting_label", "the same bytes are labelled X and Y"),
    (2, 4, "duplicate", "the same bytes as a/copy.png"),
    (2, 6, "conflicting_label", "the same bytes are labelled X and Y"),
]


def repeats_of(spark, rows, partitions: int) -> list[tuple]:
    frame = spark.createDataFrame(rows, WRITTEN).repartition(partitions)
    return sorted(map(tuple, repeated(frame).collect()))


@pytest.mark.parametrize("partitions", [1, 3])
def test_repeated(spark, partitions):
    assert repeats_of(spark, WRITTEN_ROWS, partitions) == REPEATS


def test_the_order_of_rows_does_not_matter(spark):
    assert repeats_of(spark, WRITTEN_ROWS[::-1], 2) == REPEATS


def test_without_repeats_nothing_goes(spark):
    assert repeats_of(spark, WRITTEN_ROWS[:1], 1) == []
    assert repeats_of(spark, [], 1) == []


def test_the_columns_are_a_contract(spark):
    schema = repeated(spark.createDataFrame([], WRITTEN)).schema
    assert [(field.name, field.dataType.simpleString()) for field in schema] == [
        ("group", "bigint"),
        ("id", "bigint"),
        ("reason", "string"),
        ("detail", "string"),
    ]
