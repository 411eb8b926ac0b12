"""Layers that take the place of Keras's own while a network is trained, because they compute faster on a CPU.

They have the same weights and give the same numbers, up to rounding. What is shipped stays Keras's own.
"""

import keras
import tensorflow as tf
from keras import layers, ops


class FusedBatchNormalization(layers.BatchNormalization):
    """Over the last of the four axes of (N, H, W, C), with a scale and an offset, as one operation of TensorFlow.

    Keras composes it of a dozen, which took a third of a step of our networks.
    """

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


class PointwiseConvolution(layers.Conv2D):
    """A convolution of single pixels, without an offset, of (N, H, W, C), as the product of two matrices in training.

    oneDNN's convolution took a third more time for it and its kernel's gradient. Without training that one is left to
    TensorFlow, which joins it with what follows.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return super().call(inputs)
        pixels = ops.reshape(inputs, (-1, inputs.shape[-1]))
        weights = ops.convert_to_tensor(self.kernel)[0, 0]
        return ops.reshape(ops.matmul(pixels, weights), (-1, *inputs.shape[1:-1], self.filters))


def for_training(network: keras.Model) -> keras.Model:
    """A copy of a functional `network`, its weights and their names included, with these layers where they can stand in."""

    def copied(layer: layers.Layer) -> layers.Layer:
        return _kind(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return copy


def _kind(layer: layers.Layer) -> type[layers.Layer]:
    if type(layer) is layers.BatchNormalization and _fusible(layer):
        return FusedBatchNormalization
    if type(layer) is layers.Conv2D and _pointwise(layer):
        return PointwiseConvolution
    return type(layer)


def _fusible(norm: layers.BatchNormalization) -> bool:
    last = len(norm.input.shape) == 4 and norm.axis in (-1, 3)
    return last and norm.scale and norm.center and not norm.synchronized and not norm.renorm


def _pointwise(convolution: layers.Conv2D) -> bool:
    single = convolution.kernel_size == convolution.strides == (1, 1) and convolution.groups == 1
    plain = not convolution.use_bias and convolution.activation is keras.activations.linear
    return single and plain and convolution.data_format == "channels_last" and None not in convolution.input.shape[1:]
