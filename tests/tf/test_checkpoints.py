"""The files of a training: whole or not at all, back to the bit, and refused where they belong to another."""

import keras
import numpy as np
import pytest

from model.checkpoints import Checkpoints, State
from model.history import Epoch
from model.metrics import Scores

pytestmark = pytest.mark.tf
EPOCH = Epoch(1, 0.1 + 0.2, 1.0, Scores(10, 6, 5, 40, ((9, 10), (3, 4))), 1e-3, 100.0, 0.01, 5.0, 800.0)
STATE = State((EPOCH,), 7, (1 / 3, 56.0, 0.125), 3.25)


def variables(*values) -> dict:
    return {"model": [keras.Variable(np.array(v), dtype=np.array(v).dtype.name) for v in values], "averages": []}


GROUPS = (np.float32([[1 / 3, -0.0], [np.nan, 1e-45]]), np.int64(2**40), np.uint32([2**32 - 1, 0]))


def test_a_state_comes_back_to_the_bit(tmp_path):
    checkpoints = Checkpoints(tmp_path / "deep" / "run")
    assert checkpoints.load_last(variables(*GROUPS)) is None
    checkpoints.save_last(STATE, variables(*GROUPS))
    state, arrays = checkpoints.load_last(variables(*GROUPS))
    assert state == STATE
    for array, value in zip(arrays.values(), GROUPS, strict=True):
        assert array.dtype == value.dtype
        assert array.tobytes() == value.tobytes()


def test_a_new_one_takes_the_place_of_the_old(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (7, 8):
        checkpoints.save_last(STATE._replace(step=step), variables(*GROUPS))
    assert checkpoints.load_last(variables(*GROUPS))[0].step == 8
    assert [path.name for path in tmp_path.iterdir()] == ["last.npz"]


def test_one_best_is_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for epoch in (2, 12):
        checkpoints.save_best(epoch, variables(*GROUPS))
    checkpoints.keep_best(2)
    assert [path.name for path in tmp_path.iterdir()] == ["best-2.npz"]
    assert checkpoints.load_best(2, variables(*GROUPS))["model/0001"] == 2**40


@pytest.mark.parametrize("cut", [0, 10, 300, -1])
def test_a_file_cut_short_is_told(tmp_path, told, cut):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_last(STATE, variables(*GROUPS))
    path = tmp_path / "last.npz"
    path.write_bytes(path.read_bytes()[:cut])
    assert "last.npz: no readable checkpoint: " in told(checkpoints.load_last, variables(*GROUPS))


def test_a_flipped_bit_is_told(tmp_path, told, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(1, variables(np.arange(1000.0)))
    damage(tmp_path / "best-1.npz")
    assert "best-1.npz: no readable checkpoint: " in told(checkpoints.load_best, 1, variables(np.arange(1000.0)))


def test_the_file_of_another_network_is_told(tmp_path, told):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_last(STATE, variables(*GROUPS))
    other = variables(np.zeros((2, 3), np.float32), *GROUPS[1:])
    assert "last.npz: of another network or optimiser (their model/0000 differ)" in told(checkpoints.load_last, other)


def test_a_best_that_is_gone_is_told(tmp_path, told):
    assert "best-3.npz: no readable checkpoint" in told(Checkpoints(tmp_path).load_best, 3, variables(*GROUPS))
