"""All numbers of an evaluation as plain values for JSON."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.evaluation.confusions import Confusions, Rates
from model.evaluation.curves import Curve
from model.evaluation.tally import Tally

if TYPE_CHECKING:
    from model.evaluate import Evaluation, Folded


def numbers(evaluation: "Evaluation") -> dict[str, Any]:
    """The summary and everything that the figures show. Shares are 0 to 1; a pair of characters is [label, read]."""
    if evaluation.details is None:
        return evaluation.summary()
    details = evaluation.details
    statistics, summary = details.statistics, evaluation.summary()
    confusions, curves = statistics.confusions, statistics.curves
    lengths = {str(n): _of_length(tally, confusions.lengths[n]) for n, tally in statistics.tally.by_length.items()}
    return summary | {
        "by_length": {n: {**summary["by_length"][n], **more} for n, more in lengths.items()},
        "characters": _of_rates(confusions.rates),
        "by_position": [_of_rates(rates) for rates in confusions.by_place()],
        "by_character": {c: _of_rates(rates) for c, rates in confusions.by_character().items()},
        "operations": {
            "all": confusions.totals()._asdict(),
            "by_character": {c: found._asdict() for c, found in confusions.operations().items()},
        },
        "confusions": _of_pairs(confusions, None),
        "confusions_by_position": [_of_pairs(confusions, place) for place in range(confusions.longest)],
        "swaps": [swap._asdict() for swap in details.swaps],
        "folded": {"usual": _of_folded(details.usual), "found": _of_folded(details.found)},
        "curves": _of_curve(curves.micro),
        "curves_by_character": {
            c: {"auc": curve.auc, "average_precision": curve.average_precision} for c, curve in curves.by_character().items()
        },
        "reliability": [b._asdict() | {"accuracy": b.accuracy} for b in statistics.confidences.reliability],
        "coverage": [point._asdict() for point in statistics.confidences.coverage],
        "time": {
            "batch_mean_ms": statistics.times.mean_ms,
            "batch_median_ms": statistics.times.percentile_ms(50),
            "batch_p95_ms": statistics.times.percentile_ms(95),
            "single_mean_ms": details.single.mean_ms,
            "single_median_ms": details.single.percentile_ms(50),
            "single_p95_ms": details.single.percentile_ms(95),
        },
    }


def write_json(path: Path, evaluation: "Evaluation", errors: Path) -> None:
    """Writes `numbers` and, under "wrong", all lines of the error table, which need not fit into memory."""
    head = json.dumps(numbers(evaluation), indent=1, ensure_ascii=False).removesuffix("\n}")
    with path.open("w", encoding="utf-8") as file, errors.open(encoding="utf-8") as lines:
        file.write(f'{head},\n "wrong": [')
        for place, line in enumerate(lines):
            file.write(f"{',' if place else ''}\n  {line.rstrip()}")
        file.write("\n ]\n}\n")


def _of_rates(rates: Rates) -> dict[str, Any]:
    return {
        "right": rates.right,
        "labels": rates.labels,
        "texts": rates.texts,
        "pairs": rates.pairs,
        "accuracy": rates.accuracy,
        "precision": rates.precision,
        "recall": rates.recall,
        "recall_interval": list(rates.recall_interval),
    }


def _of_length(tally: Tally, rates: Rates) -> dict[str, Any]:
    exact, cer = tally.intervals()
    return {"exact_match_interval": list(exact), "cer_interval": list(cer), "characters": _of_rates(rates)}


def _of_pairs(confusions: Confusions, place: int | None) -> list[list[Any]]:
    ranked = sorted(confusions.pairs(place).items(), key=lambda item: (-item[1], item[0]))
    return [[label, text, n] for (label, text), n in ranked]


def _of_folded(folded: "Folded") -> dict[str, Any]:
    exact, cer = folded.tally.intervals()
    return {
        "pairs": list(folded.pairs),
        "exact_match": folded.tally.exact_match,
        "exact_match_interval": list(exact),
        "cer": folded.tally.cer,
        "cer_interval": list(cer),
    }


def _of_curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    return {
        "auc": curve.auc,
        "average_precision": curve.average_precision,
        "thresholds": curve.thresholds.tolist(),
        "false_positive_rate": curve.false_positives.tolist(),
        "true_positive_rate": curve.true_positives.tolist(),
        "precision": curve.precision.tolist(),
    }
