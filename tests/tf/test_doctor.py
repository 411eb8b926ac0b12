"""The label doctor with planted distributions: scores counted by hand, order, kinds, and the files it leaves."""

import csv
import math
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.decode import readings
from model.doctor import Finding, Suspect, Worst, examine, judge, kind_of
from model.doctor_report import ScoreTable, entry, exclude_lines, new_folder, write_diagnosis
from pipelines.charset import Charset
from pipelines.preprocess import PreprocessSpec
from pipelines.scan import file_id

pytestmark = pytest.mark.tf
DIGITS = Charset("0123456789")
SURE = 0.9


def spread(text: str, sure: float = SURE) -> np.ndarray:
    """(4, 11) distributions of a head of four positions that reads `text` with probability sure ** 4."""
    classes = [*map(int, text), *[DIGITS.blank] * (4 - len(text))]
    found = np.full((4, 11), (1 - sure) / 10, np.float32)
    found[range(4), classes] = sure
    return found


class Planted:
    """Reads what its dictionary says of each picture, as surely as it says; all others right."""

    charset = DIGITS
    image = PreprocessSpec(height=16, width=32)

    def __init__(self, labels, picture, said):
        self.bundle = {"decode": "positions"}
        self.said = {picture(label).tobytes(): spread(*said.get(label, (label, SURE))) for label in labels}

    def read_distributions(self, images):
        found = np.stack([self.said[image.tobytes()] for image in images])
        return readings("positions", found.argmax(-1), found.max(-1), DIGITS), found


def test_the_score_is_the_odds_of_the_text_against_the_label():
    told = np.stack([spread("12")] * 4)
    texts = readings("positions", told.argmax(-1), told.max(-1), DIGITS)
    labels = ["12", "13", "1", "1x"]
    (right, zero, agrees), (sure, swapped, substituted), (_, dropped, length), (_, nothing, foreign) = judge(
        "positions", DIGITS, labels, texts, told
    )
    assert (agrees, substituted, length, foreign) == ("agrees", "substituted", "length", "foreign")
    assert right == sure == pytest.approx(SURE**4, rel=1e-3)  # and a little for the other places of the two characters
    assert zero == 0
    assert swapped == pytest.approx(math.log(0.9 / 0.01), abs=0.05)
    assert dropped == pytest.approx(math.log(0.9**4 / (0.9**3 * 0.01 + 3 * 0.9 * 0.01**3)), abs=0.05)
    assert nothing is None


@pytest.mark.parametrize(
    ("label", "text", "confidence", "kind"),
    [
        ("12", "12", 0.1, "agrees"),
        ("12", "13", 0.9, "substituted"),
        ("12", "123", 0.5, "length"),
        ("12", "13", 0.49, "unreadable"),
    ],
)
def test_the_kind_of_a_contradiction(label, text, confidence, kind):
    assert kind_of(label, text, confidence) == kind


def suspect(row: int, score: float | None, kind: str = "substituted") -> Suspect:
    return Suspect(Finding(row, "train", f"{row}.png", "1", "2", 0.9, score, kind), np.zeros((2, 2, 1), np.uint8))


@pytest.mark.parametrize("step", [1, -1])
def test_the_worst_are_kept_in_whatever_order_they_come(step):
    rows = [
        suspect(1, 3),
        suspect(2, 9),
        suspect(3, None, "foreign"),
        suspect(4, 9),
        suspect(5, math.inf),
        suspect(6, 0, "agrees"),
    ]
    worst = Worst(3)
    for row in rows[::step]:
        worst.add([row])
    assert [kept.finding.id for kept in worst.sorted()] == [5, 2, 4]


@pytest.fixture
def examined(digits, picture, tmp_path):
    """The diagnosis of the test split with three labels that the model contradicts, and the folder with all scores."""
    labels = ["07", "11", "13", "15", "24", "27", "30", "104", "112", "113", "117", "118"]
    said = {"07": ("01", 0.99), "13": ("1", 0.95), "104": ("108", 0.5)}
    folder = new_folder(tmp_path / "doctor")
    with ScoreTable.opened(folder / "scores.parquet") as table:
        return examine(Planted(labels, picture, said), digits, "test", 10, table), folder


def test_contradictions_come_first_and_every_row_has_a_score(examined):
    diagnosis, folder = examined
    found = [s.finding for s in diagnosis.suspects]
    assert [(f.label, f.text, f.kind) for f in found] == [
        ("07", "01", "substituted"),
        ("13", "1", "length"),
        ("104", "108", "unreadable"),
    ]
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert found[0] == found[0]._replace(id=file_id("07.png"), split="test", path="07.png")
    assert diagnosis.rows == 12
    assert diagnosis.kinds == {"agrees": 9, "substituted": 1, "length": 1, "unreadable": 1}
    scores = pq.read_table(folder / "scores.parquet").to_pylist()
    assert len(scores) == 12
    assert {row["path"]: row["score"] for row in scores if row["score"]} == {f.path: f.score for f in found}


def test_all_splits(digits, picture):
    labels = sorted(digits.manifest.statistics["all"]["lengths"])
    assert labels == ["2", "3"]
    names = [f"{n:02d}" for n in range(40)] + [str(n) for n in range(100, 120)]
    seen: list[Finding] = []
    diagnosis = examine(Planted(names, picture, {}), digits, "all", 10, seen.extend)
    assert (diagnosis.rows, diagnosis.suspects) == (60, ())
    assert {finding.split for finding in seen} == {"train", "val", "test"}


def test_the_files_that_a_person_gets(examined):
    diagnosis, folder = examined
    write_diagnosis(folder, diagnosis, "a <source>", 1)
    with (folder / "suspects.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["rank"], row["path"], row["label"], row["text"]) for row in table] == [
        ("1", "07.png", "07", "01"),
        ("2", "13.png", "13", "1"),
        ("3", "104.png", "104", "108"),
    ]
    assert (folder / "gallery.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "a &lt;source&gt;" in page
    assert page.count('src="data:image/png;base64,') == 3
    # 07 and 01; 13 and 1; 104 and 108
    assert re.findall(r'class="bad">(.)<', page) == ["7", "1", "3", " ", "4", "8"]
    assert not re.search(r'(src|href)="(?!data:)', page)
    lines = (folder / "exclude.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["07.png"]
    assert [line for line in lines if line.endswith(".png")] == ["07.png", "# 13.png", "# 104.png"]


def test_a_list_that_may_have_been_edited_stays(examined, told):
    diagnosis, folder = examined
    write_diagnosis(folder, diagnosis, "", 0)
    assert "choose another --output" in told(new_folder, folder)


@pytest.mark.parametrize(
    ("path", "named"),
    [("a/b c.png", "a/b c.png"), ("#1.png", "7"), ("a\nb.png", "7"), (r"a\xff.png", "7"), ("a.png ", "7"), ("é.png", "é.png")],
)
def test_a_row_is_named_so_that_the_list_can_be_read_again(path, named):
    finding = Finding(7, "train", path, "1", "2", 0.9, 3.0, "substituted")
    assert entry(finding) == named
    assert list(exclude_lines([finding], "", 1))[-1] == named


def test_another_preprocessing_is_told(digits, picture, told):
    other = Planted([], picture, {})
    other.image = PreprocessSpec(height=16, width=40)
    assert "image.width 32 (model: 40)" in told(examine, other, digits, "test", 10, list)
