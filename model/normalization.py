"""Batch normalisation for training as one operation of TensorFlow.

Keras composes it of a dozen, which took a third of a step of our networks on a CPU. What is shipped stays Keras's own.
"""

import keras
import tensorflow as tf
from keras import layers, ops


class FusedBatchNormalization(layers.BatchNormalization):
    """The same numbers, up to rounding: over the last of the four axes of (N, H, W, C), with a scale and an offset."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if mask is not None or (training and not self.trainable):
            return super().call(inputs, training=training, mask=mask)
        noted = [ops.convert_to_tensor(moving) for moving in (self.moving_mean, self.moving_variance)]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            ops.convert_to_tensor(self.gamma),
            ops.convert_to_tensor(self.beta),
            *([] if training else noted),
            epsilon=self.epsilon,
            is_training=bool(training),
        )
        if training:
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
            variance *= tf.maximum(count - 1, 1) / count  # from that of a sample to that of this batch, which Keras notes
            for moving, before, now in zip((self.moving_mean, self.moving_variance), noted, (mean, variance), strict=True):
                moving.assign(before * self.momentum + now * (1 - self.momentum))
        return outputs


def fused(network: keras.Model) -> keras.Model:
    """A copy of a functional `network`, its weights and their names included, that normalises in this way where it can."""

    def copied(layer: layers.Layer) -> layers.Layer:
        kind = FusedBatchNormalization if _fusible(layer) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy


def _fusible(layer: layers.Layer) -> bool:
    if type(layer) is not layers.BatchNormalization or len(layer.input.shape) != 4:
        return False
    last = layer.axis in (-1, 3)
    return last and layer.scale and layer.center and not layer.synchronized and not layer.renorm
