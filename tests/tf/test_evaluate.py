"""Scores over a split against a count by hand, with a recogniser whose mistakes are planted; its page; flat memory."""

import io
import json
import re
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from model import evaluate as evaluation
from model.decode import Reading
from model.evaluate import RIGHT, WRONG, comparable, evaluate
from model.evaluation.errors import Read
from model.evaluation.findings import told as lines
from model.evaluation.numbers import numbers, write_json
from model.evaluation.page import write_page
from model.export import write_bundle
from model.figures import curves
from model.history import Epoch
from model.metrics import Scores
from model.networks import build
from model.reader import Rows
from model.recognizer import Recognizer
from pipelines.charset import Charset
from pipelines.preprocess import PreprocessSpec
from pipelines.scan import file_id

pytestmark = pytest.mark.tf
DIGITS = Charset("0123456789")


def spread(texts: list[str]) -> tuple[list[Reading], np.ndarray]:
    """Readings with a confidence of 0.5, each character at the frame of its place with 0.75 for it; (N, T, 11) float32."""
    planted = np.full((len(texts), 8, len(DIGITS) + 1), 0.025, np.float32)
    for row, text in enumerate(texts):
        for frame, character in enumerate(text):
            planted[row, frame, DIGITS.alphabet.find(character)] = 0.75
    return [Reading(text, 0.5, (0.75,) * len(text), tuple(range(len(text)))) for text in texts], planted


class Planted:
    """Reads every picture right but those in `mistakes`."""

    charset = DIGITS

    def __init__(self, labels, picture, mistakes, **image):
        self.image = PreprocessSpec(**({"height": 16, "width": 32} | image))
        self.texts = {picture(label).tobytes(): mistakes.get(label, label) for label in labels}

    def read_distributions(self, images: np.ndarray) -> tuple[list[Reading], np.ndarray]:
        return spread([self.texts.get(image.tobytes(), "9") for image in images])

    def read_pixels(self, images: np.ndarray) -> list[Reading]:
        return self.read_distributions(images)[0]


@pytest.fixture
def labels():
    """The test split of `digits`: seven labels of two digits, five of three."""
    return ["07", "11", "13", "15", "24", "27", "30", "104", "112", "113", "117", "118"]


@pytest.fixture
def planted():
    """What is read instead: two edits, two edits, and one."""
    return {"07": "", "11": "1177", "118": "x18"}


def test_scores_are_those_counted_by_hand(digits, labels, picture, planted):
    found = evaluate(Planted(labels, picture, planted), digits, "test")
    assert found.scores == Scores(rows=12, exact=9, edits=5, characters=29, positions=((10, 12), (11, 12), (5, 5)))
    assert found.by_length == {
        2: Scores(7, 5, 4, 14, ((6, 7), (6, 7))),
        3: Scores(5, 4, 1, 15, ((4, 5), (5, 5), (5, 5))),
    }
    assert (found.split, found.fingerprint) == ("test", digits.manifest.fingerprint)
    assert {(wrong.label, wrong.text) for wrong in found.wrong} == set(planted.items())
    wrong = next(wrong for wrong in found.wrong if wrong.label == "07")
    assert wrong == Read(file_id("07.png"), "07.png", "07", "", 0.5, 2, wrong.row)
    assert found.ms_per_image > 0


def test_the_summary_is_plain_values(digits, labels, picture, planted):
    summary = evaluate(Planted(labels, picture, planted), digits, "test").summary()
    assert all(summary.pop(name) > 0 for name in ("ms_per_image", "ms_single_median", "ms_single_p95"))
    intervals = [summary.pop(name) for name in ("exact_match_interval", "cer_interval")]
    assert [low < share < high for (low, high), share in zip(intervals, (0.75, 5 / 29), strict=True)] == [True, True]
    assert summary == {
        "split": "test",
        "fingerprint": digits.manifest.fingerprint,
        "rows": 12,
        "exact_match": 0.75,
        "cer": 5 / 29,
        "by_length": {
            "2": {"rows": 7, "exact_match": 5 / 7, "cer": 4 / 14},
            "3": {"rows": 5, "exact_match": 0.8, "cer": 1 / 15},
        },
        # no two digits are usually confused, and one substitution (1 read as x) does not make a pair
        "exact_match_folded": 0.75,
        "cer_folded": 5 / 29,
        "exact_match_folded_found": 0.75,
        "cer_folded_found": 5 / 29,
        "character_precision": 26 / 29,
        "character_recall": 26 / 29,
        # 26 characters are surest of the label's; where x stands for a 1 all ten digits have the same score
        "auc": pytest.approx((26 * 243 + 234 + 9 / 2) / (27 * 243)),
        "average_precision": pytest.approx((26 + 27 / (27 + 9 / 2)) / 27),
        "calibration_error": 0.25,  # a confidence of 0.5 throughout
        "by_character": {
            "0": {"recall": 2 / 3, "right": 2, "labels": 3, "read_as": {"": 1}},
            "7": {"recall": 2 / 3, "right": 2, "labels": 3, "read_as": {"": 1}},
            "1": {"recall": 12 / 13, "right": 12, "labels": 13, "read_as": {"x": 1}},
            "2": {"recall": 1.0, "right": 3, "labels": 3, "read_as": {}},
            "3": {"recall": 1.0, "right": 3, "labels": 3, "read_as": {}},
            "4": {"recall": 1.0, "right": 2, "labels": 2, "read_as": {}},
            "5": {"recall": 1.0, "right": 1, "labels": 1, "read_as": {}},
            "8": {"recall": 1.0, "right": 1, "labels": 1, "read_as": {}},
        },
    }


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ({"width": 40}, "image.width 32 (model: 40)"),
        ({"fit": "pad"}, "image.fit stretch (model: pad)"),
        ({"mode": "rgb", "height": 20}, "image.mode gray (model: rgb), image.height 16 (model: 20)"),
    ],
)
def test_another_preprocessing_is_told(digits, labels, picture, told, image, said):
    other = Planted(labels, picture, {}, **image)
    assert not comparable(other, digits)
    message = told(evaluate, other, digits, "test")
    assert said in message
    assert digits.location.uri in message


