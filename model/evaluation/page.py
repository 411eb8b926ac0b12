"""What a person gets of an evaluation: figures, all numbers as JSON, and one self-contained HTML page that tells why."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.alignment import Pair
from model.evaluate import Details, Evaluation
from model.evaluation.errors import Read
from model.evaluation.figures import figures
from model.evaluation.findings import findings
from model.evaluation.numbers import numbers
from model.gallery import Cell, gallery
from model.reader import ShardReader
from pipelines.figures import WHOLE
from pipelines.manifest import Dataset
from pipelines.page import Page
from pipelines.plotting import visible

CURVES = ("loss", "scores", "positions", "learning_rate")
NARROW = 7.4  # inches of a row of examples
SHOWN_WRONG, SHOWN_RIGHT, SHOWN_CONFUSIONS, LISTED = 24, 12, 8, 40


class Confusion(NamedTuple):
    """One row of the page's table of confusions: how often, and the figure with examples of it."""

    label: str
    text: str
    times: int
    share: float
    figure: str


def write_page(
    evaluation: Evaluation, dataset: Dataset, folder: Path, model: str, training: Mapping[str, bytes] | None = None
) -> Path:
    """Writes figures (PNG), `SPLIT.json` with all numbers and `index.html` into `folder`; returns the page's path.

    `model` says what was judged; `training` are figures of `model.figures.curves`, where it has just been trained. The images of
    the galleries are read from the dataset again. Raises DataError where a shard cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{evaluation.split}.json").write_text(json.dumps(numbers(evaluation), indent=1, ensure_ascii=False), "utf-8")
    drawn, facts = _drawn(evaluation, dataset, training or {})
    for name, data in drawn.items():
        (folder / f"{name}.png").write_bytes(data)
    page = folder / "index.html"
    title = f"Evaluation of {model} on {evaluation.split}"
    page.write_bytes(_PAGE.render(title, drawn, facts | {"model": model, "uri": dataset.location.shown, "e": evaluation}))
    return page


def _drawn(evaluation: Evaluation, dataset: Dataset, training: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The figures by name, and what the page says."""
    details = evaluation.details
    if details is None:
        raise ValueError("an evaluation without details has no page")
    drawn = figures(details.statistics, details.usual.tally, details.found.tally)
    confusions = _confusions(details)
    drawn |= _galleries(evaluation, details, dataset, confusions)
    drawn |= {f"training_{name}": png for name, png in training.items() if name in CURVES}
    tally = details.statistics.tally
    exact, cer = tally.intervals()
    facts = {
        "details": details,
        "tally": tally,
        "exact_interval": exact,
        "cer_interval": cer,
        "totals": details.statistics.confusions.totals(),
        "accepted": {share: details.statistics.confidences.accepted_at(share) for share in (0.95, 0.99, 0.999)},
        "findings": findings(details),
        "confusions": confusions,
        "listed": evaluation.wrong[:LISTED],
        "visible": visible,
    }
    return drawn, facts


def _confusions(details: Details) -> list[Confusion]:
    confusions = details.statistics.confusions
    edits = max(1, confusions.totals().edits)
    first = confusions.wrong()[:SHOWN_CONFUSIONS]
    return [Confusion(label, text, n, n / edits, f"confusion_{i}") for i, (label, text, n) in enumerate(first, start=1)]


def _galleries(evaluation: Evaluation, details: Details, dataset: Dataset, confusions: Sequence[Confusion]) -> dict[str, bytes]:
    wrong, right = evaluation.wrong[:SHOWN_WRONG], details.right[:SHOWN_RIGHT]
    examples: Mapping[Pair, tuple[Read, ...]] = details.examples
    shown = {c.figure: examples.get((c.label, c.text), ()) for c in confusions}
    images = _images(dataset, evaluation.split, [*wrong, *right, *(row for rows in shown.values() for row in rows)])
    titled = {"wrong": (wrong, "read wrongly, the surest first"), "right": (right, "read right, the least sure first")}
    titled |= {name: (rows, "") for name, rows in shown.items()}
    return {
        name: gallery(
            [Cell(images[row.row], row.label, row.text, f"{row.confidence:.3f}") for row in rows],
            title,
            WHOLE if title else NARROW,
        )
        for name, (rows, title) in titled.items()
        if rows
    }


