"""What is new beside an older version: by path, size and time, as tables; and what is told of the rest."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import IngestSettings
from pipelines.facts import FACTS, PLANNED
from pipelines.manifest import Dataset, Manifest, Part
from pipelines.plan import Plan, plan, survey
from pipelines.scan import file_id
from pipelines.storage import locate

SETTINGS = IngestSettings()
TABLED = IngestSettings.model_validate(
    {
        "label": {"table": {"file": "t.csv", "image": "i", "label": "l", "split": "s"}, "case": "lower"},
        "split": {"by": "table"},
    }
)


def planned(*rows: tuple) -> pa.Table:
    """Path, size, time, and what a table says (label, split, reason) -> PLANNED, in the order of ids."""
    names = ("path", "size", "mtime_ns", "label", "split", "reason")
    given = [dict(zip(names, row, strict=False)) for row in rows]
    filled = [dict.fromkeys(PLANNED.names) | row | {"id": file_id(row["path"]), "path": row["path"].encode()} for row in given]
    return pa.Table.from_pylist(sorted(filled, key=lambda row: row["id"]), PLANNED)


def older(folder, *rows: tuple, parts: int = 1) -> Dataset:
    """Path, size, time, digest, label, split, reason -> a version whose files these are."""
    names = ("path", "size", "mtime_ns", "sha256", "label", "split", "reason")
    facts = [dict.fromkeys(FACTS.names) | dict(zip(names, row, strict=False)) | {"id": file_id(row[0])} for row in rows]
    for n in range(parts):
        pq.write_table(pa.Table.from_pylist(facts[n::parts], FACTS), f"{folder}/{n}.parquet")
    files = tuple(Part(path=f"{n}.parquet", bytes=0, sha256="") for n in range(parts))
    return Dataset(locate(folder), Manifest.model_construct(files=files))


OLD = [
    ("a.png", 10, 100, "aa", "A", "train"),
    ("b.png", 20, 200, "bb", "B", "val"),
    ("c.png", 0, 300, "00", None, None, "empty_file"),
    ("a.1.png", 10, 400, "aa", "A", "train", "duplicate"),
]
AS_OLD = [row[:3] for row in OLD]
CHANGED = [("a.png", 10, 101), ("b.png", 21, 200), ("c.png", 0, 301), ("a.1.png", 11, 401)]

# found, verify -> path: the digest of its row, of all that is read; known, gone
PLANS = [
    ("as it was", AS_OLD, False, {}, 4, 0),
    ("as it was, verified", AS_OLD, True, {"a.png": "aa", "b.png": "bb"}, 4, 0),
    ("a new file", [*AS_OLD, ("d.png", 1, 1)], False, {"d.png": None}, 4, 0),
    ("new and verified", [*AS_OLD, ("d.png", 1, 1)], True, {"a.png": "aa", "b.png": "bb", "d.png": None}, 4, 0),
    ("all changed", CHANGED, False, {"a.png": "aa", "b.png": "bb", "c.png": None, "a.1.png": None}, 0, 0),
    ("two gone", AS_OLD[:2], False, {}, 2, 2),
    ("size and time of another", [("b.png", 10, 100), ("a.png", 20, 200)], False, {"b.png": "bb", "a.png": "aa"}, 0, 2),
    ("another path", [("x/a.png", 10, 100)], False, {"x/a.png": None}, 0, 4),
    ("time and size swapped", [("a.png", 100, 10)], False, {"a.png": "aa"}, 0, 3),
]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(
    ("found", "verify", "reads", "known", "gone"), [row[1:] for row in PLANS], ids=[row[0] for row in PLANS]
)
def test_plans(tmp_path, found, verify, reads, known, gone, parts):
    todo = plan(planned(*found), SETTINGS, older(tmp_path, *OLD, parts=parts), verify=verify)
    assert dict(zip(todo.rows["path"].to_pylist(), todo.rows["known"].to_pylist(), strict=True)) == {
        path.encode(): digest for path, digest in reads.items()
    }
    assert (todo.known, todo.gone, todo.relabelled) == (known, gone, 0)
    assert todo.rows.schema.equals(PLANNED)
    assert todo.rows["id"].to_pylist() == sorted(todo.rows["id"].to_pylist())


def test_without_an_older_version_all_is_new():
    found = planned(*AS_OLD)
    assert plan(found, SETTINGS, None) == Plan(found, plan(found, SETTINGS, None).digest)


def test_a_changed_file_is_known_by_its_row_and_by_its_last_reject(tmp_path):
    parent = older(tmp_path, *OLD, ("a.png", 11, 101, "a2", None, None, "changed"))
    for size, time, reads in [(11, 101, []), (10, 100, []), (11, 102, ["aa"]), (11, 100, ["aa"])]:
        assert plan(planned(("a.png", size, time)), SETTINGS, parent).rows["known"].to_pylist() == reads


files = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 2)), unique_by=lambda file: file[0])


@given(files, files)
def test_what_is_new_is_a_difference_of_sets(tmp_path_factory, before, now):
    parent = older(tmp_path_factory.mktemp("facts"), *before)
    todo = plan(planned(*now), SETTINGS, parent)
    read = zip(*(todo.rows[name].to_pylist() for name in ("path", "size", "mtime_ns")), strict=True)
    assert {(path.decode(), *rest) for path, *rest in read} == set(now) - set(before)
    assert todo.known == len(set(now) & set(before))
    assert todo.gone == len({path for path, *_ in before} - {path for path, *_ in now})


# what a table says of a.png (A, train) and b.png (b in lower case, val) now -> how many are told
SAYS = [
    (("a", "train"), ("B", "val"), 0),
    (("A", "training"), ("b", "valid"), 0),
    (("Z", "train"), ("b", "val"), 1),
    (("a", "test"), ("z", "val"), 2),
    (("a", "nonsense"), ("b", None), 2),
    (("", "train"), ("b\x00", "val"), 2),
    ((None, None, "no_row"), ("b", "val"), 1),
    ((None, "train", "no_label"), (None, "val", "conflicting_label"), 2),
]


@pytest.mark.parametrize(("a", "b", "relabelled"), SAYS)
def test_what_a_table_says_otherwise_now(tmp_path, a, b, relabelled):
    parent = older(tmp_path, ("a.png", 10, 100, "aa", "a", "train"), ("b.png", 20, 200, "bb", "b", "val"))
    todo = plan(planned(("a.png", 10, 100, *a), ("b.png", 20, 200, *b)), TABLED, parent)
    assert (todo.rows.num_rows, todo.known, todo.relabelled) == (0, 2, relabelled)


DIFFERENT = [
    [("a.png", 10, 101), ("b.png", 20, 200)],
    [("a.png", 11, 100), ("b.png", 20, 200)],
    [("a.png", 10, 100), ("c.png", 20, 200)],
    [("a.png", 10, 100)],
    [("a.png", 20, 100), ("b.png", 10, 200)],
    [("a.png", 10, 100, "A"), ("b.png", 20, 200)],
    [("a.png", 10, 100), ("b.png", 20, 200, "A")],
    [("a.png", 10, 100, None, "train"), ("b.png", 20, 200)],
    [("a.png", 10, 100, "A", None, "conflicting_label"), ("b.png", 20, 200)],
]


def test_the_digest_is_of_all_that_was_found():
    one = [("a.png", 10, 100), ("b.png", 20, 200)]
    digests = [plan(planned(*found), SETTINGS, None).digest for found in (one, one[::-1], *DIFFERENT)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 1 + len(DIFFERENT)


def test_a_digest_takes_any_name_and_label(tmp_path, fill):
    odd = fill(tmp_path, {"images/é\udcff.png": b"x"})
    found = survey(locate(odd / "images"), SETTINGS)
    assert found["path"].to_pylist() == ["é".encode() + b"\xff.png"]
    assert len(plan(found, SETTINGS, None).digest) == 64


# --- the survey


def test_a_survey_of_a_folder(tmp_path, fill):
    fill(tmp_path, {"x/a.png": b"aa", "b": b"", ".hidden": b"x"})
    found = survey(locate(tmp_path), SETTINGS)
    assert found.schema.equals(PLANNED)
    assert {row["path"]: row["size"] for row in found.to_pylist()} == {b"x/a.png": 2, b"b": 0}
    assert all(found[name].null_count == 2 for name in ("label", "split", "reason", "detail", "known"))
    assert found["mtime_ns"].to_pylist()[0] > 10**18


def test_a_survey_with_a_table(tmp_path, fill):
    fill(tmp_path, {"a.png": b"aa", "b.png": b"b", "t.csv": b"i,l,s\na.png,A,train\nc.png,C,val\n"})
    found = {row.pop("path"): row for row in survey(locate(tmp_path), TABLED).to_pylist()}
    assert {path: (row["label"], row["split"], row["reason"]) for path, row in found.items()} == {
        b"a.png": ("A", "train", None),
        b"b.png": (None, None, "no_row"),
        b"c.png": ("C", "val", "no_image"),
    }


def test_many_files_are_compared(tmp_path):
    ids = np.sort(np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 200_000))
    columns = {"id": ids, "size": ids & 0xFFFF, "mtime_ns": ids >> 3}
    facts = {
        name: pa.array(columns[name]) if name in columns else pa.nulls(len(ids), FACTS.field(name).type) for name in FACTS.names
    }
    pq.write_table(pa.table(facts, FACTS), tmp_path / "0.parquet")
    parent = Dataset(locate(tmp_path), Manifest.model_construct(files=(Part(path="0.parquet", bytes=0, sha256=""),)))
    found = pa.table({f.name: facts[f.name] if f.name in columns else pa.nulls(len(ids), f.type) for f in PLANNED}, PLANNED)
    todo = plan(found.set_column(3, PLANNED.field(3), pa.array(np.r_[1, columns["mtime_ns"][1:]])), SETTINGS, parent)
    assert (todo.rows.num_rows, todo.known) == (1, 199_999)
