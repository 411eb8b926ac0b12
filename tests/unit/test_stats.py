"""Statistics: one case by hand, and sums that no order or grouping changes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.stats import Source, Statistics, ctc_frames, total

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
        "positions": [{"A": 1, "B": 1, "C": 1}, {"A": 2}, {"A": 1, "B": 1}, {"B": 1}],
        "lengths": {"1": 1, "3": 1, "4": 1},
        "ctc_frames": 5,
        "sizes": {"10x5": 2, "7x9": 1},
        "modes": {"L": 2, "RGB": 1},
        "formats": {"PNG": 2, "JPEG": 1},
        "file_bytes": 151,
    }
    assert channel.pop("histogram") == [4, 1] + [0] * 253 + [1]
    assert channel == {"mean": 42.666667, "std": 94.959056, "min": 0, "max": 255}


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


def test_the_summary_of_nothing_is_plain_values():
    summary = Statistics().summary()
    assert (summary["rows"], summary["characters"], summary["entropy_bits"], summary["channels"]) == (0, {}, 0.0, [])
    json.dumps(summary)


def test_gray_and_rgb_do_not_add_up():
    source = [Source("A", 1, 1, "L", "PNG", 1)]
    gray, rgb = (Statistics.of(source, np.zeros((1, 1, 1, channels), np.uint8)) for channels in (1, 3))
    with pytest.raises(ValueError, match="1 and of 3 channels"):
        gray + rgb
