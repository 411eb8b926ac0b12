"""A recogniser judged on a split of a dataset, row group by row group."""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from model.loader import ShardReader
from model.metrics import Scores
from model.recognizer import Recognizer
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.progress import Progress

BATCH = 128


class Wrong(NamedTuple):
    """A row that was not read exactly."""

    id: int
    path: str
    label: str
    text: str
    confidence: float


@dataclass(frozen=True)
class Evaluation:
    """Scores over a split, over its rows by label length, the rows read wrongly, and time for each image."""

    split: str
    fingerprint: str
    scores: Scores
    by_length: dict[int, Scores]
    wrong: tuple[Wrong, ...]
    ms_per_image: float

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "split": self.split,
            "fingerprint": self.fingerprint,
            "rows": self.scores.rows,
            "exact_match": self.scores.exact_match,
            "cer": self.scores.cer,
            "by_length": {
                str(n): {"rows": s.rows, "exact_match": s.exact_match, "cer": s.cer} for n, s in self.by_length.items()
            },
            "ms_per_image": self.ms_per_image,
        }


def comparable(recognizer: Recognizer, dataset: Dataset) -> bool:
    """Whether the dataset holds the pixels that the recogniser would make of the same images."""
    return recognizer.image.model_dump() == dataset.manifest.settings["image"]


def evaluate(recognizer: Recognizer, dataset: Dataset, split: str) -> Evaluation:
    """Reads every row of `split`. Raises DataError where the dataset was preprocessed for another kind of network."""
    if not comparable(recognizer, dataset):
        theirs, ours = dataset.manifest.settings["image"], recognizer.image.model_dump()
        differ = ", ".join(f"image.{key} {theirs[key]} (model: {ours[key]})" for key in ours if theirs.get(key) != ours[key])
        where = dataset.location.shown
        raise DataError(f"{where}: preprocessed otherwise than the model expects: {differ}; ingest with its settings")
    reader = ShardReader(dataset, split)
    scores, by_length, wrong, seconds = Scores(), dict[int, Scores](), list[Wrong](), 0.0
    recognizer.read_pixels(np.zeros((1, *recognizer.image.shape), np.uint8))  # traces the graph, which is not timed
    with Progress(f"evaluate {split}", reader.rows) as progress:
        for rows in reader:
            for start in range(0, len(rows.labels), BATCH):
                part = slice(start, start + BATCH)
                began = time.perf_counter()
                readings = recognizer.read_pixels(rows.images[part])
                seconds += time.perf_counter() - began
                for row_id, path, label, reading in zip(
                    rows.ids[part], rows.paths[part], rows.labels[part], readings, strict=True
                ):
                    one = Scores.of([reading.text], [label])
                    scores += one
                    by_length[len(label)] = by_length.get(len(label), Scores()) + one
                    if not one.exact:
                        wrong.append(Wrong(int(row_id), path, label, reading.text, reading.confidence))
                progress.advance(len(readings))
    ms = 1000 * seconds / scores.rows
    return Evaluation(split, dataset.manifest.fingerprint, scores, dict(sorted(by_length.items())), tuple(wrong), ms)
