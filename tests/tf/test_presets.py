"""Every preset: the network that its file names, on the images that its ingest makes, and that it trains, ships and reads."""

import string
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.config import TrainSettings
from model.export import write_bundle
from model.heads import reader
from model.networks import build
from model.recognizer import Recognizer
from model.trainer import Trainer
from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.settings import read

pytestmark = pytest.mark.tf
CONF = Path(__file__).parents[2] / "conf"
LETTERS = string.ascii_uppercase + string.digits
# preset, its ingest, characters, longest label, weights (batch statistics too), output
PRESETS = [
    ("default", "default", 36, 5, 212_533, (40, 37)),
    ("fast", "default", 36, 5, 56_645, (40, 37)),
    ("large", "default", 36, 5, 3_294_122, (5, 37)),
    ("multihead_rgb", "multihead_rgb", 36, 5, 15_354_873, (5, 37)),
    ("letter_cnn", "letter_cnn", 36, 1, 517_092, (1, 37)),
    ("multihead_gray", "multihead_gray", 36, 5, 788_441, (5, 37)),
    ("deep_multihead", "deep_multihead", 62, 6, 10_099_130, (6, 63)),
    ("crnn_ctc", "crnn_ctc", 62, 5, 438_143, (50, 63)),
]


def preset(name: str, *overrides: str) -> TrainSettings:
    return read(TrainSettings, CONF / "train" / f"{name}.yaml", overrides)


def test_all_presets_are_here():
    assert {path.stem for path in (CONF / "train").glob("*.yaml")} - {"demo"} == {name for name, *_ in PRESETS}


@pytest.mark.parametrize(("name", "data", "characters", "longest", "weights", "output"), PRESETS)
def test_a_preset_builds_its_network(name, data, characters, longest, weights, output):
    shape = read(IngestSettings, CONF / "ingest" / f"{data}.yaml").image.shape
    network = build(preset(name).network, shape, characters, longest)
    assert network.count_params() == weights
    assert reader(network).output_shape == (None, *output)


@pytest.mark.parametrize(
    ("name", "trunk"),
    [
        ("multihead_rgb", 3 * ["Conv2D", "MaxPooling2D"] + ["Flatten", "Dropout"]),
        ("letter_cnn", 2 * ["Conv2D", "MaxPooling2D"] + ["Flatten", "Dropout"]),
        ("multihead_gray", 3 * ["Conv2D", "MaxPooling2D"] + ["BatchNormalization", "Flatten"]),
        (
            "deep_multihead",
            4 * (2 * ["Conv2D", "BatchNormalization", "Activation"] + ["MaxPooling2D", "Dropout"])
            + ["Conv2D", "BatchNormalization", "Activation", "GlobalAveragePooling2D", "Dropout"],
        ),
    ],
)
def test_a_recipes_layers_come_in_its_order(name, trunk):
    """multihead_gray, with its normalisation before the last pooling, learned nothing at all."""
    shape = read(IngestSettings, CONF / "ingest" / f"{name}.yaml").image.shape
    network = build(preset(name).network, shape, 10, 1 if name == "letter_cnn" else 5)
    first, scaled, *layers = (type(layer).__name__ for layer in network.layers)
    assert (first, scaled) == ("InputLayer", "Rescaling")
    assert layers[: len(trunk)] == trunk


@pytest.fixture(scope="module")
def letters(tmp_path_factory, loop, noise):
    """Single characters: noise by the name of A.png, A.1.png, ..."""
    folder = tmp_path_factory.mktemp("letters")
    (folder / "images").mkdir()
    for number in range(120):
        name = f"{LETTERS[number % 36]}.{number}.png"
        (folder / "images" / name).write_bytes(noise(number, 32, 16))
    settings = IngestSettings.model_validate({"image": {"height": 16, "width": 32, "mode": "rgb"}})
    return ingest(str(folder / "images"), str(folder / "shards"), settings, loop).dataset


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, *_ in PRESETS])
def test_a_preset_trains_ships_and_reads(name, digits, letters, tmp_path):
    """On tiny images: two or three steps."""
    dataset = letters if name == "letter_cnn" else digits
    settings = preset(name, "train.epochs=1", "train.batch_size=32")
    made = Trainer(dataset, settings, tf.distribute.get_strategy())
    before = made.model.get_weights()
    done = made.fit(tmp_path / "run", lambda epoch: None)
    assert np.isfinite([done.best.train_loss, done.best.val_loss]).all()
    assert any((one != other).any() for one, other in zip(before, made.model.get_weights(), strict=True))
    write_bundle(tmp_path / "bundle", done.model, dataset.manifest, settings)
    recognizer = Recognizer.load(tmp_path / "bundle")
    images = np.random.default_rng(0).integers(0, 256, (3, *dataset.manifest.image_shape), np.uint8)
    longest = max(map(int, dataset.manifest.statistics["all"]["lengths"]))
    texts = [reading.text for reading in recognizer.read_pixels(images)]
    assert all(len(text) <= (longest if recognizer.bundle["decode"] == "positions" else 8) for text in texts)
    expected = done.model(images.astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(recognizer.read_distributions(images)[1], tf.nn.softmax(expected), atol=1e-4)