def test_the_label_rule_and_the_split_do_not_matter(labels, picture, dataset_of):
    assert comparable(SimpleNamespace(image=PreprocessSpec(height=16, width=32)), dataset_of(split={"salt": "other"}))


def test_an_unknown_split_is_told(digits, labels, picture, told):
    assert "no split is named 'all'" in told(evaluate, Planted(labels, picture, {}), digits, "all")


CONFUSED = {"11": "17", "13": "73", "15": "75", "112": "172", "113": "773", "117": "777", "118": "178", "24": "2", "30": "300"}


@pytest.fixture(scope="module")
def confused(digits, picture, tmp_path_factory):
    """1 read as 7 nine times and 7 never as 1; a character lost, one doubled; with its table of errors."""
    labels = ["07", "11", "13", "15", "24", "27", "30", "104", "112", "113", "117", "118"]
    errors = tmp_path_factory.mktemp("errors") / "errors.jsonl"
    return SimpleNamespace(found=evaluate(Planted(labels, picture, CONFUSED), digits, "test", errors), errors=errors)


def test_pairs_that_the_data_show_to_be_confusable_are_folded(confused):
    details = confused.found.details
    assert [(swap.pair, swap.times) for swap in details.swaps] == [("17", 9)]
    assert (details.usual.pairs, details.found.pairs) == ((), ("17",))
    assert (details.usual.tally.exact, details.found.tally.exact, details.found.tally.rows) == (3, 10, 12)
    assert (details.found.tally.edits, details.found.tally.characters) == (2, 29)


def test_the_error_table_has_every_wrong_row(confused):
    rows = [json.loads(line) for line in confused.errors.read_text().splitlines()]
    assert {row["label"]: row["text"] for row in rows} == CONFUSED
    assert [set(row) for row in rows] == [{"id", "path", "label", "text", "confidence", "edits", "row"}] * 9
    assert {row["path"] for row in rows} == {f"{label}.png" for label in CONFUSED}


def test_examples_are_of_the_confusion(confused):
    details = confused.found.details
    assert {row.label for row in details.examples["1", "7"]} <= set(CONFUSED) - {"24", "30"}
    assert [row.label for row in details.examples["4", ""]] == ["24"]
    assert {row.label for row in details.right} == {"07", "27", "104"}


def test_the_terminal_is_told_the_intervals(confused):
    said = lines(confused.found)
    assert said[0].startswith("exact match           0.2500 (3 of 12), 95%: 0.0")
    assert said[2] == "confusable as one     0.8333, error rate 0.0690 (7 images more are right)"


def test_all_numbers_are_json(confused, tmp_path):
    write_json(tmp_path / "scores.json", confused.found, confused.errors)
    written = json.loads((tmp_path / "scores.json").read_text())
    assert len(written.pop("wrong")) == 9
    assert written == json.loads(json.dumps(numbers(confused.found)))
    assert ["1", "7", 9] in written["confusions"]
    assert written["operations"]["all"] == {"right": 19, "substituted": 9, "dropped": 1, "inserted": 1}
    assert written["by_character"]["1"]["recall"] == 4 / 13


