"""A recogniser judged on a split of a dataset, row group by row group: what is kept grows by two bytes a row."""

import time
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.alignment import Pair
from model.evaluation.confusions import Confusions, Swap
from model.evaluation.curves import Curves
from model.evaluation.errors import Errors, ErrorTable, Foremost, Read, look_at
from model.evaluation.folding import fold_table, usual_pairs
from model.evaluation.statistics import Batch, Statistics
from model.evaluation.tally import Tally
from model.evaluation.timing import Times
from model.metrics import Scores
from model.reader import Rows, ShardReader
from model.recognizer import Recognizer
from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.preprocess import PreprocessSpec
from pipelines.progress import Progress

BATCH = 128
SINGLES = 50  # images that are also read one by one, for the time that a single one takes
WRONG, RIGHT = 100, 24  # rows that are kept: the surest of the wrong ones, the least sure of the right ones
READ_AS = 3  # what a summary tells of each character that it is read as
MOST = np.iinfo(np.uint16).max  # character errors of a row that are counted
CONFUSIONS, EXAMPLES = 10, 4  # the most frequent confusions, and rows that are kept of each


class Folded(NamedTuple):
    """The tally of all rows in which the characters of each pair are taken for one."""

    pairs: tuple[str, ...]
    tally: Tally


@dataclass(frozen=True)
class Details:
    """What more is known than the scores: all statistics, what confusable characters cost, and rows to look at.

    `usual` folds the pairs of `usual_pairs` that are in the alphabet, `found` also those that the data show to be
    confusable (`swaps`). `examples` are wrong rows of the most frequent confusions, the most frequent first; `right` are the
    exact rows with the least confidence. `single` has the times of single images.
    """

    statistics: Statistics
    swaps: tuple[Swap, ...]
    usual: Folded
    found: Folded
    examples: dict[Pair, tuple[Read, ...]]
    right: tuple[Read, ...]
    single: Times


