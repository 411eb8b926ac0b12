"""Labels: a table of paths and rules with the label or the reason written down."""

import pickle
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.errors import SettingsError
from pipelines.labels import LabelRule
from pipelines.rejects import Reason, Reject
from pipelines.settings import build

LABELS = [
    ("aB3xQ.png", {}, "aB3xQ"),
    ("00012/aB3xQ.jpeg", {}, "aB3xQ"),
    ("no_extension", {}, "no_extension"),
    ("1869.1.png", {}, "1869"),
    ("1869.12.png", {}, "1869"),
    ("1869.1.2.png", {}, "1869.1"),
    ("v1.x.png", {}, "v1.x"),
    ("1869.1.png", {"copy_number": False}, "1869.1"),
    ("a b.png", {}, "a b"),
    ("aB.png", {"case": "lower"}, "ab"),
    ("aB.png", {"case": "upper"}, "AB"),
    ("straße.png", {"case": "upper"}, "STRASSE"),
    ("e\u0301.png", {}, "é"),
    ("\u212b.png", {}, "Å"),
    ("\u0390.png", {"case": "upper"}, "\u03aa\u0301"),  # upper() takes this letter apart: NFC has to come after it
    ("𝔸𝔹.png", {}, "𝔸𝔹"),
    ("x_AB12_y.png", {"pattern": "_(?P<label>[^_]+)_"}, "AB12"),
    ("cats/0001.png", {"pattern": "(?P<label>[^/]+)/[^/]+$"}, "cats"),
    ("1869.1.png", {"pattern": r"(?P<label>.+)\.png"}, "1869.1"),
    ("012.png", {"alphabet": "0123456789"}, "012"),
    ("abcd.png", {"min_length": 4, "max_length": 4}, "abcd"),
    ("straße.png", {"case": "fold"}, "strasse"),
    ("straße.png", {"case": "lower"}, "straße"),
    ("trailing..png", {}, "trailing."),
    ("trailing.", {}, "trailing."),
    ("x.٣.png", {}, "x"),
    ("no\u00a0break.png", {}, "no\u00a0break"),
    ("\udcff/aB.png", {}, "aB"),  # only the folder's name is not UTF-8
    ("train/A/0001.png", {"source": "folder"}, "A"),
    ("a.1/x.png", {"source": "folder"}, "a.1"),
    ("e\u0301/x.png", {"source": "folder", "case": "upper"}, "É"),
    ("A/\udcff.png", {"source": "folder"}, "A"),
]

REJECTS = [
    ("AB.png", {"pattern": "_(?P<label>.+)_"}, Reason.NO_LABEL, "_(?P<label>.+)_ does not match"),
    ("__.png", {"pattern": "_(?P<label>.*)_"}, Reason.NO_LABEL, "does not match"),
    ("12x4.png", {"alphabet": "01234"}, Reason.FOREIGN_CHARACTER, "'12x4' has 'x' (U+0078)"),
    ("éx1.png", {"alphabet": "01234"}, Reason.FOREIGN_CHARACTER, "'x' (U+0078), 'é' (U+00E9)"),
    ("AB.png", {"alphabet": "ABab", "case": "lower", "min_length": 3}, Reason.TOO_SHORT, "'ab' is shorter than 3"),
    ("12345.png", {"max_length": 4}, Reason.TOO_LONG, "'12345' is longer than 4"),
    ("..1.png", {"min_length": 2}, Reason.TOO_SHORT, "label '.' is shorter than 2"),
    ("9" * 200 + ".png", {"max_length": 4}, Reason.TOO_LONG, "label '" + "9" * 60 + "…' is longer than 4"),
    ("a\nb.png", {}, Reason.FOREIGN_CHARACTER, r"label 'a\nb' has '\n' (U+000A), a control character"),
    ("\x7f\x00.png", {"alphabet": "ab"}, Reason.FOREIGN_CHARACTER, r"'\x00' (U+0000), '\x7f' (U+007F), a control character"),
    ("\udcff.png", {}, Reason.NO_LABEL, "the file name is not valid UTF-8"),
    ("a/x_\udce9_y.png", {"pattern": "_(?P<label>[^_]+)_"}, Reason.NO_LABEL, "the file name is not valid UTF-8"),
    ("\udcff\n.png", {"max_length": 1}, Reason.NO_LABEL, "the file name is not valid UTF-8"),
    ("a/\udcff/x.png", {"source": "folder"}, Reason.NO_LABEL, "the folder name is not valid UTF-8"),
    ("A.png", {"source": "folder"}, Reason.NO_LABEL, "it lies in no folder that could label it"),
    ("train/AB/x.png", {"source": "folder", "max_length": 1}, Reason.TOO_LONG, "'AB' is longer than 1"),
]

TABLE = {"file": "captchas.csv", "image": "uniq_id", "label": "captcha_answer"}

GIVEN = [
    ("aB3xQ", {}, "aB3xQ"),
    ("e\u0301", {}, "é"),
    ("1869.1", {}, "1869.1"),
    (" a", {}, " a"),
    ("aB", {"case": "lower"}, "ab"),
]

