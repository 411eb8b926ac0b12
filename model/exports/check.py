"""An export beside the original on the same rows: what both read, and whether that is near enough."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from model.decode import readings
from model.exports.rows import Labelled
from model.recognizer import Recognizer

SAME = 0.999  # share of rows on which an export must read what the original reads
WITHIN = 0.005  # what 8 bits may cost of exact match
BATCH, WARMUP, TIMED = 64, 5, 50
Run = Callable[[np.ndarray], np.ndarray]  # (N, H, W, C) uint8 -> logits (N, T, characters + 1)


class Checked(NamedTuple):
    """Over `rows` rows: the share with the same texts, and the exact match of the export and of the original."""

    rows: int
    same_texts: float
    exact_match: float
    exact_match_original: float

    def problem(self, int8: bool) -> str:
        """What is not near enough, with both figures; empty where nothing is."""
        if int8 and self.exact_match < self.exact_match_original - WITHIN - 1e-9:
            figures = f"exact match {self.exact_match:.4f} where the original has {self.exact_match_original:.4f}"
            return f"{figures} on {self.rows} rows, more than {100 * WITHIN:g} points less"
        if not int8 and self.same_texts < SAME:
            figures = f"the same texts on {self.same_texts:.4f} of {self.rows} rows, where {SAME} are asked"
            exact = f"exact match {self.exact_match:.4f}, of the original {self.exact_match_original:.4f}"
            return f"{figures} ({exact})"
        return ""


def compare(texts: Sequence[str], original: Sequence[str], labels: Sequence[str]) -> Checked:
    """What the texts of an export and of the original come to, row by row."""
    rows = len(labels)
    same = sum(a == b for a, b in zip(texts, original, strict=True))
    exact, before = (sum(a == b for a, b in zip(read, labels, strict=True)) for read in (texts, original))
    return Checked(rows, same / rows, exact / rows, before / rows)


def texts_of(run: Run, recognizer: Recognizer, images: np.ndarray) -> list[str]:
    """What an export reads in preprocessed images, by the original's decode rule."""
    texts = []
    for batch in _batches(images):
        classes = run(batch).argmax(-1)
        found = readings(recognizer.bundle["decode"], classes, np.ones(classes.shape, np.float32), recognizer.charset)
        texts += [reading.text for reading in found]
    return texts


def original_texts(recognizer: Recognizer, images: np.ndarray) -> list[str]:
    """What the original reads in the same images."""
    return [reading.text for batch in _batches(images) for reading in recognizer.read_pixels(batch)]


def check(run: Run, recognizer: Recognizer, rows: Labelled, original: Sequence[str]) -> Checked:
    """An export beside what the original read in the same rows."""
    return compare(texts_of(run, recognizer, rows.images), original, rows.labels)


def single_ms(run: Run, images: np.ndarray) -> float:
    """The median of the milliseconds of single images."""
    taken = []
    for image in [*images[:WARMUP], *images[:TIMED]]:
        began = time.perf_counter()
        run(image[None])
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken[min(WARMUP, len(images)) :]))


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))
