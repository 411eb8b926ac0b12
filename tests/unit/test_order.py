"""The order of an epoch: each row once over any number of workers, and any stretch of it without what came before."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.order import EpochPlan, Piece, Source, drawn, epoch_line, epoch_plan, permutation, steps

KEY = ("fingerprint", "train", 0, 0)
WORKERS = (1, 2, 3, 5, 8)

row_groups = st.lists(st.integers(1, 12), min_size=1, max_size=12)  # rows of each: one-row groups, fewer rows than workers
windows = st.integers(1, 40)


def plan_of(sizes: list[int], key: tuple = KEY, *, shuffle: bool = True, **of_worker: int) -> EpochPlan:
    """The plan of one pass over one dataset; the last part of `key` is the epoch."""
    line = epoch_line([Source(tuple(sizes), key[:-1], sum(sizes))], key[-1], key, shuffle=shuffle)
    return epoch_plan(line, key, shuffle=shuffle, **of_worker)


def rows_of(
    plan: EpochPlan, start: int = 0, stop: int | None = None, weigh: Callable = lambda _: None
) -> list[tuple[int, int]]:
    """(row group, row in it) at positions start to stop of the plan."""
    found = plan.slice(start, plan.rows if stop is None else stop, weigh)
    return [row for rows in found for row in zip(rows.groups.tolist(), rows.rows.tolist(), strict=True)]


def all_rows(sizes: list[int]) -> list[tuple[int, int]]:
    return [(group, row) for group, size in enumerate(sizes) for row in range(size)]


@pytest.mark.parametrize(
    ("size", "key", "order"),
    [
        (8, ("fingerprint", "train", 0, 0), [2, 5, 0, 1, 7, 3, 4, 6]),
        (5, ("a", 1), [3, 2, 0, 1, 4]),
        (3, (), [2, 1, 0]),
        (1, ("a",), [0]),
        (0, ("a",), []),
    ],
)
def test_a_permutation_is_the_same_on_every_machine(size, key, order):
    assert permutation(size, *key).tolist() == order


@given(st.integers(0, 200), st.tuples(st.text(), st.integers()))
def test_a_permutation_holds_every_index_once_and_depends_on_its_key_alone(size, key):
    order = permutation(size, *key)
    assert sorted(order.tolist()) == list(range(size))
    np.random.seed(size)  # what others draw meanwhile
    assert permutation(size, *key).tolist() == order.tolist()


@pytest.mark.parametrize(
    "other",
    [("other", "train", 0, 0), ("fingerprint", "val", 0, 0), ("fingerprint", "train", 1, 0), ("fingerprint", "train", 0, 1)],
)
def test_every_part_of_the_key_counts(other):
    sizes = [7] * 20
    one, two = (plan_of(sizes, key, window=30) for key in (KEY, other))
    assert sorted(rows_of(one)) == sorted(rows_of(two))
    assert rows_of(one) != rows_of(two)
    assert [piece.group for piece in one.windows[0]] != [piece.group for piece in two.windows[0]]


@given(row_groups, windows, st.sampled_from(WORKERS), st.booleans())
def test_over_all_workers_each_row_stands_exactly_once(sizes, window, workers, shuffle):
    plans = [plan_of(sizes, KEY, window=window, shuffle=shuffle, worker=w, workers=workers) for w in range(workers)]
    assert sorted(row for plan in plans for row in rows_of(plan)) == all_rows(sizes)
    counts = [plan.rows for plan in plans]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("sizes", [[1], [1, 1], [1] * 7, [997, 1, 2], [1000, 1000, 1000, 3], [2, 1, 4]])
def test_awkward_sizes(sizes, workers):
    plans = [plan_of(sizes, KEY, window=500, worker=w, workers=workers) for w in range(workers)]
    assert sorted(row for plan in plans for row in rows_of(plan)) == all_rows(sizes)


@given(row_groups, windows, st.sampled_from(WORKERS), st.booleans())
def test_windows_hold_what_was_asked_for_and_at_most_one_row_group_more(sizes, window, workers, shuffle):
    for worker in range(workers):
        plan = plan_of(sizes, KEY, window=window, shuffle=shuffle, worker=worker, workers=workers)
        counts = [sum(piece.stop - piece.start for piece in pieces) for pieces in plan.windows]
        assert plan.bounds[0] == 0
        assert [last - first for first, last in pairwise(plan.bounds)] == counts
        assert all(count >= window for count in counts[:-1])
        assert all(count < window + max(sizes) for count in counts)
        assert all(0 <= piece.start < piece.stop <= sizes[piece.group] for pieces in plan.windows for piece in pieces)


def every_third(piece: Piece) -> np.ndarray:
    """Weights of 4 for every third row of a row group, and of 1 for the others."""
    return np.where(np.arange(piece.start, piece.stop) % 3, 1.0, 4.0)


def weighing(plan: EpochPlan) -> Callable[[int], np.ndarray]:
    return lambda window: np.concatenate([every_third(piece) for piece in plan.windows[window]])


@given(row_groups, windows, st.sampled_from(WORKERS))
def test_a_window_has_rows_as_often_as_they_weigh(sizes, window, workers):
    for worker in range(workers):
        plan = plan_of(sizes, window=window, worker=worker, workers=workers)
        assert len(rows_of(plan, weigh=weighing(plan))) == plan.rows
        for number, pieces in enumerate(plan.windows):
            count = Counter(rows_of(plan, *plan.bounds[number : number + 2], weighing(plan)))
            weights = {(p.group, row): w for p in pieces for row, w in zip(range(p.start, p.stop), every_third(p), strict=True)}
            share = len(weights) / sum(weights.values())
            assert count.keys() <= weights.keys()
            assert all(abs(count[row] - share * weight) < 1 + 1e-9 for row, weight in weights.items())


@given(row_groups, windows, st.data())
def test_weighed_rows_are_cut_and_placed_alike(sizes, window, data):
    plan = plan_of(sizes, window=window)
    start = data.draw(st.integers(0, plan.rows))
    stop = data.draw(st.integers(start, plan.rows))
    placed = {}
    for number, pieces in enumerate(plan.windows):
        found = list(plan.places(number, weighing(plan)(number)))
        assert [group for group, _, _ in found] == [piece.group for piece in pieces]
        for piece, (group, rows, places) in zip(pieces, found, strict=True):
            assert all(piece.start <= row < piece.stop for row in rows)
            assert sorted(rows) == list(rows)
            placed |= {plan.bounds[number] + place: (group, row) for row, place in zip(rows, places, strict=True)}
    assert sorted(placed) == list(range(plan.rows))
    assert rows_of(plan, start, stop, weighing(plan)) == [placed[at] for at in range(start, stop)]


def test_copies_of_a_row_are_spread_over_the_window():
    plan = plan_of([300], window=300)
    rows = rows_of(plan, weigh=weighing(plan))
    assert sum(one == two for one, two in pairwise(rows)) <= 6  # side by side 149 would stand


@pytest.mark.parametrize(
    ("weights", "key", "expected"),
    [
        ([1, 1, 1, 1], ("a",), [0, 1, 2, 3]),
        ([2, 2], ("a",), [0, 1]),
        ([0, 1, 0, 3], ("a",), [1, 3, 3, 3]),
        ([0, 5, 0], ("b",), [1, 1, 1]),
        ([1e-9, 1], ("a",), [1, 1]),
        ([1], ("c",), [0]),
    ],
)
def test_indices_are_drawn_by_weight(weights, key, expected):
    assert drawn(np.array(weights, float), *key).tolist() == expected


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=50), st.integers())
def test_drawn_indices_are_as_many_never_fall_and_repeat_themselves(weights, key):
    found = drawn(np.array(weights), key)
    share = len(weights) / sum(weights)
    assert len(found) == len(weights)
    assert (np.diff(found) >= 0).all()
    assert found.tolist() == drawn(np.array(weights), key).tolist()
    assert all(abs((found == i).sum() - share * weight) < 1 + 1e-6 for i, weight in enumerate(weights))


def test_over_many_keys_indices_are_drawn_as_their_weights_say():
    weights = np.array([1.0, 6.0, 2.0, 0.5])
    counts = sum(np.bincount(drawn(weights, key), minlength=4) for key in range(2000))
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=0.01)


@given(row_groups, windows, st.booleans(), st.data())
def test_any_stretch_is_cut_from_the_whole_order_without_what_comes_before(sizes, window, shuffle, data):
    whole = rows_of(plan_of(sizes, KEY, window=window, shuffle=shuffle))
    start = data.draw(st.integers(0, len(whole) + 3))
    stop = data.draw(st.integers(start, len(whole) + 9))
    fresh = plan_of(sizes, KEY, window=window, shuffle=shuffle)
    assert rows_of(fresh, start, stop) == whole[start:stop]
    for rows in fresh.slice(start, stop):
        assert fresh.bounds[rows.window] < stop
        assert fresh.bounds[rows.window + 1] > start


@given(row_groups, windows, st.booleans(), st.data())
def test_cuts_are_the_same_stretch_of_each_window(sizes, window, shuffle, data):
    plan = plan_of(sizes, window=window, shuffle=shuffle)
    start = data.draw(st.integers(0, plan.rows + 3))
    stop = data.draw(st.integers(start, plan.rows + 9))
    assert [(w, cut.stop - cut.start) for w, cut in plan.cuts(start, stop)] == [
        (rows.window, len(rows.rows)) for rows in plan.slice(start, stop)
    ]
    laid = {}
    for number in range(len(plan.windows)):
        for group, rows, places in plan.places(number):
            laid |= {(number, int(at)): (group, int(row)) for row, at in zip(rows, places, strict=True)}
    cut_rows = [laid[w, i] for w, cut in plan.cuts(start, stop) for i in range(cut.start, cut.stop)]
    assert cut_rows == rows_of(plan, start, stop)


def test_rows_of_a_window_are_mixed_over_its_row_groups():
    plan = plan_of([50] * 8, KEY, window=200)
    groups = {group for group, _ in rows_of(plan, 0, 40)}
    assert len(plan.windows) == 2
    assert groups == {piece.group for piece in plan.windows[0]}


@pytest.mark.parametrize(
    ("sizes", "window", "worker", "workers", "expected"),
    [
        ([3, 1, 2], 3, 0, 1, [[(0, 0, 3)], [(1, 0, 1), (2, 0, 2)]]),
        ([3, 1, 2], 100, 0, 1, [[(0, 0, 3), (1, 0, 1), (2, 0, 2)]]),
        ([3, 1, 2], 1, 0, 1, [[(0, 0, 3)], [(1, 0, 1)], [(2, 0, 2)]]),
        ([3, 1, 2], 3, 0, 2, [[(0, 0, 3)]]),
        ([3, 1, 2], 3, 1, 2, [[(1, 0, 1), (2, 0, 2)]]),
        ([5, 4], 2, 1, 3, [[(0, 3, 5)], [(1, 0, 1)]]),
        ([1], 2, 0, 3, []),
        ([1], 2, 2, 3, [[(0, 0, 1)]]),
    ],
)
def test_windows_in_the_order_of_the_shards(sizes, window, worker, workers, expected):
    plan = plan_of(sizes, KEY, window=window, shuffle=False, worker=worker, workers=workers)
    assert plan.windows == tuple(tuple(Piece(*piece) for piece in pieces) for pieces in expected)
    assert rows_of(plan) == [(g, row) for pieces in expected for g, first, last in pieces for row in range(first, last)]


@pytest.mark.parametrize(
    ("rows", "batch_size", "workers", "expected"),
    [
        (10, 5, 1, 2),
        (11, 5, 1, 3),
        (1, 5, 1, 1),
        (10, 5, 2, 1),
        (11, 5, 2, 2),
        (3, 1, 8, 1),
        (16, 1, 8, 2),
        (17, 1, 8, 3),
        (100, 7, 3, 5),
    ],
)
def test_steps(rows, batch_size, workers, expected):
    assert steps(rows, batch_size, workers) == expected


@given(row_groups, st.integers(1, 20), st.sampled_from(WORKERS))
def test_the_steps_reach_every_row_of_every_worker(sizes, batch_size, workers):
    plans = [plan_of(sizes, KEY, window=10, worker=w, workers=workers) for w in range(workers)]
    needed = [-(-plan.rows // batch_size) for plan in plans]
    assert steps(sum(sizes), batch_size, workers) == max(needed)


def mixed(shares: list[tuple[list[int], int]], epoch: int) -> list[tuple[int, int]]:
    """(row group, row in it) of an epoch of several datasets; row groups are numbered through."""
    sources, first = [], 0
    for number, (sizes, rows) in enumerate(shares):
        sources.append(Source(tuple(sizes), (number, "train", 0), rows, first))
        first += len(sizes)
    line = epoch_line(sources, epoch, ("mixture", "train", 0))
    return [(piece.group, row) for piece in line for row in range(piece.start, piece.stop)]


def numbered(shares: list[tuple[list[int], int]]) -> list[list[tuple[int, int]]]:
    """All rows of each dataset."""
    found, first = [], 0
    for sizes, _ in shares:
        found.append([(first + group, row) for group, row in all_rows(sizes)])
        first += len(sizes)
    return found


@pytest.mark.parametrize(
    ("shares", "epochs", "times"),
    [
        ([([3, 2, 4], 9)], 1, [1]),  # weight 1
        ([([3, 2, 4], 9), ([5, 1], 6)], 3, [3, 3]),
        ([([3, 2, 4], 9), ([5, 1], 3)], 2, [2, 1]),  # weight 0.5: once in two epochs
        ([([3, 2, 4], 18), ([5, 1], 2)], 3, [6, 1]),  # weight 2: twice; a third: once in three
        ([([1], 1), ([4, 4], 20)], 2, [2, 5]),  # weight 2.5: five times in two
    ],
)
def test_weights_count_how_often_a_row_is_seen(shares, epochs, times):
    seen = [row for epoch in range(epochs) for row in mixed(shares, epoch)]
    for rows, count in zip(numbered(shares), times, strict=True):
        assert [seen.count(row) for row in rows] == [count] * len(rows)


@given(st.lists(st.tuples(row_groups, st.integers(1, 60)), min_size=1, max_size=3), st.integers(0, 5))
def test_an_epoch_takes_the_next_stretch_of_every_dataset(shares, epoch):
    rows = mixed(shares, epoch)
    assert len(rows) == sum(share for _, share in shares)
    for (sizes, share), every in zip(shares, numbered(shares), strict=True):
        mine = [row for row in rows if row in set(every)]
        counts = [mine.count(row) for row in every]
        assert len(mine) == share
        assert max(counts) - min(counts) <= (2 if share % sum(sizes) else 0)  # two passes may meet in an epoch


def test_pieces_of_datasets_are_mixed():
    groups = [group for group, _ in mixed([([4] * 30, 120), ([4] * 30, 120)], 0)]
    assert 5 < sum(group < 30 for group in groups[:80]) // 4 < 15


@given(st.lists(st.tuples(row_groups, st.integers(1, 30)), min_size=2, max_size=3), windows, st.sampled_from(WORKERS))
def test_over_all_workers_each_row_of_a_mixture_stands_as_often_as_in_its_epoch(shares, window, workers):
    firsts = [0]
    for sizes, _ in shares:
        firsts.append(firsts[-1] + len(sizes))
    sources = [Source(tuple(s), (i,), rows, firsts[i]) for i, (s, rows) in enumerate(shares)]
    line = epoch_line(sources, 1, KEY)
    plans = [epoch_plan(line, KEY, window=window, worker=w, workers=workers) for w in range(workers)]
    whole = [(piece.group, row) for piece in line for row in range(piece.start, piece.stop)]
    assert sorted(row for plan in plans for row in rows_of(plan)) == sorted(whole)
