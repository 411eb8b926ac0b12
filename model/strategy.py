"""Where training runs: the tf.distribute strategy for the devices at hand."""

import tensorflow as tf

from model.config import DeviceSettings
from pipelines.errors import SettingsError


def strategy_for(settings: DeviceSettings, batch_size: int) -> tf.distribute.Strategy:
    """Mirrored over all visible GPUs or the logical CPU devices asked for, else one device.

    Raises SettingsError where a batch does not split evenly over the replicas.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if settings.cpus:
        tf.config.set_visible_devices([], "GPU")
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * settings.cpus)
        devices = [f"CPU:{i}" for i in range(settings.cpus)]
    else:
        devices = [f"GPU:{i}" for i in range(len(gpus))]
    if len(devices) > 1 and batch_size % len(devices):
        count = len(devices)
        raise SettingsError(f"train.batch_size={batch_size} does not split over {count} devices; take a multiple of {count}")
    return tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()
