"""Fine-tuning: what is kept of a trained network, character by character, what is new, and what is refused."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import CrnnSettings, MultiheadSettings
from model.export import write_bundle
from model.networks import build
from model.trainer import Trainer
from model.warmstart import warm_start
from pipelines.charset import Charset
from pipelines.errors import DataError

pytestmark = pytest.mark.tf
SHAPE = (16, 32, 1)


def crnn(characters: int, longest: int = 3, shape: tuple[int, int, int] = SHAPE, **changes: object) -> keras.Model:
    keras.utils.set_random_seed(characters)
    return build(CrnnSettings(**{"widths": (4, 4), "units": 8, "depth": 1} | changes), shape, characters, longest)


@pytest.fixture
def trained(digits, quick, tmp_path):
    """Makes a bundle of a network; every weight of it is 7 or more, but for the classes': these are 10 times their index."""

    def trained(network: keras.Model, alphabet: str, /, **settings: object) -> str:
        for layer in network.layers:
            classes = layer.name.startswith(("logits", "ctc"))
            layer.set_weights(
                [np.zeros(w.shape) + (10 * np.arange(w.shape[-1]) if classes else 7) for w in layer.get_weights()]
            )
        manifest = digits.manifest.model_copy(update={"alphabet": alphabet})
        write_bundle(tmp_path / "trained", network, manifest, quick(**settings))
        return str(tmp_path / "trained")

    return trained


def sevens(network: keras.Model) -> list[bool]:
    """Of each weight that is not the classes', whether it comes from the trained network."""
    layers = [layer for layer in network.layers if not layer.name.startswith(("logits", "ctc"))]
    return [bool((weight == 7).all()) for layer in layers for weight in layer.get_weights()]


def test_the_same_network_is_kept_whole(trained):
    ours = crnn(3)
    uri = trained(crnn(3), "abc")
    told = warm_start(ours, "ctc", Charset("abc"), uri)
    assert all(sevens(ours))
    assert ours.get_layer("logits").get_weights()[1].tolist() == [0, 10, 20, 30]
    assert told == f"starts from {uri}: {ours.count_params():,} of {ours.count_params():,} weights kept; no new characters"


def test_characters_that_both_have_are_kept_and_the_blank(trained):
    """The trained one reads abc, this one cxa: c is 2 there and 0 here, a is 0 and 2, the blank 3 and 3; x is new."""
    ours = crnn(3)
    before = ours.get_layer("logits").get_weights()[0]
    told = warm_start(ours, "ctc", Charset("cxa"), trained(crnn(3), "abc"))
    kernel, bias = ours.get_layer("logits").get_weights()
    assert bias.tolist() == [20, 0, 0, 30]
    np.testing.assert_array_equal(kernel[0, 0][:, [0, 2, 3]], np.tile([20.0, 0, 30], (8, 1)))
    np.testing.assert_array_equal(kernel[..., 1], before[..., 1])
    assert told.endswith("; new characters: x")


def test_a_longer_alphabet(trained):
    ours = crnn(5)
    warm_start(ours, "ctc", Charset("abcde"), trained(crnn(3), "abc"))
    assert ours.get_layer("logits").get_weights()[1].tolist() == [0, 10, 20, 0, 0, 30]
    assert all(sevens(ours))


def test_one_more_sequence_layer_is_new(trained):
    ours = crnn(3, depth=2)
    warm_start(ours, "ctc", Charset("abc"), trained(crnn(3), "abc"))
    assert sevens(ours).count(False) == 5  # a kernel, and scale, offset, mean and variance of its normalisation
    assert not any(sevens(ours)[-5:])


def test_wider_images_keep_what_does_not_depend_on_the_width(trained):
    ours = crnn(3, shape=(16, 64, 1))
    warm_start(ours, "ctc", Charset("abc"), trained(crnn(3), "abc"))
    assert all(sevens(ours))


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [
        ("ctc", "joint", {"ctc": [0, 10, 20, 30], "logits": [0, 0, 0, 0]}),  # the CTC head goes on beside the new one
        ("ctc", "positions", {"logits": [0, 0, 0, 0]}),  # the same name and shape, and another thing
        ("positions", "ctc", {"logits": [0, 0, 0, -2]}),
        ("positions", "joint", {"ctc": [0, 0, 0, -2], "logits": [0, 10, 20, 30]}),
        ("positions", "positions", {"logits": [0, 10, 20, 30]}),
    ],
)
def test_another_head(trained, before, after, classes):
    ours = crnn(3, head=after)
    warm_start(ours, after, Charset("abc"), trained(crnn(3, head=before), "abc", network={"head": before}))
    assert {name: ours.get_layer(name).get_weights()[1].tolist() for name in classes} == classes
    assert any(sevens(ours))


def test_more_positions(trained):
    """Of four positions three are known; the fourth is new."""
    settings = MultiheadSettings(widths=(2, 2), units=4)
    ours = build(settings, SHAPE, 3, 4)
    uri = trained(build(settings, SHAPE, 3, 3), "abc", network={"head": "positions"})
    warm_start(ours, "positions", Charset("abc"), uri)
    biases = [ours.get_layer(f"logits_{place}").get_weights()[1].tolist() for place in (1, 2, 3, 4)]
    assert biases == [[0, 10, 20, 30]] * 3 + [[0, 0, 0, 0]]
    assert sevens(ours).count(False) == 2  # the fourth's dense layer


def test_nothing_that_fits_is_refused(trained, told):
    ours = build(MultiheadSettings(widths=(3,), units=5), SHAPE, 3, 2)
    refusal = told(warm_start, ours, "positions", Charset("abc"), trained(crnn(3), "abc"))
    assert "none of its weights fit this network; take the settings that it has (crnn)" in refusal


@pytest.mark.parametrize("uri", ["nowhere", "."])
def test_what_is_no_model_is_refused(uri, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert uri in told(warm_start, crnn(3), "ctc", Charset("abc"), uri)


def test_training_starts_there_and_a_checkpoint_wins(digits, quick, tmp_path, capsys):
    """The first epoch of the fine-tuning begins where the training ended; a restart does not ask for the model again."""
    strategy = tf.distribute.get_strategy()
    first = quick(train={"epochs": 6, "learning_rate": 0.02, "warmup": 0})
    done = Trainer(digits, first, strategy).fit(tmp_path / "first", lambda epoch: None)
    write_bundle(tmp_path / "model", done.model, digits.manifest, first)
    train = {"init_from": str(tmp_path / "model"), "learning_rate": 1e-6, "warmup": 0, "ema": 0.9, "epochs": 1}
    tuned = Trainer(digits, quick(train=train), strategy).fit(tmp_path / "tuned", lambda epoch: None)
    assert "weights kept; no new characters" in capsys.readouterr().err
    assert tuned.best.val_loss == pytest.approx(done.best.val_loss, rel=0.1)
    assert tuned.best.train_loss < 0.8 * done.history[0].train_loss
    shutil.rmtree(tmp_path / "model")
    again = Trainer(digits, quick(train=train | {"epochs": 2}), strategy).fit(tmp_path / "tuned", lambda epoch: None)
    assert [epoch.epoch for epoch in again.history] == [1, 2]
    with pytest.raises(DataError, match="no such folder"):
        Trainer(digits, quick(train=train), strategy).fit(tmp_path / "other", lambda epoch: None)
