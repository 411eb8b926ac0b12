"""Several datasets with weights, seen as one."""

import pytest

from model.mixture import Mixture
from pipelines.charset import Charset
from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import ingest
from pipelines.manifest import Dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory, loop, noise, fill):
    """Makes a dataset of images with the given labels."""

    def made(labels, height: int = 8) -> Dataset:
        folder = tmp_path_factory.mktemp("made")
        images = fill(folder / "images", {f"{label}.png": noise(n) for n, label in enumerate(labels)})
        settings = {"image": {"height": height, "width": 16}, "split": {"train": 1, "val": 0, "test": 0}}
        return ingest(str(images), str(folder / "shards"), IngestSettings.model_validate(settings), loop).dataset

    return made


@pytest.fixture(scope="module")
def letters(made) -> Dataset:
    return made(["ba", "cab", "b"])


@pytest.fixture(scope="module")
def digits(made) -> Dataset:
    return made(["10", "a921"])


def test_one_dataset_is_a_mixture_of_itself(letters):
    one = Mixture.of(letters)
    assert (one.first, one.weights) == (letters, (1.0,))
    assert (one.fingerprint, one.charset) == (letters.manifest.fingerprint, letters.manifest.charset)
    assert (one.image_shape, one.longest, one.ctc_frames) == ((8, 16, 1), 3, 3)
    assert Mixture.of(one) is one
    assert one.rows("train") == (3,)


def test_alphabets_are_united_and_the_first_keeps_its_order(letters, digits):
    assert Mixture((letters, digits)).charset == Charset("abc0129")
    assert Mixture((digits, letters)).charset == Charset("0129abc")
    assert Mixture((letters, digits)).longest == 4


@pytest.mark.parametrize(
    ("weights", "rows"), [((1.0, 1.0), (3, 2)), ((2.0, 0.5), (6, 1)), ((0.5, 1.5), (2, 3)), ((0.34, 1.0), (1, 2))]
)
def test_rows_of_an_epoch(letters, digits, weights, rows):
    assert Mixture((letters, digits), weights).rows("train") == rows


def test_the_fingerprint_tells_datasets_and_weights(letters, digits):
    mixtures = [
        Mixture((letters,)),
        Mixture((letters, digits)),
        Mixture((digits, letters)),
        Mixture((letters, digits), (1.0, 2.0)),
        Mixture((letters,), (2.0,)),
    ]
    assert len({mixture.fingerprint for mixture in mixtures}) == 5
    assert {len(mixture.fingerprint) for mixture in mixtures} == {32}


def test_shapes_must_agree(letters, made):
    other = made(["x"], height=12)
    with pytest.raises(DataError) as caught:
        Mixture((letters, other))
    message = str(caught.value)
    assert f"{letters.location.shown} has images of 8x16x1 and {other.location.shown} has images of 12x16x1" in message
    assert "ingest them with the same image settings" in message


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_is_a_number_over_0(letters, weight):
    with pytest.raises(DataError, match="take a number over 0"):
        Mixture((letters,), (weight,))


def test_a_weight_for_each_dataset(letters, digits):
    with pytest.raises(DataError, match="2 datasets and 1 weights"):
        Mixture((letters, digits), (1.0,))


def test_a_weight_that_gives_no_row_is_told(letters):
    with pytest.raises(DataError, match=r"weight 0.1 of 3 rows is none; take at least 0.333"):
        Mixture((letters,), (0.1,)).rows("train")
