"""`reader: petastorm`: the same pixels and labels for each id, and a plain word where petastorm cannot keep a promise."""

import time
from importlib.util import find_spec
from threading import Event

import numpy as np
import pytest

from model.cluster import Cluster
from model.config import LoaderSettings
from model.loader import ShardReader, open_loader
from model.mixture import Mixture
from pipelines.charset import Charset
from pipelines.errors import DataError, SettingsError

pytestmark = pytest.mark.tf
installed = pytest.mark.skipif(find_spec("petastorm") is None, reason="petastorm is not installed")
SETTINGS = LoaderSettings(reader="petastorm", prefetch=1)


def rows_by_id(dataset, split) -> dict[int, tuple[str, np.ndarray]]:
    return {
        int(i): (label, image)
        for rows in ShardReader(dataset, split)
        for i, label, image in zip(rows.ids, rows.labels, rows.images, strict=True)
    }


@installed
@pytest.mark.parametrize(("split", "seed"), [("train", 0), ("train", None), ("val", None)])
@pytest.mark.parametrize("parts", [1, 2])
def test_pixels_and_labels_are_equal_for_each_id(digits, split, seed, parts):
    loader, expected = open_loader(digits, split, 8, SETTINGS, seed=seed), rows_by_id(digits, split)
    batches = list(loader.dataset(epochs=2, parts=parts).batch(parts))
    assert len(batches) == 2 * loader.steps
    seen = []
    for step, batch in enumerate(batches):
        images, labels, lengths, weights = (np.concatenate(tensor.numpy()) for tensor in batch)
        ids = loader.ids(step)
        texts = Charset("0123456789").decode(labels[weights > 0])
        seen += ids.tolist()
        assert len(images) == 8
        assert not images[weights == 0].any()
        assert lengths[weights > 0].tolist() == [len(text) for text in texts]
        for i, text, image in zip(ids.tolist(), texts, images[weights > 0], strict=True):
            assert text == expected[i][0]
            np.testing.assert_array_equal(image, expected[i][1])
    half = len(seen) // 2
    assert sorted(seen[:half]) == sorted(seen[half:]) == sorted(expected)


@installed
def test_an_epoch_may_be_the_first(digits):
    loader = open_loader(digits, "train", 8, SETTINGS, seed=3)
    assert len(list(loader.dataset(epochs=3, start=loader.steps))) == 2 * loader.steps
    seen = [int(i) for step in range(loader.steps, 3 * loader.steps) for i in loader.ids(step)]
    assert sorted(seen) == sorted([*rows_by_id(digits, "train")] * 2)


@installed
def test_no_row_is_lost_where_its_pool_ends_too_early(digits, monkeypatch):
    """The pool asks whether all workers are done, the last row group is dealt out, and then it asks whether all are dealt out."""
    from petastorm.workers_pool.thread_pool import ThreadPool

    deal, is_done, asked = ThreadPool.ventilate, ThreadPool.all_workers_done, Event()

    def one_is_left(pool):
        return pool._ventilated_items == len(pool._ventilator._items_to_ventilate) - 1

    def deal_the_last_when_asked(pool, *args, **keywords):
        assert not one_is_left(pool) or asked.wait(60)
        deal(pool, *args, **keywords)

    def done_before_the_last_is_dealt_out(pool):
        done = is_done(pool)
        if done and one_is_left(pool):
            asked.set()
            while not pool._ventilator.completed():
                time.sleep(0.001)
        return done

    monkeypatch.setattr(ThreadPool, "ventilate", deal_the_last_when_asked)
    monkeypatch.setattr(ThreadPool, "all_workers_done", done_before_the_last_is_dealt_out)
    loader = open_loader(digits, "train", 8, SETTINGS, seed=3)
    assert len(list(loader.dataset())) == loader.steps
    assert sorted(int(i) for step in range(loader.steps) for i in loader.ids(step)) == sorted(rows_by_id(digits, "train"))
    assert asked.is_set()


@installed
def test_a_missing_row_is_an_error(digits, monkeypatch):
    from petastorm.reader import Reader

    following = Reader.__next__

    def none_after_seven(reader):
        reader.taken = getattr(reader, "taken", 0) + 1
        if reader.taken > 7:
            raise StopIteration
        return following(reader)

    monkeypatch.setattr(Reader, "__next__", none_after_seven)
    loader = open_loader(digits, "train", 8, SETTINGS, seed=3)
    with pytest.raises(Exception, match=f"petastorm gave 7 of the {loader.rows} rows of train; take loader.reader=arrow"):
        list(loader.dataset())


@installed
def test_what_petastorm_cannot_promise_is_refused(digits, capsys):
    one_of_two = Cluster(("a:1", "b:2"), 1)
    with pytest.raises(SettingsError, match=r"several workers get different numbers of rows; take loader.reader=arrow"):
        open_loader(digits, "train", 8, SETTINGS, seed=0, cluster=one_of_two)
    with pytest.raises(SettingsError, match="one dataset without a weight"):
        open_loader(Mixture((digits,), (0.5,)), "train", 8, SETTINGS, seed=0)
    with pytest.raises(SettingsError, match="every row once, also with loader.oversample"):
        open_loader(digits, "train", 8, SETTINGS.model_copy(update={"oversample": "7"}), seed=0)
    loader = open_loader(digits, "train", 8, SETTINGS, seed=0)
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SettingsError, match="cannot start inside an epoch"):
        loader.dataset(start=1)
    with pytest.raises(DataError, match="not those of batch 7"):
        loader.ids(7)


@installed
def test_another_version_or_place_is_refused(digits):
    older = digits._replace(manifest=digits.manifest.model_copy(update={"version": 7}))
    with pytest.raises(SettingsError, match="the newest version of .*, which is 1 and not 7"):
        open_loader(older, "train", 8, SETTINGS, seed=0)
    without = digits._replace(manifest=digits.manifest.model_copy(update={"petastorm": False}))
    with pytest.raises(SettingsError, match="was ingested where petastorm was not installed"):
        open_loader(without, "train", 8, SETTINGS, seed=0)


@pytest.mark.skipif(find_spec("petastorm") is not None, reason="petastorm is installed")
def test_without_petastorm_the_remedy_is_told(digits):
    with pytest.raises(SettingsError, match=r"petastorm is not installed here; .*; take loader.reader=arrow"):
        open_loader(digits, "train", 8, SETTINGS, seed=0)
