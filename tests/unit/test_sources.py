"""Where labels and splits come from, through a whole ingest; what is refused and kept; and that order never matters."""

import gzip
import io
import os
import random
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.config import IngestOptions, IngestSettings
from pipelines.errors import DataError, SettingsError
from pipelines.facts import read_parts
from pipelines.ingest import ingest
from pipelines.manifest import Dataset, open_dataset
from pipelines.settings import build

SMALL = {"image": {"width": 16, "height": 8}, "shards": {"files": 7, "rows": 4}}


@pytest.fixture
def run(tmp_path, fill, loop):
    def run(files=None, output="shards", runner=None, options=None, **changes) -> Dataset:
        source = fill(tmp_path / "images", files or {})
        given = IngestSettings.model_validate(SMALL | changes)
        return ingest(str(source), str(tmp_path / output), given, runner or loop(), IngestOptions(**options or {})).dataset

    return run


def found(dataset: Dataset, *names: str) -> dict[str, tuple]:
    """Some facts of every file, by path, such as (label, reason)."""
    facts = read_parts(dataset.location, dataset.manifest.files, ["path", *names])
    return {path: row for path, *row in zip(*facts.to_pydict().values(), strict=True)}


def parquet(**columns: list) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


CSV = {"file": "captchas.csv", "image": "uniq_id", "label": "captcha_answer", "folder": "img", "extension": ".png"}
ROWS = b"uniq_id,captcha_answer,note\n7,aB3,x\n8,0123,\n9,NA,y\n5,gone,\n6,one,\n6,two,\n4,,\n,nothing,\n"
LINES = b'{"uniq_id": "7", "captcha_answer": "aB3"}\n{"uniq_id": "8", "captcha_answer": "0123"}\n{"uniq_id": "9", "captcha_answer": "NA"}\n'
NAMED = {f"img/{n}.png": n for n in (4, 6, 7, 8, 9)}
SEVEN = {"img/7.png": ("aB3", None), "img/8.png": ("0123", None), "img/9.png": ("NA", None)}
REST = {"img/4.png": (None, "no_row"), "img/6.png": (None, "no_row")}

