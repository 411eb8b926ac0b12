"""The arithmetic of bench-loader: medians, ratios and bars."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.loader import CONTENDERS, FILES, LIMIT, MAKE_READER, OURS, TENSORS, bars, cells, summaries

ROOT = Path(__file__).parents[2]


def ran(speed: float) -> dict:
    """A process of four epochs of 1,000 rows, the first at half of the speed."""
    seconds = 1000 / speed
    return {"rows": 1000, "seconds": [2 * seconds] + [seconds] * 3, "cpu": [9.0, 0.1, 0.3, 0.2], "mib": 700, "mib_of_data": 200}


def test_rows_and_bars():
    runs = {contender.name: [ran(100), ran(300), ran(200)] for contender in CONTENDERS}
    runs |= {OURS[0]: [ran(900)], OURS[1]: [ran(1500)], LIMIT[0]: [ran(1000)], LIMIT[1]: [ran(2000)], TENSORS: [ran(1000)]}
    rows = {row["contender"]: row for row in summaries(CONTENDERS, runs, {})}
    assert rows[MAKE_READER]["range"] == pytest.approx([100, 300])
    assert rows[MAKE_READER]["first_epoch_rows_per_s"] == pytest.approx(100)
    assert rows[MAKE_READER]["cpu_s_per_million"] == pytest.approx(200)
    assert cells(rows[OURS[1]]) == {
        "contender": OURS[1],
        "rows/s": "1,500",
        "min-max": "1,500-1,500",
        "x limit": "0.75",
        "first epoch": "750",
        "CPU s/million": "200.0",
        "MiB": "700",
        "of data": "200",
    }
    found = bars(list(rows.values()))
    assert {name: (one["value"], one["holds"]) for name, one in found.items()} == {
        "ratio_to_limit_1_thread": (0.9, True),
        "ratio_to_limit_2_threads": (0.75, False),
        "ratio_to_tfrecord_of_tensors": (1.5, True),
        "ratio_to_petastorm_make_reader": (7.5, True),
        "ratio_to_files": (7.5, False),
    }


def test_no_bar_is_said_to_hold_where_a_contender_did_not_run():
    rows = summaries(CONTENDERS, {OURS[1]: [ran(1500)], LIMIT[1]: [ran(1600)]}, {FILES: "no such program"})
    assert [one["holds"] for one in bars(rows).values()] == [None, True, None, None, None]
    assert next(cells(row) for row in rows if row["contender"] == FILES)["rows/s"] == "not run"


def test_help_names_the_make_target():
    command = [sys.executable, "-m", "benchmarks.loader", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make bench-loader" in done.stdout
