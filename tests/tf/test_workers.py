"""Two processes on the loopback train as one does: equal weights on both, the same metrics, each row exactly once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.cluster import Cluster, free_addresses
from model.loader import ShardReader

pytestmark = [pytest.mark.tf, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("as_worker.py")
ROWS, STEPS, EPOCHS = 41, 6, 2


def begin(folder: Path, dataset: str, **environment: str) -> subprocess.Popen:
    known = {key: value for key, value in os.environ.items() if key != "TF_CONFIG"}
    known |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(PROGRAM), dataset, str(folder)]
    return subprocess.Popen(command, env=known | environment, stdout=subprocess.PIPE, text=True)


def told(*processes: subprocess.Popen) -> list[dict]:
    results = []
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        results.append(json.loads(out.splitlines()[-1]))
    return results


@pytest.fixture(scope="module")
def alone(digits, tmp_path_factory) -> dict:
    return told(begin(tmp_path_factory.mktemp("alone"), digits.location.path))[0]


@pytest.fixture(scope="module")
def workers(digits, tmp_path_factory) -> list[dict]:
    addresses = free_addresses(2)
    begun = [
        begin(tmp_path_factory.mktemp(f"worker{n}"), digits.location.path, TF_CONFIG=Cluster(addresses, n).tf_config)
        for n in range(2)
    ]
    return told(*begun)


def test_they_are_one_cluster(alone, workers):
    assert [(worker["index"], worker["replicas"]) for worker in workers] == [(0, 2), (1, 2)]
    assert (alone["index"], alone["replicas"]) == (0, 1)


@pytest.mark.parametrize("case", ["in small batches", "in one batch"])
def test_both_end_with_equal_weights_and_know_the_same(workers, case):
    first, second = (dict(worker[case]) for worker in workers)
    assert first.pop("files")
    assert second.pop("files") == []  # the chief alone writes
    assert first == second


def test_they_learn_as_one_does(alone, workers):
    one, two = alone["in one batch"], workers[0]["in one batch"]
    assert one["train_loss"][-1] < 0.7 * one["train_loss"][0]
    for loss in ("train_loss", "val_loss"):
        assert two[loss] == pytest.approx(one[loss], rel=1e-4)
    assert two["val"] == one["val"]
    assert [rows for rows, *_ in two["val"]] == [7] * 12


def test_each_row_once_in_each_epoch(digits, workers):
    every = sorted(int(row) for rows in ShardReader(digits, "train") for row in rows.ids)
    assert len(every) == ROWS
    assert [worker["steps"] for worker in workers] == [STEPS] * 2
    for epoch in range(EPOCHS):
        steps = slice(epoch * STEPS, (epoch + 1) * STEPS)
        assert sorted(row for worker in workers for step in worker["ids"][steps] for row in step) == every
        assert all(len(step) <= 4 for worker in workers for step in worker["ids"][steps])
