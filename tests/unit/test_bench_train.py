"""The arithmetic of bench-train, bench-inference and bench-doctor: bars, rows, swapped labels, and what a peer is given."""

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from benchmarks import accuracy, train_data
from benchmarks.doctor import label, swap
from benchmarks.doctor import summaries as doctor_rows
from benchmarks.inference import bars as inference_bars
from benchmarks.inference import batch_summary, summary
from benchmarks.readings import readings
from benchmarks.train import FAST, OURS, PEER, PUBLISHED, bars, cells
from benchmarks.train_peers.fast_plate_ocr import part_of, plates
from pipelines.manifest import open_dataset

ROOT = Path(__file__).parents[2]


def row(system: str, exact: float | None, ms: float = 6.0) -> dict:
    known = {} if exact is None else {"exact_match": exact, "single_ms": ms}
    return {"dataset": "text5", "system": system, "failure": "why" if exact is None else None} | known


def test_bars_of_the_trainings():
    rows = [row(OURS, 0.98), row(FAST, 0.975, 2.0), *(row(name, 0.9) for name in PUBLISHED), row(PEER, 0.95)]
    rows[3] = row("letter_cnn", None)  # reads no such labels
    found = bars(rows)
    assert {name: (one["value"], one["holds"]) for name, one in found.items()} == {
        "text5_default_ahead": (pytest.approx(0.03), True),
        "text5_fast_loses": (pytest.approx(0.005), True),
        "text5_fast_time_share": (0.333, False),
    }
    assert [one["holds"] for one in bars([row(OURS, 0.9), row(FAST, 0.8, 1.0)]).values()] == [None, False, True]
    assert bars([*rows[:2], *rows[2:-1], row(PEER, None)])["text5_default_ahead"]["holds"] is None


@pytest.mark.parametrize(
    ("curves", "value", "holds"),
    [
        ({OURS: [[446, 0.93], [618, 0.97]], FAST: [[174, 0.94], [607, 0.98]]}, -0.01, False),
        ({OURS: [[446, 0.93], [618, 0.97]], FAST: [[174, 0.94]], "crnn_ctc": [[628, 0.0]]}, 0.03, True),
        ({OURS: [[700, 0.9], [900, 0.99]], FAST: [[650, 0.8], [800, 0.985]]}, 0.005, True),
        ({OURS: [[700, 0.9], [900, 0.98]], FAST: [[650, 0.8], [800, 0.985]]}, -0.005, False),
        ({OURS: [[446, 0.93]], FAST: [[174, 0.94]]}, None, None),
        ({OURS: [[618, 0.97]], PEER: None}, None, None),
        ({FAST: [[618, 0.97]]}, None, None),
    ],
)
def test_the_curve_of_default_against_those_of_all_others(curves, value, holds):
    rows = [row(system, 0.9) | {"dataset": "captcha36", "curve": curve} for system, curve in curves.items()]
    found = bars(rows)["captcha36_default_curve_ahead"]
    assert (found["value"], found["holds"]) == (value if value is None else pytest.approx(value), holds)


def test_a_row_that_was_not_run_says_so():
    assert cells(row(PEER, None))["exact match"] == "not run"
    assert cells(row(OURS, 0.98765))["exact match"] == "0.9877"


def test_bars_of_inference():
    rows = [summary(("fast", (64, 160, 1), 9), runtime, [1.0, 2.0, 3.0]) for runtime in ("onnxruntime", "TensorFlow")]
    assert rows[0] == {
        "preset": "fast",
        "shape": [64, 160, 1],
        "weights": 9,
        "runtime": "onnxruntime",
        "ms": 2.0,
        "ms_p95": 2.9,
    }
    assert inference_bars(rows) == {
        "fast_64x160_ms": {"value": 2.0, "bar": 2.0, "least": False, "holds": True},
        "fast_64x160_share": {"value": 1.0, "bar": 0.5, "least": False, "holds": False},
    }
    rows.append(summary(("fast", (64, 160, 1), 9), "onnxruntime, 8 bits", [1.0, 0.5, 0.9]))
    assert inference_bars(rows)["fast_64x160_int8_share"]["value"] == 0.45
    batches = [batch_summary("fast", (64, 200, 1), cores, [16.0, 20.0, 32.0]) for cores in (2, 1)]
    assert batches[0]["images_per_s"] == 1600.0
    assert inference_bars([], batches[:1]) == {
        "fast_64x200_images_per_s": {"value": 1600.0, "bar": 1500.0, "least": True, "holds": True}
    }
    assert inference_bars([], batches[1:])["fast_64x200_images_per_s"]["holds"] is None


def test_readers_take_turns():
    seen: list[str] = []
    readers = {name: lambda name=name: seen.append(name) for name in "ab"}
    ms = readings(readers, 60)
    assert {name: len(found) for name, found in ms.items()} == {"a": 100, "b": 100}
    assert seen[40:140] == ["a"] * 50 + ["b"] * 50  # after the warm-up


