"""Rows whose label the model contradicts, the most certain contradictions first."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.decode import Reading
from model.evaluate import check_comparable
from model.likelihood import log_likelihood
from model.reader import ShardReader
from model.recognizer import Recognizer
from pipelines.charset import Charset
from pipelines.manifest import Dataset
from pipelines.progress import Progress
from pipelines.split import SPLITS

BATCH = 128
SURE = 0.5  # the probability of a reading below which it is no better than a guess
AGREES, SUBSTITUTED, LENGTH, UNREADABLE, FOREIGN = "agrees", "substituted", "length", "unreadable", "foreign"


class Finding(NamedTuple):
    """What the model thinks of a row's label.

    `confidence` is the probability of `text`; `score` the log of how many times more probable `text` is than `label`, inf
    where the label cannot come out of the network at all, None where it has characters that the model does not know.
    `kind` is what a person would have to look at: `substituted` characters or another `length`; `unreadable` where the model
    is not sure of its own text either; `foreign` where it cannot judge; `agrees` otherwise.
    """

    id: int
    split: str
    path: str
    label: str
    text: str
    confidence: float
    score: float | None
    kind: str


class Suspect(NamedTuple):
    """A finding and its image, (H, W, C) uint8."""

    finding: Finding
    image: np.ndarray


@dataclass(frozen=True)
class Diagnosis:
    """The rows that were judged, by kind, and the most suspect ones, the worst first."""

    rows: int
    kinds: dict[str, int]
    suspects: tuple[Suspect, ...]


def examine(
    recognizer: Recognizer, dataset: Dataset, split: str, top: int, tell: Callable[[Sequence[Finding]], None]
) -> Diagnosis:
    """Judges every row of `split`, or of `all`, passes the findings of each batch to `tell`, and keeps the `top` suspects.

    Only those are in memory. Raises DataError where the dataset was preprocessed for another kind of network.
    """
    check_comparable(recognizer, dataset)
    splits = [name for name in SPLITS if dataset.manifest.splits[name]] if split == "all" else [split]
    worst, kinds = Worst(top), Counter[str]()
    for name in splits:
        reader = ShardReader(dataset, name)
        with Progress(f"examine {name}", reader.rows) as progress:
            for findings, images in _judged(recognizer, reader, name):
                kinds.update(finding.kind for finding in findings)
                worst.add(map(Suspect, findings, images))
                tell(findings)
                progress.advance(len(findings))
    return Diagnosis(kinds.total(), dict(kinds.most_common()), worst.sorted())


def judge(
    rule: str, charset: Charset, labels: Sequence[str], readings: Sequence[Reading], probabilities: np.ndarray
) -> list[tuple[float, float | None, str]]:
    """Confidence, score and kind of each row, as in a Finding; `probabilities` (N, T, characters + 1) are the head's.

    The score is log P(text) - log P(label): log posterior odds, where both were as likely before the image was seen.
    """
    known = [set(label) <= set(charset.alphabet) for label in labels]
    label = _log_likelihoods(
        rule, charset, [label if fits else "" for label, fits in zip(labels, known, strict=True)], probabilities
    )
    text = _log_likelihoods(rule, charset, [reading.text for reading in readings], probabilities)
    found: list[tuple[float, float | None, str]] = []
    for i, (given, reading) in enumerate(zip(labels, readings, strict=True)):
        confidence = float(np.exp(text[i]))
        if not known[i]:
            found.append((confidence, None, FOREIGN))
        else:
            found.append((confidence, float(text[i] - label[i]), kind_of(given, reading.text, confidence)))
    return found


def kind_of(label: str, text: str, confidence: float) -> str:
    """The kind of a contradiction between a label and a text of that probability."""
    if label == text:
        return AGREES
    if confidence < SURE:
        return UNREADABLE
    return SUBSTITUTED if len(label) == len(text) else LENGTH


class Worst:
    """The `most` suspects of all that were added, in a heap. Rows that agree, or cannot be judged, are none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Suspect]] = []  # the id decides between equals, so that the order of rows does not

    def add(self, suspects: Iterable[Suspect]) -> None:
        for suspect in suspects:
            finding = suspect.finding
            if finding.score is None or finding.kind == AGREES:
                continue
            key = (finding.score, -finding.id)
            if len(self._heap) < self._most:
                heapq.heappush(self._heap, (*key, Suspect(finding, suspect.image.copy())))
            elif self._heap and key > self._heap[0][:2]:
                heapq.heapreplace(self._heap, (*key, Suspect(finding, suspect.image.copy())))

    def sorted(self) -> tuple[Suspect, ...]:
        """The worst first."""
        return tuple(suspect for *_, suspect in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


def _judged(recognizer: Recognizer, reader: ShardReader, split: str) -> Iterator[tuple[list[Finding], np.ndarray]]:
    rule = recognizer.bundle["decode"]
    for rows in reader:
        for start in range(0, len(rows.labels), BATCH):
            part = slice(start, start + BATCH)
            readings, probabilities = recognizer.read_distributions(rows.images[part])
            verdicts = judge(rule, recognizer.charset, rows.labels[part], readings, probabilities)
            columns = zip(rows.ids[part], rows.paths[part], rows.labels[part], readings, verdicts, strict=True)
            findings = [
                Finding(int(row), split, path, label, reading.text, *verdict) for row, path, label, reading, verdict in columns
            ]
            yield findings, rows.images[part]


def _log_likelihoods(rule: str, charset: Charset, texts: Sequence[str], probabilities: np.ndarray) -> np.ndarray:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return log_likelihood(rule, probabilities, charset.encode(texts), lengths)
