"""Small datasets made in this process: pictures whose pixels tell their label, ingested by a plain loop."""

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from model.config import TrainSettings
from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import ingest
from pipelines.manifest import Dataset

HEIGHT, WIDTH = 16, 32
LABELS = tuple(f"{n:02d}" for n in range(40)) + tuple(f"{n}" for n in range(100, 120))
TINY = {"widths": (4, 4), "units": 8, "depth": 1, "dropout": 0.0}  # a network that is traced in a second
STILL = {"rotate": 0, "shear": 0, "zoom": 0, "shift": 0}


def draw(label: str, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(height, width) uint8: a bar for each digit, the taller the higher."""
    image = np.full((height, width), 255, np.uint8)
    for place, digit in enumerate(label):
        image[height - 2 - int(digit) :, place * 8 + 2 : place * 8 + 7] = 20 * int(digit)
    return image


def make_dataset(
    folder: Path,
    loop: Callable,
    labels: Iterable[str] = LABELS,
    image: dict | None = None,
    split: dict | None = None,
    rows: int = 3,
) -> Dataset:
    """Pictures of `labels`, ingested into 8 tasks; splits go by label, so that they are the same on every machine."""
    for label in labels:
        path = folder / "images" / f"{label}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(label)).save(path)
    settings = IngestSettings.model_validate(
        {
            "image": {"height": HEIGHT, "width": WIDTH} | (image or {}),
            "split": {"by": "label"} | (split or {}),
            "shards": {"files": 10, "rows": rows},
        }
    )
    return ingest(str(folder / "images"), str(folder / "shards"), settings, loop).dataset


def plain(settings: object, shape: tuple[int, int, int], characters: int, longest: int = 3) -> keras.Model:
    """A network whose rows do not touch one another: no batch normalisation, no dropout."""
    height, width, channels = shape
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Rescaling(1 / 127.5, offset=-1.0),
            layers.Permute((2, 1, 3)),
            layers.Reshape((width, height * channels)),
            layers.Conv1D(16, 7, strides=2, activation="tanh"),
            layers.Dense(characters + 1),
        ]
    )


@pytest.fixture(scope="session")
def digits(tmp_path_factory, loop) -> Dataset:
    """60 pictures of two or three digits."""
    return make_dataset(tmp_path_factory.mktemp("digits"), loop)


@pytest.fixture(scope="session")
def ingested() -> Callable[..., Dataset]:
    """Makes a dataset in a given folder."""
    return make_dataset


@pytest.fixture
def dataset_of(tmp_path, loop) -> Callable[..., Dataset]:
    """Makes a dataset of this test's own."""
    return lambda *args, **kwargs: make_dataset(tmp_path, loop, *args, **kwargs)


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    return draw


@pytest.fixture(scope="session")
def png() -> Callable[[str], bytes]:
    """The PNG file of a label's picture."""

    def png(label: str) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(draw(label)).save(buffer, "PNG")
        return buffer.getvalue()

    return png


@pytest.fixture(scope="session")
def quick() -> Callable[..., TrainSettings]:
    """Settings of a training that takes seconds; groups are changed key by key."""

    def quick(**changes: dict) -> TrainSettings:
        base = {"network": TINY, "augment": STILL, "train": {"epochs": 1, "batch_size": 8}}
        return TrainSettings.model_validate({k: base.get(k, {}) | changes.get(k, {}) for k in {*base, *changes}})

    return quick


@pytest.fixture(scope="session")
def told() -> Callable[..., str]:
    """The message of the DataError that a call raises: one line."""

    def told(call: Callable, *args: object, **kwargs: object) -> str:
        with pytest.raises(DataError) as caught:
            call(*args, **kwargs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return told


@pytest.fixture(scope="session")
def damage() -> Callable[[str | Path], None]:
    """Flips one bit in the middle of a file."""

    def damage(path: str | Path) -> None:
        data = bytearray(Path(path).read_bytes())
        data[len(data) // 2] ^= 1
        Path(path).write_bytes(data)

    return damage


@pytest.fixture(scope="session")
def light() -> Callable[..., keras.Model]:
    """Builds `plain` networks."""
    return plain


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of an MLflow store of this module's own, which is the working directory too."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        patch.chdir(folder)
        yield folder
