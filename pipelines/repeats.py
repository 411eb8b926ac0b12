"""Files with the same bytes: which row stays, which go and why, and what stands in two splits. Pure, for all runners."""

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.rejects import Reason
from pipelines.split import SPLITS

EXAMPLES = 5
NAMED = 10  # labels that a conflict names: half a million copies of one blank image may have as many


class Copy(NamedTuple):
    """One of the files that share their bytes.

    A kept one is a row of an older version, which never changes. One that is kept but not written was rejected as a conflict
    then: it only lends its label.
    """

    kept: bool
    split: str
    path: str
    label: str
    group: int
    id: int
    written: bool = True


class Repeat(NamedTuple):
    """A row that must go: its bytes stand in another row too, with the same label or with another."""

    group: int
    id: int
    reason: str
    detail: str


def verdicts(copies: Sequence[Copy], respected: bool) -> list[Repeat]:
    """The rows to drop among the files that share one content, by path; `respected`: their splits were given.

    One row of each content stays: a kept one, else (where splits are respected) one in test before val before train, so that
    a leak is taken out of the training side, else the first path. Where labels differ and no row is kept, none can be believed.
    """
    copies = sorted(copies, key=attrgetter("path", "id"))
    labels = sorted({copy.label for copy in copies})
    new = [copy for copy in copies if not copy.kept]
    stays = [copy for copy in copies if copy.kept and copy.written]
    if not stays and len(labels) == 1:
        stays = sorted(new, key=lambda copy: -SPLITS.index(copy.split) if respected else 0)[:1]
    first = {copy.label: copy for copy in reversed(stays)}
    more = [f"{len(labels) - NAMED} more"] if len(labels) > NAMED else []
    conflict = f"the same bytes are labelled {' and '.join(labels[:NAMED] + more)}"
    return [_verdict(copy, first.get(copy.label), conflict) for copy in new if copy not in stays]


def leaks(groups: Iterable[Sequence[Copy]]) -> list[dict[str, Any]]:
    """What stands on two sides of a respected split: one line for each pair of splits that share bytes.

    `groups` are files of the same bytes. `images` counts distinct contents, `rows` the files that hold them.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for copies in groups:
        sides = {split: sorted(copy.path for copy in copies if copy.split == split) for split in SPLITS}
        for a, b in combinations((split for split in SPLITS if sides[split]), 2):
            leak = found.setdefault((a, b), {"splits": [a, b], "images": 0, "rows": 0, "examples": []})
            leak["images"] += 1
            leak["rows"] += len(sides[a]) + len(sides[b])
            leak["examples"] = sorted([*leak["examples"], f"{sides[a][0]} ({a}) = {sides[b][0]} ({b})"])[:EXAMPLES]
    return [found[pair] for pair in combinations(SPLITS, 2) if pair in found]


def added_leaks(before: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an older version told of leaks and what came with the new files, together: one line for each pair of splits."""
    found = {tuple(leak["splits"]): leak for leak in before}
    for leak in new:
        old = found.get(tuple(leak["splits"]), {"images": 0, "rows": 0, "examples": []})
        sums = {name: old[name] + leak[name] for name in ("images", "rows")}
        found[tuple(leak["splits"])] = leak | sums | {"examples": sorted([*old["examples"], *leak["examples"]])[:EXAMPLES]}
    return [found[pair] for pair in combinations(SPLITS, 2) if pair in found]


def repeated_in(table: pa.Table) -> list[list[Copy]]:
    """The files whose bytes stand in more than one row, together, in the order of their digests and paths.

    `table` has the columns sha256 and those of Copy; rows without a digest are passed over.
    """
    count = table.group_by("sha256").aggregate([([], "count_all")])
    twice = count.filter(pc.greater(count["count_all"], 1))["sha256"].drop_null()
    rows = table.filter(pc.is_in(table["sha256"], value_set=twice.combine_chunks()))
    rows = rows.sort_by([("sha256", "ascending"), ("path", "ascending")])
    copies = map(Copy._make, zip(*(rows[name].to_pylist() for name in Copy._fields), strict=True))
    digests = zip(rows["sha256"].to_pylist(), copies, strict=True)
    return [[copy for _, copy in same] for _, same in groupby(digests, key=lambda pair: pair[0])]


def shared_labels(table: pa.Table) -> list[dict[str, Any]]:
    """Labels that stand in two splits: one line for each pair of splits that share some.

    `table` has the columns label and split. `labels` counts distinct labels, `rows` the rows that hold them.
    """
    counts = table.select(["label", "split"]).group_by(["label", "split"]).aggregate([([], "count_all")])
    sides = {split: counts.filter(pc.equal(counts["split"], split)) for split in SPLITS}
    found = []
    for a, b in combinations(SPLITS, 2):
        both = [_within(sides[a], sides[b]), _within(sides[b], sides[a])]
        if labels := both[0].num_rows:
            rows = sum(pc.sum(side["count_all"]).as_py() for side in both)
            examples = both[0].sort_by("label")["label"][:EXAMPLES].to_pylist()
            found.append({"splits": [a, b], "labels": labels, "rows": rows, "examples": examples})
    return found


def _verdict(copy: Copy, stays: Copy | None, conflict: str) -> Repeat:
    if stays:
        return Repeat(copy.group, copy.id, Reason.DUPLICATE.value, f"the same bytes as {stays.path}")
    return Repeat(copy.group, copy.id, Reason.CONFLICTING_LABEL.value, conflict)


def _within(side: pa.Table, other: pa.Table) -> pa.Table:
    labels = other["label"].drop_null()
    return side.filter(pc.is_in(side["label"], value_set=labels.combine_chunks()))
