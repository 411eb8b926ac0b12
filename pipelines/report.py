"""What a person sees of a dataset: figures, and one self-contained HTML page."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipelines.drift import Drift, drift_between
from pipelines.figures import Cell, drift_figures, figures, grid, mean_image
from pipelines.manifest import Dataset
from pipelines.page import Page
from pipelines.plotting import visible
from pipelines.samples import RejectedFile, Thumbnail, sample_rejects, sample_rows, thumbnails
from pipelines.samples import mean_image as mean_image_of
from pipelines.settings import flatten
from pipelines.split import SPLITS
from pipelines.stats import jensen_shannon
from pipelines.storage import Location

SAMPLES = {"train": 18, "val": 6, "test": 6}
REJECTS_NAMED, REJECTS_SHOWN = 3, 6
LONGEST = 200  # characters of a path or a detail


def drift_of(dataset: Dataset, against: Dataset) -> Drift:
    """The drift from the dataset `against` to `dataset`."""
    before, after = (f"{d.location.shown}@{d.manifest.version}" for d in (against, dataset))
    return drift_between(against.manifest, dataset.manifest, (before, after))


def write_report(dataset: Dataset, folder: Location, against: Dataset | None = None) -> Location:
    """Writes the figures as PNG and the page `index.html` into `folder`; returns the page's location.

    With `against` the page also tells the drift from it. Raises DataError where shards or tables cannot be read.
    """
    folder.fs.create_dir(folder.path)
    drift = drift_of(dataset, against) if against else None
    rejects = _rejects(dataset)
    drawn = figures(dataset.manifest) | _pictures(dataset) | {f"rejected_{r.reason}": r.grid for r in rejects if r.grid}
    drawn |= drift_figures(drift) if drift else {}
    for name, data in drawn.items():
        folder.join(f"{name}.png").write_bytes(data)
    page = folder.join("index.html")
    title = f"Dataset {dataset.manifest.fingerprint[:12]}, version {dataset.manifest.version}"
    page.write_bytes(_PAGE.render(title, drawn, _facts(dataset) | {"rejects": rejects, "drift": drift}))
    return page


class Rejected(NamedTuple):
    """What the page says of one reason: how many files, the first of them, and a grid of those that were kept."""

    reason: str
    number: int
    files: list[RejectedFile]
    grid: bytes | None


def _rejects(dataset: Dataset) -> list[Rejected]:
    named = sample_rejects(dataset, REJECTS_NAMED)
    counts = dataset.manifest.accounting.reasons
    return [Rejected(r, n, named[r], _thumbnail_grid(thumbnails(dataset, r, REJECTS_SHOWN))) for r, n in counts.items()]


def _thumbnail_grid(kept: list[Thumbnail]) -> bytes | None:
    return grid([Cell(*thumbnail) for thumbnail in kept], "", per_row=REJECTS_SHOWN) if kept else None


def _pictures(dataset: Dataset) -> dict[str, bytes]:
    drawn = {}
    for split, most in SAMPLES.items():
        if rows := sample_rows(dataset, split, most):
            drawn[f"samples_{split}"] = grid([Cell(*row) for row in rows], f"{split} ({dataset.manifest.splits[split]:,} rows)")
    mean = mean_image_of(dataset)
    return drawn if mean is None else drawn | {"mean_image": mean_image(mean)}


def _facts(dataset: Dataset) -> dict[str, Any]:
    manifest = dataset.manifest
    counts = {s: manifest.statistics[s]["characters"] for s in SPLITS if manifest.statistics[s]["characters"]}
    return {
        "manifest": manifest,
        "uri": dataset.location.shown,
        "every": manifest.statistics["all"],
        "rarest": [(visible(c), n) for c, n in reversed(manifest.statistics["all"]["characters"].items())][:20],
        "divergence": _between(counts),
        "leaks": getattr(manifest, "leaks", {}),
        "settings": flatten(manifest.settings),
        "short": _short,
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 3]} … {text[-LONGEST // 2 :]}"


def _between(counts: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    names = list(counts)
    return {f"{a} and {b}": jensen_shannon(counts[a], counts[b]) for i, a in enumerate(names) for b in names[i + 1 :]}


_PAGE = Page(
    """{% macro shares(title, items) %}
{% if items %}<div class="card"><table><tr><th>{{ title }}</th><th class="number">before</th><th class="number">after</th></tr>
{% for i in items %}<tr><td>{{ i.name }}</td><td class="number">{{ "{:.2%}".format(i.before) }}</td><td class="number">{{ "{:.2%}".format(i.after) }}</td></tr>
{% endfor %}</table></div>{% endif %}
{% endmacro %}
{% macro changes(title, items) %}
<div class="card"><table><tr><th>{{ title }}</th><th class="number">before</th><th class="number">after</th></tr>
{% for i in items %}<tr><td>{{ i.name }}</td><td class="number">{{ "{:,.5g}".format(i.before) }}</td><td class="number">{{ "{:,.5g}".format(i.after) }}</td></tr>
{% endfor %}</table></div>
{% endmacro %}
{% set a = manifest.accounting %}
<h1>Dataset version {{ manifest.version }}</h1>
<div class="card"><code>{{ uri }}</code><br><span class="soft">fingerprint <code>{{ manifest.fingerprint }}</code>, made {{ manifest.created }}
in {{ "%.1f"|format(manifest.seconds) }} s from <code>{{ manifest.input }}</code></span></div>
<div class="tiles">
<div class="card"><b>{{ n(every.rows) }}</b><span>rows</span></div>
<div class="card"><b>{{ n(every.characters|length) }}</b><span>different characters</span></div>
<div class="card"><b>{% set l = every.lengths.keys()|map("int")|list %}{{ l|min }}{% if l|max != l|min %} to {{ l|max }}{% endif %}</b><span>characters a label</span></div>
<div class="card"><b>{{ manifest.image_shape|join(" x ") }}</b><span>height, width, channels</span></div>
<div class="card"><b>{{ "{:.2%}".format((a.rejected + a.duplicates) / a.listed) }}</b><span>of the files not written</span></div>
</div>

