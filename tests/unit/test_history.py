"""What follows from the epochs so far: the best, the end, the rate. And that they come back from JSON as they were."""

import json
import math

import pytest

from model.config import OptimiserSettings
from model.history import Epoch, best_of, is_over, rate_factor
from model.metrics import Scores


def epoch(number: int, exact: int, edits: int = 5, loss: float = 1.0) -> Epoch:
    return Epoch(number, 2.0, loss, Scores(10, exact, edits, 40, ((9, 10), (3, 4))), 1e-3, 100.0, 0.01, 5.0, 800.0)


def history(*exact: int) -> list[Epoch]:
    return [epoch(number, n) for number, n in enumerate(exact, start=1)]


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        (history(1, 3, 2), 2),
        (history(3, 3, 3), 3),  # of those that read as well the last
        (history(3, 4, 3, 4, 3), 4),
        ([epoch(1, 3, edits=5), epoch(2, 3, edits=4)], 2),
        ([epoch(1, 3, loss=1.0), epoch(2, 3, loss=0.9), epoch(3, 3, loss=0.95)], 3),
        ([epoch(1, 3, edits=4), epoch(2, 3, edits=5)], 1),
    ],
)
def test_the_best_epoch(epochs, best, schedule):
    assert best_of(epochs, OptimiserSettings(schedule=schedule)).epoch == best


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        (history(1, 9, 5), 3),
        (history(1, 9, 4), 2),
        (history(9, 7, 5, 4), 3),
        (history(9, 6, 10, 6, 5), 4),  # against the best, not against the epoch before
        ([epoch(1, 9, edits=2), epoch(2, 8, edits=6)], 2),
        ([epoch(1, 9, edits=2), epoch(2, 8, edits=7)], 1),
        ([epoch(1, 9, edits=2), epoch(2, 9, edits=7)], 1),
    ],
)
def test_the_best_epoch_of_a_falling_rate_is_the_last_within_chance(epochs, best):
    settings = OptimiserSettings(schedule="cosine")
    assert best_of(epochs, settings).epoch == best
    for end, after in enumerate(epochs, start=1):  # of whose weights the last ones or those kept before can be had
        assert best_of(epochs[:end], settings) in (after, best_of(epochs[: end - 1], settings))


@pytest.mark.parametrize(
    ("losses", "min_delta", "best"),
    [
        ([3.0, 2.0, 2.5], 0, 2),
        ([3.0, 2.0, 1.99], 0, 3),
        ([3.0, 2.0, 1.99], 0.1, 2),
        ([3.0, 2.95, 2.85], 0.1, 3),  # against the best, not against the epoch before
        ([3.0, 2.95, 2.91], 0.1, 1),
        ([math.nan, 2.0, math.nan], 0, 2),
    ],
)
def test_the_best_epoch_by_loss(losses, min_delta, best):
    """Whatever the exact match: it falls here."""
    epochs = [epoch(i, 10 - i, loss=loss) for i, loss in enumerate(losses, start=1)]
    settings = OptimiserSettings(monitor="loss", min_delta=min_delta, patience=1)
    assert best_of(epochs, settings).epoch == best
    assert is_over(epochs, settings) is (best < 3)


@pytest.mark.parametrize(("min_delta", "best"), [(0, 3), (0.05, 3), (0.15, 2), (0.3, 1)])
def test_the_best_epoch_by_exact_match_and_a_minimum_change(min_delta, best):
    assert best_of(history(1, 3, 4), OptimiserSettings(min_delta=min_delta)).epoch == best


def test_before_the_first_there_is_no_best():
    assert best_of([]) is None


@pytest.mark.parametrize(
    ("epochs", "patience", "over"),
    [
        ([], 1, False),
        ([1], 1, False),
        ([1, 1], 1, True),
        ([1, 2], 1, False),
        ([3, 2, 1], 3, False),
        ([3, 2, 1, 2], 3, True),
        ([1, 2, 3, 4, 5], 3, True),  # 5 epochs are all
        ([3, 3, 3, 3], 3, True),  # to read as well is no improvement
        ([3, 3, 3], 3, False),
    ],
)
def test_the_end(epochs, patience, over):
    assert is_over(history(*epochs), OptimiserSettings(epochs=5, patience=patience)) is over


@pytest.mark.parametrize(
    ("epochs", "factor"),
    [
        ([], 1.0),
        ([1, 1], 1.0),
        ([1, 1, 1], 0.5),
        ([1, 1, 1, 1], 0.5),
        ([1, 1, 1, 1, 1], 0.25),
        ([1, 1, 2, 2], 1.0),
        ([1, 1, 1, 2, 2, 2], 0.25),
    ],
)
def test_the_rate_on_a_plateau(epochs, factor):
    settings = OptimiserSettings(schedule="plateau", plateau_patience=2, plateau_factor=0.5)
    assert rate_factor(history(*epochs), settings) == factor
    assert rate_factor(history(*epochs), OptimiserSettings(plateau_patience=2)) == 1.0


@pytest.mark.parametrize(("floor", "factor"), [(0, 0.25), (3e-4, 0.3), (1.0, 1.0)])
def test_the_rate_has_a_floor(floor, factor):
    settings = OptimiserSettings(schedule="plateau", plateau_patience=2, learning_rate=1e-3, plateau_floor=floor)
    assert rate_factor(history(1, 1, 1, 1, 1), settings) == pytest.approx(factor)


def test_an_epoch_comes_back_from_json():
    before = epoch(3, 7, loss=0.1 + 0.2)
    assert Epoch.from_json(json.loads(json.dumps(before.to_json()))) == before


def test_metrics_by_their_names():
    assert epoch(1, 7).metrics() == {
        "train_loss": 2.0,
        "val_loss": 1.0,
        "val_exact_match": 0.7,
        "val_cer": 0.125,
        "learning_rate": 1e-3,
        "images_per_second": 100.0,
        "waiting_for_data": 0.01,
        "epoch_seconds": 5.0,
        "memory_mib": 800.0,
        "val_position_1": 0.9,
        "val_position_2": 0.75,
    }
    assert epoch(1, 7)._replace(gpu_memory_mib=5.0).metrics()["gpu_memory_mib"] == 5.0
