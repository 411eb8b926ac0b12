"""Where training runs: the tf.distribute strategy for the devices and workers at hand, and who was lost when one breaks."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from model.cluster import GONE, Cluster, absent, check_split, meet
from model.config import DeviceSettings
from pipelines.errors import DataError

ALONE = Cluster()
AFTERMATH = 10.0  # seconds that a peer's port may outlive the failure of a collective
LOSSES = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def strategy_for(settings: DeviceSettings, batch_size: int, cluster: Cluster = ALONE) -> tf.distribute.Strategy:
    """MultiWorkerMirrored for a cluster; alone Mirrored over all visible GPUs or the logical CPUs asked for, or one device.

    In a cluster this returns when all workers are there, and must come before anything that TensorFlow computes. Raises
    SettingsError where a batch does not split evenly over all replicas, and DataError where workers do not come in time.
    """
    if settings.cpus:
        tf.config.set_visible_devices([], "GPU")
    devices = _logical_cpus(settings.cpus) if settings.cpus else [f"GPU:{i}" for i in range(len(_gpus()))]
    check_split(batch_size, cluster.workers, max(1, len(devices)), settings.cpus)
    if cluster.workers > 1:
        meet(cluster, settings.wait)
        return _over_workers(cluster)
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()


def endless(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset`, then blank batches without end, for readers who know where it ends.

    Of one that ends the workers of a cluster ask one another before each batch whether there is one, and its batches have no
    known size.
    """
    blank = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), dataset.element_spec)
    return dataset.concatenate(tf.data.Dataset.from_tensors(blank).repeat())


@contextmanager
def told_loss(cluster: Cluster) -> Iterator[None]:
    """Raises DataError with the names of the workers that are gone, where TensorFlow raises an error of its own for that.

    Measured: it notices at once that a process died, and after some 11 s that one or its host does not move any more.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if cluster.workers == 1 or not (gone := _gone(cluster, error)):
            raise
        names = ", ".join(map(cluster.name_of, gone))
        raise DataError(f"{names} {GONE}: start all workers again, and training goes on") from error


def _gone(cluster: Cluster, error: tf.errors.OpError) -> list[int]:
    """Those that the error names, and else those that do not answer any more: of a process that is ending, after a while."""
    peers = [index for index in range(cluster.workers) if index != cluster.index]
    if isinstance(error, LOSSES):
        named = {int(number) for number in re.findall(r"/job:worker(?:/replica:0)?/task:(\d+)", error.message)}
        if named & {*peers}:
            return sorted(named & {*peers})
    limit = time.monotonic() + AFTERMATH
    while not (lost := absent(cluster, peers)) and time.monotonic() < limit:
        time.sleep(0.2)
    return lost


def _gpus() -> list[tf.config.PhysicalDevice]:
    return tf.config.get_visible_devices("GPU")


def _logical_cpus(count: int) -> list[str]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    return [f"CPU:{i}" for i in range(count)]


def _over_workers(cluster: Cluster) -> tf.distribute.Strategy:
    # without num_accelerators a SimpleClusterResolver says that there are none
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
        num_accelerators={"GPU": len(_gpus())},
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)
