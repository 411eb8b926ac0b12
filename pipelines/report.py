"""What a person sees of a dataset: a few lines in the terminal, figures, and one self-contained HTML page."""

import base64
from collections.abc import Mapping

import jinja2
import numpy as np

from pipelines.manifest import Dataset, Manifest
from pipelines.plotting import INK, axes_of, to_png
from pipelines.storage import Location


def summary_lines(dataset: Dataset) -> list[str]:
    """The accounting, the commonest characters, label lengths and reject reasons, as lines of text."""
    manifest = dataset.manifest
    count, every = manifest.accounting, manifest.statistics["all"]
    lines = [
        f"{count.listed} listed = {count.written} written + {count.rejected} rejected + {count.duplicates} duplicates",
        "splits       " + ", ".join(f"{split} {rows}" for split, rows in manifest.splits.items()),
        f"alphabet     {manifest.alphabet} ({len(manifest.alphabet)})",
        "characters   " + ", ".join(f"{c} {n}" for c, n in list(every["characters"].items())[:10]),
        "lengths      " + ", ".join(f"{length}: {n}" for length, n in every["lengths"].items()),
    ]
    for reason, number in count.reasons.items():
        kind = "duplicates" if reason == "duplicate" else "rejected"
        lines.append(f"{kind:12} {number} {reason}, such as {count.examples[reason]}")
    if not manifest.petastorm:
        lines.append("petastorm    is not installed: shards have no petastorm metadata; all else reads them")
    lines.append(f"version      {manifest.version}, fingerprint {manifest.fingerprint[:16]}, {manifest.seconds:.1f} s")
    return [*lines, f"dataset      {dataset.location.uri}"]


def figures(manifest: Manifest) -> dict[str, bytes]:
    """PNG figures of the statistics in a manifest, by name."""
    every, reasons = manifest.statistics["all"], manifest.accounting.reasons
    drawn = {
        "characters": _bars(dict(list(every["characters"].items())[:20]), "20 most frequent characters", "count"),
        "lengths": _bars(every["lengths"], "label lengths (characters)", "images"),
        "positions": _positions(manifest),
        "pixels": _pixels(every["channels"]),
        "splits": _bars(manifest.splits, "rows by split", "images"),
    }
    if reasons:
        drawn["rejects"] = _bars(reasons, "files not written, by reason", "files")
    return drawn


def write_report(dataset: Dataset, folder: Location) -> Location:
    """Writes the figures as PNG and the page `index.html` into `folder`; returns the page's location."""
    folder.fs.create_dir(folder.path)
    drawn = figures(dataset.manifest)
    for name, data in drawn.items():
        folder.join(f"{name}.png").write_bytes(data)
    page = folder.join("index.html")
    encoded = {name: base64.b64encode(data).decode() for name, data in drawn.items()}
    page.write_bytes(_PAGE.render(manifest=dataset.manifest, uri=dataset.location.uri, figures=encoded).encode())
    return page


def _bars(counts: Mapping[str, int], title: str, unit: str) -> bytes:
    figure, axes = axes_of(max(4.0, 0.4 * len(counts) + 1.5), 3.2, title)
    names = list(counts)
    container = axes.bar(range(len(names)), list(counts.values()), color=INK)
    turn = max(map(len, names), default=0) > 5
    axes.set_xticks(range(len(names)), names, rotation=20 if turn else 0, ha="right" if turn else "center")
    axes.bar_label(container, fontsize=7, padding=2)
    axes.margins(y=0.12)
    axes.set_ylabel(unit)
    return to_png(figure)


def _positions(manifest: Manifest) -> bytes:
    positions = manifest.statistics["all"]["positions"]
    table = np.array([[place.get(c, 0) for c in manifest.alphabet] for place in positions])
    width = min(16.0, 0.24 * len(manifest.alphabet) + 2.5)
    figure, axes = axes_of(width, 0.34 * len(positions) + 1.5, "characters by position (count)")
    image = axes.imshow(table, aspect="auto", cmap="Blues", vmin=0)
    axes.set_xticks(range(len(manifest.alphabet)), list(manifest.alphabet), fontsize=8)
    axes.set_yticks(range(len(positions)), [str(i + 1) for i in range(len(positions))])
    figure.colorbar(image, ax=axes)
    return to_png(figure)


def _pixels(channels: list[dict[str, list[int]]]) -> bytes:
    figure, axes = axes_of(5.5, 3.2, "pixel values after preprocessing")
    colours = ["#444444"] if len(channels) == 1 else ["#c0392b", "#27ae60", "#2980b9"]
    for channel, colour in zip(channels, colours, strict=True):
        axes.plot(np.array(channel["histogram"]) / sum(channel["histogram"]), color=colour, linewidth=1)
    axes.set_yscale("log")
    axes.set_xlabel("value (0 black, 255 white)")
    axes.set_ylabel("share of pixels")
    return to_png(figure)


_PAGE = jinja2.Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Dataset {{ manifest.fingerprint[:12] }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border-bottom: 1px solid #ddd; padding: .25rem .8rem; text-align: left; vertical-align: top }
img { max-width: 100%; margin: .5rem 1rem .5rem 0; vertical-align: top } code { overflow-wrap: anywhere }
</style>
<h1>Dataset version {{ manifest.version }}</h1>
<p><code>{{ uri }}</code><br>fingerprint <code>{{ manifest.fingerprint }}</code><br>
made {{ manifest.created }} from <code>{{ manifest.input }}</code> in {{ "%.1f"|format(manifest.seconds) }} s</p>
{% set a = manifest.accounting %}
<p><b>{{ a.listed }}</b> listed = <b>{{ a.written }}</b> written + <b>{{ a.rejected }}</b> rejected + <b>{{ a.duplicates }}</b> duplicates</p>
<table><tr><th>split</th><th>rows</th><th>shards</th></tr>
{% for split, rows in manifest.splits.items() %}<tr><td>{{ split }}</td><td>{{ rows }}</td>
<td>{{ manifest.shards|selectattr("split", "equalto", split)|list|length }}</td></tr>{% endfor %}</table>
{% if a.reasons %}<table><tr><th>not written because</th><th>files</th><th>such as</th></tr>
{% for reason, n in a.reasons.items() %}<tr><td>{{ reason }}</td><td>{{ n }}</td><td><code>{{ a.examples[reason] }}</code></td></tr>{% endfor %}
</table>{% endif %}
{% for name, data in figures.items() %}<img alt="{{ name }}" src="data:image/png;base64,{{ data }}">{% endfor %}
<h2>Source images</h2>
<table><tr><th>size</th><th>images</th></tr>
{% for size, n in (manifest.statistics["all"]["sizes"].items()|list)[:12] %}<tr><td>{{ size }}</td><td>{{ n }}</td></tr>{% endfor %}</table>
</html>
"""
)
