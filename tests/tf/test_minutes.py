"""A training with a limit of time: the schedule follows the time, it stops within an epoch, and a rerun has nothing to do."""

import keras
import pytest
import tensorflow as tf

from model.config import OptimiserSettings
from model.optimizers import make_optimizer
from model.trainer import Trainer

pytestmark = pytest.mark.tf


@pytest.mark.parametrize(("spent", "rate"), [(0.0, 0.0), (0.05, 5e-4), (0.1, 1e-3), (0.55, 5.05e-4), (1.0, 1e-5), (1.2, 1e-5)])
@pytest.mark.parametrize("step", [0, 7])
def test_the_rate_is_that_of_the_time(spent, rate, step):
    variable = keras.Variable(0.0, trainable=False)
    optimizer = make_optimizer(OptimiserSettings(learning_rate=1e-3, warmup=0.1, final=0.01), 100, spent=variable)
    optimizer.iterations.assign(step)
    variable.assign(spent)
    assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-4, abs=1e-9)


@pytest.fixture
def trainer(digits, quick, light, monkeypatch):
    """Trainers whose clock says that each call took a second."""
    monkeypatch.setattr("model.trainer.build", light)

    class Clocked(Trainer):
        def _call(self, state, batches):
            self.rates.append(float(self._optimizer.learning_rate))
            after = super()._call(state, batches)
            return after._replace(seconds=state.seconds + 1.0)

        def _told(self, state, val_loss, val, seconds):
            return super()._told(state, val_loss, val, 0.5)

    def trainer(**changes):
        train = {"epochs": 1000, "steps_per_call": 1, "batch_size": 8, "warmup": 0.0, "patience": 1000} | changes
        made = Clocked(digits, quick(train=train), tf.distribute.get_strategy())
        made.rates = []
        return made

    return trainer


def test_it_stops_within_an_epoch_and_ends_with_the_best_weights(trainer, tmp_path):
    one = trainer(minutes=10 / 60)
    steps = one._loader.steps
    assert steps == 6  # 41 rows in batches of 8
    done = one.fit(tmp_path, lambda epoch: None)
    assert [epoch.seconds for epoch in done.history] == [6.5, 4.5]  # 10 s are over within the second epoch
    assert len(one.rates) == 10
    assert done.best in done.history
    assert one.rates[1] > one.rates[5] > one.rates[9]
    again = trainer(minutes=10 / 60)
    assert again.fit(tmp_path, lambda epoch: None).history == done.history
    assert again.rates == []


def test_time_that_is_over_when_an_epoch_ends_begins_no_other(trainer, tmp_path):
    done = trainer(minutes=6.25 / 60).fit(tmp_path, lambda epoch: None)
    assert [epoch.seconds for epoch in done.history] == [6.5]


def test_the_epochs_may_be_over_before(trainer, tmp_path):
    assert len(trainer(minutes=60, epochs=2).fit(tmp_path, lambda epoch: None).history) == 2
