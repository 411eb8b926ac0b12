"""What an evaluation says, in sentences."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from model.evaluation.confusions import Confusions, Rates
from model.evaluation.tally import Interval, Tally
from pipelines.plotting import visible

if TYPE_CHECKING:
    from model.evaluate import Details, Evaluation

HARDLY = 0.3  # error rate of characters of a model that has hardly learned to read
SCATTERED = 0.1  # share of the edits below which the most frequent confusions are not worth naming
LEAST_KEPT = 0.1  # share of the images that a useful threshold of confidence accepts at least
LOST = ": characters are lost rather than taken for others"
INVENTED = ": characters are doubled or invented rather than taken for others"
FEW, UNSOUND = 0.01, 0.02  # wrong texts that folding saves, and calibration error, that are not worth a sentence


def told(evaluation: "Evaluation") -> list[str]:
    """The lines that a person reads in the terminal."""
    scores, details = evaluation.scores, evaluation.details
    if details is None:
        raise ValueError("an evaluation without details has no lines")
    exact, cer = details.statistics.tally.intervals()
    found, saved = details.found.tally, details.found.tally.exact - scores.exact
    lines = [
        f"exact match           {scores.exact_match:.4f} ({scores.exact} of {scores.rows}), 95%: {_span(exact)}",
        f"character error rate  {scores.cer:.4f} ({scores.edits} edits in {scores.characters} characters), 95%: {_span(cer)}",
        f"confusable as one     {found.exact_match:.4f}, error rate {found.cer:.4f} ({saved} images more are right)",
        f"calibration error     {details.statistics.confidences.calibration_error:.4f}",
        f"time                  {evaluation.ms_per_image:.2f} ms an image in batches; alone "
        f"{details.single.percentile_ms(50):.2f}, 95% within {details.single.percentile_ms(95):.2f}",
    ]
    for row in evaluation.wrong[:10]:
        lines.append(f"wrong                 {row.path}: read {row.text!r} ({row.confidence:.2f}), label {row.label!r}")
    return lines


def _span(interval: Interval) -> str:
    return f"{interval.low:.4f} to {interval.high:.4f}"


def findings(details: "Details") -> list[str]:
    """What to look at first, in sentences in which characters stand between backticks; the first says most."""
    statistics = details.statistics
    tally = statistics.tally
    wrong = tally.rows - tally.exact
    if not wrong:
        return [f"Every one of the {tally.rows:,} images was read exactly: a harder or larger split would tell more."]
    return [
        *_on_learning(tally),
        *_on_edits(statistics.confusions),
        *_on_rows(details),
        *_on_folding(details),
        *_on_confidence(details),
    ]


def _on_learning(tally: Tally) -> Iterator[str]:
    if tally.cer > HARDLY:
        yield (
            f"It hardly reads: {tally.cer:.0%} of the characters are wrong. Look at its training, the alphabet and the "
            "preprocessing before single confusions."
        )


def _on_edits(confusions: Confusions) -> Iterator[str]:
    every = confusions.totals()
    kinds = {"": every.substituted, LOST: every.dropped, INVENTED: every.inserted}
    yield (
        f"Wrong characters: {every.substituted:,} substituted, {every.dropped:,} dropped, {every.inserted:,} inserted"
        f"{max(kinds, key=lambda kind: kinds[kind])}."
    )
    wrong = confusions.wrong()
    first = wrong[:5]
    told = ", ".join(f"{_named(label)} read as {_named(text)} ({n:,})" for label, text, n in first)
    share = sum(n for *_, n in first) / every.edits
    kinds_of = f"the {len(first)} most frequent of {len(wrong):,} kinds"
    if len(first) == len(wrong):
        yield f"All of them: {told}."
    elif share < SCATTERED:
        yield f"No confusion stands out: {kinds_of} are {share:.0%} of them."
    else:
        yield f"{share:.0%} of them are {kinds_of}: {told}."
    yield from _on_places(confusions.by_place())


def _on_places(places: Sequence[Rates]) -> Iterator[str]:
    if len(places) > 1:
        worst = min(range(len(places)), key=lambda place: (places[place].recall, place))
        best = max(range(len(places)), key=lambda place: (places[place].recall, -place))
        if places[worst].recall_interval.high < places[best].recall_interval.low:
            yield (
                f"Place {worst + 1} of the label is the hardest ({places[worst].recall:.1%} of its characters are read, "
                f"at place {best + 1} {places[best].recall:.1%})."
            )


def _on_rows(details: "Details") -> Iterator[str]:
    tally = details.statistics.tally
    wrong = tally.rows - tally.exact
    single = sum(n for (edits, _), n in tally.rows_with.items() if edits == 1)
    yield f"Wrong texts: {wrong:,}; {single / wrong:.0%} of them in one character only."
    groups = {n: (group.exact_match, group.intervals()[0]) for n, group in tally.by_length.items()}
    worst, best = min(groups, key=lambda n: groups[n][0]), max(groups, key=lambda n: groups[n][0])
    if groups[worst][1].high < groups[best][1].low:
        yield f"Labels of {worst} characters are the hardest ({groups[worst][0]:.1%} exact, of {best} {groups[best][0]:.1%})."


def _on_folding(details: "Details") -> Iterator[str]:
    tally, found = details.statistics.tally, details.found
    saved = found.tally.exact - tally.exact
    if saved / (tally.rows - tally.exact) > FEW:
        swaps = ", ".join(f"{_named(swap.pair[0])} and {_named(swap.pair[1])} ({swap.times:,})" for swap in details.swaps[:6])
        yield (
            f"{saved / (tally.rows - tally.exact):.0%} of the wrong texts are right once confusable characters count as one"
            + (f"; the data show these to be: {swaps}." if swaps else " (case, 0 and O, 1, I and l).")
        )


def _on_confidence(details: "Details") -> Iterator[str]:
    confidences, exact = details.statistics.confidences, details.statistics.tally.exact_match
    bins = confidences.reliability
    mean = sum(b.rows * b.confidence for b in bins) / sum(b.rows for b in bins)
    error = confidences.calibration_error
    if error > UNSOUND:
        yield (
            f"Its confidence is not to be taken as a probability: it is {100 * error:.1f} points off on average "
            f"(mean {mean:.1%}, right {exact:.1%})."
        )
    for share in (0.99, 0.999):
        accepted = confidences.accepted_at(share)
        if accepted and LEAST_KEPT <= accepted.coverage < 1:
            yield f"Refusing the least confident {1 - accepted.coverage:.1%} leaves {accepted.accuracy:.1%} right."
            return
    if exact < 0.99:
        yield f"No threshold of confidence that keeps {LEAST_KEPT:.0%} of the images or more leaves 99% right."


def _named(character: str) -> str:
    return f"`{'U+0060' if character == '`' else visible(character)}`" if character else "nothing"
