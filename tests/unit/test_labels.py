"""Labels: a table of paths and rules with the label or the reason written down."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.labels import LabelRule
from pipelines.rejects import Reason, Reject

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
]

REJECTS = [
    ("AB.png", {"pattern": "_(?P<label>.+)_"}, Reason.NO_LABEL, "_(?P<label>.+)_ does not match"),
    ("__.png", {"pattern": "_(?P<label>.*)_"}, Reason.NO_LABEL, "does not match"),
    ("12x4.png", {"alphabet": "01234"}, Reason.FOREIGN_CHARACTER, "'12x4' has 'x' (U+0078)"),
    ("éx1.png", {"alphabet": "01234"}, Reason.FOREIGN_CHARACTER, "'x' (U+0078), 'é' (U+00E9)"),
    ("AB.png", {"alphabet": "ABab", "case": "lower", "min_length": 3}, Reason.TOO_SHORT, "'ab' is shorter than 3"),
    ("12345.png", {"max_length": 4}, Reason.TOO_LONG, "'12345' is longer than 4"),
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


name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0."), min_size=1, max_size=12)


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
