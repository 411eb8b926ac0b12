"""What the label doctor leaves for a person: all scores; the worst rows as a table, a gallery and a page; a list to edit."""

import base64
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from model.alignment import aligned
from model.doctor import Diagnosis, Finding, Suspect
from model.gallery import Cell, gallery
from pipelines.errors import DataError

SCORES, TABLE, GALLERY, PAGE, EXCLUDE = "scores.parquet", "suspects.csv", "gallery.png", "index.html", "exclude.txt"
IN_GALLERY = 48
SCHEMA = pa.schema(
    [
        (name, {"id": pa.int64(), "confidence": pa.float64(), "score": pa.float64()}.get(name, pa.string()))
        for name in Finding._fields
    ]
)


class ScoreTable:
    """The findings of every row as a Parquet file, written batch by batch."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator["ScoreTable"]:
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            yield cls(writer)

    def __call__(self, findings: Sequence[Finding]) -> None:
        self._writer.write_table(pa.Table.from_pylist([finding._asdict() for finding in findings], SCHEMA))


def new_folder(folder: Path) -> Path:
    """The folder for what the doctor writes. Raises DataError where there is a list in it that may have been edited."""
    if (folder / EXCLUDE).exists():
        raise DataError(f"{folder / EXCLUDE}: there is a list already, which may have been edited; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_diagnosis(folder: Path, diagnosis: Diagnosis, source: str, exclude: int) -> None:
    """Writes the table, the gallery, the page and the list; its first `exclude` suspects are excluded, the others a proposal.

    `source` tells which rows were judged by which model.
    """
    suspects = diagnosis.suspects
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["rank", *Finding._fields])
        table.writerows([rank, *suspect.finding] for rank, suspect in enumerate(suspects, start=1))
    shown = [
        Cell(s.image, s.finding.label, s.finding.text, f"{rank}: {s.finding.kind}, {s.finding.score:.1f}")
        for rank, s in _ranked(suspects)
    ]
    (folder / GALLERY).write_bytes(gallery(shown[:IN_GALLERY], f"the {len(shown[:IN_GALLERY])} most suspect labels"))
    rows = [_page_row(rank, suspect) for rank, suspect in _ranked(suspects)]
    (folder / PAGE).write_text(_PAGE.render(diagnosis=diagnosis, rows=rows, source=source), encoding="utf-8")
    (folder / EXCLUDE).write_text(
        "\n".join(exclude_lines([s.finding for s in suspects], source, exclude)) + "\n", encoding="utf-8"
    )


def exclude_lines(findings: Iterable[Finding], source: str, exclude: int) -> Iterator[str]:
    """A list for the ingest's --exclude: what each row is as a comment, then its path, a comment too from `exclude` on."""
    yield f"# {source}"
    yield "# Take the mark # away before the path of a row that is to be left out, then: jobs/ingest.py --exclude THIS_FILE"
    for place, finding in enumerate(findings):
        yield f"# label {finding.label!r}, read {finding.text!r}: {told(finding)}"
        yield ("" if place < exclude else "# ") + entry(finding)


def entry(finding: Finding) -> str:
    """How a list names a row: by its path, or by its id where the path is not plain text."""
    path = finding.path
    plain = path.isprintable() and "\\" not in path and path == path.strip() and not path.startswith("#")
    return path if plain else str(finding.id)


def told(finding: Finding) -> str:
    """A few words on a finding."""
    return f"{finding.kind}, {finding.confidence:.1%} sure, score {finding.score:.1f}"


def _ranked(suspects: Sequence[Suspect]) -> Iterable[tuple[int, Suspect]]:
    return enumerate(suspects, start=1)


def _page_row(rank: int, suspect: Suspect) -> dict[str, Any]:
    finding = suspect.finding
    pairs = aligned(finding.label, finding.text)
    return {
        "rank": rank,
        "finding": finding,
        "entry": entry(finding),
        "image": base64.b64encode(_png(suspect.image)).decode(),
        "label": [(theirs, theirs == ours) for theirs, ours in pairs],
        "text": [(ours, theirs == ours) for theirs, ours in pairs],
    }


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


_PAGE = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Suspect labels</title>
<style>
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; margin: 0; background: #f3f5f7; color: #1f2933 }
main { max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.7rem; margin: .5rem 0 } .soft { color: #5f6c78; font-size: .87rem }
.card { background: #fff; border: 1px solid #dde3e8; border-radius: 8px; padding: .8rem 1rem; margin: 1rem 0; overflow: auto }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid #e4e8ec; padding: .3rem .8rem .3rem 0; text-align: left; white-space: nowrap }
tr:last-child > td { border-bottom: 0 } td.path { white-space: normal; overflow-wrap: anywhere; font-size: .87rem }
.number { text-align: right; font-variant-numeric: tabular-nums }
.word { font: 1.1rem "DejaVu Sans Mono", monospace; white-space: pre } .bad { color: #b3261e; background: #f9ddd3 }
textarea { width: 100%; min-height: 8rem; box-sizing: border-box; font: .87rem monospace }
img { height: 3.2rem; display: block }
</style></head><body><main>
{% macro word(letters) %}
<span class="word">
{%- for c, right in letters %}<span class="{{ "right" if right else "bad" }}">{{ c or " " }}</span>{% endfor -%}
</span>
{% endmacro %}
<h1>Suspect labels</h1>
<div class="card">{{ source }}<br><span class="soft">{{ "{:,}".format(diagnosis.rows) }} rows:
{% for kind, n in diagnosis.kinds.items() %}{{ "{:,}".format(n) }} {{ kind }}{{ ", " if not loop.last }}{% endfor %}.
The score is the log of how many times more probable the text is than the label; "unreadable": the model is not sure of its
own text either. The model may be wrong: look before you leave anything out.</span></div>
<div class="card"><table>
<tr><th>leave out</th><th class="number">rank</th><th>image</th><th>label</th><th>read</th><th class="number">sure</th>
<th class="number">score</th><th>kind</th><th>split</th><th>path</th></tr>
{% for row in rows %}{% set found = row.finding %}
<tr><td><input type="checkbox" value="{{ row.entry }}" aria-label="leave out {{ row.entry }}"></td>
<td class="number">{{ row.rank }}</td><td><img alt="" src="data:image/png;base64,{{ row.image }}"></td>
<td>{{ word(row.label) }}</td><td>{{ word(row.text) }}</td>
<td class="number">{{ "%.1f%%"|format(100 * found.confidence) }}</td><td class="number">{{ "%.1f"|format(found.score) }}</td>
<td>{{ found.kind }}</td><td>{{ found.split }}</td><td class="path">{{ found.path }}</td></tr>
{% else %}<tr><td colspan="10">none: the model reads what every label says</td></tr>
{% endfor %}</table></div>
<div class="card"><b>The rows that you marked</b>, for a file that <code>jobs/ingest.py --exclude FILE</code> takes:
<textarea readonly></textarea></div>
<script>
const boxes = [...document.querySelectorAll("input")], list = document.querySelector("textarea");
boxes.forEach(box => box.addEventListener("change", () => {
  list.value = boxes.filter(b => b.checked).map(b => b.value + "\\n").join("");
}));
</script>
</main></body></html>
"""
)
