"""Datasets that hold image files: pixels equal to those of a tensor dataset, whoever reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from model.config import LoaderSettings
from model.loader import ShardReader, open_loader
from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.manifest import Dataset
from pipelines.report import write_report
from pipelines.storage import locate

pytestmark = pytest.mark.tf
SPLIT = {"train": 0.8, "val": 0.2, "test": 0}


def image_files() -> dict[str, bytes]:
    """Images of several formats, modes and sizes; one twice."""
    rng, files = np.random.default_rng(0), {}
    for number, (kind, shape) in enumerate(
        [("PNG", (20, 40)), ("PNG", (20, 40, 3)), ("JPEG", (33, 57, 3)), ("PNG", (9, 70, 4)), ("WEBP", (16, 32, 3))] * 6
    ):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(buffer, kind)
        files[f"{number:03d}.{kind.lower()}"] = buffer.getvalue()
    return files | {"twice/000.png": files["000.png"]}


def make(folder, files, loop, storage: str, name: str, fill) -> Dataset:
    settings = {
        "image": {"height": 16, "width": 32, "mode": "gray"},
        "split": SPLIT,
        "shards": {"files": 8, "rows": 3, "storage": storage},
    }
    images = fill(folder / "images", files)
    return ingest(str(images), str(folder / name), IngestSettings.model_validate(settings), loop).dataset


@pytest.fixture(scope="module")
def both(tmp_path_factory, loop, fill) -> tuple[Dataset, Dataset]:
    folder, files = tmp_path_factory.mktemp("encoded"), image_files()
    return make(folder, files, loop, "tensor", "tensor", fill), make(folder, files, loop, "encoded", "encoded", fill)


def test_a_dataset_of_files_says_the_same_of_its_images(both):
    tensor, encoded = (dataset.manifest for dataset in both)
    assert tensor.statistics == encoded.statistics
    assert tensor.splits == encoded.splits
    assert tensor.fingerprint == encoded.fingerprint  # the same pixels under the same ids
    assert tensor.accounting == encoded.accounting
    assert tensor.accounting.duplicates == 1  # so some groups were written twice


def test_the_bytes_of_the_files_are_what_a_row_holds(both):
    files, reader = image_files(), ShardReader(both[1], "train")
    for group in range(len(reader.sizes)):
        table = reader.table(group, ["path", "image"])
        for path, data in zip(table["path"].to_pylist(), table["image"].to_pylist(), strict=True):
            assert data == files[path]


@pytest.mark.parametrize("split", ["train", "val"])
def test_rows_are_those_of_a_tensor_dataset(both, split):
    for ours, theirs in zip(*(ShardReader(dataset, split) for dataset in both), strict=True):
        assert (ours.labels, ours.paths, ours.ids.tolist()) == (theirs.labels, theirs.paths, theirs.ids.tolist())
        np.testing.assert_array_equal(ours.images, theirs.images)


@pytest.mark.parametrize("oversample", ["", "1"])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_those_of_a_tensor_dataset(both, threads, oversample):
    settings = LoaderSettings(window=10, threads=threads, oversample=oversample)
    pairs = zip(*(open_loader(dataset, "train", 8, settings, seed=0).dataset(epochs=2) for dataset in both), strict=True)
    for ours, theirs in pairs:
        for tensor, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(tensor, other)


def test_petastorm_gives_the_bytes_of_the_files(both):
    petastorm = pytest.importorskip("petastorm")
    files = image_files()
    url = f"file://{both[1].location.path}/train"
    with petastorm.make_reader(url, reader_pool_type="dummy", num_epochs=1) as reader:
        rows = list(reader)
    assert len(rows) == both[1].manifest.splits["train"]
    assert all(bytes(row.image) == files[row.path] for row in rows)


def test_a_report_shows_its_rows(both, tmp_path):
    write_report(both[1], locate(tmp_path / "report"))
    assert (tmp_path / "report" / "index.html").stat().st_size > 1000


def test_an_image_that_is_refused_now_is_told(both, told, monkeypatch):
    manifest = both[1].manifest
    stricter = manifest.settings | {"checks": manifest.settings["checks"] | {"min_side": 1000}}
    dataset = both[1]._replace(manifest=manifest.model_copy(update={"settings": stricter}))
    message = told(lambda: list(ShardReader(dataset, "train")))
    assert "refused here" in message
    assert "under checks.min_side 1000" in message
