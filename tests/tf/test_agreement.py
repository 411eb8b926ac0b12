"""Two workers on this machine take the same decisions: what they tell one another, a stop, a loss that is no number, a restart."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.cluster import VARIABLE, Cluster, free_addresses
from model.loader import ShardReader

pytestmark = [pytest.mark.tf, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workers(digits, tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("agreement")
    command = [sys.executable, str(Path(__file__).with_name("agreeing_workers.py")), digits.location.path, str(folder)]
    addresses = free_addresses(2)
    processes = [
        subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: Cluster(addresses, index).tf_config},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    try:
        ended = [process.communicate(timeout=500) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ended
    return [json.loads(output.splitlines()[-1]) for output, _ in ended]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("sum", [2.0, 1.0]),
        ("any", [True, False]),
        ("gathered", [0, 1, 2, 2**62, 2**62 + 1, 2**62 + 2, 2**62 + 3]),
        ("message", ["épinard", ""]),
        ("equal", [True] * 9),
    ],
)
def test_what_they_tell_one_another(workers, what, expected):
    assert [worker[what] for worker in workers] == [expected, expected]


def test_a_stop_of_one_stops_both_at_the_same_step(workers):
    message = "stopped by SIGTERM in epoch 1, after batch 4 of 6; start the same command again to go on"
    assert [worker["stopped"] for worker in workers] == [message, message]


def test_a_loss_that_is_no_number_is_told_with_the_rows_of_both(workers, digits):
    one, two = (worker["spoiled"] for worker in workers)
    assert one == two
    ids = {int(part) for part in one.split("ids ")[1].split(";")[0].split(", ")}
    assert len(ids) == 8
    assert ids < {int(row) for rows in ShardReader(digits, "train") for row in rows.ids}


def test_they_go_on_as_if_nothing_had_been(workers):
    for worker in workers:
        stopped, whole = worker["stopped in the end"], worker["whole in the end"]
        assert stopped["losses"] == pytest.approx(whole["losses"], rel=1e-5)
        assert stopped["weights"] == pytest.approx(whole["weights"], rel=1e-4, abs=1e-4)
    assert [worker["whole in the end"]["seen"] for worker in workers] == [[1, 2], []]
