"""What a benchmark shows: a table, bars that hold or not, and the same as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def bar(value: float | None, bound: float, least: bool = True, digits: int = 3) -> dict[str, Any]:
    """A figure and the bar that it must reach (`least`) or must not pass; neither holds nor fails where it is None."""
    holds = None if value is None else (value >= bound if least else value <= bound)
    return {"value": value if value is None else round(value, digits), "bar": bound, "least": least, "holds": holds}


def bar_lines(bars: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line for each bar."""
    words = {True: "holds", False: "FAILS", None: "not measured"}
    lines = []
    for name, found in bars.items():
        relation = "at least" if found["least"] else "at most"
        shown = "-" if found["value"] is None else f"{found['value']:g}"
        lines.append(f"{name}: {shown}, bar {relation} {found['bar']:g}: {words[found['holds']]}")
    return lines


def number(value: float | None, digits: int = 0) -> str:
    """A cell: the number with commas, or a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table; its columns are the keys of the first row, padded to equal width."""
    names = list(rows[0])
    lines = [names, *([row[name] for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    padded = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes `result` as JSON, with the folder that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
