"""The training loop: the same on one device and on two, what it keeps, when it stops, and what it refuses."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import DeviceSettings
from model.loader import ShardReader
from model.metrics import Scores
from model.run import train
from model.strategy import strategy_for
from model.trainer import Trainer
from pipelines.errors import DataError, SettingsError

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
        "waiting_for_data",
        "epoch_seconds",
        "memory_mib",
        "val_position_1",
        "val_position_2",
        "val_position_3",
    }
    assert epoch.val.positions[0][1] == epoch.val.positions[1][1] == 7
    assert epoch.val.positions[2][1] == 2
    assert 0 <= epoch.waiting <= 1
    assert 100 < epoch.memory_mib < 1e5
    assert np.isfinite(list(epoch.metrics().values())).all()
    assert {path.name for path in tmp_path.iterdir()} == {"best-1.npz", "last.npz"}


def test_training_learns_and_a_seed_repeats_it(trainer, tmp_path):
    settings = {"train": {"epochs": 6, "learning_rate": 0.01, "warmup": 0}}
    one, two = (trainer(**settings).fit(tmp_path / name, lambda epoch: None).history for name in "ab")
    assert one[-1].train_loss < 0.6 * one[0].train_loss
    np.testing.assert_allclose([e.train_loss for e in one], [e.train_loss for e in two], rtol=1e-3)


# good is ahead of fair by more than chance
SCORES = {"bad": Scores(7, 0, 9, 16), "fair": Scores(7, 2, 5, 16), "good": Scores(7, 7, 0, 16)}


@pytest.mark.parametrize(
    ("validations", "patience", "epochs", "best"),
    [
        (["bad", "good", "fair", "fair", "good"], 2, 4, 2),  # stops two epochs after the best
        (["good", "good", "good", "good"], 1, 2, 2),  # as good is not better, and of those the last is kept
        (["bad", "fair", "good"], 1, 3, 3),
        (["good", "fair", "bad"], 9, 3, 1),  # the epochs are over first
    ],
)
def test_it_stops_when_nothing_gets_better_and_goes_back_to_the_best(
    trainer, tmp_path, monkeypatch, validations, patience, epochs, best
):
    made = trainer(train={"epochs": len(validations), "patience": patience})
    planned = iter(validations)
    monkeypatch.setattr(made, "_validate", lambda termination: (1.0, SCORES[next(planned)]))
    weights = []
    done = made.fit(tmp_path, lambda epoch: weights.append(made.model.get_weights()))
    assert [epoch.epoch for epoch in done.history] == list(range(1, epochs + 1))
    assert done.best.epoch == best
    for now, then in zip(done.model.get_weights(), weights[best - 1], strict=True):
        np.testing.assert_array_equal(now, then)
    if best < epochs:
        assert any((now != last).any() for now, last in zip(done.model.get_weights(), weights[-1], strict=True))


def test_with_equal_scores_the_loss_decides_when_to_stop_and_the_last_is_kept(trainer, tmp_path, monkeypatch):
    made = trainer(train={"epochs": 5, "patience": 2})
    planned = iter([3.0, 2.0, 2.5, 2.2, 1.0])
    monkeypatch.setattr(made, "_validate", lambda termination: (next(planned), SCORES["fair"]))
    done = made.fit(tmp_path, lambda epoch: None)
    assert (len(done.history), done.best.epoch) == (4, 4)


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


def test_a_loss_that_is_no_number_stops_before_it_spoils_anything(trainer, digits, told, tmp_path):
    """The rate is such that the second batch of the second epoch, the 8th of all, meets weights that give no number."""
    made = trainer(train={"epochs": 3, "warmup": 0, "checkpoint_steps": 1, "steps_per_call": 4})
    seen = []

    def spoil(epoch):
        seen.append(epoch.epoch)
        made.model.trainable_variables[0].assign(made.model.trainable_variables[0] * np.inf)

    message = told(made.fit, tmp_path, spoil)
    assert seen == [1]
    assert (
        "the training loss is not a number in epoch 2, batch 1; lower train.learning_rate or look at the rows with the ids"
        in message
    )
    ids = {int(part) for part in message.split("ids ")[1].split(";")[0].split(", ")}
    assert len(ids) == 8
    assert ids < {int(row) for rows in ShardReader(digits, "train") for row in rows.ids}


def test_batches_before_the_bad_one_count_and_it_is_not_applied(trainer, tmp_path):
    made = trainer(train={"epochs": 2, "steps_per_call": 6, "warmup": 0, "learning_rate": 1e30})
    with pytest.raises(DataError, match=r"epoch 1, batch 2; "):
        made.fit(tmp_path, lambda epoch: None)
    assert int(made._optimizer.iterations) == 1
    assert not list(tmp_path.iterdir())


def test_a_shard_damaged_before_training_is_named(trainer, dataset_of, damage, told, tmp_path):
    dataset = dataset_of()
    made = trainer(dataset)
    shard = dataset.manifest.shards_of("train")[1]
    damage(dataset.location.join(shard.path).path)
    assert shard.path in told(made.fit, tmp_path, lambda epoch: None)


@pytest.mark.parametrize(
    ("changes", "learns"),
    [
        ({"optimizer": "adam"}, 0.8),
        ({"optimizer": "sgd", "learning_rate": 0.1}, 0.8),
        ({"optimizer": "adadelta", "learning_rate": 20.0}, 0.9),
        ({"schedule": "constant"}, 0.8),
        ({"schedule": "plateau", "plateau_patience": 1}, 0.8),
        ({"accumulate": 4}, 0.8),
        ({"ema": 0.9}, 0.8),
        ({"xla": True}, 0.8),
        ({"precision": "mixed_bfloat16"}, 0.8),
        ({"precision": "mixed_float16"}, 0.8),
    ],
    ids=lambda value: "-".join(map(str, *value.items())) if isinstance(value, dict) and len(value) == 1 else "",
)
def test_every_way_to_train_learns(trainer, tmp_path, changes, learns):
    settings = {"epochs": 4, "learning_rate": 0.01, "warmup": 0, "precision": "float32"} | changes
    done = trainer(train=settings).fit(tmp_path, lambda epoch: None)
    assert done.history[-1].train_loss < learns * done.history[0].train_loss
    assert {layer.compute_dtype for layer in done.model.layers} == {"float32"}


@pytest.mark.parametrize(
    ("changes", "part", "batches"),  # of the 6 of an epoch
    [
        ({"statistics_batches": 4}, 1, 4),
        ({}, 3, 2),
        ({"ema": 0.9}, 8, 6),  # averaged weights have none of their own
    ],
)
def test_it_is_judged_with_statistics_of_images_as_they_are(digits, quick, tmp_path, monkeypatch, changes, part, batches):
    monkeypatch.setattr("model.trainer.PARTS", part)

    def ended(**train: object) -> tuple[Trainer, keras.Model]:
        settings = quick(train={"learning_rate": 1e-9, **train}, augment={"noise": 0.5, "cutout": 1})
        made = Trainer(digits, settings, tf.distribute.get_strategy())
        return made, made.fit(tmp_path / str(train), lambda epoch: None).model

    _, expected = ended(statistics_batches=0)
    made, found = ended(**changes)
    assert len(made._sample) == batches
    for images, _, _, weights in made._sample:
        full = np.resize(images[weights > 0], images.shape)  # blank rows of the last batch count for nothing
        expected(full.astype(np.float32), training=True)
    for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_batch_that_does_not_split_into_pieces_is_refused(trainer):
    with pytest.raises(
        SettingsError, match=r"train\.batch_size=8 does not split over 1 devices with train\.accumulate=3; take a multiple of 3"
    ):
        trainer(train={"accumulate": 3})


def test_the_loop_is_traced_once(trainer, tmp_path):
    """Also where the rest of an epoch is shorter than a call: 6 steps in calls of 4."""
    made = trainer(train={"epochs": 3, "steps_per_call": 4})
    made.fit(tmp_path, lambda epoch: None)
    assert made._steps.train.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_steps_in_one_call_change_nothing(trainer, tmp_path, steps):
    losses = [
        [
            epoch.train_loss
            for epoch in trainer(train={"epochs": 2, "steps_per_call": count})
            .fit(tmp_path / str(count), lambda epoch: None)
            .history
        ]
        for count in (2, steps)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_waiting_for_data_is_measured(trainer, tmp_path, monkeypatch):
    """6 steps; every batch is late by 0.2 s, of which a network this small needs next to nothing."""
    made = trainer(loader={"prefetch": 1}, train={"epochs": 2})
    real = made._loader.dataset

    def wait(*batch):
        time.sleep(0.2)
        return batch

    def dataset(*args):
        specs = real(*args).element_spec
        late = real(*args).map(lambda *batch: tf.py_function(wait, batch, [part.dtype for part in batch]))
        return late.map(
            lambda *batch: tuple(tf.ensure_shape(part, spec.shape) for part, spec in zip(batch, specs, strict=True))
        )

    monkeypatch.setattr(made._loader, "dataset", dataset)
    _, second = made.fit(tmp_path, lambda epoch: None).history
    assert second.waiting > 0.5  # not more, as batches came while it validated


def test_padding_repeats_what_is_real(trainer):
    made = trainer()
    images = tf.reshape(tf.range(8 * 16 * 32, dtype=tf.int32) // (16 * 32), (8, 16, 32, 1))
    weights = tf.constant([1.0, 1, 1, 0, 0, 0, 0, 0])
    batch = (tf.cast(images, tf.uint8), tf.zeros((8, 3), tf.int32), tf.ones(8, tf.int32), weights)
    pixels = made._steps._augmented(batch, tf.constant(0, tf.int64))
    assert pixels[:, 0, 0, 0].numpy().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


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
    ("case", "steps", "tolerance"),
    [
        # what is left is rounding. 41 rows in batches of 8: in the last, one device has only padding
        ("frozen", 54, 1e-4),
        ("in pieces, averaged", 6, 1e-4),
        ("synchronised", 5, 1e-4),  # but for the last batch, where the statistics of one device are those of blank rows
        ("float16", 6, 1e-2),
        # batch normalisation takes its mean and variance from each device's own 4 rows, not from all 8: another network, by a little
        ("crnn", 6, 0.2),
    ],
)
def test_two_devices_train_as_one(devices, case, steps, tolerance):
    one, two = devices[f"{case} on 1"], devices[f"{case} on 2"]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert len(one["losses"]) == len(two["losses"]) == (steps if steps > 6 else 6)
    assert two["losses"][:steps] == pytest.approx(one["losses"][:steps], rel=tolerance)
    assert one["val_rows"] == two["val_rows"] == 7
    if tolerance == 1e-4 and case != "synchronised":
        assert two["val_loss"] == pytest.approx(one["val_loss"], rel=tolerance)


@pytest.mark.slow
def test_pieces_of_a_batch_train_as_the_whole(devices):
    assert devices["in pieces, averaged on 1"]["losses"] == pytest.approx(devices["whole on 1"]["losses"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["frozen", "crnn", "in pieces, averaged", "float16"])
def test_devices_hold_the_same_weights(devices, case):
    assert devices[f"{case} on 2"]["apart"] == 0


@pytest.mark.slow
def test_a_batch_that_does_not_split_over_the_devices_is_refused(devices):
    assert devices["refused"] == "train.batch_size=7 does not split over 2 devices; take a multiple of 2"