# the files (a number: an image of its own), the rule -> label and reason of every file
SOURCES = [
    ("stem", {"a/AB.png": 1, "AB.1.png": 2, "é.x.jpeg": 3}, {}, {"a/AB.png": ("AB", None), "AB.1.png": ("AB", None), "é.x.jpeg": ("é.x", None)}),
    ("NFC and case", {"E\u0301A.png": 1}, {"case": "lower"}, {"E\u0301A.png": ("éa", None)}),
    (
        "pattern over the path",
        {"run7_AB/3.png": 1, "run8/4.png": 2},
        {"pattern": r"^run\d+_(?P<label>[A-Z]+)/"},
        {"run7_AB/3.png": ("AB", None), "run8/4.png": (None, "no_label")},
    ),
    (
        "folder",
        {"x/AB/1.png": 1, "AB/2.png": 2, "3.png": 3},
        {"source": "folder"},
        {"x/AB/1.png": ("AB", None), "AB/2.png": ("AB", None), "3.png": (None, "no_label")},
    ),
    (
        "limits",
        {"A.png": 1, "ABCD.png": 2, "AÖ.png": 3, "AB.png": 4},
        {"alphabet": "ABCD", "min_length": 2, "max_length": 3},
        {"A.png": (None, "too_short"), "ABCD.png": (None, "too_long"), "AÖ.png": (None, "foreign_character"), "AB.png": ("AB", None)},
    ),
    (
        "csv in the input folder",
        {**NAMED, "captchas.csv": ROWS, "img/none.png": 3},
        {"table": CSV},
        SEVEN
        | {
            "img/4.png": (None, "no_label"),
            "img/5.png": ("gone", "no_image"),
            "img/6.png": ("one", "conflicting_label"),
            "img/none.png": (None, "no_row"),
            "captchas.csv row 8": ("nothing", "no_image"),
        },
    ),
    ("json lines", {**NAMED, "t/x.jsonl": LINES}, {"table": CSV | {"file": "t/x.jsonl"}}, SEVEN | REST),
    ("gzipped", {**NAMED, "x.json.gz": gzip.compress(LINES)}, {"table": CSV | {"file": "x.json.gz"}}, SEVEN | REST),
    (
        "parquet",
        {**NAMED, "x.parquet": parquet(uniq_id=[7, 8, 9], captcha_answer=["aB3", "0123", "NA"])},
        {"table": CSV | {"file": "x.parquet"}},
        SEVEN | REST,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("files", "rule", "expected"), [row[1:] for row in SOURCES], ids=[row[0] for row in SOURCES])
def test_where_labels_come_from(run, noise, files, rule, expected):
    dataset = run({path: noise(data) if isinstance(data, int) else data for path, data in files.items()}, label=rule)
    labels = {path: tuple(row) for path, row in found(dataset, "label", "reason").items()}
    assert {path: row[-1] for path, row in labels.items()} == {path: row[-1] for path, row in expected.items()}
    assert {p: label for p, (label, reason) in labels.items() if not reason} == {
        p: row[0] for p, row in expected.items() if not row[1]
    }
    count = dataset.manifest.accounting
    assert count.reasons == Counter(row[1] for row in expected.values() if row[1])
    assert (count.listed, count.written) == (len(expected), sum(not row[1] for row in expected.values()))


def test_a_table_elsewhere(run, noise, fill, tmp_path):
    fill(tmp_path, {"tables/x.csv": b"uniq_id,captcha_answer\n1,AB\n"})
    dataset = run(
        {"1.png": noise(1), "x.csv": b"is listed"},
        label={"table": CSV | {"file": str(tmp_path / "tables/x.csv"), "folder": ""}},
    )
    assert found(dataset, "label", "reason") == {"1.png": ["AB", None], "x.csv": [None, "no_row"]}


# --- splits


SIDES = {
    "train/A.png": 1, "training/B.png": 2, "Val/C.png": 3, "dev/D.png": 4, "TEST/deep/E.png": 5, "eval/F.png": 6, "G.png": 7,
}  # fmt: skip
BY_FOLDER = {
    "train/A.png": ["train", None], "training/B.png": ["train", None], "Val/C.png": ["val", None], "dev/D.png": ["val", None],
    "TEST/deep/E.png": ["test", None], "eval/F.png": [None, "no_split"], "G.png": [None, "no_split"],
}  # fmt: skip


def test_splits_by_folder_are_respected(run, noise):
    dataset = run({path: noise(n) for path, n in SIDES.items()}, split={"by": "folder"})
    assert found(dataset, "split", "reason") == BY_FOLDER
    assert dataset.manifest.splits == {"train": 2, "val": 2, "test": 1}
    assert dataset.manifest.leaks == {"bytes": [], "labels": []}


def test_splits_by_a_table_are_respected(run, noise):
    table = b"file,text,side\n1.png,A,train\n2.png,B,validation\n3.png,C,Test\n4.png,D,\n5.png,E,holdout\n6.png,F,train\n6.png,F,test\n"
    rule = {"file": "t.csv", "image": "file", "label": "text", "split": "side"}
    dataset = run({"t.csv": table, **{f"{n}.png": noise(n) for n in range(1, 7)}}, label={"table": rule}, split={"by": "table"})
    reasons = {path: reason or split for path, (split, reason) in found(dataset, "split", "reason").items()}
    assert reasons == {
        "1.png": "train",
        "2.png": "val",
        "3.png": "test",
        **dict.fromkeys(["4.png", "5.png", "6.png"], "no_split"),
    }


def test_leaks_are_reported_and_leave_the_training_side(run, noise):
    sides = {"train": [1, 2, 3, 4, 5], "val": [2, 3, 6], "test": [3, 4, 7]}
    files = {f"{split}/{n}/{n}.png": noise(n) for split, seeds in sides.items() for n in seeds}
    dataset = run(files | {"val/1/other.png": noise(9)}, split={"by": "folder"}, label={"source": "folder"})
    gone = {path for path, (reason,) in found(dataset, "reason").items() if reason == "duplicate"}
    assert gone == {"train/2/2.png", "train/3/3.png", "train/4/4.png", "val/3/3.png"}
    assert dataset.manifest.leaks["bytes"] == [
        {
            "splits": ["train", "val"], "images": 2, "rows": 4,
            "examples": ["train/2/2.png (train) = val/2/2.png (val)", "train/3/3.png (train) = val/3/3.png (val)"],
        },
        {
            "splits": ["train", "test"], "images": 2, "rows": 4,
            "examples": ["train/3/3.png (train) = test/3/3.png (test)", "train/4/4.png (train) = test/4/4.png (test)"],
        },
        {"splits": ["val", "test"], "images": 1, "rows": 2, "examples": ["val/3/3.png (val) = test/3/3.png (test)"]},
    ]  # fmt: skip


def test_the_same_label_on_two_sides_is_a_warning(run, noise):
    files = {"train/A.png": noise(1), "train/A.1.png": noise(2), "val/A.png": noise(3), "test/B.png": noise(4)}
    dataset = run(files, split={"by": "folder"})
    assert dataset.manifest.accounting.written == 4
    assert dataset.manifest.leaks == {
        "bytes": [],
        "labels": [{"splits": ["train", "val"], "labels": 1, "rows": 3, "examples": ["A"]}],
    }


def test_all_images_of_a_label_stand_in_one_split(run, noise):
    files = {f"{n % 10}{n % 10}.{n}.png": noise(n) for n in range(60)}
    by_label, by_content = (run(files, by, split={"by": by}) for by in ("label", "content"))

    def sides(dataset: Dataset) -> set[tuple[str, str]]:
        return {(label, split) for label, split in found(dataset, "label", "split").values()}

    assert len(sides(by_label)) == 10 < len(sides(by_content))
    assert by_label.manifest.leaks == {}


# --- the order of files and the size of groups


SHUFFLED = {f"{n:02d}.png": n for n in range(12)} | {"x/03.png": 3, "y/77.png": 4, "z/00.1.png": 0, "bad.png": None}


@pytest.fixture(scope="module")
def shuffled(tmp_path_factory, loop, noise):
    """Ingests the same files, listed and grouped in any way."""

    def shuffled(order: list[str], group: int, rows: int, backwards: bool):
        folder = tmp_path_factory.mktemp("order")
        for name in order:  # the order of making is that in which a folder lists
            (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "images" / name).write_bytes(b"" if SHUFFLED[name] is None else noise(SHUFFLED[name]))
        given = IngestSettings.model_validate(SMALL | {"shards": {"files": group, "rows": rows}})
        return ingest(str(folder / "images"), str(folder / "shards"), given, loop(backwards)()).dataset

    return shuffled


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(list(SHUFFLED)), st.integers(1, 20), st.integers(1, 5), st.booleans())
def test_ids_and_fingerprints_do_not_depend_on_order_or_groups(shuffled, order, group, rows, backwards):
    usual, other = shuffled(list(SHUFFLED), 7, 4, False), shuffled(order, group, rows, backwards)
    names = ("id", "sha256", "label", "split", "reason", "detail")
    assert found(other, *names) == found(usual, *names)
    assert other.manifest.fingerprint == usual.manifest.fingerprint
    assert other.manifest.statistics == usual.manifest.statistics
    if (group, rows) == (7, 4):
        assert other.manifest.shards == usual.manifest.shards


