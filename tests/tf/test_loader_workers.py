"""Several workers: over all of them each row stands once per epoch, with the same number of steps on each."""

import numpy as np
import pytest

from model.cluster import Cluster
from model.config import LoaderSettings
from model.loader import Loader, ShardReader, open_loader
from pipelines.charset import Charset
from pipelines.errors import SettingsError

pytestmark = pytest.mark.tf
WORKERS = (1, 2, 3, 5, 8)


@pytest.fixture(scope="module")
def single_rows(tmp_path_factory, loop, ingested):
    """A dataset whose row groups hold one row each; its val split has 3 rows, fewer than most workers."""
    labels = [f"{n:02d}" for n in range(24)]
    return ingested(tmp_path_factory.mktemp("single"), loop, labels=labels, rows=1)


def workers_of(dataset, workers, local=7, split="train", seed=0, window=10) -> list[Loader]:
    """The loaders of all workers, each with `local` rows of every batch."""
    addresses = tuple(f"host{n}:2222" for n in range(workers))
    settings = LoaderSettings(window=window, prefetch=1)
    clusters = (Cluster(addresses, index) for index in range(workers))
    return [open_loader(dataset, split, local * workers, settings, seed=seed, cluster=cluster) for cluster in clusters]


def ids_and_labels(dataset, split) -> dict[int, str]:
    return {int(i): label for rows in ShardReader(dataset, split) for i, label in zip(rows.ids, rows.labels, strict=True)}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("local", [1, 7, 64])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("name", ["digits", "single_rows"])
def test_the_union_of_row_ids_is_the_manifest(request, name, split, local, workers):
    dataset = request.getfixturevalue(name)
    loaders = workers_of(dataset, workers, local, split)
    expected = sorted(ids_and_labels(dataset, split))
    assert {loader.steps for loader in loaders} == {loaders[0].steps}
    assert {loader.rows for loader in loaders} == {len(expected)}
    for epoch in range(2):
        steps = range(epoch * loaders[0].steps, (epoch + 1) * loaders[0].steps)
        assert sorted(int(i) for loader in loaders for step in steps for i in loader.ids(step)) == expected


@pytest.mark.parametrize("workers", WORKERS)
def test_batches_hold_the_rows_that_their_ids_name(single_rows, picture, workers):
    labels_of = ids_and_labels(single_rows, "train")
    for loader in workers_of(single_rows, workers, local=3):
        batches = list(loader.dataset(epochs=2))
        assert len(batches) == 2 * loader.steps
        for step, batch in enumerate(batches):
            images, labels, lengths, weights = (tensor.numpy() for tensor in batch)
            texts = Charset("0123456789").decode(labels[weights > 0])
            assert images.shape[0] == 3
            assert texts == [labels_of[int(i)] for i in loader.ids(step)]
            assert (lengths[weights == 0] == 0).all()
            for image, text in zip(images[weights > 0], texts, strict=True):
                np.testing.assert_array_equal(image[..., 0], picture(text))


def test_a_worker_without_rows_has_empty_batches(single_rows):
    loaders = workers_of(single_rows, 8, local=2, split="val")
    rows = sum(len(loader.ids(0)) for loader in loaders)
    empty = [loader for loader in loaders if not len(loader.ids(0))]
    assert rows == loaders[0].rows < 8
    assert len(empty) == 8 - rows
    [(images, labels, lengths, weights)] = [[tensor.numpy() for tensor in batch] for batch in empty[0].dataset()]
    assert images.shape == (2, 16, 32, 1)
    assert not images.any()
    assert not lengths.any()
    assert not weights.any()
    assert (labels == Charset.PAD).all()


@pytest.mark.parametrize("workers", [1, 3])
def test_any_step_is_reached_without_those_before_it(digits, workers):
    for index in range(workers):
        whole = [[t.numpy() for t in batch] for batch in workers_of(digits, workers)[index].dataset(epochs=2)]
        for start in range(0, len(whole), 3):
            rest = list(workers_of(digits, workers)[index].dataset(epochs=2, start=start))
            assert len(rest) == len(whole) - start
            for got, want in zip(rest, whole[start:], strict=True):
                for tensor, expected in zip(got, want, strict=True):
                    np.testing.assert_array_equal(tensor, expected)


def test_what_tensorflow_writes_into_a_batch_is_not_handed_out_again(digits):
    settings = LoaderSettings(window=1000, prefetch=1)
    loader = open_loader(digits, "train", 8, settings, seed=0)
    expected = [np.array(loader.batch(step)[0]) for step in range(loader.steps)]
    pipeline = loader.dataset().map(lambda image, *_: (255 - image, image[:0]))  # TensorFlow may subtract in place
    for _ in range(3):
        for (inverted, _), want in zip(pipeline, expected, strict=True):
            np.testing.assert_array_equal(255 - inverted.numpy(), want)


def test_parts_of_a_worker_are_its_batch_cut_in_order(digits):
    for whole, cut in zip(workers_of(digits, 2, 8), workers_of(digits, 2, 8), strict=True):
        pairs = list(cut.dataset(epochs=2, parts=4).batch(4))
        for pair, batch in zip(pairs, whole.dataset(epochs=2), strict=True):
            for pieces, tensor in zip(pair, batch, strict=True):
                np.testing.assert_array_equal(np.concatenate(pieces.numpy()), tensor)


def test_a_batch_that_does_not_split_is_refused(digits):
    cluster = Cluster(("a:1", "b:2", "c:3"), 1)
    with pytest.raises(SettingsError, match=r"train.batch_size=8 does not split over 3 workers"):
        open_loader(digits, "train", 8, LoaderSettings(), seed=0, cluster=cluster)


@pytest.mark.parametrize("threads", [1, 5])
def test_threads_change_nothing(digits, threads):
    settings = LoaderSettings(window=10, threads=threads)
    expected = workers_of(digits, 1)[0]
    for step, batch in enumerate(open_loader(digits, "train", 7, settings, seed=0).dataset(epochs=2)):
        for tensor, array in zip(batch, expected.batch(step), strict=True):
            np.testing.assert_array_equal(tensor, array)


def test_large_images_make_windows_of_fewer_rows(digits, monkeypatch):
    monkeypatch.setattr("model.loader.WINDOW_BYTES", 4 * 16 * 32)
    few, many = (open_loader(digits, "train", 41, LoaderSettings(window=n), seed=0) for n in (4, 4000))
    assert few.ids(0).tolist() == many.ids(0).tolist()
