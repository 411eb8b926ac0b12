"""Batches: each row once per epoch, any batch without those before it, and the pixels that were ingested."""

import numpy as np
import pytest

from model.cluster import Cluster
from model.config import LoaderSettings
from model.loader import Loader, ShardReader
from pipelines.charset import Charset
from pipelines.errors import SettingsError

pytestmark = pytest.mark.tf
TRAIN, VAL, TEST = 41, 7, 12  # rows of the splits of `digits`


def loader(dataset, batch_size=8, split="train", seed=0, window=10) -> Loader:
    return Loader(dataset, split, batch_size, LoaderSettings(window=window, prefetch=1), seed=seed)


def rows_of(batches) -> list[str]:
    """The labels of all real rows, in their order; labels of `digits` are unique."""
    found = []
    for _, labels, lengths, weights in batches:
        texts = Charset("0123456789").decode(labels)
        assert [len(text) for text in texts] == lengths.tolist()
        found += [text for text, weight in zip(texts, weights, strict=True) if weight]
    return found


def labels_of(dataset, split) -> list[str]:
    return [label for rows in ShardReader(dataset, split) for label in rows.labels]


@pytest.mark.parametrize(
    ("split", "rows", "batch_size", "steps"),
    [
        ("train", TRAIN, 1, 41),
        ("train", TRAIN, 7, 6),
        ("train", TRAIN, 41, 1),
        ("train", TRAIN, 64, 1),
        ("val", VAL, 5, 2),
        ("test", TEST, 4, 3),
    ],
)
@pytest.mark.parametrize("seed", [0, None])
def test_each_row_stands_once_in_an_epoch(digits, split, rows, batch_size, steps, seed):
    read = loader(digits, batch_size, split, seed)
    batches = [[tensor.numpy() for tensor in batch] for batch in read.dataset()]
    assert (read.rows, read.steps, len(batches)) == (rows, steps, steps)
    assert sorted(rows_of(batches)) == sorted(labels_of(digits, split))
    assert sum(weights.sum() for *_, weights in batches) == rows


def test_the_last_batch_is_padded_with_rows_of_weight_0(digits):
    *_, (images, labels, lengths, weights) = loader(digits, batch_size=8).dataset()
    assert weights.numpy().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]  # 41 = 5 * 8 + 1
    assert (lengths.numpy()[1:] == 0).all()
    assert (labels.numpy()[1:] == Charset.PAD).all()
    assert (images.numpy()[1:] == 0).all()


def test_shapes_and_types_are_known_before_a_batch_is_read(digits):
    specs = loader(digits, batch_size=8).dataset(parts=2).element_spec
    assert [(spec.shape.as_list(), spec.dtype.name) for spec in specs] == [
        ([4, 16, 32, 1], "uint8"),
        ([4, 3], "int32"),
        ([4], "int32"),
        ([4], "float32"),
    ]


def test_pixels_and_labels_belong_together(digits, picture):
    for images, labels, _, weights in loader(digits).dataset():
        for image, label in zip(
            images.numpy()[weights > 0], Charset("0123456789").decode(labels.numpy()[weights > 0]), strict=True
        ):
            np.testing.assert_array_equal(image[..., 0], picture(label))


def test_without_a_seed_rows_keep_the_order_of_the_shards(digits):
    assert rows_of(loader(digits, seed=None).batch(i) for i in range(6)) == labels_of(digits, "train")


