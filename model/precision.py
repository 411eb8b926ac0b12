"""Which number format a network computes in: by the device, unless the settings say it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

BFLOAT16, FLOAT16 = (8, 0), (7, 0)  # the CUDA compute capability from which a GPU has fast units for it


def precision_for(setting: str) -> str:
    """The Keras dtype policy of a `train.precision`, for the GPUs of this process."""
    if setting != "auto":
        return setting
    return suited([tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")])


def suited(gpus: Sequence[Mapping[str, Any]]) -> str:
    """The policy that suits all of these devices; float32 where there are none, as CPUs are slower with anything else."""
    oldest = min((tuple(gpu.get("compute_capability") or (0, 0)) for gpu in gpus), default=(0, 0))
    if oldest >= BFLOAT16:
        return "mixed_bfloat16"
    return "mixed_float16" if oldest >= FLOAT16 else "float32"


@contextmanager
def computing_in(policy: str) -> Iterator[None]:
    """Layers that are made within the block compute in `policy`; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
