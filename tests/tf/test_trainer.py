"""The training loop: the same on one device and on two, what it keeps, when it stops, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import DeviceSettings, OptimiserSettings
from model.metrics import Scores
from model.run import train
from model.strategy import strategy_for
from model.trainer import Trainer, make_optimizer

pytestmark = pytest.mark.tf
ROOT = Path(__file__).parents[2]
LONG = [f"{n:02d}" for n in range(40)]


@pytest.fixture
def trainer(digits, quick, light, monkeypatch):
    """Trainers of a network that is traced in a moment, on this machine's first device."""
    monkeypatch.setattr("model.trainer.build", light)
    return lambda dataset=digits, **changes: Trainer(dataset, quick(**changes), tf.distribute.get_strategy())


def test_an_epoch_tells_what_it_did_and_leaves_checkpoints(trainer, tmp_path):
    seen = []
    done = trainer().fit(tmp_path, seen.append)
    (epoch,) = done.history
    assert (seen, done.best) == ([epoch], epoch)
    assert epoch.val.rows == 7
    assert epoch.val.characters == 16  # five labels of two digits, two of three
    assert set(epoch.metrics()) == {
        "train_loss",
        "val_loss",
        "val_exact_match",
        "val_cer",
        "learning_rate",
        "images_per_second",
        "epoch_seconds",
    }
    assert np.isfinite(list(epoch.metrics().values())).all()
    assert {path.name for path in tmp_path.iterdir()} == {"best", "last"}


def test_training_learns_and_a_seed_repeats_it(trainer, tmp_path):
    settings = {"train": {"epochs": 6, "learning_rate": 0.01, "warmup": 0}}
    one, two = (trainer(**settings).fit(tmp_path / name, lambda epoch: None).history for name in "ab")
    assert one[-1].train_loss < 0.6 * one[0].train_loss
    np.testing.assert_allclose([e.train_loss for e in one], [e.train_loss for e in two], rtol=1e-3)


SCORES = {"bad": Scores(7, 0, 9, 16), "fair": Scores(7, 2, 5, 16), "good": Scores(7, 5, 2, 16)}


@pytest.mark.parametrize(
    ("validations", "patience", "epochs", "best"),
    [
        (["bad", "good", "fair", "fair", "good"], 2, 4, 2),  # stops two epochs after the best
        (["good", "good", "good", "good"], 1, 2, 1),  # as good is not better
        (["bad", "fair", "good"], 1, 3, 3),
        (["good", "fair", "bad"], 9, 3, 1),  # the epochs are over first
    ],
)
def test_it_stops_when_nothing_gets_better_and_goes_back_to_the_best(
    trainer, tmp_path, monkeypatch, validations, patience, epochs, best
):
    made = trainer(train={"epochs": len(validations), "patience": patience})
    planned = iter(validations)
    monkeypatch.setattr(made, "_validate", lambda: (1.0, SCORES[next(planned)]))
    weights = []
    done = made.fit(tmp_path, lambda epoch: weights.append(made.model.get_weights()))
    assert [epoch.epoch for epoch in done.history] == list(range(1, epochs + 1))
    assert done.best.epoch == best
    for now, then in zip(done.model.get_weights(), weights[best - 1], strict=True):
        np.testing.assert_array_equal(now, then)
    if best < epochs:
        assert any((now != last).any() for now, last in zip(done.model.get_weights(), weights[-1], strict=True))


def test_with_equal_scores_the_lower_loss_is_better(trainer, tmp_path, monkeypatch):
    made = trainer(train={"epochs": 4, "patience": 2})
    planned = iter([3.0, 2.0, 2.5, 2.2])
    monkeypatch.setattr(made, "_validate", lambda: (next(planned), SCORES["fair"]))
    assert made.fit(tmp_path, lambda epoch: None).best.epoch == 2


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("123456789", "labels of up to 9 characters need 9 time steps, and images 32 pixels wide give 8"),
        ("11111", "labels of up to 5 characters need 9 time steps, and images 32 pixels wide give 8"),  # blanks between equals
    ],
)
def test_a_label_longer_than_the_network_reads_is_told_before_training(quick, dataset_of, told, label, message):
    dataset = dataset_of([*LONG, label])
    refusal = told(Trainer, dataset, quick(), tf.distribute.get_strategy())
    assert message in refusal
    assert dataset.location.uri in refusal
    assert "image.width" in refusal