def test_shards_do_not_depend_on_order(shuffled):
    order = random.Random(5).sample(list(SHUFFLED), len(SHUFFLED))
    assert shuffled(order, 7, 4, True).manifest.shards == shuffled(list(SHUFFLED), 7, 4, False).manifest.shards


# --- options


BAD = {"a.png": b"", "b.png": b"", "c.png": b"text", "A.2.png": b"text"}


def test_too_many_rejects_publish_nothing_and_what_was_read_is_kept(run, noise, tmp_path, capsys):
    files = {f"{n}.png": noise(n) for n in range(6)} | BAD
    with pytest.raises(
        DataError, match=r"4 of 10 files \(40.0%\) are rejected, more than --max-reject-fraction 0.39; nothing is"
    ):
        run(files, options={"max_reject_fraction": 0.39})
    with pytest.raises(DataError, match="no manifest"):
        open_dataset(str(tmp_path / "shards"))
    staged = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "shards/_staging").rglob("facts-*")}
    assert len(staged) == 2
    for path in files:  # they are not read again
        stamp = (tmp_path / "images" / path).stat()
        (tmp_path / "images" / path).write_bytes(b"x" * stamp.st_size)
        os.utime(tmp_path / "images" / path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    manifest = run(options={"max_reject_fraction": 0.4}).manifest
    assert (manifest.accounting.written, manifest.accounting.rejected) == (6, 4)
    assert "continuing an interrupted ingest: 2 of 2 groups were finished" in capsys.readouterr().err


ODD = {"é'\" $(x)\n.png": b"text", "字" * 80 + ".png": b"", "x" * 250 + ".png": b"", "-\udcff.png": b"", "字" * 85: b""}


def test_samples_of_rejects_are_kept(run, noise, tmp_path):
    dataset = run(
        {"AB.png": noise(1), "n/AB.png": noise(1), "n/Q.png": noise(2), "m/R.png": noise(2), **BAD, **ODD},
        options={"keep_rejects": 3},
    )
    kept = tmp_path / "shards/rejected/v000001"
    names = {reason: sorted(os.listdir(kept / reason)) for reason in os.listdir(kept)}
    assert {reason: len(found) for reason, found in names.items()} == {
        "empty_file": 3, "not_an_image": 3, "duplicate": 1, "conflicting_label": 2,
    }  # fmt: skip
    assert dataset.manifest.accounting.reasons == {"empty_file": 6, "not_an_image": 3, "conflicting_label": 2, "duplicate": 1}
    assert [name[:4] for name in names["empty_file"]] == ["000-", "001-", "002-"]
    assert {(kept / "not_an_image" / name).read_bytes() for name in names["not_an_image"]} == {b"text"}
    assert (kept / "duplicate/000-AB.png").read_bytes() == noise(1)


@pytest.mark.parametrize("name", ODD, ids=["quotes", "kanji", "long", "not UTF-8", "255 bytes"])
def test_a_sample_of_any_name_is_kept(run, noise, tmp_path, name):
    dataset = run({"AB.png": noise(1), name: b""}, options={"keep_rejects": 1})
    assert dataset.manifest.accounting.reasons == {"empty_file": 1}
    assert [path.read_bytes() for path in (tmp_path / "shards/rejected/v000001/empty_file").iterdir()] == [b""]


def test_without_asking_no_sample_is_kept(run, noise, tmp_path):
    run({"AB.png": noise(1), **BAD})
    assert not (tmp_path / "shards/rejected").exists()


def test_a_sample_that_is_gone_meanwhile_is_not_kept(run, noise, tmp_path, loop):
    class Losing(loop):
        def repeated(self, facts):
            (tmp_path / "images/c.png").unlink()
            return super().repeated(facts)

    dataset = run({"AB.png": noise(1), "c.png": b"text", "d.png": b""}, runner=Losing(), options={"keep_rejects": 1})
    assert dataset.manifest.accounting.reasons == {"not_an_image": 1, "empty_file": 1}


REFUSED = [
    ({"max_reject_fraction": 1.1}, "max_reject_fraction=1.1"),
    ({"max_reject_fraction": -0.1}, "max_reject_fraction=-0.1"),
    ({"max_reject_fraction": float("nan")}, "max_reject_fraction=nan"),
    ({"keep_rejects": -1}, "keep_rejects=-1"),
    ({"keep_rejects": 1001}, "keep_rejects=1001"),
    ({"verify": True}, "verify compares files with the rows of an older version: it goes with append"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_unusable_options_are_refused(values, message):
    with pytest.raises(SettingsError) as caught:
        build(IngestOptions, values, "ingest")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
