"""Same bytes: which row stays and which go, as a table; leaks and shared labels; and that order never matters."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.repeats import Copy, leaks, repeated_in, shared_labels, verdicts

NEW, KEPT, REFUSED = "new", "kept", "refused"  # refused: kept, but rejected as a conflict by an older version
AB = "the same bytes are labelled A and B"
A1 = "the same bytes as a1"

# rows as (state, split, path, label), respected -> path: (reason, detail) of those that go
VERDICTS = [
    ("one stays: the first path", [(NEW, "train", "a2", "A"), (NEW, "train", "a1", "A")], False, {"a2": ("duplicate", A1)}),
    ("a hashed split does not choose", [(NEW, "train", "a1", "A"), (NEW, "test", "a2", "A")], False, {"a2": ("duplicate", A1)}),
    (
        "test before val before train",
        [(NEW, "train", "a1", "A"), (NEW, "val", "a2", "A"), (NEW, "test", "a4", "A"), (NEW, "test", "a3", "A")],
        True,
        dict.fromkeys(["a1", "a2", "a4"], ("duplicate", "the same bytes as a3")),
    ),
    (
        "a leak leaves the training side",
        [(NEW, "train", "a1", "A"), (NEW, "val", "a2", "A")],
        True,
        {"a1": ("duplicate", "the same bytes as a2")},
    ),
    (
        "a kept row stays",
        [(NEW, "test", "a1", "A"), (KEPT, "train", "a2", "A")],
        True,
        {"a1": ("duplicate", "the same bytes as a2")},
    ),
    (
        "kept rows are never dropped",
        [(KEPT, "test", "a1", "A"), (KEPT, "train", "a2", "A"), (NEW, "train", "a3", "A")],
        True,
        {"a3": ("duplicate", A1)},
    ),
    (
        "a conflict leaves none",
        [(NEW, "train", "b", "B"), (NEW, "train", "a", "A")],
        False,
        {"a": ("conflicting_label", AB), "b": ("conflicting_label", AB)},
    ),
    (
        "a conflict takes agreeing ones with it",
        [(NEW, "train", "a1", "A"), (NEW, "train", "a2", "A"), (NEW, "train", "b", "B")],
        False,
        dict.fromkeys(["a1", "a2", "b"], ("conflicting_label", AB)),
    ),
    (
        "a kept row is believed",
        [(KEPT, "train", "a1", "A"), (NEW, "test", "a2", "A"), (NEW, "test", "b", "B")],
        False,
        {"a2": ("duplicate", A1), "b": ("conflicting_label", AB)},
    ),
    (
        "an old conflict is not forgotten",
        [(REFUSED, "train", "b", "B"), (NEW, "train", "a", "A")],
        False,
        {"a": ("conflicting_label", AB)},
    ),
    (
        "an old conflict with a kept row",
        [(KEPT, "train", "a1", "A"), (REFUSED, "train", "b", "B"), (NEW, "val", "a2", "A"), (NEW, "val", "b2", "B")],
        False,
        {"a2": ("duplicate", A1), "b2": ("conflicting_label", AB)},
    ),
    (
        "an old conflict is no row",
        [(REFUSED, "train", "a0", "A"), (NEW, "train", "a1", "A"), (NEW, "train", "a2", "A")],
        False,
        {"a2": ("duplicate", A1)},
    ),
    ("alone", [(NEW, "train", "a", "A")], True, {}),
]


def copies(rows) -> list[Copy]:
    return [
        Copy(state != NEW, split, path, label, 7, i, state != REFUSED) for i, (state, split, path, label) in enumerate(rows)
    ]


@pytest.mark.parametrize(("rows", "respected", "gone"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS])
def test_verdicts(rows, respected, gone):
    paths = {copy.id: copy.path for copy in copies(rows)}
    found = verdicts(copies(rows), respected)
    assert {paths[repeat.id]: (repeat.reason, repeat.detail) for repeat in found} == gone
    assert len(found) == len(gone)
    assert {repeat.group for repeat in found} <= {7}


def test_a_conflict_of_many_labels_names_ten():
    found = verdicts(copies([(NEW, "train", f"{i:04d}", f"{i:04d}") for i in range(1000)]), False)
    assert len(found) == 1000
    assert found[0].detail.endswith(
        "labelled 0000 and 0001 and 0002 and 0003 and 0004 and 0005 and 0006 and 0007 and 0008 and 0009 and 990 more"
    )


some_copies = st.lists(
    st.tuples(
        st.sampled_from([NEW, NEW, KEPT, REFUSED]),
        st.sampled_from(["train", "val", "test"]),
        st.text("ab", max_size=3),
        st.sampled_from("AB"),
    ),
    max_size=6,
    unique_by=lambda row: row[2],
).map(copies)


@given(some_copies, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_copies_does_not_matter(group, respected, random):
    assert verdicts(random.sample(group, len(group)), respected) == verdicts(group, respected)


@given(some_copies, st.booleans())
def test_what_stays_is_one_row_or_what_was_kept(group, respected):
    gone = {repeat.id for repeat in verdicts(group, respected)}
    kept = [copy for copy in group if copy.kept]
    stays = [copy for copy in group if copy.id not in gone and copy.written]
    assert not gone & {copy.id for copy in kept}
    if any(copy.written for copy in kept):
        assert stays == [copy for copy in kept if copy.written]
    elif len({copy.label for copy in group}) == 1:
        assert len(stays) == min(1, len(group) - len(kept))
    else:
        assert stays == []


@given(some_copies, some_copies, st.booleans())
def test_later_data_never_moves_a_row(group, later, respected):
    # what the first ingest wrote or rejected is kept in the second, whatever comes
    gone = {repeat.id: repeat.reason for repeat in verdicts(group, respected)}
    first = [c._replace(kept=True, written=c.written and c.id not in gone) for c in group if gone.get(c.id) != "duplicate"]
    new = [c._replace(kept=False, written=True, path=f"later/{c.path}", id=c.id + 100) for c in later]
    assert {repeat.id for repeat in verdicts([*first, *new], respected)} <= {copy.id for copy in new}


# sha256, split, path, label
ROWS = [
    ("11", "train", "t1", "A"),
    ("11", "test", "e1", "A"),
    ("11", "test", "e0", "A"),
    ("22", "train", "t2", "A"),
    ("33", "train", "t3", "C"),
    ("33", "val", "v3", "B"),
    ("33", "test", "e3", "B"),
    (None, "train", "t4", "D"),
    (None, "val", "v4", "B"),
]


def table(rows=ROWS) -> pa.Table:
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("sha256", "split", "path", "label"))}
    flags = {
        "kept": [False] * len(rows),
        "written": [True] * len(rows),
        "group": list(range(len(rows))),
        "id": [-i for i in range(len(rows))],
    }
    types = {"kept": pa.bool_(), "written": pa.bool_(), "group": pa.int64(), "id": pa.int64()}
    return pa.table({name: pa.array(cells, types.get(name, pa.string())) for name, cells in {**columns, **flags}.items()})


def test_repeated_in():
    assert repeated_in(table()) == [
        [Copy(False, "test", "e0", "A", 2, -2), Copy(False, "test", "e1", "A", 1, -1), Copy(False, "train", "t1", "A", 0, 0)],
        [Copy(False, "test", "e3", "B", 6, -6), Copy(False, "train", "t3", "C", 4, -4), Copy(False, "val", "v3", "B", 5, -5)],
    ]


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS[3:5], ROWS[-2:]])
def test_nothing_is_repeated(rows):
    assert repeated_in(table(rows)) == []
    assert leaks(repeated_in(table(rows))) == []


def test_repeats_are_found_across_the_chunks_of_a_table():
    chunks = pa.concat_tables([table().slice(i, 1) for i in range(len(ROWS))])
    assert repeated_in(chunks) == repeated_in(table())
    assert shared_labels(chunks) == shared_labels(table())


def test_leaks():
    assert leaks(repeated_in(table())) == [
        {"splits": ["train", "val"], "images": 1, "rows": 2, "examples": ["t3 (train) = v3 (val)"]},
        {"splits": ["train", "test"], "images": 2, "rows": 5, "examples": ["t1 (train) = e0 (test)", "t3 (train) = e3 (test)"]},
        {"splits": ["val", "test"], "images": 1, "rows": 2, "examples": ["v3 (val) = e3 (test)"]},
    ]


@given(st.permutations(range(8)))
def test_the_examples_of_leaks_do_not_depend_on_order(order):
    groups = [copies([(NEW, "train", f"t{i}", "A"), (NEW, "test", f"e{i}", "A")]) for i in order]
    examples = [f"t{i} (train) = e{i} (test)" for i in range(5)]
    assert leaks(groups) == [{"splits": ["train", "test"], "images": 8, "rows": 16, "examples": examples}]


def test_shared_labels():
    assert shared_labels(table()) == [
        {"splits": ["train", "test"], "labels": 1, "rows": 4, "examples": ["A"]},
        {"splits": ["val", "test"], "labels": 1, "rows": 3, "examples": ["B"]},
    ]
    assert shared_labels(table([])) == []
