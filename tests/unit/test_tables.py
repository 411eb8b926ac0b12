"""Tables of labels: what is read from each kind, what is said of a bad one, and how rows and files meet."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs as pafs

from pipelines.errors import DataError, SettingsError
from pipelines.scan import LISTING, file_id, list_files, path_bytes
from pipelines.settings import build
from pipelines.storage import Location, locate
from pipelines.tables import MATCHED, ROWS, TableRule, match, read_rows, table_location


def parquet(columns: dict, **options) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def lines(*rows: dict) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def rule(file: str, **changes) -> TableRule:
    return TableRule(**{"file": file, "image": "image", "label": "label", "split": "split", **changes})


# file, bytes -> (path, label, split) of each row
READ = [
    ("t.csv", b"image,label,split\na.png,0123,train\nb.png,NA,\n", [("a.png", "0123", "train"), ("b.png", "NA", None)]),
    ("t.csv", b"\xef\xbb\xbfimage,label,split\r\na.png,null,1\r\n", [("a.png", "null", "1")]),
    (
        "t.csv",
        b'split,other,image,label\n,x,"a,1.png","say ""hi"""\n\n,,"b.png"," 1.50"\n',
        [("a,1.png", 'say "hi"', None), ("b.png", " 1.50", None)],
    ),
    ("t.csv", b'image,label,split\n"a\n1.png","","test"\n', [("a\n1.png", None, "test")]),
    ("T.CSV", b"image,label,split\n,true,train\n", [(None, "true", "train")]),
    ("t.tsv", "image\tlabel\tsplit\na,b.png\t𝔸é\tval\n".encode(), [("a,b.png", "𝔸é", "val")]),
    ("t.csv.gz", gzip.compress(b"image,label,split\na.png,x,train\n", mtime=0), [("a.png", "x", "train")]),
    (
        "t.jsonl",
        lines({"image": "a.png", "label": "0123", "split": "train"}, {"image": "b.png", "split": ""}),
        [("a.png", "0123", "train"), ("b.png", None, None)],
    ),
    (
        "t.ndjson",
        lines({"image": 17, "label": 123, "split": None}, {"image": -8, "label": None, "x": [1]}),
        [("17", "123", None), ("-8", None, None)],
    ),
    (
        "t.json",
        lines({"image": "2024-01-31", "label": "2024-01-31 10:00:00", "split": "train"}),
        [("2024-01-31", "2024-01-31 10:00:00", "train")],
    ),
    ("t.json", lines({"image": "2024-01-31", "label": 5, "split": "é"}), [("2024-01-31", "5", "é")]),
    ("t.jsonl.gz", gzip.compress(lines({"image": "a", "label": "b", "split": "c"}), mtime=0), [("a", "b", "c")]),
    (
        "t.parquet",
        parquet({"label": [1, None], "image": ["a", "b"], "split": ["", "val"], "pixels": [b"x", b"y"]}),
        [("a", "1", None), ("b", None, "val")],
    ),
    (
        "t.pq",
        parquet(
            {
                "image": pa.array(["a", "b"]).dictionary_encode(),
                "label": pa.array([1, 2], pa.uint8()).dictionary_encode(),
                "split": pa.array(["x", "y"], pa.large_string()),
            }
        ),
        [("a", "1", "x"), ("b", "2", "y")],
    ),
]


@pytest.mark.parametrize(("file", "data", "rows"), READ)
def test_rows_of_a_table(tmp_path, file, data, rows):
    (tmp_path / file).write_bytes(data)
    table = read_rows(rule(file), locate(tmp_path))
    assert table.schema.equals(ROWS)
    assert [tuple(row.values()) for row in table.to_pylist()] == [(*row, i) for i, row in enumerate(rows, 1)]


