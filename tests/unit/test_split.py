"""Splits: content and salt decide alone. The table is written down: a change would move rows of every dataset."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.rejects import Reason, Reject
from pipelines.split import SplitRule

# digests of one repeated hex digit -> the split under two salts
BY_CONTENT = [
    ("0", "test", "train"),
    ("1", "test", "train"),
    ("2", "test", "train"),
    ("3", "val", "train"),
    ("4", "train", "test"),
    ("5", "train", "val"),
    ("6", "train", "train"),
    ("7", "train", "train"),
    ("8", "train", "val"),
    ("9", "train", "val"),
    ("a", "train", "train"),
    ("b", "val", "val"),
    ("c", "train", "test"),
    ("d", "train", "train"),
    ("e", "train", "train"),
    ("f", "train", "train"),
]
BY_LABEL = [("1869", "train"), ("aB3xQ", "train"), ("é", "test"), ("𝔸", "val"), ("zz", "val"), ("hello", "train")]

# path, the table's cell -> the split by folder, the split by table (None: rejected)
RESPECTED = [
    ("train/a.png", "train", "train", "train"),
    ("Training/sub/a.png", "TRAIN", "train", "train"),
    ("val/a.png", "dev", "val", "val"),
    ("VALID/a.png", "Validation", "val", "val"),
    ("test/train/a.png", "testing", "test", "test"),
    ("images/train/a.png", "eval", None, None),
    ("train.png", None, None, None),
    ("/a.png", "", None, None),
    ("\udcff/a.png", "\ud800", None, None),
]
NO_SPLIT = [
    (
        "train.png",
        "the first folder of its path is missing; expected one of train, training, val, valid, validation, dev, test",
    ),
    ("\udcff/a.png", "the first folder of its path is '\\udcff'; expected one of train"),
]

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@pytest.mark.parametrize(("digit", "split", "split_of_other_salt"), BY_CONTENT)
def test_by_content(digit, split, split_of_other_salt):
    assert SplitRule().of(digit * 64, "any") == split
    assert SplitRule(salt="other").of(digit * 64, "any") == split_of_other_salt


@pytest.mark.parametrize(("label", "split"), BY_LABEL)
def test_by_label(label, split):
    assert SplitRule(by="label").of("0" * 64, label) == split


@pytest.mark.parametrize(("path", "cell", "by_folder", "by_table"), RESPECTED)
def test_an_existing_split_is_respected(path, cell, by_folder, by_table):
    for rule, split in ((SplitRule(by="folder"), by_folder), (SplitRule(by="table"), by_table)):
        if split:
            assert rule.of("0" * 64, "any", path, cell) == split
        else:
            with pytest.raises(Reject) as caught:
                rule.of("0" * 64, "any", path, cell)
            assert caught.value.reason is Reason.NO_SPLIT
            caught.value.detail.encode()


@pytest.mark.parametrize(("path", "detail"), NO_SPLIT)
def test_a_file_of_no_split_is_told_what_is_expected(path, detail):
    with pytest.raises(Reject) as caught:
        SplitRule(by="folder").of("0" * 64, "any", path)
    assert detail in caught.value.detail


@pytest.mark.parametrize(("by", "respected"), [("content", False), ("label", False), ("folder", True), ("table", True)])
def test_which_splits_are_respected(by, respected):
    assert SplitRule(by=by).respected is respected


@given(digests, st.text(), st.text(), st.text())
def test_where_a_file_lies_does_not_matter_to_a_hashed_split(digest, label, path, cell):
    for by in ("content", "label"):
        assert SplitRule(by=by).of(digest, label, path, cell) == SplitRule(by=by).of(digest, label)


@given(digests, digests, st.text(), st.text())
def test_what_is_not_hashed_does_not_matter(digest, other_digest, label, other_label):
    assert SplitRule().of(digest, label) == SplitRule().of(digest, other_label)
    assert SplitRule(by="label").of(digest, label) == SplitRule(by="label").of(other_digest, label)


@given(digests, st.floats(0, 0.2))
def test_a_row_of_train_stays_when_train_grows(digest, more):
    if SplitRule().of(digest, "") == "train":
        assert SplitRule(train=0.7 + more, val=0.1, test=0.2 - more).of(digest, "") == "train"


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.2), (0.34, 0.33, 0.33), (0.98, 0.01, 0.01)])
@pytest.mark.parametrize("salt", ["glyphmill", "other"])
def test_shares_of_20000_rows(shares, salt):
    rule = SplitRule(train=shares[0], val=shares[1], test=shares[2], salt=salt)
    found = Counter(rule.of(hashlib.sha256(str(i).encode()).hexdigest(), "") for i in range(20_000))
    for split, share in zip(("train", "val", "test"), shares, strict=True):
        assert found[split] / 20_000 == pytest.approx(share, abs=0.015)  # over four standard deviations


@pytest.mark.parametrize(
    ("shares", "allowed"),
    [((1, 0, 0), {"train"}), ((0, 1, 0), {"val"}), ((0, 0, 1), {"test"}), ((0.5, 0, 0.5), {"train", "test"})],
)
def test_a_share_of_zero_gets_nothing(shares, allowed):
    rule = SplitRule(train=shares[0], val=shares[1], test=shares[2])
    assert {rule.of(hashlib.sha256(str(i).encode()).hexdigest(), "") for i in range(500)} == allowed


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.1), (0.7, 0.2, 0.2), (0, 0, 0)])
def test_shares_add_up_to_one(shares):
    with pytest.raises(ValueError, match="they are shares of 1"):
        SplitRule(train=shares[0], val=shares[1], test=shares[2])
