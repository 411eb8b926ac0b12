"""Runs side by side: what they scored, what that took, which settings differ, and which one to use. Without MLflow."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.tracking import Facts

APART = ("data.", "tracking.", "devices.")  # settings of what a run is, which the table tells otherwise, or not of it at all
SHOWN = 8  # changed settings of a run that the terminal shows
LETTERS = 8  # of ids


@dataclass(frozen=True)
class Row:
    """A run as the table shows it; numbers that it has not logged are None. `changed` are settings that differ between rows."""

    run: str
    name: str
    status: str
    preset: str
    dataset: str
    data: str
    exact_match: float | None = None
    exact_match_low: float | None = None
    exact_match_high: float | None = None
    cer: float | None = None
    val_exact_match: float | None = None
    val_cer: float | None = None
    weights: float | None = None
    images_per_second: float | None = None
    ms_per_image: float | None = None
    minutes: float | None = None
    device: str = ""
    model: str = ""
    alias: str = ""
    error: str = ""
    best: bool = False
    changed: Mapping[str, str] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[float, float]:
        """On the test split: by exact match, then by character errors."""
        return _rank(self.exact_match, self.cer)

    @property
    def val_rank(self) -> tuple[float, float]:
        """The same on the val split."""
        return _rank(self.val_exact_match, self.val_cer)


def _rank(exact_match: float | None, cer: float | None) -> tuple[float, float]:
    return (-1.0, 0.0) if exact_match is None else (exact_match, -(cer or 0.0))


METRICS = {
    "exact_match": "test_exact_match",
    "exact_match_low": "test_exact_match_low",
    "exact_match_high": "test_exact_match_high",
    "cer": "test_cer",
    "val_exact_match": "best_val_exact_match",
    "val_cer": "best_val_cer",
    "weights": "weights",
    "images_per_second": "images_per_second",
    "ms_per_image": "test_ms_per_image",
    "minutes": "minutes_trained",
}


def rows_of(runs: Sequence["Facts"]) -> list[Row]:
    """A row for each run, in their order; the best of each dataset is marked."""
    changed = differing([run.params for run in runs])
    return marked([_row(run, settings) for run, settings in zip(runs, changed, strict=True)])


def _row(run: "Facts", changed: Mapping[str, str]) -> Row:
    numbers: dict[str, Any] = {name: run.metrics.get(metric) for name, metric in METRICS.items()}
    return Row(
        run=run.run_id,
        name=run.name,
        status=run.status.lower(),
        preset=run.tags.get("preset", ""),
        dataset=run.tags.get("dataset", ""),
        data=run.data,
        device=run.tags.get("device", ""),
        model=run.model,
        alias=run.alias,
        changed=changed,
        **numbers,
    )


def differing(settings: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Of each mapping the keys, in order, whose values are not the same in all, or that some lack."""
    keys = sorted({key for one in settings for key in one if not key.startswith(APART)})
    differ = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    return [{key: one[key] for key in differ if key in one} for one in settings]


def marked(rows: Sequence[Row], rank: Callable[[Row], Any] = attrgetter("rank")) -> list[Row]:
    """The same rows; where several of a dataset have a score, the best of them is marked (of equals the first)."""
    best = {rows.index(max(group, key=rank)) for group in by_dataset(rows).values() if len(group) > 1}
    return [replace(row, best=place in best) for place, row in enumerate(rows)]


