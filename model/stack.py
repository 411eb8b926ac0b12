"""What a run was made with and on, in words that are the same for all runs: MLflow's tags `stack` and `device`."""

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

PACKAGES = ("tensorflow", "keras", "numpy", "pyarrow")


def stack() -> str:
    """Python and the libraries that decide what comes out, with their versions."""
    return ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])


def device(strategy: "tf.distribute.Strategy") -> str:
    """How many replicas train on what, such as "2 x NVIDIA H200" or "CPU, 8 cores"."""
    import tensorflow as tf

    gpus, replicas = tf.config.get_visible_devices("GPU"), strategy.num_replicas_in_sync
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    else:
        name = f"CPU, {os.cpu_count()} cores"
    return f"{replicas} x {name}" if replicas > 1 else name