@dataclass(frozen=True)
class Evaluation:
    """Scores over a split and over its rows by label length, and time for each image.

    `wrong` holds the rows read wrongly of which the model was surest, at most WRONG of them, the surest first. `edits`
    (rows,) uint16 has the character errors of every row, in the split's order: with those of another model they tell whether
    one is better than the other (`gates`).
    """

    split: str
    fingerprint: str
    scores: Scores
    by_length: dict[int, Scores]
    wrong: tuple[Read, ...]
    ms_per_image: float
    details: Details | None = None
    edits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint16), compare=False)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = {
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
        return told | (_more(self.details) if self.details else {})


def _more(details: Details) -> dict[str, Any]:
    statistics, micro = details.statistics, details.statistics.curves.micro
    exact, cer = statistics.tally.intervals()
    return {
        "exact_match_interval": list(exact),
        "cer_interval": list(cer),
        "exact_match_folded": details.usual.tally.exact_match,
        "cer_folded": details.usual.tally.cer,
        "exact_match_folded_found": details.found.tally.exact_match,
        "cer_folded_found": details.found.tally.cer,
        "character_precision": statistics.confusions.rates.precision,
        "character_recall": statistics.confusions.rates.recall,
        "auc": micro.auc if micro else None,
        "average_precision": micro.average_precision if micro else None,
        "calibration_error": statistics.confidences.calibration_error,
        "ms_single_median": details.single.percentile_ms(50),
        "ms_single_p95": details.single.percentile_ms(95),
        "by_character": _by_character(statistics.confusions),
    }


def _by_character(confusions: Confusions) -> dict[str, dict[str, Any]]:
    """The characters of the labels, the worst read first, and what they are wrongly read as most often ("": nothing)."""
    wrong = confusions.wrong()
    found_of = {character: found for character, found in confusions.by_character().items() if found.labels}
    return {
        character: {
            "recall": found.recall,
            "right": found.right,
            "labels": found.labels,
            "read_as": dict(islice(((text, n) for label, text, n in wrong if label == character), READ_AS)),
        }
        for character, found in sorted(found_of.items(), key=lambda item: (item[1].recall, -item[1].labels))
    }


def comparable(recognizer: Recognizer, dataset: Dataset) -> bool:
    """Whether the dataset holds the pixels that the recogniser would make of the same images."""
    return recognizer.image == _image_of(dataset)


def _image_of(dataset: Dataset) -> PreprocessSpec:
    return PreprocessSpec.model_validate(dataset.manifest.settings["image"])


def check_comparable(recognizer: Recognizer, dataset: Dataset) -> None:
    """Raises DataError with what differs where the dataset was preprocessed for another kind of network."""
    if not comparable(recognizer, dataset):
        differences = _image_of(dataset).differences(recognizer.image)
        differ = ", ".join(f"image.{key} {theirs} (model: {ours})" for key, (theirs, ours) in differences.items())
        where = dataset.location.shown
        raise DataError(f"{where}: preprocessed otherwise than the model expects: {differ}; ingest with its settings")


def evaluate(recognizer: Recognizer, dataset: Dataset, split: str, errors: Path | None = None) -> Evaluation:
    """Reads every row of `split`; with `errors` the wrong rows are written to that file as JSON lines.

    Raises DataError where the dataset was preprocessed for another kind of network, or has no such split.
    """
    check_comparable(recognizer, dataset)
    reader = ShardReader(dataset, split)
    alphabet = dataset.manifest.alphabet
    pairs = usual_pairs(alphabet + "".join(c for c in recognizer.charset.alphabet if c not in alphabet))
    with ErrorTable.opened(errors) as table, Progress(f"evaluate {split}", reader.rows) as progress:
        judge = _Judge(recognizer, fold_table(pairs), table)
        for rows in reader:
            for start in range(0, len(rows.labels), BATCH):
                judge(_part(rows, start))
                progress.advance(len(rows.labels[start : start + BATCH]))
        return _told(judge, pairs, split, dataset.manifest.fingerprint)


def _part(rows: Rows, start: int) -> Rows:
    part = slice(start, start + BATCH)
    return Rows(rows.ids[part], rows.paths[part], rows.labels[part], rows.images[part])


class _Judge:
    """Reads batches one after another and keeps what they add up to."""

    def __init__(self, recognizer: Recognizer, fold: dict[int, str], table: ErrorTable) -> None:
        self._recognizer, self._fold, self.table = recognizer, fold, table
        self.statistics = Statistics(Curves.none(recognizer.charset.alphabet))
        self.by_length: dict[int, Scores] = {}
        self.edits: list[np.ndarray] = []
        self.right = Foremost(RIGHT)
        self.single = Times()
        nothing = np.zeros((1, *recognizer.image.shape), np.uint8)
        recognizer.read_pixels(nothing)  # traces the graph, which is not timed

    @property
    def charset(self) -> Charset:
        return self._recognizer.charset

    def __call__(self, rows: Rows) -> None:
        for image in rows.images[: SINGLES - self.single.images]:
            self.single += self._alone(image)
        first = self.statistics.scores.rows
        began = time.perf_counter()
        readings, distributions = self._recognizer.read_distributions(rows.images)
        seconds = time.perf_counter() - began
        self.statistics += Statistics.of(Batch(rows.labels, readings, distributions, seconds), self.charset, self._fold)
        reads = []
        for place, (label, reading) in enumerate(zip(rows.labels, readings, strict=True)):
            one = Scores.of([reading.text], [label])
            self.by_length[len(label)] = self.by_length.get(len(label), Scores()) + one
            known = int(rows.ids[place]), rows.paths[place], label, reading.text, float(reading.confidence)
            reads.append(Read(*known, one.edits, first + place))
        self.edits.append(np.array([min(read.edits, MOST) for read in reads], np.uint16))
        self.table.write(read for read in reads if read.edits)
        for read in reads:
            if not read.edits:
                self.right.offer(read, -read.confidence)

    def _alone(self, image: np.ndarray) -> Times:
        began = time.perf_counter()
        self._recognizer.read_pixels(image[None])
        return Times.of(time.perf_counter() - began, 1)


def _told(judge: _Judge, pairs: list[str], split: str, fingerprint: str) -> Evaluation:
    statistics = judge.statistics
    swaps = tuple(statistics.confusions.swaps())
    every = tuple(dict.fromkeys([*pairs, *(swap.pair for swap in swaps)]))
    frequent = [(label, text) for label, text, _ in statistics.confusions.wrong()[:CONFUSIONS]]
    found: Errors = look_at(judge.table, fold_table(every), frequent, WRONG, EXAMPLES)
    exact = Tally({(0, length): n for (edits, length), n in statistics.tally.rows_with.items() if not edits})
    details = Details(
        statistics,
        swaps,
        Folded(tuple(pairs), statistics.folded),
        Folded(every, exact + found.folded),  # what is exact stays so when it is folded
        found.examples,
        judge.right.rows,
        judge.single,
    )
    by_length = dict(sorted(judge.by_length.items()))
    edits, ms = np.concatenate(judge.edits), statistics.times.mean_ms
    return Evaluation(split, fingerprint, statistics.scores, by_length, found.surest, ms, details, edits)
