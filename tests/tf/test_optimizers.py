"""Optimisers and learning rates: the rate at each step, what decays, and which class each name is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.config import OptimiserSettings
from model.optimizers import make_optimizer

pytestmark = pytest.mark.tf


@pytest.mark.parametrize(
    ("warmup", "step", "rate"),
    [
        (0.1, 0, 0.0),
        (0.1, 5, 5e-4),
        (0.1, 10, 1e-3),
        (0.1, 55, 5.05e-4),  # half way between the rate and a hundredth of it
        (0.1, 100, 1e-5),
        (0.0, 0, 1e-3),
        (0.0, 50, 5.05e-4),
        (0.0, 100, 1e-5),
    ],
)
def test_the_learning_rate(warmup, step, rate):
    optimizer = make_optimizer(OptimiserSettings(learning_rate=1e-3, warmup=warmup, final=0.01), 100)
    optimizer.iterations.assign(step)
    assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-4, abs=1e-9)


def test_one_step_has_a_schedule_too():
    assert float(make_optimizer(OptimiserSettings(), 1).learning_rate) > 0


def test_weights_decay_and_biases_and_norms_do_not():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    model.set_weights([np.ones_like(weights) for weights in model.get_weights()])
    optimizer = make_optimizer(OptimiserSettings(learning_rate=0.1, warmup=0, weight_decay=0.5), 10)
    optimizer.build(model.trainable_variables)
    optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    values = {variable.name: variable.numpy().flat[0] for variable in model.trainable_variables}
    assert values == pytest.approx({"kernel": 0.95, "bias": 1.0, "gamma": 1.0, "beta": 1.0})


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
@pytest.mark.parametrize(
    ("warmup", "step", "rate"), [(0.1, 0, 0.0), (0.1, 5, 5e-4), (0.1, 10, 1e-3), (0.1, 100, 1e-3), (0.0, 0, 1e-3)]
)
def test_a_rate_that_stays(schedule, warmup, step, rate):
    optimizer = make_optimizer(OptimiserSettings(learning_rate=1e-3, warmup=warmup, schedule=schedule), 100)
    optimizer.iterations.assign(step)
    assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-4, abs=1e-9)


def test_the_factor_lowers_the_rate():
    factor = keras.Variable(1.0, trainable=False)
    optimizer = make_optimizer(OptimiserSettings(learning_rate=1e-3, warmup=0, schedule="plateau"), 100, factor=factor)
    factor.assign(0.25)
    assert float(optimizer.learning_rate) == pytest.approx(2.5e-4)


@pytest.mark.parametrize(
    ("name", "kind", "decay"),
    [("adamw", "AdamW", 0.05), ("adam", "Adam", None), ("sgd", "SGD", 0.05), ("adadelta", "Adadelta", None)],
)
def test_optimisers(name, kind, decay):
    optimizer = make_optimizer(OptimiserSettings(optimizer=name), 10)
    assert (type(optimizer).__name__, optimizer.weight_decay) == (kind, decay)


def test_loss_scaling_wraps_it():
    optimizer = make_optimizer(OptimiserSettings(), 10, loss_scaling=True)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(optimizer.inner_optimizer, keras.optimizers.AdamW)