def test_a_label_that_just_fits_is_taken(quick, dataset_of):
    dataset = dataset_of([*LONG, "12345678"])
    assert Trainer(dataset, quick(), tf.distribute.get_strategy()).model.output_shape == (None, 8, 11)


@pytest.mark.parametrize(("split", "shares"), [("train", (0, 0.5, 0.5)), ("val", (0.5, 0, 0.5))])
def test_an_empty_split_is_told_before_training(trainer, dataset_of, told, split, shares):
    dataset = dataset_of(split=dict(zip(("train", "val", "test"), shares, strict=True)))
    assert f"the split {split} of dataset" in told(trainer, dataset)


def test_an_empty_test_split_is_told_before_training(dataset_of, quick, told):
    dataset = dataset_of(split={"train": 0.5, "val": 0.5, "test": 0})
    assert "the split test of dataset" in told(train, dataset, quick(), "default")


def test_a_loss_that_is_no_number_is_told(trainer, told, tmp_path):
    made = trainer(train={"learning_rate": 1e30, "epochs": 3, "warmup": 0})
    message = told(made.fit, tmp_path, lambda epoch: None)
    assert "the training loss is not a number in epoch 1" in message
    assert "train.learning_rate" in message


def test_a_shard_damaged_before_training_is_named(trainer, dataset_of, damage, told, tmp_path):
    dataset = dataset_of()
    made = trainer(dataset)
    shard = dataset.manifest.shards_of("train")[1]
    damage(dataset.location.join(shard.path).path)
    assert shard.path in told(made.fit, tmp_path, lambda epoch: None)


@pytest.mark.parametrize(
    ("warmup", "step", "rate"),
    [
        (0.1, 0, 0.0),
        (0.1, 5, 5e-4),
        (0.1, 10, 1e-3),
        (0.1, 55, 5.05e-4),  # half way between the rate and a hundredth of it
        (0.1, 100, 1e-5),
        (0.0, 0, 1e-3),
        (0.0, 50, 5.05e-4),
        (0.0, 100, 1e-5),
    ],
)
def test_the_learning_rate(warmup, step, rate):
    optimizer = make_optimizer(OptimiserSettings(learning_rate=1e-3, warmup=warmup, final=0.01), 100)
    optimizer.iterations.assign(step)
    assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-4, abs=1e-9)


def test_one_step_has_a_schedule_too():
    assert float(make_optimizer(OptimiserSettings(), 1).learning_rate) > 0


def test_weights_decay_and_biases_and_norms_do_not():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    model.set_weights([np.ones_like(weights) for weights in model.get_weights()])
    optimizer = make_optimizer(OptimiserSettings(learning_rate=0.1, warmup=0, weight_decay=0.5), 10)
    optimizer.build(model.trainable_variables)
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    values = {variable.name: variable.numpy().flat[0] for variable in model.trainable_variables}
    assert values == pytest.approx({"kernel": 0.95, "bias": 1.0, "gamma": 1.0, "beta": 1.0})


def test_one_device_is_the_default():
    devices = max(1, len(tf.config.list_physical_devices("GPU")))
    assert strategy_for(DeviceSettings(), batch_size=8 * devices).num_replicas_in_sync == devices


@pytest.fixture(scope="module")
def devices(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    command = [sys.executable, str(Path(__file__).with_name("on_two_devices.py")), digits.location.path, str(folder)]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "tolerance"),
    [
        # every row stands for itself: what is left is rounding. 41 rows in batches of 8: in the last, one device has only padding
        ("plain", 1e-4),
        # batch normalisation takes its mean and variance from each device's own 4 rows, not from all 8: another network, by a little
        ("crnn", 0.1),
    ],
)
def test_two_devices_train_as_one(devices, network, tolerance):
    one, two = devices[f"{network} on 1"], devices[f"{network} on 2"]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=tolerance)
    assert one["val_rows"] == two["val_rows"] == 7
    if network == "plain":
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["plain", "crnn"])
def test_devices_hold_the_same_weights(devices, network):
    assert devices[f"{network} on 2"]["apart"] == 0


@pytest.mark.slow
def test_a_batch_that_does_not_split_over_the_devices_is_refused(devices):
    assert devices["refused"] == "train.batch_size=7 does not split over 2 devices; take a multiple of 2"
