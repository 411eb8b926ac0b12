"""Recurrent layers as other runtimes than the one that trained them can compute them."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

PARTS = ("layer", "forward_layer", "backward_layer")  # where layers hold another one


@contextmanager
def portable(network: keras.Model) -> Iterator[None]:
    """While it lasts the network's LSTMs are traced as loops, also where a GPU is: Keras's calls of cuDNN are for GPUs only.

    What was set before is set again.
    """
    every = [part for layer in network.layers for part in (layer, *(getattr(layer, name, None) for name in PARTS))]
    before = [(part, part.use_cudnn) for part in every if hasattr(part, "use_cudnn")]
    try:
        for part, _ in before:
            part.use_cudnn = False
        yield
    finally:
        for part, setting in before:
            part.use_cudnn = setting


def unrolled(network: keras.Model) -> keras.Model:
    """The same network without loops over time: those of LiteRT have no place for a batch of any size."""

    def copy(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        for part in [config, *(config[name]["config"] for name in PARTS if name in config)]:
            if "unroll" in part:
                part["unroll"] = True
        return type(layer).from_config(config)

    made = keras.models.clone_model(network, clone_function=copy)
    made.set_weights(network.get_weights())
    return made
