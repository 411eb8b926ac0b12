"""The batch benchmark's own arithmetic."""

import pytest

from benchmarks.batch import LIMIT, OURS, OURS_LOCAL, Measured, bars, cells, contenders, summaries


def rows(**seconds: float) -> list[dict]:
    names = {"ours": OURS, "pool": LIMIT, "local": OURS_LOCAL}
    runs = {
        names[key]: [Measured(100, value * way, value * way + 10, 4.0) for way in (0.5, 1, 2)] for key, value in seconds.items()
    }
    failures = {name: "it broke" for name in names.values() if name not in runs}
    return summaries(contenders(64), runs, failures)


def test_medians_and_what_they_are_to_the_pool():
    ours, pool, local = rows(ours=20, pool=10, local=8)
    assert (ours["images_per_s"], ours["range"], ours["to_limit"]) == (5, [2.5, 10], 0.5)
    assert (ours["with_start_per_s"], ours["start_s"]) == (pytest.approx(100 / 30), 10)
    assert ours["with_start_to_limit"] == pytest.approx(2 / 3)
    assert (pool["to_limit"], local["to_limit"], pool["cpu_s_per_1000"]) == (1, 1.25, 40)
    assert cells(ours)["x pool"] == "0.50"


@pytest.mark.parametrize(("ours", "holds"), [(10.0, True), (11.1, True), (11.2, False)])
def test_the_bar(ours, holds):
    assert bars(rows(ours=ours, pool=10))["running_job_to_bare_pool"]["holds"] == holds


@pytest.mark.parametrize("seconds", [{"ours": 3.0}, {"pool": 3.0}, {}])
def test_what_was_not_run_has_no_ratio(seconds):
    found = rows(**seconds)
    assert bars(found)["running_job_to_bare_pool"]["holds"] is None
    assert {row["failure"] for row in found} == {None, "it broke"} - (set() if seconds else {None})
    assert [cells(row)["images"] for row in found].count("not run") == 3 - len(seconds)


def test_both_read_batches_of_the_same_size_in_two_processes():
    for contender in contenders(32):
        command = " ".join(contender.command)
        assert "batch=32" in command or "--batch 32" in command
        assert any(two in command for two in ("local[2]", "--processes 2", "--workers 2"))
