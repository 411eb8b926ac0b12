"""Settings of training: what is unknown or impossible is refused before TensorFlow starts, with key, value and remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from model.config import TrainSettings
from pipelines.errors import SettingsError
from pipelines.settings import read

ROOT = Path(__file__).parents[2]


def refusal(*overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(TrainSettings, None, overrides)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=3", "unknown key epochs; known here: network, augment, train, loader, devices, tracking"),
        ("train.epoch=3", "unknown key train.epoch; known here: epochs, "),
        ("network.width=[8, 8]", "unknown key network.width; known here: name, widths"),
        ("network={name: multihead, depth: 3}", "unknown key network.depth; known here: name, widths, batch_norm"),
        ("augment.rotation=3", "unknown key augment.rotation; known here: rotate, shear, zoom, shift"),
        ("devices.gpus=1", "unknown key devices.gpus; known here: cpus"),
    ],
)
def test_an_unknown_key_is_told_with_those_that_are_known(override, message):
    assert message in refusal(override)


@pytest.mark.parametrize(
    "override",
    [
        "network.name=resnet",
        "network.widths=[24]",
        "network.widths=[8, 8, 8, 8, 8, 8, 8]",
        "network.widths=[24, 0]",
        "network.widths=[-8, 24]",
        "network.widths=24",
        "network.last_blocks=0",
        "network.convolutions=sparse",
        "network.sequence=gru",
        "network.units=1",
        "network.depth=-1",
        "network.dropout=1",
        "network.dropout=-0.1",
        "network.head=attention",
        "network.positions=0",
        "network.ctc_weight=0",
        "augment.rotate=46",
        "augment.contrast=[1.3, 0.8]",
        "augment.contrast=[-1, 1]",
        "augment.contrast=1.2",
        "augment.noise=-0.1",
        "augment.cutout=1.5",
        "augment.shear=-1",
        "augment.zoom=1",
        "augment.shift=1",
        "train.epochs=0",
        "train.epochs=ten",
        "train.epochs=1.5",
        "train.batch_size=0",
        "train.learning_rate=0",
        "train.learning_rate=-0.001",
        "train.learning_rate=.nan",
        "train.learning_rate=.inf",
        "train.warmup=1",
        "train.final=1.1",
        "train.weight_decay=-0.1",
        "train.clip_norm=0",
        "train.patience=0",
        "train.optimizer=adamax",
        "train.momentum=1",
        "train.schedule=step",
        "train.plateau_patience=0",
        "train.plateau_factor=1",
        "train.plateau_floor=-1",
        "train.monitor=cer",
        "train.min_delta=-0.1",
        "train.init_from=",
        "train.beta_2=1",
        "train.accumulate=0",
        "train.accumulate=65",
        "train.ema=1",
        "train.ema=0",
        "train.statistics_batches=-1",
        "train.precision=float16",
        "train.steps_per_call=0",
        "train.checkpoint_minutes=0",
        "train.checkpoint_steps=0",
        "train.seed=-1",  # NumPy takes 0 to 2**32 - 1,
        "train.seed=2147483648",  # and the step's seed is an int32
        "loader.window=0",
        "loader.prefetch=0",
        "loader.oversample_times=0.5",
        "loader.oversample_times=often",
        "devices.cpus=0",
        "devices.cpus=65",
        "tracking.promote=best",
        "tracking.registered_model=a/b",  # MLflow refuses it too, but after the training
        "tracking.registered_model=a:b",
        "tracking.registered_model=",
        "tracking.experiment=",
    ],
)
def test_an_impossible_value_is_told_with_its_key(override):
    key, _, value = override.partition("=")
    told = refusal(override)
    assert key in told
    assert value.strip("[]").split(",")[0].lstrip(".") in told


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.learning_rate=1e-3", ("train", "learning_rate"), 0.001),
        ("network.widths=[16, 32]", ("network", "widths"), (16, 32)),
        ("network.sequence=lstm", ("network", "sequence"), "lstm"),
        ("network.depth=0", ("network", "depth"), 0),
        ("network.name=letter_cnn", ("network", "name"), "letter_cnn"),
        ("network.head=joint", ("network", "head"), "joint"),
        ("augment.rotate=0", ("augment", "rotate"), 0.0),
        ("augment.contrast=[0.8, 1.3]", ("augment", "contrast"), (0.8, 1.3)),
        ("train.monitor=loss", ("train", "monitor"), "loss"),
        ("train.init_from=models:/glyphmill@champion", ("train", "init_from"), "models:/glyphmill@champion"),
        ("train.final=1", ("train", "final"), 1.0),
        ("train.ema=0.999", ("train", "ema"), 0.999),
        ("train.ema=null", ("train", "ema"), None),
        ("train.precision=mixed_bfloat16", ("train", "precision"), "mixed_bfloat16"),
        ("train.determinism=true", ("train", "determinism"), True),
        ("train.checkpoint_steps=100", ("train", "checkpoint_steps"), 100),
        ("loader.oversample=0O", ("loader", "oversample"), "0O"),
        ("loader.oversample=01", ("loader", "oversample"), "01"),
        ("loader.oversample_times=3", ("loader", "oversample_times"), 3.0),
        ("devices.cpus=2", ("devices", "cpus"), 2),
        ("devices.cpus=null", ("devices", "cpus"), None),
        ("tracking.run_name=007", ("tracking", "run_name"), "007"),
        ("tracking.promote=never", ("tracking", "promote"), "never"),
    ],
)
def test_a_setting_is_set(override, key, value):
    group, name = key
    assert getattr(getattr(read(TrainSettings, None, [override]), group), name) == value


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (
            "name: deep_multihead, sizes: [3]",
            "network: sizes and dropouts need 4 values, one for each of widths; unit_dropouts 2",
        ),
        ("name: multihead, widths: [0]", "network.widths.0=0"),
        ("name: 7", "network.name='7': expected one of 'crnn', 'multihead', 'letter_cnn', 'deep_multihead', 'crnn_ctc'"),
    ],
)
def test_a_place_in_a_network_is_told_without_its_family(network, told):
    assert told in refusal(f"network={{{network}}}")


def test_a_network_without_a_name_is_ours():
    for values in ({}, {"depth": 3}):
        network = TrainSettings.model_validate({"network": values}).network
        assert (network.name, network.head) == ("crnn", "ctc")


def test_settings_come_back_from_json_with_their_family():
    settings = read(TrainSettings, None, ["network.name=deep_multihead", "augment.contrast=[0.8, 1.3]"])
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


def test_a_file_and_overrides(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text("train: {epochs: 3, batch_size: 8}\n")
    settings = read(TrainSettings, path, ["train.epochs=5"])
    assert (settings.train.epochs, settings.train.batch_size, settings.train.learning_rate) == (5, 8, 3e-3)


def test_a_file_is_named_when_its_value_is_refused(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("train: {epochs: -3}\n")
    with pytest.raises(SettingsError, match=r"wrong\.yaml: train\.epochs=-3: "):
        read(TrainSettings, path)


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        TrainSettings().train.epochs = 3


def test_settings_order_decode_and_metrics_need_no_tensorflow():
    code = "import sys, model.config, model.order, model.decode, model.metrics, model.history, model.records; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