def test_swapped_labels(tmp_path):
    for name in ("12.png", "12.1.png", "34.png", "56.png", "78.png", "90.png"):
        (tmp_path / name).write_text(label(Path(name)))
    wrong = swap(tmp_path, 0.7, seed=1)
    assert wrong == {path.name for path in tmp_path.iterdir() if path.read_text() != label(path)}
    assert len(wrong) in (2, 4)
    assert len(list(tmp_path.iterdir())) == 6


def test_errors_among_the_first_rows():
    scores = [{"path": str(i), "split": "test" if i % 2 else "train", "score": float(9 - i)} for i in range(8)]
    scores.append({"path": "8", "split": "train", "score": None})
    rows = {row["split"]: row for row in doctor_rows(scores, {"0", "5"})}
    assert rows["all"] == {"split": "all", "rows": 9, "errors": 2, "found": 1}
    assert rows["test"] == {"split": "test", "rows": 4, "errors": 1, "found": 0}  # 5 is the third of 1, 3, 5, 7
    assert rows["val"]["errors"] == 0


def test_every_system_gets_the_same_rows(tmp_path, noise):
    with zipfile.ZipFile(tmp_path / "text5-200x50.zip", "w") as archive:
        for number in range(60):
            archive.writestr(f"text5/a{number:04d}.png", noise(number))
    images = train_data.images_of("text5", tmp_path, 0, 0, tmp_path / "images")
    presets = ("default", "multihead_rgb", "deep_multihead")
    datasets = [train_data.ingested(images, preset, tmp_path / preset, 0) for preset in presets]
    assert len({dataset.manifest.image_shape for dataset in datasets}) == 3
    splits = [{split: train_data.labels_of(dataset, split) for split in ("train", "val", "test")} for dataset in datasets]
    assert splits[0] == splits[1] == splits[2]
    other = train_data.ingested(images, "default", tmp_path / "other", 1)
    assert train_data.labels_of(other, "test") != splits[0]["test"]
    folder = train_data.write_annotations(datasets[0], images, tmp_path / "annotations")
    with (folder / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["plate_text"] for row in rows] == list(splits[0]["test"].values())
    assert all((folder / row["image_path"]).is_file() for row in rows)


def test_folds_are_split_as_asked(tmp_path, noise):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(10):
        (images / f"b{number}.1.png").write_bytes(noise(number))
    order = accuracy.ranked(images)
    assert sorted(order) == sorted(path.name for path in images.iterdir())
    dataset = open_dataset(accuracy.split_by_hand(images, tmp_path / "shards", order[2:], 3))
    splits = {split: set(train_data.labels_of(dataset, split)) for split in ("train", "val", "test")}
    assert splits == {"val": set(order[2:5]), "train": set(order[5:]), "test": set(order[:2])}
    assert set(train_data.labels_of(dataset, "test").values()) == {path[:2] for path in order[:2]}


def test_accuracy_is_the_mean_of_a_parts_runs():
    runs = [{"part": "text5", "failure": None, "exact_match": exact} for exact in (1.0, 0.985)]
    failed = {"part": "digits4", "failure": "why"}
    found = {name: (one["value"], one["holds"]) for name, one in accuracy.bars([*runs, failed]).items()}
    assert found.pop("text5_exact_match") == (0.9925, True)
    assert set(found.values()) == {(None, None)}


def test_made_images_are_the_same_again(tmp_path):
    one, two = (train_data.images_of("made", tmp_path, 6, 0, tmp_path / name) for name in ("one", "two"))
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {path.name: path.read_bytes() for path in two.iterdir()}
    assert all(4 <= len(path.stem.partition(".")[0]) <= 6 for path in one.iterdir())


def test_the_peers_pad_is_no_character_of_the_labels():
    assert plates("ab_", 5) == {"max_plate_slots": 5, "alphabet": "ab_!", "pad_char": "!"} | {
        "img_height": 64,
        "img_width": 192,
        "keep_aspect_ratio": True,
        "interpolation": "cubic",
        "image_color_mode": "rgb",
    }
    assert yaml.safe_load(yaml.safe_dump(plates("0", 1)))["pad_char"] == "_"


def test_the_part_of_a_table_is_what_the_peer_has_time_for(tmp_path):
    table = tmp_path / "train.csv"
    table.write_text("image_path,plate_text\n" + "".join(f"{number}.png,ä{number}\n" for number in range(10)), encoding="utf-8")
    assert part_of(table, 1.0) == table
    part = part_of(table, 0.21)
    assert part.parent == table.parent, "paths in it are relative to it"
    (header, *rows), (kept, *known) = (path.read_text(encoding="utf-8").splitlines() for path in (part, table))
    assert header == kept
    assert len(set(rows)) == len(rows) == 3
    assert set(rows) < set(known)
    assert rows != known[:3], "which are of the first labels, where files are named by them"


@pytest.mark.parametrize("name", ["train", "inference", "doctor"])
def test_help_names_the_make_target(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"make bench-{name}" in done.stdout