<h2>What became of the files</h2>
<div class="card"><b>{{ n(a.listed) }}</b> listed = <b>{{ n(a.written) }}</b> written + <b>{{ n(a.rejected) }}</b> rejected + <b>{{ n(a.duplicates) }}</b> duplicates
<div class="share"><div style="flex: {{ a.written }}; background: #33658a"></div><div style="flex: {{ a.rejected }}; background: #d1603d"></div><div style="flex: {{ a.duplicates }}; background: #e9c46a"></div></div>
<span class="soft">blue written, red rejected, yellow duplicates</span></div>

<h2>Splits</h2>
<div class="two">{{ card("splits") }}
<div class="card"><table><tr><th>split</th><th class="number">rows</th><th class="number">shards</th><th class="number">bytes</th></tr>
{% for split, rows in manifest.splits.items() %}
{% set shards = manifest.shards|selectattr("split", "equalto", split)|list %}
<tr><td>{{ split }}</td><td class="number">{{ n(rows) }}</td><td class="number">{{ n(shards|length) }}</td><td class="number">{{ shards|sum("bytes")|filesizeformat }}</td></tr>
{% endfor %}</table>
{% if divergence %}<p class="soft">Jensen-Shannon divergence of their characters, in bits (0 the same shares, 1 nothing in common):
{% for names, bits in divergence.items() %}{{ names }} <b>{{ "%.4f"|format(bits) }}</b>{{ "; " if not loop.last }}{% endfor %}</p>{% endif %}</div></div>
{% if leaks.bytes or leaks.labels %}
<div class="card" style="margin-top: 1rem"><b class="bad">Leaks between splits</b><table><tr><th>what</th><th>splits</th><th class="number">rows</th><th class="number">labels</th><th>such as</th></tr>
{% for kind, told in [("bytes", "the same bytes"), ("labels", "the same label")] %}{% for leak in leaks[kind] or [] %}
<tr><td class="tight{{ " bad" if kind == "bytes" }}">{{ told }}</td><td class="tight">{{ leak.splits|join(" and ") }}</td><td class="number">{{ n(leak.rows or 0) }}</td><td class="number">{{ n(leak.labels or 0) }}</td><td>{% for e in (leak.examples or [])[:5] %}<code>{{ e if e is string else e|join(", ") }}</code>{{ "; " if not loop.last }}{% endfor %}</td></tr>
{% endfor %}{% endfor %}</table></div>
{% endif %}

<h2>Rows to look at</h2>
<p class="soft">The first rows of each split as a network sees them, with their labels. Rows are in random order at rest.</p>
<div class="stack">{% for split in manifest.splits %}{{ card("samples_" ~ split) }}{% endfor %}</div>