@pytest.fixture(scope="module")
def page(confused, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "new"
    history = [Epoch(n, 1 / n, 1 / n, confused.found.scores, 1e-3, 100.0, 0.01, 5.0, 800.0) for n in (1, 2)]
    assert write_page(confused.found, digits, folder, "a <b>model</b>", curves(history)) == folder / "index.html"
    return folder


PARTS = ["characters", "confusions", "confusions_by_position", "coverage", "lengths", "metrics", "operations", "positions"]
PARTS += ["precision_recall", "reliability", "right", "roc", "wrong", "confusion_1", "confusion_2", "confusion_3"]
CURVES = [f"training_{name}" for name in ("learning_rate", "loss", "positions", "scores")]


def test_the_figures_are_png(page):
    assert {path.name for path in page.iterdir()} == {*(f"{name}.png" for name in PARTS + CURVES), "index.html", "test.json"}
    for path in page.glob("*.png"):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            assert (image.format, 100 < image.width <= 1400, 50 < image.height <= 2000) == ("PNG", True, True), path


def test_the_page_needs_nothing_else_and_tells_why(page):
    html = (page / "index.html").read_text()
    sources = re.findall(r"""src\s*=\s*["']?([^"'>\s]+)""", html)
    assert len(sources) == len(PARTS + CURVES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    for outside in ("http", "//", "href", "<script", "<link", "@import", "url("):
        assert outside not in rest
    assert "a &lt;b&gt;model&lt;/b&gt;" in rest
    assert "Wrong characters: 9 substituted, 1 dropped, 1 inserted." in rest
    assert "<code>1</code> read as <code>7</code> (9)" in rest
    assert (
        "78% of the wrong texts are right once confusable characters count as one; the data show these to be: <code>1</code> and <code>7</code> (9)."
        in rest
    )


def test_a_page_of_nothing_wrong_and_of_nothing_right(digits, labels, picture, tmp_path):
    for name, mistakes in (("good", {}), ("bad", dict.fromkeys(labels, ""))):
        found = evaluate(Planted(labels, picture, mistakes), digits, "test")
        html = write_page(found, digits, tmp_path / name, name).read_text()
        assert ("Every one of the 12 images was read exactly" in html) == (name == "good")
        assert (tmp_path / name / "wrong.png").exists() == (name == "bad")
        assert (tmp_path / name / "roc.png").exists() == (name == "good")  # of a model that reads nothing, nothing is scored


@pytest.mark.parametrize("head", ["ctc", "positions"])
def test_distributions_say_what_the_readings_say(digits, quick, picture, tmp_path, head):
    network = build(quick(network={"head": head}).network, digits.manifest.image_shape, 10, 3)
    write_bundle(tmp_path, network, digits.manifest, quick(network={"head": head}))
    recognizer = Recognizer.load(tmp_path)
    images = np.stack([picture(label)[..., None] for label in ("07", "104", "118")])
    found, distributions = recognizer.read_distributions(images)
    assert (len(found), distributions.dtype, distributions.shape[2]) == (3, np.float32, 11)
    np.testing.assert_allclose(distributions.sum(-1), 1, rtol=1e-5)
    for one, other, frames in zip(found, recognizer.read_pixels(images), distributions, strict=True):
        assert (one.text, one.frames) == (other.text, other.frames)
        assert one.confidence == pytest.approx(other.confidence, rel=1e-4)
        assert [DIGITS.alphabet[frames[frame].argmax()] for frame in one.frames] == list(one.text)


class Endless:
    """A split of `groups` row groups of 128 images, all of them read wrongly, in as many ways as there are."""

    def __init__(self, groups: int) -> None:
        self.rows, self.groups = 128 * groups, groups

    def __iter__(self):
        for group in range(self.groups):
            labels = [f"{(131 * row + group) % 10000:04d}" for row in range(128)]
            yield Rows(np.arange(128) + 128 * group, labels, labels, np.zeros((128, 16, 32, 1), np.uint8))


class Wanders:
    """Reads anything, and notes what memory is held at each call."""

    charset, image = DIGITS, PreprocessSpec(height=16, width=32)

    def __init__(self) -> None:
        self.held: list[int] = []
        self.calls = 0

    def read_distributions(self, images: np.ndarray) -> tuple[list[Reading], np.ndarray]:
        self.calls += 1
        self.held.append(tracemalloc.get_traced_memory()[0])
        return spread([f"{(7919 * row + self.calls) % 100000:05d}" for row in range(len(images))])

    def read_pixels(self, images: np.ndarray) -> list[Reading]:
        return spread(["0"] * len(images))[0]


def held(groups: int, digits, monkeypatch) -> tuple[int, int]:
    """Bytes that are held in the middle and at the end of an evaluation, at most."""
    monkeypatch.setattr(evaluation, "ShardReader", lambda dataset, split: Endless(groups))
    reader = Wanders()
    tracemalloc.start()
    try:
        found = evaluate(reader, digits, "test")
    finally:
        tracemalloc.stop()
    assert (found.scores.rows, found.scores.exact, len(found.wrong), len(found.details.right)) == (128 * groups, 0, WRONG, 0)
    assert RIGHT > 0
    return max(reader.held), len(json.dumps(numbers(found)))


def test_what_is_kept_does_not_grow_with_the_rows(digits, monkeypatch):
    few, many = held(10, digits, monkeypatch), held(50, digits, monkeypatch)
    assert many[0] < few[0] + 300_000  # bytes; the readings of the 5,120 rows more would take some 4 MB
    assert many[1] < 1.1 * few[1]
