"""What the side-by-side benchmarks share: options, contenders that take turns, and where all that was measured."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


class Named(Protocol):
    """A contender."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)


class NotRunError(Exception):
    """A contender did not do its work; says why."""


def parser(doc: str | None, count: int) -> argparse.ArgumentParser:
    """The options of a benchmark on `count` made images; its help is the module's docstring."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--count", type=int, default=count, help=f"images (default {count})")
    made.add_argument("--seed", type=int, default=0, help="of the images")
    made.add_argument("--keep-images", action="store_true", help="leave the images in the temporary directory for the next run")
    return made


def add_turns(made: argparse.ArgumentParser) -> None:
    """The options of a benchmark whose contenders take turns."""
    made.add_argument("--rounds", type=int, default=3, help="rounds; an odd number has a median that was measured (default 3)")
    made.add_argument("--only", nargs="+", metavar="NAME", help="these contenders only")


def alternate(
    contenders: Sequence[C], rounds: int, run: Callable[[C], R], told: Callable[[R], str], failures: dict[str, str]
) -> dict[str, list[R]]:
    """Runs every contender once a round, in an order that turns round each time, and tells each result.

    One that raises NotRunError gets its reason in `failures`, and those that have one are not run.
    """
    runs: dict[str, list[R]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders[:: -1 if number % 2 else 1]:
            if contender.name in failures:
                continue
            try:
                runs[contender.name].append(run(contender))
            except NotRunError as error:
                failures[contender.name] = str(error)
            said = failures.get(contender.name) or told(runs[contender.name][-1])
            print(f"round {number + 1} of {rounds}: {contender.name}: {said}", file=sys.stderr, flush=True)
    return runs


def about(result: Mapping[str, Any]) -> list[str]:
    """Who was not run and why, the machine, and the versions of each environment: a line each."""
    failed = [f"not run: {row['contender']}: {row['failure']}" for row in result["rows"] if row["failure"]]
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items())
    found = [f"{env}: " + ", ".join(f"{k} {v}" for k, v in names.items()) for env, names in result["versions"].items()]
    return [*failed, f"machine: {machine}", *found]