def test_a_batch_does_not_depend_on_what_was_read_before(digits):
    straight = loader(digits, batch_size=7)
    expected = [straight.batch(i) for i in range(12)]
    jumping = loader(digits, batch_size=7)
    for index in (11, 0, 5, 6, 5, 10, 1, 11):
        for got, want in zip(jumping.batch(index), expected[index], strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_pipeline_starts_anywhere(digits):
    whole = [labels.numpy().tolist() for _, labels, *_ in loader(digits).dataset(epochs=2)]
    rest = [labels.numpy().tolist() for _, labels, *_ in loader(digits).dataset(epochs=2, start=7)]
    assert len(whole) == 12
    assert rest == whole[7:]


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_are_the_batch_cut_in_order(digits, parts):
    whole, cut = loader(digits), loader(digits)
    for index in range(whole.steps):
        pieces = [cut.batch(index, part, parts) for part in range(parts)]
        for want, got in zip(whole.batch(index), zip(*pieces, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(got), want)


def test_parts_come_one_after_another_from_the_pipeline(digits):
    pairs = list(loader(digits).dataset(parts=2).batch(2))
    whole = list(loader(digits).dataset())
    for pair, batch in zip(pairs, whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(pair[1].numpy()), batch[1].numpy())


def heavy(dataset, characters="7", split="train", seed=0, times=5, **of_loader) -> Loader:
    settings = LoaderSettings(window=20, prefetch=1, oversample=characters, oversample_times=times)
    return Loader(dataset, split, 8, settings, seed=seed, **of_loader)


def labels_by_id(*datasets) -> dict[int, str]:
    rows = [rows for dataset in datasets for rows in ShardReader(dataset, "train")]
    return {int(i): label for read in rows for i, label in zip(read.ids, read.labels, strict=True)}


@pytest.mark.parametrize(("characters", "times"), [("7", 5), ("07", 3), ("0123456789", 9), ("7", 1)])
def test_rows_with_some_characters_stand_more_often(digits, characters, times):
    epochs = 30
    read = Loader(digits, "train", 8, LoaderSettings(window=50, oversample=characters, oversample_times=times), seed=0)
    labels = rows_of(read.batch(i) for i in range(epochs * read.steps))
    weights = {label: times if set(characters) & set(label) else 1 for label in labels_of(digits, "train")}
    share = TRAIN / sum(weights.values())
    assert (read.rows, len(labels)) == (TRAIN, epochs * TRAIN)
    for label, weight in weights.items():
        assert labels.count(label) / epochs == pytest.approx(share * weight, abs=0.4)


@pytest.mark.parametrize("kept", [1 << 26, 0])
def test_pixels_labels_and_ids_of_rows_that_stand_several_times_belong_together(digits, picture, monkeypatch, kept):
    monkeypatch.setattr("model.windows.FACTS_BYTES", kept)
    read, ids = heavy(digits), labels_by_id(digits)
    for step in range(2 * read.steps):
        images, labels, _, weights = read.batch(step)
        texts = Charset("0123456789").decode(labels[weights > 0])
        assert texts == [ids[i] for i in read.ids(step)]
        for image, text in zip(images, texts, strict=False):
            np.testing.assert_array_equal(image[..., 0], picture(text))


def test_a_pipeline_of_oversampled_rows_starts_anywhere(digits):
    whole = [labels.numpy().tolist() for _, labels, *_ in heavy(digits).dataset(epochs=2)]
    read = heavy(digits)
    read.ids(11)
    assert [labels.numpy().tolist() for _, labels, *_ in read.dataset(epochs=2, start=7)] == whole[7:]
    assert [read.batch(i)[1].tolist() for i in (11, 0, 5)] == [whole[i] for i in (11, 0, 5)]


@pytest.mark.parametrize(("split", "seed"), [("val", 0), ("test", 0), ("train", None)])
def test_what_judges_and_what_keeps_its_order_has_every_row_once(digits, split, seed):
    read = heavy(digits, "7", split, seed)
    assert sorted(rows_of(read.batch(i) for i in range(read.steps))) == sorted(labels_of(digits, split))


@pytest.mark.parametrize("worker", [0, 1])
def test_a_worker_draws_from_its_own_rows(digits, worker):
    oversampled, plain = (
        [text for i in range(read.steps) for text in rows_of([read.batch(i)])]
        for read in (heavy(digits, characters, times=1000, cluster=Cluster(("a:1", "b:1"), worker)) for characters in ("7", ""))
    )
    assert len(oversampled) == len(plain) == TRAIN // 2 + worker
    assert set(oversampled) < set(plain)
    assert sum("7" in text for text in oversampled) >= len(oversampled) - 1


def test_a_strange_character_cannot_be_oversampled(digits):
    with pytest.raises(SettingsError, match="loader.oversample=0O: O not in the alphabet 0123456789; take characters of it"):
        heavy(digits, "0O")


def test_epochs_differ_and_a_seed_repeats_them(digits):
    one, two, again = (
        rows_of(read.batch(i) for i in range(12)) for read in (loader(digits), loader(digits, seed=1), loader(digits))
    )
    assert one == again
    assert one != two
    first, second = one[:TRAIN], one[TRAIN:]
    assert sorted(first) == sorted(second)
    assert first != second
    assert first != labels_of(digits, "train")


def test_the_reader_gives_every_row_as_it_was_ingested(digits, picture):
    reader = ShardReader(digits, "test")
    rows = [row for rows in reader for row in zip(rows.ids, rows.paths, rows.labels, rows.images, strict=True)]
    assert len({i for i, *_ in rows}) == len(rows) == reader.rows == TEST
    for _, path, label, image in rows:
        assert path == f"{label}.png"
        np.testing.assert_array_equal(image[..., 0], picture(label))


def test_petastorm_reads_the_same_rows_and_pixels(digits):
    petastorm = pytest.importorskip("petastorm")
    by_id = {
        int(i): (label, image)
        for r in ShardReader(digits, "train")
        for i, label, image in zip(r.ids, r.labels, r.images, strict=True)
    }
    by_label = {}
    for images, labels, _, weights in loader(digits).dataset():
        by_label |= dict(zip(Charset("0123456789").decode(labels.numpy()[weights > 0]), images.numpy(), strict=False))
    with petastorm.make_reader(f"file://{digits.location.path}/train", reader_pool_type="dummy", num_epochs=1) as reader:
        rows = list(reader)
    assert sorted(row.id for row in rows) == sorted(by_id)
    for row in rows:
        label, image = by_id[row.id]
        assert row.label == label
        np.testing.assert_array_equal(row.image, image)
        np.testing.assert_array_equal(row.image, by_label[row.label])


def test_a_damaged_shard_is_named(dataset_of, damage, told):
    dataset = dataset_of()
    shard = dataset.manifest.shards_of("train")[2]
    damage(dataset.location.join(shard.path).path)
    message = told(lambda: list(ShardReader(dataset, "train")))
    assert shard.path in message
    assert "checksum" in message
    assert "ingest again" in message
    assert shard.path in told(lambda: [loader(dataset).batch(i) for i in range(6)])
    assert sum(len(rows.labels) for rows in ShardReader(dataset, "test")) == TEST  # the other shards are read as before


def test_a_missing_shard_is_named(dataset_of, told):
    dataset = dataset_of()
    shard = dataset.manifest.shards_of("val")[0]
    dataset.location.fs.delete_file(dataset.location.join(shard.path).path)
    message = told(lambda: list(ShardReader(dataset, "val")))
    assert shard.path in message
    assert "ingest again" in message


@pytest.mark.parametrize(
    ("split", "message"),
    [("tests", "no split is named 'tests'; there are train, val, test"), ("val", "the split val of dataset")],
)
def test_a_split_without_rows_is_told(dataset_of, told, split, message):
    dataset = dataset_of(split={"train": 0.5, "val": 0, "test": 0.5})
    assert message in told(loader, dataset, split=split)
