"""An exponential moving average of a network's weights, to be judged and shipped in their place (Polyak & Juditsky 1992)."""

import keras
import tensorflow as tf


class Averages:
    """Averages of the trainable weights of `model`; made and updated in the scope of `strategy`, outside its replicas."""

    def __init__(self, model: keras.Model, momentum: float, strategy: tf.distribute.Strategy) -> None:
        self._model, self._momentum, self._strategy = model, momentum, strategy
        with strategy.scope():
            self.variables = [
                keras.Variable(weight.numpy(), trainable=False, name=f"average_{i}")
                for i, weight in enumerate(model.trainable_variables)
            ]

    def update(self, updates: tf.Tensor) -> None:
        """Takes the present weights in, after `updates` steps; the first few of them count for more."""
        count = tf.cast(updates, tf.float32)
        momentum = tf.minimum(self._momentum, (1.0 + count) / (10.0 + count))  # as tf.train.ExponentialMovingAverage has it
        for average, weight in zip(self.variables, self._model.trainable_variables, strict=True):
            self._strategy.extended.update(average.value, _blend, args=(weight.value, momentum), group=False)

    def apply(self) -> None:
        """Puts the averages into the model."""
        for average, weight in zip(self.variables, self._model.trainable_variables, strict=True):
            weight.assign(average.numpy())


def _blend(average: tf.Variable, weight: tf.Tensor, momentum: tf.Tensor) -> tf.Operation:
    return average.assign(momentum * average + (1.0 - momentum) * weight)
