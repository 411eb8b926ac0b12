"""The benchmarks' own arithmetic: made images, watched processes, ratios and bars."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.contenders import CONTENDERS, DEFAULT, LIMIT, OURS, Measured, run_once
from benchmarks.images import Made, image, label, link, made_images
from benchmarks.ingest import bars, cells, summaries
from benchmarks.measure import Ran, Watch, kind_of, run
from benchmarks.million import bars as bars_of_a_million
from benchmarks.rounds import NotRunError
from benchmarks.tables import bar, bar_lines, table

MADE = Made(count=12, width=64, height=24, drawn=4)
ROOT = Path(__file__).parents[2]


def test_labels_are_distinct():
    assert len({label(number) for number in range(50_000)}) == 50_000
    assert {len(label(number)) for number in (0, 1, 999_999)} == {6}


def test_images_are_distinct_and_the_same_again():
    images = [image(MADE, number) for number in range(MADE.count)]
    assert len(set(images)) == MADE.count
    assert images == [image(MADE, number) for number in range(MADE.count)]
    assert {Image.open(io.BytesIO(data)).size for data in images} == {(64, 24)}


def test_a_copy_shows_its_drawn_image():
    drawn, copy = (np.asarray(Image.open(io.BytesIO(image(MADE, number)))) for number in (1, 9))
    assert 1 <= (drawn != copy).any(-1).sum() <= 65


def test_made_images_go_unless_they_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with made_images(MADE, keep=True) as folder:
        assert len(list(folder.iterdir())) == 12
    with made_images(MADE, keep=False) as again:
        assert again == folder
        assert [path.name for path in link(again, tmp_path / "few", [3]).iterdir()] == [f"{label(3)}.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


@pytest.mark.parametrize(
    ("name", "command", "under_python", "kind"),
    [
        ("java", ["java", "-cp"], True, "jvm"),
        ("python3.11", ["python", "jobs/ingest.py"], False, "driver"),
        ("python3.11", ["python", "-m", "pyspark.daemon"], False, "worker"),
        ("python3.11", ["python", "-c", "spawn"], True, "worker"),
        ("bash", ["bash", "spark-submit"], False, ""),
    ],
)
def test_kinds_of_processes(name, command, under_python, kind):
    assert kind_of(name, command, under_python) == kind


@pytest.mark.parametrize(
    ("start", "end", "seconds"), [(10, 12, 4), (11, 12, 3), (10.5, 11, 0.5), (0, 10, 0), (11, 99, 3), (20, 30, 0)]
)
def test_cpu_between_two_moments(start, end, seconds):
    watch = Watch(cpu=[(10.0, 0.0), (11.0, 1.0), (12.0, 4.0)])
    assert watch.cpu_between(start, end) == pytest.approx(seconds)


def test_a_process_tree_is_watched(tmp_path):
    child = "import time; x = b'x' * 80_000_000; end = time.time() + 1\nwhile time.time() < end: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    ran = run([sys.executable, "-c", parent], tmp_path, {})
    assert (ran.code, ran.failure) == (0, "")
    assert ran.watch.largest["worker"] > 80_000_000 > ran.watch.largest["driver"] > 0
    assert 0.1 < ran.watch.cpu[-1][1] <= ran.seconds + 0.5


@pytest.mark.parametrize(
    ("output", "errors", "failure"),
    [
        ("", "", "exit code 1"),
        ("", "warned\nerror: no such folder\n", "error: no such folder"),
        ("ValueError: 3\nat org.apache.Spark\n", "", "ValueError: 3"),
        ("", "killed\n", "killed"),
    ],
)
def test_what_a_failed_command_said(output, errors, failure):
    assert Ran(1, 1.0, output, errors, Watch()).failure == failure


def test_a_contender_that_fails_is_told_and_leaves_nothing(tmp_path):
    broken = CONTENDERS[2]._replace(command=(sys.executable, "-c", "raise SystemExit('error: broken')"))
    (tmp_path / "out").mkdir()
    with pytest.raises(NotRunError, match="error: broken"):
        run_once(broken, tmp_path, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def measured(speed: float, images: int = 100) -> Measured:
    return Measured(images, images / speed, 2.0, 5_000_000, {"driver": 80.0, "jvm": 0.0, "worker": 100.0})


def test_rows_and_bars():
    runs = {contender.name: [measured(200), measured(300), measured(100)] for contender in CONTENDERS}
    runs |= {OURS: [measured(1800)] * 3, LIMIT: [measured(2000)] * 3, DEFAULT: [measured(90, images=20)]}
    rows = {row["contender"]: row for row in summaries(CONTENDERS, runs, {})}
    assert rows["binaryFile, tuned"]["range"] == pytest.approx([100, 300])
    assert cells(rows[OURS])["x limit"] == "0.90"
    assert cells(rows[DEFAULT])["images"] == "20"
    found = bars(list(rows.values()))
    assert {name: (one["value"], one["holds"]) for name, one in found.items()} == {
        "ratio_to_bare_limit": (0.9, True),
        "ratio_to_default_binaryFile": (20.0, True),
        "fastest_of_all_peers": (9.0, True),
        "beyond_bare_limit": (0.9, False),
    }


def test_no_bar_is_said_to_hold_where_a_peer_did_not_run():
    runs = {OURS: [measured(1800)], LIMIT: [measured(2000)]}
    rows = summaries(CONTENDERS, runs, {DEFAULT: "no such program"})
    assert [one["holds"] for one in bars(rows).values()] == [True, None, None, False]
    assert cells(rows[4])["images"] == "not run"


def test_bars_of_a_million():
    tenth = {"files": 100, "seconds": 10.0, "driver_mib": 500, "worker_mib": 200}
    every = {"files": 1000, "seconds": 130.0, "driver_mib": 2100, "worker_mib": 300}
    append = {"files": 101, "seconds": 14.0, "driver_mib": 600, "worker_mib": 200}
    found = bars_of_a_million([tenth, every, append])
    assert [(one["value"], one["holds"]) for one in found.values()] == [(1.3, False), (2100, False), (300, True), (14.0, True)]


def test_how_a_table_and_bars_look():
    assert table([{"a": "1", "long": "x"}]) == "| a | long |\n|---|------|\n| 1 | x    |"
    assert bar_lines({"speed": bar(0.9, 0.85), "time": bar(2.0, 1.2, least=False), "other": bar(None, 1.0)}) == [
        "speed: 0.9, bar at least 0.85: holds",
        "time: 2, bar at most 1.2: FAILS",
        "other: -, bar at least 1: not measured",
    ]


@pytest.mark.parametrize("module", ["ingest", "million"])
def test_help_names_the_make_target(module):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "make bench-ingest" in done.stdout