# image cell -> path, with the folder and the extension
PATHS = [
    ("17", "img", ".png", "img/17.png"),
    ("17", "img/", ".png", "img/17.png"),
    ("./17.png", "", "", "17.png"),
    (".//a/./b//c.png", "", "", "a/b/c.png"),
    ("a/../b.png", "", "", "b.png"),
    ("../b.png", "a/c", "", "a/b.png"),
    ("a\\b.png", "", "", "a/b.png"),
    ("a..b/..c.png", "", "", "a..b/..c.png"),
    ("ROOT/a/b.png", "", "", "a/b.png"),
    ("b.png", "ROOT/a", "", "a/b.png"),
    ("/elsewhere/b.png", "", "", "/elsewhere/b.png"),
    ("𝔸 é", "", ".webp", "𝔸 é.webp"),
    ("", "img", ".png", None),
]


@pytest.mark.parametrize(("image", "folder", "extension", "path"), PATHS)
def test_the_path_of_a_row(tmp_path, image, folder, extension, path):
    image, folder = image.replace("ROOT", str(tmp_path)), folder.replace("ROOT", str(tmp_path))
    (tmp_path / "t.csv").write_text(f"image,label\nother,1\n{image},x\n", encoding="utf-8")
    table = read_rows(rule("t.csv", split=None, folder=folder, extension=extension), locate(tmp_path))
    assert table["path"].to_pylist()[1] == path
    assert table["split"].null_count == 2


def test_a_full_uri_in_a_cell_is_made_relative(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"image,label\nmem://x/a/b.png,x\n")
    elsewhere = Location(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "", "mem://x")
    assert read_rows(rule("t.csv", split=None), elsewhere)["path"].to_pylist() == ["a/b.png"]


# file, bytes -> what is said after the table's name
DAMAGE = [
    ("t.csv", None, "no such table; label.table.file names it"),
    ("t.csv", b"", "not a readable .csv table: Empty CSV file"),
    ("t.csv", b"image,label,split\n", "the table has no rows"),
    ("t.csv", b"image;label;split\na;b;c\n", "no column image; the table's columns are: image;label;split"),
    ("t.csv", b"image,text,split\na,b,c\n", "no column label; the table's columns are: image, text, split"),
    (
        "t.csv",
        b"image,label,label,split\na,b,c,d\n",
        "column label stands twice; the table's columns are: image, label, label, split",
    ),
    ("t.csv", b"image,label,split\na,b,c\nd,e\n", "not a readable .csv table: CSV parse error: "),
    ("t.csv", b'image,label,split\na,"b,c\nd,e,f\n', "a quoted cell is never closed; a quote inside a cell is written twice"),
    (
        "t.csv",
        "image,label,split\na,é,c\n".encode("latin-1"),
        "line 2 has the byte 0xE9, which is not UTF-8; save the table as UTF-8",
    ),
    ("t.csv", "imagé,label,split\na,é,c\n".encode("latin-1"), "line 1 has the byte 0xE9"),
    ("t.csv", "image,label,split\na,b,c\n".encode("utf-16"), "line 1 has the byte 0xFF, which is not UTF-8"),
    ("t.csv.gz", gzip.compress(b"image,label,split\na,b,c\n", mtime=0)[:-12], "not a readable .csv table: "),
    ("t.csv.gz", b"image,label,split\na,b,c\n", "not a readable .csv table: "),
    ("t.jsonl", b"", "not a readable .jsonl table: Empty JSON file"),
    ("t.jsonl", b"\n", "no column image"),
    ("t.json", b'[{"image": "a", "label": "b", "split": "c"}]', "not a readable .json table: JSON parse error"),
    ("t.json", lines({"image": "a", "label": 1.5, "split": "c"}), "column label is of type double; save it as text"),
    ("t.json", lines({"image": "a", "label": True, "split": "c"}), "column label is of type bool; save it as text"),
    (
        "t.json",
        lines({"image": "a", "label": ["b"], "split": "c"}),
        "column label is of type list<item: string>; save it as text",
    ),
    (
        "t.json",
        lines({"image": "a", "label": 1, "split": "c"}, {"image": "a", "label": "b", "split": "c"}),
        "not a readable .json table: JSON parse error",
    ),
    (
        "t.json",
        '{"image": "a", "label": "é", "split": "c"}\n'.encode("latin-1"),
        "column label is not UTF-8; save the table as UTF-8",
    ),
    ("t.parquet", b"PAR1 but no more", "not a readable .parquet table: "),
    ("t.parquet", parquet({"image": ["a"], "label": [0.5], "split": ["c"]}), "column label is of type double; save it as text"),
    (
        "t.parquet",
        parquet({"image": ["a"], "label": [b"a"], "split": ["c"]}),
        "column label is of type binary; save it as text",
    ),
    ("t.parquet", parquet({"image": ["a"], "label": ["a"]}), "no column split; the table's columns are: image, label"),
    ("t.parquet", parquet({"image": [], "label": [], "split": []}), "the table has no rows"),
]


