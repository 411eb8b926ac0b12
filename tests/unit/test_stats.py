"""Statistics: one case by hand, sums that no order or grouping changes, and tables that bring them back exactly."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.stats import TABLES, Source, Statistics, bin_start, ctc_frames, divergence, jensen_shannon, size_bin, total

BY_HAND = Statistics.of(
    [Source("AAB", 10, 5, "L", "PNG", 100), Source("B", 10, 5, "RGB", "JPEG", 50), Source("CAAB", 7, 9, "L", "PNG", 1)],
    np.array([0, 0, 255, 1, 0, 0], np.uint8).reshape(3, 1, 2, 1),
)


def test_by_hand():
    summary = BY_HAND.summary()
    channel = summary.pop("channels")[0]
    assert summary == {
        "rows": 3,
        "characters": {"A": 4, "B": 3, "C": 1},
        "entropy_bits": 1.405639,  # -(4/8 log2 4/8 + 3/8 log2 3/8 + 1/8 log2 1/8)
        "entropy_normalised": 0.88686,  # by log2 3
        "imbalance": 4.0,
        "positions": [{"A": 1, "B": 1, "C": 1}, {"A": 2}, {"A": 1, "B": 1}, {"B": 1}],
        "by_length": {"1": {"B": 1}, "3": {"A": 2, "B": 1}, "4": {"A": 2, "B": 1, "C": 1}},
        "lengths": {"1": 1, "3": 1, "4": 1},
        "ctc_frames": 5,
        "sizes": {"10x5": 2, "7x9": 1},
        "modes": {"L": 2, "RGB": 1},
        "formats": {"PNG": 2, "JPEG": 1},
        "file_bytes": 151,
        "file_sizes": {"mean": 50.333, "min": 1, "max": 100, "from_bytes": {"1": 1, "50": 1, "99": 1}},
    }
    assert channel.pop("histogram") == [4, 1] + [0] * 253 + [1]
    assert channel == {"mean": 42.666667, "std": 94.959056, "min": 0, "max": 255}


def test_the_characters_by_hand():
    assert BY_HAND.characters == {
        (1, 0, "B"): 1,
        (3, 0, "A"): 1,
        (3, 1, "A"): 1,
        (3, 2, "B"): 1,
        (4, 0, "C"): 1,
        (4, 1, "A"): 1,
        (4, 2, "A"): 1,
        (4, 3, "B"): 1,
    }
    assert BY_HAND.overall == {"A": 4, "B": 3, "C": 1}


def test_the_mean_image_by_hand():
    assert BY_HAND.pixel_sum.tolist() == [[[255], [1]]]
    assert BY_HAND.mean_image.tolist() == [[[85.0], [pytest.approx(1 / 3)]]]
    assert Statistics().mean_image.shape == (0, 0, 0)


@pytest.mark.parametrize(
    ("size", "index", "start"),
    [
        (0, -1, 0),
        (1, 0, 1),
        (2, 8, 2),
        (3, 12, 3),
        (255, 63, 235),
        (256, 64, 256),
        (279, 64, 256),
        (280, 65, 280),
        (1 << 40, 320, 1 << 40),
    ],
)
def test_file_size_bins(size, index, start):
    assert size_bin(size) == index
    assert bin_start(index) == start


@given(st.integers(0, 1 << 45))
def test_a_file_size_lies_in_its_bin(size):
    index = size_bin(size)
    assert bin_start(index) <= size < bin_start(index + 1)
    assert size_bin(bin_start(index)) == index


def test_the_order_of_counts_is_part_of_the_summary():
    assert list(BY_HAND.summary()["characters"]) == ["A", "B", "C"]
    assert list(BY_HAND.summary()["lengths"]) == ["1", "3", "4"]


def test_the_alphabet_is_in_code_point_order():
    sources = [Source(label, 1, 1, "L", "PNG", 1) for label in ("zé", "𝔸a", "Z0")]
    assert Statistics.of(sources, np.zeros((3, 1, 1, 1), np.uint8)).alphabet == "0Zazé𝔸"


@pytest.mark.parametrize(
    ("label", "frames"), [("", 0), ("A", 1), ("AB", 2), ("AA", 3), ("AAA", 5), ("AAB", 4), ("AABB", 6), ("ABAB", 4)]
)
def test_ctc_needs_a_blank_between_equal_neighbours(label, frames):
    assert ctc_frames(label) == frames


sources = st.builds(
    Source,
    st.text("ABC", max_size=5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from("L1"),
    st.sampled_from(["PNG", "GIF"]),
    st.integers(0, 9),
)
rows = st.lists(st.tuples(sources, st.integers(0, 255)), max_size=12)


def of(some: list[tuple[Source, int]]) -> Statistics:
    images = np.array([[value, 255 - value] for _, value in some], np.uint8).reshape(len(some), 1, 1, 2)
    return Statistics.of([source for source, _ in some], images)


@given(rows, st.randoms(), st.lists(st.integers(0, 12), max_size=4))
def test_parts_in_any_order_and_grouping_add_up_to_the_whole(some, random, cuts):
    whole = of(some)
    random.shuffle(some)
    bounds = [0, *sorted(min(cut, len(some)) for cut in cuts), len(some)]
    parts = [of(some[start:end]) for start, end in pairwise(bounds)]
    assert total(parts) == total(reversed(parts)) == whole
    assert json.dumps(total(parts).summary()) == json.dumps(whole.summary())


@given(rows)
def test_nothing_is_the_neutral_element(some):
    assert of(some) + Statistics() == Statistics() + of(some) == of(some)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=7)))
def test_the_pixel_histogram_is_numpys(images):
    some = [Source("A", 1, 1, "L", "PNG", 1)] * len(images)
    for channel, found in enumerate(Statistics.of(some, images).summary()["channels"]):
        plane = images[..., channel]
        assert found["histogram"] == np.histogram(plane, 256, (0, 256))[0].tolist()
        assert (found["min"], found["max"]) == (plane.min(), plane.max())
        assert found["mean"] == pytest.approx(plane.mean(), abs=1e-6)
        assert found["std"] == pytest.approx(plane.std(), abs=1e-6)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=4, max_dims=4, max_side=7)))
def test_the_pixel_sum_is_numpys(images):
    some = [Source("A", 1, 1, "L", "PNG", 1)] * len(images)
    assert np.array_equal(Statistics.of(some, images).pixel_sum, images.sum(0, dtype=np.int64))


def test_white_images_past_what_16_bits_add():
    white = Statistics.of([Source("A", 1, 1, "L", "PNG", 1)] * 600, np.full((600, 2, 3, 1), 255, np.uint8))
    assert white.pixel_sum.tolist() == [[[600 * 255]] * 3] * 2
    assert white.mean_image.min() == white.mean_image.max() == 255


def test_the_summary_of_nothing_is_plain_values():
    summary = Statistics().summary()
    assert (summary["rows"], summary["characters"], summary["entropy_bits"], summary["channels"]) == (0, {}, 0.0, [])
    json.dumps(summary)


def test_gray_and_rgb_do_not_add_up():
    source = [Source("A", 1, 1, "L", "PNG", 1)]
    gray, rgb = (Statistics.of(source, np.zeros((1, 1, 1, channels), np.uint8)) for channels in (1, 3))
    with pytest.raises(ValueError, match=r"images of \(1, 1, 1\) and of \(1, 1, 3\) do not add up"):
        gray + rgb


@given(rows)
def test_the_state_survives_json(some):
    whole = of(some)
    assert Statistics.restore(json.loads(json.dumps(whole.state()))) == whole


@given(rows, rows)
def test_tables_of_several_splits_give_each_back(some, others):
    parts = {"train": of(some), "val": of(others)}
    back = Statistics.from_tables(Statistics.tables(parts))
    assert back == {split: part for split, part in parts.items() if part.rows}
    assert total([*back.values(), of(others)]) == of([*some, *others, *others])


def test_tables_of_nothing():
    tables = Statistics.tables({"train": Statistics()})
    assert {name: table.num_rows for name, table in tables.items()} == dict.fromkeys(TABLES, 0)
    assert Statistics.from_tables(tables) == {}


def test_the_tables_by_hand():
    tables = Statistics.tables({"train": BY_HAND})
    assert tables["characters"].slice(0, 2).to_pylist() == [
        {"split": "train", "length": 1, "position": 0, "character": "B", "count": 1},
        {"split": "train", "length": 3, "position": 0, "character": "A", "count": 1},
    ]
    assert tables["sizes"].drop_columns("split").to_pydict() == {"width": [7, 10], "height": [9, 5], "count": [1, 2]}
    assert dict(zip(*tables["sources"].drop_columns(["split", "kind"]).to_pydict().values(), strict=True)) == {
        **{"rows": 3, "frames": 5, "file_bytes": 151, "smallest": 1, "largest": 100},
        **{"1": 1, "3": 1, "4": 1},  # lengths
        **{"L": 2, "RGB": 1, "PNG": 2, "JPEG": 1},
        **{"0": 1, "45": 1, "53": 1},  # bins of file sizes
    }
    assert tables["pixels"].drop_columns("split").to_pylist() == [
        {"channel": 0, "value": 0, "count": 4},
        {"channel": 0, "value": 1, "count": 1},
        {"channel": 0, "value": 255, "count": 1},
    ]
    assert tables["mean_image"].to_pylist() == [{"split": "train", "height": 1, "width": 2, "channels": 1, "sum": [255, 1]}]


def test_values_differ_by_what_they_hold():
    source = Source("A", 1, 1, "L", "PNG", 1)
    one, other = (
        Statistics.of([source] * 2, np.array(values, np.uint8).reshape(2, 1, 2, 1)) for values in ([0, 1, 0, 1], [1, 0, 1, 0])
    )
    assert np.array_equal(one.pixels, other.pixels)
    assert one != other  # by their sums of images
    assert one != "something else"


@pytest.mark.parametrize(
    ("a", "b", "bits"),
    [
        ("AB", "BA", 0.0),
        ("AAAB", "AAABAAAB", 0.0),
        ("A", "B", 1.0),
        ("AB", "A", 0.311278),  # (0.5 log2(0.5/0.75) + 0.5 log2(0.5/0.25) + log2(1/0.75)) / 2
        ("AB", "CD", 1.0),
    ],
)
def test_jensen_shannon(a, b, bits):
    assert jensen_shannon(Counter(a), Counter(b)) == jensen_shannon(Counter(b), Counter(a)) == bits


def test_divergence_of_splits_with_rows():
    source = {"train": ["AB", "BA"], "val": ["A"], "test": ["C"], "none": []}
    images = {split: np.zeros((len(labels), 1, 1, 1), np.uint8) for split, labels in source.items()}
    parts = {
        s: Statistics.of([Source(label, 1, 1, "L", "PNG", 1) for label in labels], images[s]) for s, labels in source.items()
    }
    assert divergence(parts) == {"train-val": 0.311278, "train-test": 1.0, "val-test": 1.0}
    assert divergence({"train": parts["train"], "val": Statistics()}) == {}
