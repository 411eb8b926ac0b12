"""The compiled work of training: many steps in one call, validation, and statistics for averaged weights."""

import time
from collections.abc import Iterator

import keras
import tensorflow as tf

from model import heads
from model.augment import augment
from model.averages import Averages
from model.config import TrainSettings

Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]
NONE = -1
SUMS = 3  # of losses, of weights, of seconds that were waited for data


class Steps:
    """Functions over the replicas of `strategy`, each traced once. Batches are those of a Loader, one part a replica."""

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        averages: Averages | None,
        strategy: tf.distribute.Strategy,
        settings: TrainSettings,
    ) -> None:
        self._model, self._optimizer, self._averages = model, optimizer, averages
        self._strategy, self._settings = strategy, settings
        self.head = heads.of(settings.network)
        self._scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        # The loss stays outside: its kernel for labels of any length is none of XLA's.
        self._network = tf.function(model, jit_compile=True) if settings.train.xla else model

    @tf.function(reduce_retracing=True)
    def train(
        self, batches: Iterator[Batch], batch: Batch, first: tf.Tensor, count: tf.Tensor, sums: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, Batch]:
        """Trains on `batch`, which is number `first` of all epochs, and on those that follow: `count` in all (both () int64).

        Returns `sums`, (3,) float64, with what these batches add; NONE, or the number of a batch whose loss or gradient is no
        number: before it is applied, everything stops; and the batch after the last, which was asked for while that was worked
        on. A step waits for its data from when the step before it is done (on GPUs: is handed to the device, so there the time
        is an upper bound).
        """
        bad = tf.constant(NONE, tf.int64)
        for step in tf.range(first, first + count):
            following, came = self._following(batches)
            gradients, loss, weight, sound = self._strategy.run(self._gradients, args=(batch, step))
            if self._local(sound):
                applied = self._local(self._strategy.run(self._apply, args=(gradients,)))
                if self._averages is not None:
                    self._averages.update(applied)
                found = [tf.cast(self._local(value), tf.float64) for value in (loss, weight)]
                with tf.control_dependencies([applied]):
                    waited = tf.maximum(came - self._now(), 0)
                sums = sums + tf.stack([*found, waited])
                batch = following
            else:
                bad = step
                break
        return sums, bad, batch

    @tf.function(reduce_retracing=True)
    def validate(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Of each replica: the sum of its losses, () float32, and per frame the best class and its probability, (N, T)."""
        return self._strategy.run(self._judge, args=(batch,))

    @tf.function(reduce_retracing=True)
    def refresh(self, batch: Batch) -> None:
        """Runs images as they are through the network as in training, only for batch normalisation to take note of them."""
        self._strategy.run(self._forward, args=(batch,))

    def _following(self, batches: Iterator[Batch]) -> tuple[Batch, tf.Tensor]:
        """The next batch, and when it came."""
        batch = next(batches)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            return batch, self._now()

    def _now(self) -> tf.Tensor:
        """Seconds, () float64. TensorFlow's own clock refuses to run when determinism is on."""
        if not self._settings.train.determinism:
            return tf.timestamp()
        now = tf.numpy_function(time.monotonic, [], tf.float64)
        return tf.ensure_shape(now, ())

    def _local(self, value: tf.Tensor) -> tf.Tensor:
        """The first replica's value of one that is the same on all."""
        return self._strategy.experimental_local_results(value)[0]

    def _gradients(self, batch: Batch, step: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor]:
        """Clipped gradients of the global batch's mean loss, the sums of its losses and weights, and whether these are numbers.

        Each replica gets the same; the gradients come in equal shares, because Keras sums them over the replicas.
        """
        images, labels, lengths, weights = batch
        context = tf.distribute.get_replica_context()
        size = images.shape[0] // self._settings.train.accumulate
        pixels = self._augmented(batch, step)
        sums = [tf.zeros(v.shape) for v in self._model.trainable_variables] + [tf.zeros(())]
        for start in range(0, images.shape[0], size):
            with tf.control_dependencies(sums):  # one piece after the other: no memory is held for two
                piece = tf.identity(pixels[start : start + size])
            rows = slice(start, start + size)
            found = self._piece(piece, labels[rows], lengths[rows], weights[rows], images.shape[0])
            sums = [total + more for total, more in zip(sums, found, strict=True)]
        *sums, loss, weight = context.all_reduce(tf.distribute.ReduceOp.SUM, [*sums, tf.reduce_sum(weights)])
        scale = self._optimizer.scale_loss(tf.ones(())) if self._scaled else tf.ones(())
        mean = [gradient * (images.shape[0] / weight) for gradient in sums]
        clipped, norm = tf.clip_by_global_norm(mean, self._settings.train.clip_norm * scale)
        # gradients that overflow in float16 are the loss scale's affair
        sound = tf.math.is_finite(loss) & (True if self._scaled else tf.math.is_finite(norm))
        return [gradient / context.num_replicas_in_sync for gradient in clipped], loss, weight, sound

    def _piece(
        self, pixels: tf.Tensor, labels: tf.Tensor, lengths: tf.Tensor, weights: tf.Tensor, rows: int
    ) -> list[tf.Tensor]:
        """The gradients of the sum of the losses over `rows`, scaled for the optimiser; and that sum itself."""
        variables = [variable.value for variable in self._model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self.head.losses(labels, lengths, self._outputs(pixels, training=True)) * weights)
            target = self._optimizer.scale_loss(loss / rows) if self._scaled else loss / rows
        return [*tape.gradient(target, variables), loss]

    def _outputs(self, pixels: tf.Tensor, training: bool) -> heads.Outputs:
        outputs = self._network(pixels, training=training)
        return tf.nest.map_structure(lambda logits: tf.cast(logits, tf.float32), outputs)

    def _apply(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """The number of updates after this one."""
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return tf.identity(self._optimizer.iterations.value)

    def _forward(self, batch: Batch) -> None:
        self._network(tf.cast(_real(batch), tf.float32), training=True)

    def _augmented(self, batch: Batch, step: tf.Tensor) -> tf.Tensor:
        """The replica's pixels, changed at random as batch number `step` is."""
        context = tf.distribute.get_replica_context()
        seed = tf.stack([self._settings.train.seed, tf.cast(step, tf.int32)])
        part, parts = context.replica_id_in_sync_group, context.num_replicas_in_sync
        return augment(_real(batch), self._settings.augment, seed, part=part, parts=parts)

    def _judge(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        images, labels, lengths, weights = batch
        outputs = self._outputs(tf.cast(images, tf.float32), training=False)
        loss = tf.reduce_sum(self.head.losses(labels, lengths, outputs) * weights)
        logits = self.head.logits(outputs)
        probabilities = tf.nn.softmax(logits)
        return loss, tf.argmax(logits, axis=-1, output_type=tf.int32), tf.reduce_max(probabilities, axis=-1)


def _real(batch: Batch) -> tf.Tensor:
    """The replica's images, uint8, where padding rows repeat the real ones, so that no blank one is in batch normalisation.

    (Where a replica has no real row, see Trainer.)
    """
    images, _, _, weights = batch
    real = tf.maximum(tf.reduce_sum(tf.cast(weights > 0, tf.int32)), 1)
    return tf.gather(images, tf.range(images.shape[0]) % real)
