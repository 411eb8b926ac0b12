"""One part of a batch: a row for each file in the listed order, the same bytes each time, and when it counts as finished."""

import json
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.facts import Planned
from pipelines.ingest import groups_of
from pipelines.plan import plan, survey
from pipelines.predictions import LISTING_FILE, PREDICTIONS, STAGING, Job, PartResult, Row, finished, read_part, rows_of
from pipelines.scan import path_bytes
from pipelines.storage import locate

GONE = FileNotFoundError(2, "No such file", "x")
HUGE = OSError(27, "9 bytes are over checks.max_bytes 5")


def by_twos(images):
    """A reader that takes two images before it gives a row, and refuses empty ones."""
    pending = iter(images)
    while pair := list(islice(pending, 2)):
        for path, data in pair:
            yield Row(path, data.decode(), 0.5, (0.25,) * len(data)) if data else Row(path, error="empty_file: no bytes")


@pytest.mark.parametrize(
    "files",
    [
        [],
        [b"1"],
        [GONE],
        [b"1", b"2", b"3"],
        [GONE, b"1", HUGE, b"2", b"", GONE, b"3", HUGE, GONE],
        [b"1", GONE, GONE, GONE, b"2"],
        [GONE, HUGE, GONE],
    ],
)
def test_a_row_for_each_file_in_its_order(files):
    found = [(Planned(n, path_bytes(f"{n}.png"), 1, 1), data) for n, data in enumerate(files)]
    rows = list(rows_of(found, by_twos))
    assert [row.path for row in rows] == [f"{n}.png" for n in range(len(files))]
    for row, data in zip(rows, files, strict=True):
        if data:
            expected = {GONE: "vanished: ", HUGE: "too_large: 9 bytes"}.get(data) if isinstance(data, OSError) else None
            assert (row.text, bool(row.error)) == ((None, True) if expected else (data.decode(), False))
            assert expected is None or row.error.startswith(expected)


FILES = {"a.png": b"one", "b/c.png": b"", "b/d.png": b"three", "é.png": b"12"}


@pytest.fixture
def job(tmp_path, fill) -> Job:
    fill(tmp_path / "in", FILES)
    made = Job(str(tmp_path / "in"), str(tmp_path / "out"), "a run", 100)
    rows = plan(survey(locate(made.input), IngestSettings()), IngestSettings(), None).rows
    fill(tmp_path / "out" / STAGING, {LISTING_FILE: groups_of(rows, 1)})
    return made


def test_a_part_has_a_row_for_each_file(job, tmp_path):
    result = read_part(0, job, lambda: by_twos)
    assert result == PartResult(number=0, files=4, reasons={"empty_file": 1})
    table = pq.read_table(tmp_path / "out/part-00000.parquet")
    assert table.schema.equals(PREDICTIONS)
    rows = {row.pop("path"): row for row in table.to_pylist()}
    assert rows == {
        "a.png": {"text": "one", "confidence": 0.5, "characters": [0.25] * 3, "error": None},
        "b/c.png": {"text": None, "confidence": None, "characters": None, "error": "empty_file: no bytes"},
        "b/d.png": {"text": "three", "confidence": 0.5, "characters": [0.25] * 5, "error": None},
        "é.png": {"text": "12", "confidence": 0.5, "characters": [0.25] * 2, "error": None},
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [STAGING, "part-00000.parquet"]


def test_the_same_files_give_the_same_bytes(job, tmp_path):
    part = tmp_path / "out/part-00000.parquet"
    read_part(0, job, lambda: by_twos)
    first = part.read_bytes()
    part.unlink()
    read_part(0, job, lambda: by_twos)
    assert part.read_bytes() == first


def test_a_part_that_stands_is_not_read_again(job):
    done = read_part(0, job, lambda: by_twos)
    assert read_part(0, job, lambda: pytest.fail("it stands")) == done


def test_a_reader_that_loses_a_file_writes_nothing(job, tmp_path):
    with pytest.raises(DataError, match="part 0: 3 rows were read of 4 files; nothing of it is written"):
        read_part(0, job, lambda: lambda images: list(by_twos(images))[1:])
    assert not (tmp_path / "out/part-00000.parquet").exists()


def retold(job: Job, **changes: object) -> None:
    """Writes the part once more, with something else in what it says of itself."""
    table = pq.read_table(job.part(0).path)
    told = json.loads(table.schema.metadata[b"glyphmill"]) | changes
    pq.write_table(table.replace_schema_metadata({b"glyphmill": json.dumps(told).encode()}), job.part(0).path)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda job: None, True),
        (lambda job: retold(job, reasons={"truncated": 2}), True),
        (lambda job: locate(job.part(0).path).remove(), False),
        (lambda job: locate(job.part(0).path).write_bytes(job.part(0).read_bytes()[:-9]), False),
        (lambda job: locate(job.part(0).path).write_bytes(b""), False),
        (lambda job: pq.write_table(pa.table({"path": ["a.png"]}), job.part(0).path), False),
        (lambda job: retold(job, run="another run"), False),
        (lambda job: retold(job, files=5), False),
        (lambda job: retold(job, reasons={"vanished": 1}), False),
        (lambda job: retold(job, reasons={"empty_file": 1, "unreadable": 1}), False),
    ],
    ids=["whole", "bad files", "missing", "cut off", "empty", "foreign", "other run", "other count", "vanished", "unreadable"],
)
def test_when_a_part_counts_as_finished(job, change, counts):
    done = read_part(0, job, lambda: by_twos)
    assert finished(0, job) == done
    change(job)
    assert (finished(0, job) is not None) == counts
