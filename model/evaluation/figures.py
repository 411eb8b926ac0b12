"""The figures of an evaluation as PNG bytes: statistics in, nothing read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator, PercentFormatter

from model.evaluation.confidence import Confidences
from model.evaluation.confusions import Confusions, Rates
from model.evaluation.curves import Curve, Curves
from model.evaluation.matrices import matrices, matrix
from model.evaluation.statistics import Statistics
from model.evaluation.tally import Interval, Tally, wilson
from pipelines.figures import HALF, WHOLE
from pipelines.plotting import ACCENT, INK, PALE, axes_of, lettering, shown, to_png

YELLOW = "#e9c46a"
BARS, CHARACTERS, CURVES = 20, 70, 4


def figures(statistics: Statistics, usual: Tally, found: Tally) -> dict[str, bytes]:
    """All figures by name; `usual` and `found` are the tallies with confusable characters folded."""
    confusions = statistics.confusions
    drawn = {
        "metrics": metrics(statistics, usual, found),
        "confusions": matrix(confusions),
        "positions": rates(_numbered(confusions.by_place()), "characters by their place in the label", "place"),
        "lengths": lengths(statistics.tally),
        "characters": characters(confusions.by_character()),
        "operations": operations(confusions),
        "reliability": reliability(statistics.confidences),
        "coverage": coverage(statistics.confidences),
    }
    if confusions.longest > 1:
        drawn["confusions_by_position"] = matrices(confusions)
    if (micro := statistics.curves.micro) is not None:
        worst = _worst(statistics.curves)
        drawn |= {"roc": roc(micro, worst), "precision_recall": precision_recall(micro, worst)}
    return drawn


def metrics(statistics: Statistics, usual: Tally, found: Tally) -> bytes:
    """The final numbers as bars, with intervals where there are any."""
    tally, rates, micro = statistics.tally, statistics.confusions.rates, statistics.curves.micro
    bars: list[tuple[str, float, Interval | None]] = [
        ("exact match", tally.exact_match, tally.intervals()[0]),
        ("  0Oo, 1Il and case folded", usual.exact_match, usual.intervals()[0]),
        ("  pairs of the data too", found.exact_match, found.intervals()[0]),
        ("1 - character error rate", 1 - tally.cer, reverse(tally.intervals()[1])),
        ("precision of characters", rates.precision, wilson(rates.right, rates.texts)),
        ("recall of characters", rates.recall, rates.recall_interval),
    ]
    if micro:
        bars += [("AUC of characters read", micro.auc, None), ("average precision of these", micro.average_precision, None)]
    bars.append(("1 - calibration error", 1 - statistics.confidences.calibration_error, None))
    figure, axes = axes_of(WHOLE, 0.3 * len(bars) + 0.8, f"final metrics, {tally.rows:,} images (lines: 95% intervals)")
    for place, (_, value, interval) in enumerate(bars):
        axes.barh(place, max(0.0, value), color=INK if interval else PALE, height=0.66)
        if interval:
            axes.plot([max(0.0, end) for end in interval], [place, place], color="#1f2933", linewidth=1.6, marker="|")
        at = max(0.0, value, interval.high if interval else 0)
        axes.annotate(f"{value:.4f}", (at, place), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axes.set(ylim=(len(bars) - 0.4, -0.6), xlim=(0, 1.08), xticks=np.linspace(0, 1, 6))
    return to_png(figure)


def rates(groups: Mapping[str, Rates], title: str, what: str) -> bytes:
    """Recall with its interval, precision and accuracy of each group."""
    figure, axes = axes_of(HALF, 3.4, title)
    names = list(groups)
    _points(axes, [groups[name] for name in names])
    axes.plot(range(len(names)), [groups[name].accuracy for name in names], color=PALE, linewidth=1, zorder=0, label="accuracy")
    step = -(-len(names) // 24)
    axes.set_xticks(range(0, len(names), step), names[::step])
    axes.set_xlabel(what)
    return _legible(figure, axes, _lowest(groups.values()))


def characters(groups: Mapping[str, Rates]) -> bytes:
    """Recall with its interval and precision of each character, those with the lowest recall first."""
    names = sorted((name for name in groups if groups[name].labels), key=lambda name: (groups[name].recall, name))
    more = max(0, len(names) - CHARACTERS)
    names = names[:CHARACTERS]
    title = "characters, the worst first" + (f", {len(names)} of {len(names) + more}" if more else "")
    figure, axes = axes_of(WHOLE, 3.4, title)
    _points(axes, [groups[name] for name in names])
    axes.set_xticks(range(len(names)), [shown(name) for name in names], fontsize=9, **lettering("".join(names)))
    for label in axes.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 1 else 0)
    axes.set_xlim(-0.8, len(names) - 0.2)
    return _legible(figure, axes, _lowest(groups[name] for name in names))


def _points(axes: Axes, groups: Sequence[Rates]) -> None:
    places = np.arange(len(groups))
    _spread(axes, places, [(g.recall, g.recall_interval) for g in groups], color=INK, label="recall, 95% interval")
    precisions = [group.precision if group.texts else np.nan for group in groups]
    axes.plot(places, precisions, "D", color=ACCENT, markersize=5, markerfacecolor="none", label="precision")


def lengths(tally: Tally) -> bytes:
    """Exact match and 1 - character error rate by label length, with intervals."""
    figure, axes = axes_of(HALF, 3.4, "label lengths (95% intervals)")
    groups = list(tally.by_length.items())
    places = np.arange(len(groups))
    right = [(group.exact_match, group.intervals()[0]) for _, group in groups]
    wrong = [(1 - group.cer, reverse(group.intervals()[1])) for _, group in groups]
    _spread(axes, places - 0.08, right, color=INK, label="exact match")
    _spread(axes, places + 0.08, wrong, color=ACCENT, label="1 - character error rate")
    step = max(1, -(-len(groups) // 12))
    axes.set_xticks(places[::step], [f"{n}\n({group.rows:,})" for n, group in groups[::step]], fontsize=9)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xlabel("characters (images)")
    return _legible(figure, axes, min((end.low for _, end in right + wrong), default=0.0))


def reverse(interval: Interval) -> Interval:
    """That of 1 - value."""
    return Interval(1 - interval.high, 1 - interval.low)


def _spread(axes: Axes, places: np.ndarray, points: Sequence[tuple[float, Interval]], **style: Any) -> None:
    """Points with their intervals, which reach no less far than the points."""
    spans = np.array([[max(0.0, value - low), max(0.0, high - value)] for value, (low, high) in points]).reshape(-1, 2).T
    plain: dict[str, Any] = {"marker": "o", "linestyle": "none", "markersize": 4, "elinewidth": 1.2, "linewidth": 1}
    axes.errorbar(places, [value for value, _ in points], spans, **(plain | style))


def operations(confusions: Confusions) -> bytes:
    """Bars of the edits that the characters with most of them suffered."""
    counted = {c: found for c, found in confusions.operations().items() if found.edits}
    names = list(counted)[:BARS]
    title = f"edits, the {len(names)} of {len(counted)} characters with most" if len(counted) > BARS else "edits by character"
    figure, axes = axes_of(HALF, 0.23 * max(4, len(names)) + 1.2, title)
    left = np.zeros(len(names))
    for kind, colour in (("substituted", INK), ("dropped", ACCENT), ("inserted", YELLOW)):
        values = np.array([getattr(counted[name], kind) for name in names], float)
        axes.barh(range(len(names)), values, left=left, color=colour, height=0.7, label=kind)
        left += values
    axes.set_yticks(range(len(names)), [shown(name) for name in names], **lettering("".join(names)))
    axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("edits")
    figure.legend(loc="outside lower right", ncols=3, frameon=False, fontsize=8)
    return to_png(figure)


def reliability(confidences: Confidences) -> bytes:
    """Accuracy against confidence, and where the rows are."""
    bins = confidences.reliability
    figure = Figure(figsize=(HALF, 4.2), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    error = confidences.calibration_error
    axes.set_title(f"confidence (expected calibration error {error:.4f})", loc="left", fontsize=11)
    axes.plot([0, 1], [0, 1], color=PALE, linestyle=":", label="as it should be")
    points = [(b.accuracy, wilson(b.exact, b.rows)) for b in bins]
    sure = np.array([b.confidence for b in bins])
    _spread(axes, sure, points, color=INK, label="exact match, 95% interval", linestyle="-")
    axes.set(ylim=(-0.02, 1.05), xlim=(0, 1), ylabel="exact match")
    figure.legend(loc="outside lower right", ncols=2, frameon=False, fontsize=8)
    below.bar(
        [b.low for b in bins],
        [b.rows for b in bins],
        [b.high - b.low for b in bins],
        align="edge",
        color=INK,
        edgecolor="white",
    )
    below.set_yscale("log")
    below.set(xlabel="confidence", ylabel="images", ylim=(0.7, None))
    for part in (axes, below):
        part.spines[["top", "right"]].set_visible(False)
    return to_png(figure)


def coverage(confidences: Confidences) -> bytes:
    """The share read exactly of what is left when the least confident rows are refused."""
    figure, axes = axes_of(HALF, 4.2, "exact match of what is accepted")
    points = confidences.coverage
    shares, right = [p.coverage for p in points], [p.accuracy for p in points]
    axes.plot(shares, right, color=INK, marker="." if len(points) < 60 else None)
    axes.set_xlim(0, 1.02)
    lowest = min(right, default=0.0)
    axes.set_ylim(max(0.0, lowest - 0.1 * (1 - lowest) - 0.005), 1.0 + 0.05 * (1 - lowest) + 0.0005)
    for share, colour in ((0.99, ACCENT), (0.999, YELLOW)):
        found = confidences.accepted_at(share)
        if found and found.coverage < 1:
            told = f"{share:.1%}: accept {found.coverage:.1%}"
            axes.plot(found.coverage, found.accuracy, "o", color=colour, markersize=6, label=told)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(xlabel="images accepted, the surest first", ylabel="exact match of these")
    return to_png(figure)


def roc(micro: Curve, worst: Mapping[str, Curve]) -> bytes:
    """True against false positive rates, the latter on a logarithmic axis: good networks differ at its left end only."""
    figure, axes = axes_of(HALF, 4.0, f"ROC of single characters (AUC {micro.auc:.5f})")
    lowest = 1e-6
    for name, curve, style in _styled(micro, worst):
        false = np.maximum(lowest, np.concatenate([[0.0], curve.false_positives]))
        axes.plot(false, np.concatenate([[0.0], curve.true_positives]), label=f"{name} ({curve.auc:.4f})", **style)
    chance = np.geomspace(lowest, 1, 50)
    axes.plot(chance, chance, color=PALE, linestyle=":", label="chance")
    axes.set_xscale("log")
    axes.set(xlim=(lowest, 1.3), ylim=(0, 1.02), xlabel="false positive rate (logarithmic)", ylabel="true positive rate")
    return _with_legend(figure, axes, worst, "lower right")


def precision_recall(micro: Curve, worst: Mapping[str, Curve]) -> bytes:
    """Precision against recall of single characters."""
    figure, axes = axes_of(HALF, 4.0, f"precision and recall (average precision {micro.average_precision:.5f})")
    for name, curve, style in _styled(micro, worst):
        recall = np.concatenate([[0.0], curve.true_positives])
        precision = np.concatenate([curve.precision[:1], curve.precision])
        axes.plot(recall, precision, label=f"{name} ({curve.average_precision:.4f})", **style)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    return _with_legend(figure, axes, worst, "lower left")


def _styled(micro: Curve, worst: Mapping[str, Curve]) -> list[tuple[str, Curve, dict[str, Any]]]:
    thin = zip(worst.items(), (ACCENT, YELLOW, "#7a9e7e", "#8e6c8a"), strict=False)
    styled: list[tuple[str, Curve, dict[str, Any]]]
    styled = [(f"'{shown(c)}'", curve, {"color": colour, "linewidth": 1}) for (c, curve), colour in thin]
    return [*styled, ("all characters", micro, {"color": INK, "linewidth": 2})]


def _with_legend(figure: Figure, axes: Axes, named: Iterable[str], place: Literal["lower left", "lower right"]) -> bytes:
    letters = FontProperties(family=lettering("".join(named))["fontfamily"], size=8)
    axes.legend(frameon=False, loc=place, prop=letters)
    return to_png(figure)


def _worst(curves: Curves) -> dict[str, Curve]:
    """The characters with the lowest average precision."""
    ranked = sorted(curves.by_character().items(), key=lambda item: (item[1].average_precision, item[0]))
    return dict(ranked[:CURVES])


def _numbered(groups: Sequence[Rates]) -> dict[str, Rates]:
    return {str(place): group for place, group in enumerate(groups, start=1)}


def _legible(figure: Figure, axes: Axes, lowest: float) -> bytes:
    """With shares on the y axis, from a little under the lowest value to 1, and a legend below."""
    axes.set_ylim(max(0.0, lowest - 0.05 * (1 - lowest) - 0.002), 1 + 0.04 * (1 - lowest) + 0.001)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    figure.legend(loc="outside lower right", ncols=3, frameon=False, fontsize=8)
    return to_png(figure)


def _lowest(groups: Iterable[Rates]) -> float:
    return min(
        (low for g in groups for low in (g.recall_interval.low, g.precision if g.texts else 1.0, g.accuracy)), default=0.0
    )
