"""The simulation of very large datasets: its parts agree with each other at a small size."""

import pytest

from benchmarks import scale

SMALL = {"shards": 12, "paths": 10_000}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The steps of each part and how many things they had, in their order."""
    work = tmp_path_factory.mktemp("work")
    return {name: dict(part(scale.Ran(work, **SMALL))) for name, part in scale.PARTS.items()}


def test_parts_see_all_there_is(measured):
    assert measured["epoch"] == {"made": 12, "open": 24, "row groups": 48, "plan": 48, "plans of 64": 48}
    assert measured["listing"] == {"list": 10_000, "plan": 10_000, "write": 10_000}
    assert measured["split"] == {"split": 10_000}
    assert measured["repeats"] == measured["repeats-250k"] == {"find": 10_000, "judge": 100}
    assert measured["fingerprint"] == {"read": 10_000, "hash": 10_000}


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "00000.0.png"), (1, "00000.1.png"), (2, "00002.2.png"), (101, "0002t.101.png"), (201, "0005k.201.png")],
)
def test_names(number, name):
    assert scale._name(number) == name


def test_bars_of_parts_that_were_not_measured_neither_hold_nor_fail():
    row = {"part": "epoch", "things": 1, "steps": {"plan": 6.0}, "mib": 1000}
    found = scale.bars({"epoch": row})
    assert {name: bar["holds"] for name, bar in found.items()} == {"epoch_seconds": False, "epoch_mib": True, "paths_mib": None}
