"""What the workers of a training tell one another, so that all of them take the same decisions."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from model.cluster import Cluster


class Agreement:
    """Sums and messages over the workers; every worker must make the same calls. Alone, nothing is sent."""

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster) -> None:
        self._strategy, self._cluster = strategy, cluster
        self._local = strategy.num_replicas_in_sync // cluster.workers

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums of each value over the workers, as float64."""
        if self._cluster.workers == 1:
            return list(values)
        return self._sum(tf.constant(values, tf.float64)).numpy().tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on some worker."""
        return self.sum([float(flag)])[0] > 0

    def gathered(self, values: np.ndarray) -> np.ndarray:
        """The (n,) int64 values of all workers, one worker after the other."""
        if self._cluster.workers == 1:
            return values
        counts = self.sum([float(len(values) * (index == self._cluster.index)) for index in range(self._cluster.workers)])
        ends = np.cumsum(counts).astype(int)
        found = np.zeros(ends[-1], np.int64)
        found[ends[self._cluster.index] - len(values) : ends[self._cluster.index]] = values
        return self._sum(tf.constant(found)).numpy()

    def from_chief(self, values: np.ndarray | None) -> np.ndarray:
        """The chief's array, on every worker; the others pass None, or an array that is left unused."""
        if self._cluster.workers == 1 and values is not None:
            return values
        chief = self._cluster.chief and values is not None
        shape = np.array(values.shape if chief else (), np.int64)  # type: ignore[union-attr]
        kind = np.array([len(shape), KINDS.index(values.dtype.name)]) if chief else np.zeros(2)  # type: ignore[union-attr]
        dimensions, number = (int(n) for n in self.sum(kind.tolist()))
        whole = [int(n) for n in self.sum(shape.tolist() if chief else [0.0] * dimensions)] if dimensions else []
        if 0 in whole:  # an empty tensor crashes TensorFlow's collectives (2.21)
            return np.zeros(whole, KINDS[number])
        sent = CARRIED.get(KINDS[number], KINDS[number])
        ours = values.astype(sent) if chief else np.zeros(whole, sent)  # type: ignore[union-attr]
        return self._sum(tf.constant(ours)).numpy().astype(KINDS[number])

    def message(self, text: str) -> str:
        """The chief's text, on every worker."""
        if self._cluster.workers == 1:
            return text
        data = np.frombuffer(text.encode(), np.uint8) if self._cluster.chief else None
        return self.from_chief(data).tobytes().decode()

    @tf.function(reduce_retracing=True)
    def _sum(self, values: tf.Tensor) -> tf.Tensor:
        def of_worker() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return tf.where(tf.equal(replica % self._local, 0), values, tf.zeros_like(values))

        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._strategy.run(of_worker), axis=None)


KINDS = ("float32", "float64", "int32", "int64", "uint8", "uint32", "float16")
CARRIED = {
    "uint8": "int32",
    "uint32": "int64",
    "float16": "float32",
}  # types that collectives do not sum, and what carries them