<h2>Characters and labels</h2>
<p>Entropy <b>{{ "%.3f"|format(every.entropy_bits) }}</b> bits{% if every.imbalance %}, {{ "{:.1%}".format(every.entropy_normalised) }} of what equal shares would have.
The most frequent character stands <b>{{ "{:,.1f}".format(every.imbalance) }}</b> times as often as the rarest{% endif %}. CTC needs up to {{ every.ctc_frames }} time steps.</p>
<div class="two">{{ card("characters") }}<div>{{ card("lengths") }}
<div class="card chars" style="margin-top: 1rem"><b>Rarest characters</b><br>{% for c, count in rarest %}<span><code>{{ c }}</code> {{ n(count) }}</span>{% endfor %}</div></div></div>
<div style="margin-top: 1rem">{{ card("positions") }}</div>

<h2>Pixels</h2>
<div class="two">{{ card("pixels") }}{{ card("mean_image") }}
<div class="card"><table><tr><th>channel</th><th class="number">mean</th><th class="number">std</th><th class="number">min</th><th class="number">max</th></tr>
{% for c in every.channels %}<tr><td>{{ ["red", "green", "blue"][loop.index0] if every.channels|length == 3 else "gray" }}</td><td class="number">{{ "%.2f"|format(c.mean) }}</td><td class="number">{{ "%.2f"|format(c.std) }}</td><td class="number">{{ c.min }}</td><td class="number">{{ c.max }}</td></tr>{% endfor %}</table></div></div>

<h2>Source files</h2>
<div class="two">{{ card("sizes") }}{{ card("file_sizes") }}
<div class="card"><table>{% for kind in ("formats", "modes") %}<tr><th>{{ kind }}</th><th class="number">files</th></tr>
{% for name, count in every[kind].items() %}<tr><td>{{ name }}</td><td class="number">{{ n(count) }}</td></tr>{% endfor %}{% endfor %}</table></div>
<div class="card"><table><tr><th>commonest sizes</th><th class="number">files</th></tr>
{% for size, count in (every.sizes.items()|list)[:8] %}<tr><td>{{ size }}</td><td class="number">{{ n(count) }}</td></tr>{% endfor %}</table>
{% if every.file_sizes %}<p class="soft">Files of {{ every.file_sizes.min|filesizeformat }} to {{ every.file_sizes.max|filesizeformat }}, {{ every.file_sizes.mean|filesizeformat }} on average, {{ every.file_bytes|filesizeformat }} in all.</p>{% endif %}</div></div>

{% if rejects %}<h2>Files not written</h2>
{{ card("rejects") }}
<div class="card" style="margin-top: 1rem"><table><tr><th>reason</th><th class="number">files</th><th>such as</th></tr>
{% for r in rejects %}<tr><td class="tight"><b>{{ r.reason }}</b></td><td class="number">{{ n(r.number) }}</td><td>
{% for f in r.files %}<div><code>{{ short(f.path) }}</code> <span class="soft">{{ short(f.detail) }}</span></div>{% else %}<code>{{ short(a.examples[r.reason]) }}</code>{% endfor %}
{{ figure("rejected_" ~ r.reason) }}</td></tr>{% endfor %}</table></div>{% endif %}

{% if drift %}<h2>Drift</h2>
<p>From <code>{{ drift.before }}</code> to <code>{{ drift.after }}</code>.
{% if drift.gained %}Gained <b>{{ drift.gained|length }}</b> characters: <code>{{ drift.gained[:200] }}</code>. {% endif %}
{% if drift.lost %}Lost <b class="bad">{{ drift.lost|length }}</b> characters: <code>{{ drift.lost[:200] }}</code>. {% endif %}
{% if not drift.gained and not drift.lost %}The alphabet is the same.{% endif %}</p>
<div class="two">{{ changes("rows", drift.rows) }}{{ changes("value", drift.values) }}
<div class="card"><table><tr><th>divergence of</th><th class="number">bits</th></tr>{% for name, bits in drift.divergences.items() %}<tr><td>{{ name }}</td><td class="number">{{ "%.4f"|format(bits) }}</td></tr>{% endfor %}</table></div>
{{ card("drift_characters") }}{{ card("drift_lengths") }}{{ card("drift_pixels") }}
{{ shares("position: character, of all", drift.positions) }}{{ shares("source size", drift.sizes) }}{{ shares("not written, of all files", drift.rejects) }}</div>{% endif %}

<h2>How it was made</h2>
<div class="two"><details class="card"><summary>Settings</summary>{{ pairs(settings) }}</details><details class="card"><summary>Tools</summary>{{ pairs(manifest.tools) }}</details></div>
"""
)
