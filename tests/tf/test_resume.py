"""A training that was stopped goes on as if nothing had been: at every step, after SIGTERM, from every kind of state."""

import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from model.checkpoints import Checkpoints
from model.termination import Stopped
from model.trainer import Trainer

pytestmark = pytest.mark.tf
KINDS = {
    "plain": {},
    "averages": {"ema": 0.9, "statistics_batches": 2},
    "plateau": {"schedule": "plateau", "plateau_patience": 1},
    "sgd in pieces": {"optimizer": "sgd", "accumulate": 2},
    "float16": {"precision": "mixed_float16"},
}


class EndedError(Exception):
    """What a kill is in these tests: nothing runs after it."""


def ending(trainer: type[Trainer], after: int) -> type[Trainer]:
    """A trainer that ends after that many calls of the compiled function."""

    class Ending(trainer):
        calls = 0

        def _call(self, state, batches):
            if self.calls == after:
                raise EndedError
            self.calls += 1
            return super()._call(state, batches)

    return Ending


@pytest.fixture
def settings(quick):
    """The real network, with dropout and batch normalisation; 6 steps an epoch in calls of 2; a checkpoint after each call."""

    def settings(**train: object):
        train = {"epochs": 2, "steps_per_call": 2, "checkpoint_steps": 2, "learning_rate": 0.01} | train
        return quick(train=train, network={"dropout": 0.2}, augment={"rotate": 3})

    return settings


def outcome(trainer: Trainer, folder, seen: list) -> tuple:
    """The weights, the state of everything else, and what each epoch was, without its times."""
    done = trainer.fit(folder, seen.append)
    _, arrays = Checkpoints(folder).load_last(trainer._groups())
    history = [epoch._replace(images_per_second=0, waiting=0, seconds=0, memory_mib=0) for epoch in done.history]
    return done.model.get_weights(), arrays, history, done.best.epoch


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("calls", [(4,), (1, 2, 2)])
def test_it_goes_on_as_if_nothing_had_been(digits, settings, tmp_path, kind, calls):
    """Not to the bit: that needs determinism, which a process cannot switch off again (see the kills in tests/faults)."""
    made = settings(**KINDS[kind])
    strategy = tf.distribute.get_strategy()
    whole = outcome(Trainer(digits, made, strategy), tmp_path / "whole", [])
    seen = []
    for count in calls:
        with pytest.raises(EndedError):
            ending(Trainer, count)(digits, made, strategy).fit(tmp_path / "parts", seen.append)
    parts = outcome(Trainer(digits, made, strategy), tmp_path / "parts", seen)
    for one, other in zip(whole[0], parts[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-4)
    assert whole[1].keys() == parts[1].keys()
    for name, array in whole[1].items():
        np.testing.assert_allclose(array, parts[1][name], rtol=2e-3, atol=1e-4, err_msg=name)
    assert [epoch.epoch for epoch in seen] == [1, 2]
    assert [epoch.train_loss for epoch in parts[2]] == pytest.approx([epoch.train_loss for epoch in whole[2]], rel=1e-4)
    assert [epoch.learning_rate for epoch in parts[2]] == [epoch.learning_rate for epoch in whole[2]]


@pytest.fixture
def light_trainer(monkeypatch, light, digits, quick):
    monkeypatch.setattr("model.trainer.build", light)
    return lambda cls=Trainer, **train: cls(
        digits, quick(train={"epochs": 3, "steps_per_call": 2} | train), tf.distribute.get_strategy()
    )


def test_sigterm_saves_and_leaves(light_trainer, tmp_path):
    class Asked(Trainer):
        def _call(self, state, batches):
            after = super()._call(state, batches)
            if len(after.history) == 1 and after.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return after

    before = signal.getsignal(signal.SIGTERM)
    made = light_trainer(Asked)
    with pytest.raises(Stopped, match=r"stopped by SIGTERM in epoch 2, after batch 2 of 6; start the same command") as caught:
        made.fit(tmp_path, lambda epoch: None)
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    state, _ = Checkpoints(tmp_path).load_last(made._groups())
    assert (len(state.history), state.step, state.sums[1]) == (1, 2, 16.0)


def test_sigterm_while_it_validates(light_trainer, tmp_path, monkeypatch):
    made = light_trainer(ema=0.9)
    monkeypatch.setattr(made, "_told", lambda *args: pytest.fail("the epoch must not end"))
    monkeypatch.setattr(
        "model.validation.Validation._scored", lambda *args: os.kill(os.getpid(), signal.SIGTERM) or (0.0, made_scores())
    )
    with pytest.raises(Stopped, match="while it validated"):
        made.fit(tmp_path, lambda epoch: None)
    state, arrays = Checkpoints(tmp_path).load_last(made._groups())
    assert (state.history, state.step, state.sums[1]) == ((), 6, 41.0)
    averages = [array for name, array in arrays.items() if name.startswith("averages/")]
    assert any((array != average).any() for array, average in zip(arrays.values(), averages, strict=False))  # not the averages


def made_scores():
    from model.metrics import Scores

    return Scores(1, 0, 1, 1)


def test_a_run_that_is_over_trains_no_more(light_trainer, tmp_path):
    first = light_trainer().fit(tmp_path, lambda epoch: None)
    seen = []
    again = light_trainer(ending(Trainer, 0)).fit(tmp_path, seen.append)
    assert seen == []
    assert again.history == first.history
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_checkpoints_at_steps(light_trainer, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoints, "save_last", lambda self, state, groups: saved.append((len(state.history), state.step)))
    light_trainer(epochs=2, checkpoint_steps=4, steps_per_call=3).fit(tmp_path, lambda epoch: None)
    assert saved == [(0, 4), (1, 0), (1, 4), (2, 0)]


def test_checkpoints_by_the_clock(light_trainer, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoints, "save_last", lambda self, state, groups: saved.append((len(state.history), state.step)))
    light_trainer(epochs=1, checkpoint_minutes=1e-9).fit(tmp_path, lambda epoch: None)
    assert saved == [(0, 2), (0, 4), (0, 6), (1, 0)]
