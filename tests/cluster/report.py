"""What a run came to, as a table for people and as JSON: written at its end, also where it failed on the way."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.cluster.images import Built
    from tests.cluster.road import Road


class Fault(NamedTuple):
    """What befell the cluster, what became of it, and the seconds from the fault to work going on, or to its end."""

    name: str
    what: str
    seconds: float


@dataclass
class Report:
    """Filled while the parts run."""

    images: list["Built"] = field(default_factory=list)
    road: "Road | None" = None
    faults: list[Fault] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """The tables, as Markdown."""
        images = [(built.name, f"{built.size / 1e9:.2f}", f"{built.bar}", str(built.commands)) for built in self.images]
        road = [(name, str(value)) for name, value in self.road._asdict().items()] if self.road else []
        faults = [(fault.name, fault.what, f"{fault.seconds:.0f}") for fault in self.faults]
        seconds = [(name, f"{value:.0f}") for name, value in self.seconds.items()]
        return "\n".join(
            [
                *_table(("image", "GB unpacked", "bar", "commands run"), images),
                *_table(("road", "result"), road),
                *_table(("fault", "what happened", "seconds of recovery"), faults),
                *_table(("step", "seconds"), seconds),
            ]
        )

    def numbers(self) -> dict[str, Any]:
        images = [built._asdict() for built in self.images]
        road, faults = self.road._asdict() if self.road else None, [fault._asdict() for fault in self.faults]
        return {"images": images, "road": road, "faults": faults, "seconds": self.seconds}

    @contextmanager
    def written(self, folder: Path) -> Iterator[None]:
        """Writes report.json and report.md at the end of the block, however it ends."""
        try:
            yield
        finally:
            (folder / "report.json").write_text(json.dumps(self.numbers(), indent=1) + "\n", encoding="utf-8")
            (folder / "report.md").write_text(self.text() + "\n", encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table and an empty line; nothing where there are no rows."""
    if not rows:
        return []
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines), ""]