def _images(dataset: Dataset, split: str, rows: Iterable[Read]) -> dict[int, np.ndarray]:
    """The pixels of some rows, (H, W, C) uint8, by their place in the split; each row group is read once."""
    reader = ShardReader(dataset, split)
    ends = np.cumsum(reader.sizes)
    wanted: dict[int, set[int]] = {}
    for row in rows:
        wanted.setdefault(int(np.searchsorted(ends, row.row, side="right")), set()).add(row.row)
    found = {}
    for group, places in sorted(wanted.items()):
        first, images = int(ends[group]) - reader.sizes[group], reader.read(group).images
        found.update({place: images[place - first].copy() for place in places})
    return found


_PAGE = Page(
    """
{% macro share(value) %}{{ "{:.2%}".format(value) }}{% endmacro %}
{% macro span(interval) %}{{ "{:.2%}".format(interval.low) }} to {{ "{:.2%}".format(interval.high) }}{% endmacro %}
{% macro named(c) %}{% if c %}<code>{{ visible(c) }}</code>{% else %}<span class="soft">nothing</span>{% endif %}{% endmacro %}
<h1>{{ title }}</h1>
<div class="card"><code>{{ uri }}</code><br><span class="soft">split {{ e.split }}, {{ n(tally.rows) }} images, {{ n(tally.characters) }} characters, dataset fingerprint <code>{{ e.fingerprint }}</code></span></div>
<div class="tiles">
<div class="card"><b>{{ share(tally.exact_match) }}</b><span>read exactly ({{ span(exact_interval) }})</span></div>
<div class="card"><b>{{ share(tally.cer) }}</b><span>character error rate ({{ span(cer_interval) }})</span></div>
<div class="card"><b>{{ share(details.found.tally.exact_match) }}</b><span>read exactly when confusable characters count as one</span></div>
<div class="card"><b>{{ "%.4f"|format(details.statistics.confidences.calibration_error) }}</b><span>expected calibration error</span></div>
<div class="card"><b>{{ "%.2f"|format(details.single.percentile_ms(50)) }} ms</b><span>for one image alone (95th percentile {{ "%.2f"|format(details.single.percentile_ms(95)) }}), {{ "%.2f"|format(e.ms_per_image) }} in batches</span></div>
</div>
<p class="soft">Ranges are 95% intervals: a bootstrap over images for exact match and character error rate, Wilson's for single shares.</p>

<h2>What to look at first</h2>
<div class="card"><ol>{% for sentence in findings %}<li>{% for part in sentence.split("`") %}{% if loop.index is even %}<code>{{ part }}</code>{% else %}{{ part }}{% endif %}{% endfor %}</li>{% endfor %}</ol></div>

{% if confusions %}<h2>The most frequent confusions</h2>
<p class="soft">With the images of each in which the model was surest. Characters are aligned by Levenshtein distance.</p>
<div class="card"><table><tr><th>label</th><th>read</th><th class="number">times</th><th class="number">of all edits</th><th>such as</th></tr>
{% for c in confusions %}<tr><td class="tight">{{ named(c.label) }}</td><td class="tight">{{ named(c.text) }}</td><td class="number">{{ n(c.times) }}</td><td class="number">{{ "{:.1%}".format(c.share) }}</td><td style="width: 82%">{{ figure(c.figure) }}</td></tr>
{% endfor %}</table></div>{% endif %}

{% if "wrong" in figures %}<h2>Read wrongly</h2>
<p class="soft">The surest first, with the confidence below: here labels are often wrong themselves, or the image is of a kind that training had not.</p>
{{ card("wrong") }}
<details class="card" style="margin-top: 1rem"><summary>As a table{{ " (the first %d)"|format(listed|length) if tally.rows - tally.exact > listed|length }}</summary><table><tr><th>path</th><th>label</th><th>read</th><th class="number">confidence</th><th class="number">edits</th></tr>
{% for r in listed %}<tr><td><code>{{ r.path }}</code></td><td><code>{{ visible(r.label) }}</code></td><td><code>{{ visible(r.text) }}</code></td><td class="number">{{ "%.4f"|format(r.confidence) }}</td><td class="number">{{ r.edits }}</td></tr>
{% endfor %}</table></details>{% endif %}
{% if "right" in figures %}<h2>Read right, but barely</h2>
{{ card("right") }}{% endif %}

<h2>All in all</h2>
{{ card("metrics") }}
<div class="card" style="margin-top: 1rem"><table><tr><th>confusable characters</th><th class="number">exact match</th><th class="number">character error rate</th><th>pairs</th></tr>
<tr><td>strict</td><td class="number">{{ share(tally.exact_match) }}</td><td class="number">{{ share(tally.cer) }}</td><td></td></tr>
{% for name, f in [("case, 0 and O, 1, I and l as one", details.usual), ("and the pairs found in the data", details.found)] %}
<tr><td>{{ name }}</td><td class="number">{{ share(f.tally.exact_match) }}</td><td class="number">{{ share(f.tally.cer) }}</td><td>{% if f.pairs %}<code>{{ f.pairs|map("join", "=")|join("  ") }}</code>{% else %}<span class="soft">there are none</span>{% endif %}</td></tr>{% endfor %}</table>
{% if details.swaps %}<p class="soft">Found in the data, that is at least a fifth of all substitutions of either character, and five: {% for s in details.swaps %}<code>{{ visible(s.pair[0]) }}</code> and <code>{{ visible(s.pair[1]) }}</code> {{ n(s.times) }} times ({{ "{:.0%}".format(s.share) }}){{ ", " if not loop.last }}{% endfor %}.</p>{% endif %}</div>

<h2>Where it goes wrong</h2>
<div class="two">{{ card("positions") }}{{ card("lengths") }}</div>
<div style="margin-top: 1rem">{{ card("characters") }}</div>
<div class="two" style="margin-top: 1rem">{{ card("operations") }}
<div class="card"><table><tr><th>edits</th><th class="number">number</th><th class="number">of the labels' characters</th></tr>
{% for kind in ("substituted", "dropped", "inserted") %}<tr><td>{{ kind }}</td><td class="number">{{ n(totals[loop.index]) }}</td><td class="number">{{ share(totals[loop.index] / [1, tally.characters]|max) }}</td></tr>{% endfor %}</table></div></div>

<h2>Which character for which</h2>
<p class="soft">A row is the label's character, in shares of how often it stood there; the row and column "none" are what was inserted and dropped.</p>
<div class="stack">{{ card("confusions") }}{{ card("confusions_by_position") }}</div>

<h2>How sure it is</h2>
<p class="soft">The confidence of a text is the product of the probabilities of its frames or positions.</p>
<div class="two">{{ card("reliability") }}{{ card("coverage") }}</div>
<div class="card" style="margin-top: 1rem"><table><tr><th>to have read exactly</th><th class="number">accept</th><th class="number">with a confidence of at least</th></tr>
{% for wanted, point in accepted.items() %}<tr><td>{{ "{:.1%}".format(wanted) }}</td>{% if point %}<td class="number">{{ share(point.coverage) }}</td><td class="number">{{ "%.6g"|format(point.confidence) }}</td>{% else %}<td class="number">not to be had</td><td></td>{% endif %}</tr>{% endfor %}</table></div>

{% if "roc" in figures %}<h2>Single characters</h2>
<p class="soft">Each character that was read, opposite its label's: the network's probabilities at its frame, without blank, as answers to "is it this one?" for every character of the alphabet.</p>
<div class="two">{{ card("roc") }}{{ card("precision_recall") }}</div>{% endif %}

{% if "training_loss" in figures %}<h2>Its training</h2>
<div class="two">{{ card("training_loss") }}{{ card("training_scores") }}{{ card("training_positions") }}{{ card("training_learning_rate") }}</div>{% endif %}
"""
)
