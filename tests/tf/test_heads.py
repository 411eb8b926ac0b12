"""Each head trains, says what does not fit, and ships what is read: frames of CTC, positions, or both trained together."""

import json

import numpy as np
import pytest
import tensorflow as tf

from model import heads
from model.config import CrnnCtcSettings, CrnnSettings, MultiheadSettings, TrainSettings
from model.export import write_bundle
from model.recognizer import Recognizer
from model.trainer import Trainer

pytestmark = pytest.mark.tf
TWO_DIGITS = [f"{n:02d}" for n in range(40)]


@pytest.mark.parametrize(
    ("settings", "kind", "rule"),
    [
        (CrnnSettings(), heads.Ctc, "ctc_greedy"),
        (CrnnSettings(head="positions"), heads.Positions, "positions"),
        (CrnnSettings(head="joint"), heads.Joint, "positions"),
        (MultiheadSettings(), heads.Positions, "positions"),
        (CrnnCtcSettings(), heads.Ctc, "ctc_greedy"),
    ],
)
def test_the_settings_say_the_head(settings, kind, rule):
    assert type(heads.of(settings)) is kind
    assert heads.of(settings).rule == rule


def test_a_joint_loss_is_that_of_positions_and_a_share_of_ctcs():
    labels, lengths = tf.constant([[0, 1]]), tf.constant([2])
    outputs = {"logits": tf.zeros((1, 2, 4)), "ctc": tf.zeros((1, 3, 4))}
    (loss,) = heads.of(CrnnSettings(head="joint", ctc_weight=0.25)).losses(labels, lengths, outputs).numpy()
    assert loss == pytest.approx(np.log(4**2) + 0.25 * np.log(4**3 / 5), rel=1e-5)  # 5 of the 64 paths read as the label


@pytest.mark.parametrize(
    ("head", "frames", "batch_size"), [("ctc", 8, 8), ("positions", 3, 8), ("joint", 3, 8), ("joint", 3, 16)]
)
def test_every_head_learns_and_ships_what_is_read(digits, quick, tmp_path, head, frames, batch_size):
    train = {"epochs": 4, "learning_rate": 0.02, "warmup": 0, "batch_size": batch_size, "accumulate": batch_size // 8}
    settings = quick(network={"head": head}, train=train)
    done = Trainer(digits, settings, tf.distribute.get_strategy()).fit(tmp_path, lambda epoch: None)
    assert done.history[-1].train_loss < 0.9 * done.history[0].train_loss
    assert done.model.output_shape == (None, frames, 11)
    write_bundle(tmp_path / "bundle", done.model, digits.manifest, settings)
    bundle = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert bundle["decode"] == ("ctc_greedy" if head == "ctc" else "positions")
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 32, 1), np.uint8)
    recognizer = Recognizer.load(tmp_path / "bundle")
    readings, shares = recognizer.read_distributions(images)
    assert shares.shape == (4, frames, 11)
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)
    assert [reading.text for reading in readings] == [reading.text for reading in recognizer.read_pixels(images)]
    assert all(len(reading.text) == len(reading.frames) for reading in readings)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_joint_head_trains_in_other_precisions(digits, quick, tmp_path, precision):
    settings = quick(network={"head": "joint"}, train={"precision": precision, "ema": 0.9})
    done = Trainer(digits, settings, tf.distribute.get_strategy()).fit(tmp_path, lambda epoch: None)
    assert np.isfinite(done.best.val_loss)
    assert {layer.compute_dtype for layer in done.model.layers} == {"float32"}


@pytest.mark.parametrize(
    ("network", "longest", "message"),
    [
        ({"name": "multihead", "positions": 4}, "12345", "labels of up to 5 characters, and the network reads 4"),
        (
            {"name": "letter_cnn"},
            "123",
            "labels of up to 3 characters, and the network reads 1; take a larger network.positions",
        ),
        ({"head": "positions", "positions": 2}, "123", "labels of up to 3 characters, and the network reads 2"),
        ({"head": "joint"}, "11111", "need 9 time steps, and images 32 pixels wide give 8"),
        ({"head": "joint", "positions": 2}, "123", "the network reads 2"),
        ({"name": "crnn_ctc"}, "123456789", "labels of up to 9 characters need 9 time steps"),
    ],
)
def test_a_label_that_does_not_fit_is_told_before_training(dataset_of, told, network, longest, message):
    dataset = dataset_of([*TWO_DIGITS, longest])
    refusal = told(Trainer, dataset, TrainSettings.model_validate({"network": network}), tf.distribute.get_strategy())
    assert message in refusal
    assert dataset.location.uri in refusal
    assert "label.max_length" in refusal


def test_there_are_as_many_positions_as_the_longest_label_has(digits, quick):
    settings = quick(network={"head": "positions"})
    assert Trainer(digits, settings, tf.distribute.get_strategy()).model.output_shape == (None, 3, 11)
