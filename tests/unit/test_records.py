"""The JSON files of a run."""

import json

import pytest

from model.history import Epoch
from model.metrics import Scores
from model.records import write_records

HISTORY = (
    Epoch(1, 2.0, float("nan"), Scores(10, 1, 5, 40, ((9, 10),)), 1e-3, 100.0, 0.01, 5.0, 800.0),
    Epoch(2, 1.5, 1.25, Scores(10, 6, 5, 40, ((10, 10),)), 5e-4, 110.0, 0.02, 4.0, 810.0),
    Epoch(3, 1.0, 1.5, Scores(10, 1, 6, 40, ((10, 10),)), 1e-4, 120.0, 0.0, 4.0, 810.0),
)
SECOND = {
    "epoch": 2,
    "train_loss": 1.5,
    "val_loss": 1.25,
    "val_exact_match": 0.6,
    "val_cer": 0.125,
    "learning_rate": 5e-4,
    "images_per_second": 110.0,
    "waiting_for_data": 0.02,
    "epoch_seconds": 4.0,
    "memory_mib": 810.0,
    "val_position_1": 1.0,
}


@pytest.fixture
def read(tmp_path):
    write_records(tmp_path, HISTORY)
    return lambda name: json.loads((tmp_path / name).read_text())


def test_losses_of_each_epoch(read):
    assert read("loss_metrics.json") == [
        {"epoch": 1, "train_loss": 2.0, "val_loss": None},  # NaN is no JSON
        {"epoch": 2, "train_loss": 1.5, "val_loss": 1.25},
        {"epoch": 3, "train_loss": 1.0, "val_loss": 1.5},
    ]


def test_the_best_epoch(read):
    assert read("best_metrics.json") == SECOND


def test_everything(read):
    everything = read("all_metrics.json")
    assert [epoch["epoch"] for epoch in everything] == [1, 2, 3]
    assert everything[1] == SECOND


def test_another_best_epoch_is_told(tmp_path):
    """A run that goes by the loss has its own."""
    write_records(tmp_path, HISTORY, HISTORY[2])
    assert json.loads((tmp_path / "best_metrics.json").read_text())["epoch"] == 3