@pytest.mark.parametrize(("file", "data", "said"), DAMAGE)
def test_a_bad_table_is_told_in_one_line(tmp_path, file, data, said):
    if data is not None:
        (tmp_path / file).write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_rows(rule(file), locate(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/{file}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_table(tmp_path):
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(DataError, match=r"t\.parquet: a folder, not a table"):
        read_rows(rule("t.parquet"), locate(tmp_path))


@pytest.mark.parametrize("file", ["captchas", "labels.xlsx", "labels.csv.zip", ""])
def test_a_table_of_unknown_kind_is_a_wrong_setting(file):
    with pytest.raises(SettingsError, match=r"one of \.csv \.tsv \.jsonl"):
        build(TableRule, {"file": file, "image": "a", "label": "b"}, "conf.yaml")


LOCATIONS = [
    ("labels.csv", "ROOT/labels.csv"),
    ("./meta//labels.csv", "ROOT/meta/labels.csv"),
    ("/data/labels.csv", "/data/labels.csv"),
    ("file:///data/labels.csv", "/data/labels.csv"),
]


@pytest.mark.parametrize(("file", "path"), LOCATIONS)
def test_where_a_table_is_looked_for(tmp_path, file, path):
    assert table_location(rule(file), locate(tmp_path)).path == path.replace("ROOT", str(tmp_path))


def listing(*paths: str) -> pa.Table:
    rows = sorted((file_id(path), path_bytes(path), 10 + i, 20 + i) for i, path in enumerate(paths))
    return pa.Table.from_arrays(
        [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), LISTING, strict=True)], schema=LISTING
    )


def rows(*cells: tuple) -> pa.Table:
    columns = list(zip(*cells, strict=True)) or [()] * 3
    numbers = pa.array(range(1, len(cells) + 1), pa.int64())
    return pa.table([*(pa.array(c, pa.string()) for c in columns), numbers], schema=ROWS.with_metadata({"table": "t.csv"}))


# rows of the table -> what becomes of a.png and of other paths: (label, split, reason, detail)
MATCHES = [
    ("good", [("a.png", "A", None)], {"a.png": ("A", None, None, None)}),
    ("with a split", [("a.png", "A", "test")], {"a.png": ("A", "test", None, None)}),
    ("said twice", [("a.png", "A", "test"), ("a.png", "A", "test")], {"a.png": ("A", "test", None, None)}),
    ("no label", [("a.png", None, None)], {"a.png": (None, None, "no_label", "row 1 of t.csv has no label")}),
    (
        "two labels",
        [("a.png", "A", None), ("a.png", "A", None), ("a.png", "B", None), ("a.png", "C", None)],
        {"a.png": ("A", None, "conflicting_label", "rows 1 and 3 of t.csv label it 'A' and 'B'")},
    ),
    (
        "a label and none",
        [("a.png", None, None), ("a.png", "B", None)],
        {"a.png": (None, None, "conflicting_label", "rows 1 and 2 of t.csv label it nothing and 'B'")},
    ),
    (
        "two splits",
        [("a.png", "A", "train"), ("a.png", "A", "test")],
        {"a.png": ("A", "train", "no_split", "rows 1 and 2 of t.csv put it in 'train' and 'test'")},
    ),
    (
        "two labels and two splits",
        [("a.png", "A", "train"), ("a.png", "B", "test")],
        {"a.png": ("A", "train", "conflicting_label", "rows 1 and 2 of t.csv label it 'A' and 'B'")},
    ),
    (
        "no file",
        [("a.png", "A", None), ("b.png", "B", "val"), ("b.png", "C", "val")],
        {"a.png": ("A", None, None, None), "b.png": ("B", "val", "no_image", "row 2 of t.csv names it, and there is no such file")},
    ),
    ("no row", [("é.png", "A", None)], {
        "a.png": (None, None, "no_row", "no row of t.csv names it"),
        "é.png": ("A", None, "no_image", "row 1 of t.csv names it, and there is no such file"),
    }),
    ("no name", [(None, "A", None), ("a.png", "A", None), (None, None, None)], {
        "a.png": ("A", None, None, None),
        "t.csv row 1": ("A", None, "no_image", "t.csv row 1: it names no image"),
        "t.csv row 3": (None, None, "no_image", "t.csv row 3: it names no image"),
    }),
    ("only nameless rows", [(None, "A", None)], {
        "a.png": (None, None, "no_row", "no row of t.csv names it"),
        "t.csv row 1": ("A", None, "no_image", "t.csv row 1: it names no image"),
    }),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "fates"), [case[1:] for case in MATCHES], ids=[case[0] for case in MATCHES])