def by_dataset(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows that have a score, by dataset."""
    groups = defaultdict(list)
    for row in rows:
        if row.exact_match is not None:
            groups[row.dataset].append(row)
    return dict(groups)


def text(rows: Sequence[Row], told: Sequence[str] = ()) -> str:
    """For the terminal: a table, the settings that differ, and which run to use; or what is `told` instead of that."""
    cells = [[_mark(row), *(tell(row) for tell in COLUMNS.values())] for row in rows]
    lines = _aligned([["", *COLUMNS], *cells])
    if any(row.changed for row in rows):
        lines += ["", "settings that differ:", *(f"  {_id(row)}  {_settings(row)}" for row in rows)]
    lines += ["", *(f"failed: {row.name}: {row.error}" for row in rows if row.error)] if any(row.error for row in rows) else []
    return "\n".join([*lines, "", *(told or advice(rows))])


def advice(rows: Sequence[Row]) -> list[str]:
    """Sentences on which run to use, for each dataset."""
    groups = by_dataset(rows)
    lines = [line for dataset, group in groups.items() for line in _advice(dataset, group)]
    if len(groups) > 1:
        lines.append(f"the runs are of {len(groups)} datasets: scores of one say nothing of those of another")
    return lines or ["no run has been judged on a test split yet"]


def _advice(dataset: str, group: Sequence[Row]) -> list[str]:
    best = max(group, key=lambda row: row.rank)
    where = f"dataset {dataset[:12]} ({best.data})"
    if len(group) == 1:
        return [f"{where}: only {_named(best)}, nothing to compare it with"]
    lines = [f"* best on {where}: {_named(best)}, exact match {best.exact_match:.4f}"]
    low = best.exact_match_low
    near = [row for row in group if row is not best and low is not None and (row.exact_match or 0.0) >= low]
    for row in near:
        lines.append(f"  {_named(row)} is within its 95% interval{_faster(row, best)}")
    return lines


def _faster(row: Row, best: Row) -> str:
    if not row.ms_per_image or not best.ms_per_image or row.ms_per_image > 0.8 * best.ms_per_image:
        return ""
    return f" and reads {best.ms_per_image / row.ms_per_image:.1f} times as fast"


def _named(row: Row) -> str:
    told = ", ".join(part for part in (f"models:/{row.model}" if row.model else "", row.alias) if part)
    return f"{_id(row)} ({told})" if told else _id(row)


def _id(row: Row) -> str:
    return row.run[:LETTERS] or "-" * LETTERS


def _mark(row: Row) -> str:
    return "*" if row.best else " "


def _settings(row: Row) -> str:
    told = [f"{key}={value}" for key, value in row.changed.items()]
    more = [f"and {len(told) - SHOWN} more (--format json)"] if len(told) > SHOWN else []
    return "  ".join([*told[:SHOWN], *more])


def _exact(row: Row) -> str:
    if row.exact_match is None:
        return row.status
    if row.exact_match_low is None or row.exact_match_high is None:
        return f"{row.exact_match:.4f}"
    return f"{row.exact_match:.4f} ({row.exact_match_low:.4f} to {row.exact_match_high:.4f})"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "run": _id,
    "preset": lambda row: row.preset,
    "dataset": lambda row: row.dataset[:LETTERS],
    "exact match (95%)": _exact,
    "val": lambda row: _number(row.val_exact_match, ".4f"),
    "CER": lambda row: _number(row.cer, ".4f"),
    "weights": lambda row: _number(row.weights, ",.0f"),
    "images/s": lambda row: _number(row.images_per_second, ",.0f"),
    "ms/image": lambda row: _number(row.ms_per_image, ".2f"),
    "minutes": lambda row: _number(row.minutes, ".1f"),
    "model": lambda row: f"{row.model} {row.alias}".strip(),
}
LEFT = {"", "run", "preset", "dataset", "exact match (95%)", "model"}  # columns of text


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    flush = [name in LEFT for name in table[0]]
    return [
        "  ".join(c.ljust(w) if left else c.rjust(w) for c, w, left in zip(row, widths, flush, strict=True)).rstrip()
        for row in table
    ]


def plain(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) for row in rows]


def to_json(rows: Sequence[Row], told: Sequence[str] = ()) -> str:
    """The rows, and which run to use or what is `told`."""
    return json.dumps({"runs": plain(rows), "advice": list(told or advice(rows))}, indent=1, ensure_ascii=False)


def to_csv(rows: Sequence[Row]) -> str:
    """With a column for each setting that differs."""
    settings = sorted({key for row in rows for key in row.changed})
    names = [one.name for one in fields(Row) if one.name != "changed"]
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([*names, *settings])
    for row in rows:
        table.writerow([*(getattr(row, name) for name in names), *(row.changed.get(key, "") for key in settings)])
    return out.getvalue()
