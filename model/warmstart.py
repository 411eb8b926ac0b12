"""A network that starts from the weights of a trained one, as far as they fit: fine-tuning, with another alphabet too."""

from collections.abc import Iterator
from difflib import SequenceMatcher

import keras
import numpy as np

from model.decode import RULE_OF
from model.recognizer import Recognizer
from model.runtimes import TENSORFLOW
from pipelines.charset import Charset
from pipelines.errors import DataError

Pair = tuple[keras.layers.Layer, keras.layers.Layer]


def warm_start(network: keras.Model, head: str, charset: Charset, uri: str) -> str:
    """Puts what fits of the model at `uri` into `network`, and returns a line that says what is kept and what is new.

    Kept are layers whose weights have the same names and shapes, in the same order, and of those that tell the classes the
    weights of each character that both alphabets have, and of the blank. Raises DataError where there is no such model or
    nothing fits.
    """
    from model import tracking  # imports MLflow, which a training that starts anew does not wait for

    with tracking.bundle_of(uri) as folder:
        trained = Recognizer.load(folder, runtime=TENSORFLOW)
    ours, theirs = _layers(network), _layers(trained.network)
    kept = 0
    for mine, other in _same([one for one in ours if not _classes(one)], [one for one in theirs if not _classes(one)]):
        mine.set_weights(other.get_weights())
        kept += mine.count_params()
    rows = _common(charset, trained.charset)
    for mine, other in _heads(ours, theirs, head, trained.bundle["decode"]):
        kept += _copy_classes(mine, other, rows)
    if not kept:
        name = trained.bundle["network"].get("name")
        raise DataError(f"train.init_from={uri}: none of its weights fit this network; take the settings that it has ({name})")
    return _told(uri, kept, sum(layer.count_params() for layer in ours), charset, trained.charset)


def _told(uri: str, kept: int, weights: int, charset: Charset, known: Charset) -> str:
    new = "".join(character for character in charset.alphabet if character not in known.alphabet)
    told = f"new characters: {new}" if new else "no new characters"
    return f"starts from {uri}: {kept:,} of {weights:,} weights kept; {told}"


def _layers(network: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if layer.weights]


def _classes(layer: keras.layers.Layer) -> bool:
    """Whether a layer's outputs are classes (see `model.networks.build`)."""
    return layer.name == "ctc" or layer.name.startswith("logits")


def _same(ours: list[keras.layers.Layer], theirs: list[keras.layers.Layer]) -> Iterator[Pair]:
    """Layers with weights of the same names and shapes that follow one another in both networks.

    Names of layers are counted up in each process.
    """
    mine, others = (
        [tuple((weight.name, *weight.shape) for weight in layer.weights) for layer in one] for one in (ours, theirs)
    )
    for first, other, count in SequenceMatcher(None, mine, others, autojunk=False).get_matching_blocks():
        yield from zip(ours[first : first + count], theirs[other : other + count], strict=True)


def _heads(ours: list[keras.layers.Layer], theirs: list[keras.layers.Layer], head: str, rule: str) -> Iterator[Pair]:
    """The layers of the same classes; a CTC head that was trained alone goes on in a network with both."""
    mine = {layer.name: layer for layer in ours if _classes(layer)}
    for layer in filter(_classes, theirs):
        name = layer.name if rule == RULE_OF[head] else "ctc" if rule == RULE_OF["ctc"] else None
        if name in mine:
            yield mine[name], layer


def _common(ours: Charset, theirs: Charset) -> tuple[list[int], list[int]]:
    """The classes of what both have: the characters, and at last the blank."""
    characters = [character for character in ours.alphabet if character in theirs.alphabet]
    places = [[charset.alphabet.index(character) for character in characters] for charset in (ours, theirs)]
    return [*places[0], ours.blank], [*places[1], theirs.blank]


def _copy_classes(mine: keras.layers.Layer, other: keras.layers.Layer, rows: tuple[list[int], list[int]]) -> int:
    """Copies the common classes, which are the last axis of each weight; returns how many weights that are."""
    if [w.shape[:-1] for w in mine.weights] != [w.shape[:-1] for w in other.weights]:
        return 0
    arrays, count = mine.get_weights(), 0
    for array, trained in zip(arrays, other.get_weights(), strict=True):
        to, of = (np.array(one) for one in rows)
        there = (to < array.shape[-1]) & (of < trained.shape[-1])  # letter_cnn has no weights for the blank
        array[..., to[there]] = trained[..., of[there]]
        count += array[..., to[there]].size
    mine.set_weights(arrays)
    return count