def test_files_and_rows(cells, fates):
    files = listing("a.png", "\udcff.png")
    table = match(files, rows(*cells))
    found = {row["path"]: row for row in table.to_pylist()}
    assert table.schema.equals(MATCHED)
    assert len(found) == table.num_rows == len(fates) + 1
    assert found.pop(b"\xff.png")["reason"] == "no_row"
    assert {path.decode(): (r["label"], r["split"], r["reason"], r["detail"]) for path, r in found.items()} == fates
    for path, row in found.items():
        assert row["id"] == file_id(path.decode())
        assert (row["size"], row["mtime_ns"]) == ((10, 20) if path == b"a.png" else (0, 0))


names = st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True)
cells = st.lists(
    st.tuples(st.sampled_from([*"abcdefgh", None]), st.sampled_from(["A", "B", None]), st.sampled_from(["train", None])),
    max_size=12,
)


@given(names.filter(bool), cells)
def test_every_file_and_every_row_is_accounted_for_once(files, table):
    matched = match(listing(*files), rows(*table))
    ids = matched["id"].to_pylist()
    paths = [path.decode() for path in matched["path"].to_pylist()]
    named = {path for path, _, _ in table if path}
    assert ids == sorted(set(ids))
    assert sorted(paths) == sorted({*files, *named, *(f"t.csv row {i}" for i, cell in enumerate(table, 1) if not cell[0])})
    for row in matched.to_pylist():
        path = row["path"].decode()
        said = {cell[1:] for cell in table if cell[0] == path}
        good = path in files and len(said) == 1 and next(iter(said))[0]
        assert (row["reason"] is None) == bool(good)
        assert (row["reason"] == "no_row") == (path in files and not said)
        assert (row["reason"] == "no_image") == (path not in files)


def test_tables_and_listings_in_many_chunks_match_the_same():
    files, table = (
        listing(*"abcdef"),
        rows(("a", "1", None), ("b", "2", None), ("a", "3", None), (None, "4", None), ("x", "5", None)),
    )
    chunked = [pa.concat_tables([t.slice(i, 1) for i in range(t.num_rows)]) for t in (files, table)]
    assert match(*chunked).equals(match(files, table))


def test_a_table_and_its_folder(tmp_path, fill):
    fill(tmp_path, {"images/17.png": b"x", "images/18.png": b"x", "captchas.csv": b"uniq_id,captcha_answer\n17,aB3\n19,xy\n"})
    table = TableRule(file="captchas.csv", image="uniq_id", label="captcha_answer", folder="images", extension=".png")
    root = locate(tmp_path)
    found = match(list_files(root), read_rows(table, root)).select(["path", "label", "reason"]).to_pylist()
    assert sorted((row["path"].decode(), row["label"], row["reason"]) for row in found) == [
        ("captchas.csv", None, "no_row"),  # the ingest takes it out of the listing
        ("images/17.png", "aB3", None),
        ("images/18.png", None, "no_row"),
        ("images/19.png", "xy", "no_image"),
    ]
