"""Runs a program of this package, or of another one of peers, in its environment, as a process of its own."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import run
from benchmarks.rounds import NotRunError
from jobs.entry import ALLOCATOR

ROOT = Path(__file__).resolve().parents[2]


def reported(
    python: str,
    program: str,
    options: Iterable[tuple[str, object]],
    package: str = "train_peers",
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The line of JSON that the program ends with; `environment` adds to this one. Raises NotRunError."""
    words = [word for name, value in options for word in (f"--{name}", str(value))]
    variables = {"PYTHONPATH": str(ROOT), **ALLOCATOR, **(environment or {})}
    try:
        ran = run([python, "-m", f"benchmarks.{package}.{program}", *words], ROOT, variables)
    except FileNotFoundError as error:
        raise NotRunError(str(error)) from None
    if ran.code:
        raise NotRunError(ran.failure)
    return json.loads(ran.output.splitlines()[-1])
