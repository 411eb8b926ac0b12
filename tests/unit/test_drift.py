"""Drift between two datasets: values by hand, and lines for the terminal."""

import numpy as np
import pytest

from pipelines.drift import Change, Share, drift_between, drift_lines
from pipelines.manifest import Accounting, Manifest
from pipelines.stats import Source, Statistics


def manifest(labels: list[str], size: tuple[int, int] = (10, 5), gray: int = 0, channels: int = 1, **reasons: int) -> Manifest:
    images = np.full((len(labels), 8, 16, channels), gray, np.uint8)
    statistics = Statistics.of([Source(label, *size, "L", "PNG", 100 + gray) for label in labels], images)
    rejected = sum(reasons.values())
    return Manifest(
        version=1,
        fingerprint="f" * 32,
        input="images",
        input_digest="d",
        settings={},
        alphabet=statistics.alphabet,
        image_shape=(8, 16, channels),
        splits={"train": len(labels) - 1, "val": 1, "test": 0},
        shards=(),
        accounting=Accounting(
            listed=len(labels) + rejected,
            written=len(labels),
            rejected=rejected,
            duplicates=0,
            reasons=reasons,
            examples=dict.fromkeys(reasons, "a.png: bad"),
        ),
        statistics={"all": statistics.summary()},
        petastorm=True,
        tools={},
        created="2026-01-02T03:04:05+00:00",
        seconds=1.0,
    )


OLD = manifest(["AB", "AC"], truncated=2)
NEW = manifest(["AB", "AD", "ADD", "B"], size=(20, 5), gray=255, truncated=1, empty_file=3)
DRIFT = drift_between(OLD, NEW, ("old", "new"))


def test_rows_and_alphabet():
    assert DRIFT.rows == (Change("train", 1, 3), Change("val", 1, 1), Change("test", 0, 0), Change("all", 2, 4))
    assert (DRIFT.gained, DRIFT.lost) == ("D", "C")


def test_shares_come_with_the_largest_change_first():
    assert DRIFT.characters == (
        Share("D", 0, 3 / 8),
        Share("C", 1 / 4, 0),
        Share("A", 1 / 2, 3 / 8),
        Share("B", 1 / 4, 1 / 4),
    )
    assert DRIFT.lengths == (Share("2", 1, 0.5), Share("1", 0, 0.25), Share("3", 0, 0.25))
    assert DRIFT.sizes == (Share("10x5", 1, 0), Share("20x5", 0, 1))
    assert DRIFT.positions[:2] == (Share("2: C", 1 / 4, 0), Share("2: D", 0, 1 / 4))


def test_rejects_are_shares_of_the_listed_files():
    assert DRIFT.rejects == (Share("empty_file", 0, 3 / 8), Share("truncated", 1 / 2, 1 / 8))


def test_values():
    assert DRIFT.values[:3] == (Change("pixel mean", 0, 255), Change("pixel std", 0, 0), Change("bytes a file", 100, 355))


def test_divergences():
    assert list(DRIFT.divergences) == ["characters", "lengths", "sizes", "position 1", "position 2"]
    assert DRIFT.divergences["sizes"] == 1.0
    assert DRIFT.divergences["lengths"] == 0.311278  # (1, 0, 0) and (2, 1, 1): 1/4 of each new length has no counterpart


def test_a_version_has_no_drift_from_itself():
    same = drift_between(OLD, OLD, ("old", "old"))
    assert (same.gained, same.lost) == ("", "")
    assert set(same.divergences.values()) == {0.0}
    shares = (*same.characters, *same.positions, *same.lengths, *same.sizes, *same.rejects, *same.rows, *same.values)
    assert all(item.before == item.after for item in shares)


def test_positions_that_hardly_a_label_reaches_are_not_compared():
    few = manifest(["A"] * 199 + ["AB" * 5])
    assert list(drift_between(few, few, ("a", "b")).divergences) == ["characters", "lengths", "sizes", "position 1"]


def test_gray_and_rgb_are_told_apart():
    drift = drift_between(OLD, manifest(["AB"], channels=3), ("gray", "rgb"))
    assert Change("channels", 1, 3) in drift.values
    assert not any(change.name.startswith("pixel") for change in drift.values)
    assert [len(side) for side in drift.histograms] == [1, 3]


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        ("drift", "from old to new"),
        ("rows", "train 1 -> 3, val 1 -> 1, test 0 -> 0, all 2 -> 4"),
        ("alphabet", "1 gained D, 1 lost C"),
        ("lengths", "2 100.00% -> 50.00%, 1 0.00% -> 25.00%, 3 0.00% -> 25.00%"),
        ("rejects", "empty_file 0.00% -> 37.50%, truncated 50.00% -> 12.50%"),
    ],
)
def test_lines(start, rest):
    assert f"{start:13}{rest}" in drift_lines(DRIFT)


def test_lines_of_nothing_rejected():
    clean = manifest(["A"])
    assert drift_lines(drift_between(clean, clean, ("a", "b")))[-1] == "rejects      none on either side"