GIVEN_REJECTS = [
    (None, {}, Reason.NO_LABEL, "the table gives it no label"),
    ("", {}, Reason.NO_LABEL, "the table gives it no label"),
    ("a\nb", {}, Reason.FOREIGN_CHARACTER, "(U+000A), a control character"),
    ("a\ud800", {}, Reason.FOREIGN_CHARACTER, r"label 'a\ud800' has '\ud800' (U+D800), a control character"),
    ("ab", {"alphabet": "a"}, Reason.FOREIGN_CHARACTER, "'b' (U+0062), not in the alphabet"),
    ("x" * 1_000_000, {"max_length": 9}, Reason.TOO_LONG, "label '" + "x" * 60 + "…' is longer than 9"),
]

REFUSED = [
    ({"source": "table"}, "source table needs a table: set table.file, table.image and table.label"),
    ({"source": "name", "table": TABLE}, "source name reads no table; remove table, or set source to table"),
    ({"source": "folder", "table": TABLE}, "source folder reads no table"),
    ({"source": "folder", "pattern": "(?P<label>.)"}, "source folder uses no pattern; remove pattern, or set source to name"),
    ({"table": TABLE, "pattern": "(?P<label>.)"}, "source table uses no pattern"),
    ({"pattern": "(x"}, "not a regular expression"),
    ({"pattern": "(x)"}, "no group named label"),
    ({"alphabet": "aba"}, "more than once: a"),
    ({"alphabet": ""}, "at least one"),
    ({"alphabet": "a\n"}, "(U+000A) cannot be read off an image"),
    ({"min_length": 3, "max_length": 2}, "max_length 2 is below min_length 3"),
]


@pytest.mark.parametrize(("path", "rule", "label"), LABELS)
def test_label_of(path, rule, label):
    assert LabelRule(**rule).label_of(path) == label


@pytest.mark.parametrize(("path", "rule", "reason", "detail"), REJECTS)
def test_a_file_without_a_usable_label_is_rejected_with_the_reason(path, rule, reason, detail):
    with pytest.raises(Reject) as caught:
        LabelRule(**rule).label_of(path)
    assert caught.value.reason is reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(("given_label", "rule", "label"), GIVEN)
@pytest.mark.parametrize("path", ["a/x.png", "\udcff.png"])
def test_a_label_from_a_table_whatever_the_file_is_called(path, given_label, rule, label):
    assert LabelRule(table=TABLE, **rule).label_of(path, given_label) == label


@pytest.mark.parametrize(("given_label", "rule", "reason", "detail"), GIVEN_REJECTS)
def test_a_useless_cell_is_rejected_with_the_reason(given_label, rule, reason, detail):
    with pytest.raises(Reject) as caught:
        LabelRule(table=TABLE, **rule).label_of("a.png", given_label)
    assert caught.value.reason is reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(("rule", "why"), REFUSED)
def test_rules_that_contradict_themselves_are_refused(rule, why):
    with pytest.raises(SettingsError) as caught:
        build(LabelRule, rule, "conf.yaml")
    assert why in str(caught.value)


def test_a_table_is_the_source_without_saying_so():
    rule = LabelRule(table=TABLE)
    assert rule.source == "table"
    assert LabelRule.model_validate(rule.model_dump(mode="json")) == rule
    assert pickle.loads(pickle.dumps(rule)) == rule


@given(st.text(st.characters(exclude_categories=[]), max_size=40), st.text(st.characters(exclude_categories=[]), max_size=9))
@example("\udcff.png", "\udcff")
@pytest.mark.parametrize("rule", [{}, {"source": "folder"}, {"table": TABLE}, {"pattern": "(?P<label>[^/]+)"}])
def test_any_name_and_any_cell_make_a_printable_label_or_a_reject(rule, path, cell):
    try:
        label = LabelRule(**rule).label_of(path, cell)
    except Reject as reject:
        reject.detail.encode()
    else:
        assert label.encode().decode() == label
        assert not {unicodedata.category(c) for c in label} & {"Cc", "Cs"}


name = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\0."), min_size=1, max_size=12)


@given(name, st.sampled_from(["", "0001/", "a.b/c/"]), st.sampled_from([".png", ".7.jpeg", ""]))
def test_the_label_is_the_stem_in_nfc_wherever_the_file_lies(stem, folder, ending):
    assert LabelRule().label_of(f"{folder}{stem}{ending}") == unicodedata.normalize("NFC", stem)


@given(name, st.sampled_from(["keep", "lower", "upper"]))
def test_a_label_is_always_in_nfc(stem, case):
    label = LabelRule(case=case).label_of(f"{stem}.png")
    assert unicodedata.is_normalized("NFC", label)


@given(name, st.text("abc", min_size=1).map(lambda text: "".join(dict.fromkeys(text))))
def test_a_label_is_never_edited_to_fit_the_alphabet(stem, alphabet):
    try:
        label = LabelRule(alphabet=alphabet).label_of(f"{stem}.png")
    except Reject as reject:
        assert reject.reason is Reason.FOREIGN_CHARACTER
    else:
        assert label == stem
        assert set(label) <= set(alphabet)
