"""How a network's output is trained and read: as frames of CTC, as one character for each position, or as both.

Each head has a rule of `model.decode` by which its logits (N, T, characters + 1) are read. Of CTC the last class is the blank
and T are time steps; of positions it says that no character stands there, and T is how many characters a text may have.
A network with both heads gives a mapping with the logits of each.
"""

from typing import Any, Protocol

import keras
import tensorflow as tf

from model import losses
from model.config import NetworkSettings
from model.decode import RULE_OF
from model.mixture import Mixture
from pipelines.errors import DataError

Outputs = Any  # logits, or a mapping of them


class Head(Protocol):
    """What training asks of a head; `rule` is what its logits are read by."""

    rule: str

    def losses(self, labels: tf.Tensor, lengths: tf.Tensor, outputs: Outputs) -> tf.Tensor:
        """(N,) float32: of each row minus the log of its label's probability (of a joint head a weighted sum of two).

        So the scale is the same for all heads: a network that knows nothing starts near length times log of the classes.
        `labels` (N, L) int32 may be padded with anything; a padding row (length 0) gets some finite loss.
        """
        ...

    def logits(self, outputs: Outputs) -> tf.Tensor:
        """Those that are read, (N, T, characters + 1)."""
        ...

    def check(self, data: Mixture, network: keras.Model) -> None:
        """Raises DataError where a label of `data` is longer than `network` can read."""
        ...


class Ctc:
    """Time steps, read by best path."""

    rule = RULE_OF["ctc"]

    def losses(self, labels: tf.Tensor, lengths: tf.Tensor, outputs: Outputs) -> tf.Tensor:
        return losses.ctc(labels, lengths, outputs)

    def logits(self, outputs: Outputs) -> tf.Tensor:
        return outputs

    def check(self, data: Mixture, network: keras.Model) -> None:
        check_frames(data, network.outputs[0].shape[1])


class Positions:
    """One softmax for each position."""

    rule = RULE_OF["positions"]

    def losses(self, labels: tf.Tensor, lengths: tf.Tensor, outputs: Outputs) -> tf.Tensor:
        return losses.positions(labels, lengths, outputs)

    def logits(self, outputs: Outputs) -> tf.Tensor:
        return outputs

    def check(self, data: Mixture, network: keras.Model) -> None:
        check_positions(data, network.outputs[0].shape[1])


class Joint:
    """Both heads of one network, trained on the sum of their losses with a weight on CTC's; the positions are read."""

    rule = RULE_OF["joint"]

    def __init__(self, ctc_weight: float) -> None:
        self._ctc_weight = ctc_weight

    def losses(self, labels: tf.Tensor, lengths: tf.Tensor, outputs: Outputs) -> tf.Tensor:
        ctc = losses.ctc(labels, lengths, outputs["ctc"])
        return losses.positions(labels, lengths, outputs["logits"]) + self._ctc_weight * ctc

    def logits(self, outputs: Outputs) -> tf.Tensor:
        return outputs["logits"]

    def check(self, data: Mixture, network: keras.Model) -> None:
        check_frames(data, network.output["ctc"].shape[1])
        check_positions(data, network.output["logits"].shape[1])


def of(network: NetworkSettings) -> Head:
    """The head that these settings ask for."""
    if network.name == "crnn" and network.head == "joint":
        return Joint(network.ctc_weight)
    return Ctc() if network.head == "ctc" else Positions()


def reader(network: keras.Model) -> keras.Model:
    """The part of a trained network that is shipped: images to the logits that are read."""
    if len(network.outputs) == 1:
        return network
    return keras.Model(network.input, network.output["logits"], name=network.name)


def check_frames(data: Mixture, frames: int) -> None:
    """Raises DataError where the label that needs most time steps needs more than the network has."""
    if data.ctc_frames > frames:
        raise DataError(
            f"{_where(data)}: labels of up to {data.longest} characters need {data.ctc_frames} time steps, and images"
            f" {data.image_shape[1]} pixels wide give {frames}; ingest with a larger image.width or a smaller label.max_length"
        )


def check_positions(data: Mixture, positions: int) -> None:
    """Raises DataError where the longest label has more characters than the network has positions."""
    if data.longest > positions:
        raise DataError(
            f"{_where(data)}: labels of up to {data.longest} characters, and the network reads {positions}; take a larger"
            f" network.positions, another network than letter_cnn, or ingest with label.max_length={positions}"
        )


def _where(data: Mixture) -> str:
    return " and ".join(dataset.location.shown for dataset in data.datasets)
