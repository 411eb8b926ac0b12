"""What a dataset of very many shards and files costs where nothing can be spread: planning an epoch, listing, repeats.

make bench-scale                              # 100,000 shards and 10,000,000 paths; the result: build/bench/scale.json
make bench-scale ARGS="--fraction 0.1"        # a tenth of both
make bench-scale ARGS="--parts epoch"         # some of the parts, which stand in their order

No images and no shards are made: a manifest names shards that are not there, and a filesystem in memory lists paths; what
reads them is the code that jobs run. Each part has a process of its own on one core. MiB are the most that was resident.

epoch:       the manifest opened; the plan of one worker of 64 for an epoch, as each makes its own; the plans of all
listing:     paths listed, hashed, sorted by id and planned, as the driver does before the first task
split:       the split of each file from its digest, and its facts written; the work of tasks, here all in one
repeats:     files with the same bytes found, and who stays, by the runner without Spark: all at once
repeats-250k: the same of 250,000 files, what one task of Spark is given
fingerprint: what the driver hashes before it publishes
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from benchmarks import measure
from benchmarks.contenders import ROOT
from benchmarks.tables import bar, bar_lines, table, write_result
from model import order
from model.reader import ShardReader
from pipelines.config import IngestSettings
from pipelines.facts import FACTS, read_parts
from pipelines.ingest import Facts, fingerprint
from pipelines.manifest import Accounting, Manifest, Part, Shard, open_dataset, publish
from pipelines.plan import plan, survey
from pipelines.pool import PoolRunner
from pipelines.rejects import Reason
from pipelines.repeats import verdicts
from pipelines.scan import path_text
from pipelines.storage import Location, locate

RESULT = ROOT / "build/bench/scale.json"
SHARDS, PATHS, WORKERS = 100_000, 10_000_000, 64
ROW_GROUPS = (1000, 1000, 1000, 500)  # of the train shard of 5,000 files
FILES, FOLDER = 5000, 10_000  # files of a group, and of a folder
WINDOW = 8192
ONE_TASK = 250_000
REPEATED = 100  # of so many files in the order of their names, one has the bytes of the one before
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
Row = dict[str, Any]


class Ran(NamedTuple):
    """The arguments of a part: where it may write, and how much there is to do."""

    work: Path
    shards: int
    paths: int


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--fraction", type=float, default=1.0, help="of the shards and paths (default 1)")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="those to measure (default: all)")
    made.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    made.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = made.parse_args()
    sizes = round(SHARDS * args.fraction), max(2 * FILES, round(PATHS * args.fraction))
    if args.part:
        print(json.dumps(_measured(args.part, Ran(args.work, *sizes))))
        return
    with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        rows = [_child(part, args.fraction, Path(work)) for part in args.parts]
    found: Row = {"machine": measure.machine(), "versions": measure.versions(sys.executable, ("pyarrow", "numpy", "pydantic"))}
    reached = bars({row["part"]: row for row in rows})
    write_result(RESULT, {"rows": rows, "bars": reached, "fraction": args.fraction, **found})
    about = [", ".join(f"{name} {value}" for name, value in facts.items()) for facts in found.values()]
    print("\n".join([table([_cells(row) for row in rows]), "", *bar_lines(reached), "", *about]))


def bars(rows: dict[str, Row]) -> dict[str, Any]:
    """The bars from the rows of all parts."""
    planned, serial = rows.get("epoch"), ("listing", "split", "repeats", "fingerprint")
    paths = max(rows[part]["mib"] for part in serial) if rows.keys() >= set(serial) else None
    return {
        "epoch_seconds": bar(planned["steps"]["plan"] if planned else None, 5, least=False),
        "epoch_mib": bar(planned["mib"] if planned else None, 1024, least=False),
        "paths_mib": bar(paths, 4096, least=False),
    }


def epoch(ran: Ran) -> Iterator[tuple[str, int]]:
    """Each part yields the name of a step when it has ended, and how many things there were."""
    location = locate(str(ran.work / "dataset"))
    if not location.exists():
        location.make()
        publish(location, _manifest(ran.shards))
        yield "made", ran.shards
    dataset = open_dataset(str(ran.work / "dataset"))
    yield "open", len(dataset.manifest.parts)
    sizes = tuple(ShardReader(dataset, "train").sizes)
    yield "row groups", len(sizes)
    key = (dataset.manifest.fingerprint, "train", 0)
    source = order.Source(sizes, key, sum(sizes))
    line = order.epoch_line([source], 0, key)
    order.epoch_plan(line, (*key, 0), window=WINDOW, worker=WORKERS - 1, workers=WORKERS)
    yield "plan", len(line)
    plans = (order.epoch_plan(line, (*key, 0), window=WINDOW, worker=n, workers=WORKERS) for n in range(WORKERS))
    _check("rows of all workers", sum(plan.rows for plan in plans), sum(sizes))
    yield f"plans of {WORKERS}", len(line)


def listing(ran: Ran) -> Iterator[tuple[str, int]]:
    root = Location(pafs.PyFileSystem(_Listed(ran.paths)), "images", "listed://images")
    found = survey(root, IngestSettings())
    yield "list", len(found)
    todo = plan(found, IngestSettings(), None)
    yield "plan", len(todo.rows)
    pq.write_table(todo.rows.select(["id", "path", "size", "mtime_ns"]), ran.work / "listing.parquet", row_group_size=FILES)
    yield "write", len(todo.rows)


def split(ran: Ran) -> Iterator[tuple[str, int]]:
    rule, counts = IngestSettings().split, Counter[str]()
    with pq.ParquetFile(ran.work / "listing.parquet") as planned:
        for number in range(planned.num_row_groups):
            files = planned.read_row_group(number).to_pylist()
            facts = [_fact(file, rule.of) for file in files]
            counts.update(fact["split"] for fact in facts)
            pq.write_table(pa.Table.from_pylist(facts, FACTS), _facts_file(ran.work, number), compression="zstd")
    yield "split", counts.total()
    if abs(counts["train"] / counts.total() - rule.train) > 0.01:
        raise RuntimeError(f"splits: {dict(counts)}")


def repeats(ran: Ran) -> Iterator[tuple[str, int]]:
    yield from _repeats(ran.work, ran.paths)


def repeats_of_one_task(ran: Ran) -> Iterator[tuple[str, int]]:
    yield from _repeats(ran.work, min(ONE_TASK, ran.paths))


def fingerprint_of_all(ran: Ran) -> Iterator[tuple[str, int]]:
    parts = [Part(path=name, bytes=0, sha256="") for _, name in _groups(ran.paths, "")]
    rows = read_parts(locate(str(ran.work)), parts, ["id", "sha256", "label", "reason"])
    yield "read", len(rows)
    fingerprint(IngestSettings(), rows.filter(pc.is_null(rows["reason"])).select(["id", "sha256", "label"]))
    yield "hash", len(rows)


PARTS: dict[str, Callable[[Ran], Iterator[tuple[str, int]]]] = {
    "epoch": epoch,
    "listing": listing,
    "split": split,
    "repeats": repeats,
    "repeats-250k": repeats_of_one_task,
    "fingerprint": fingerprint_of_all,
}


def _repeats(work: Path, paths: int) -> Iterator[tuple[str, int]]:
    found = PoolRunner(1).repeated(Facts(_groups(paths, f"{work}/"), (), paths))
    yield "find", paths
    reasons = Counter(repeat.reason for copies in found for repeat in verdicts(copies, respected=False))
    yield "judge", len(found)
    if paths % PATHS_BETWEEN == 0 and paths != ONE_TASK:  # a part of the listing lacks some of the copies
        expected = {Reason.DUPLICATE.value: paths // (2 * REPEATED), Reason.CONFLICTING_LABEL.value: paths // REPEATED}
        _check("repeats", dict(reasons), expected)


PATHS_BETWEEN = 2 * REPEATED


class _Listed(pafs.FileSystemHandler):
    """A filesystem of `count` files in folders of FOLDER, which can be listed and not be read."""

    def __init__(self, count: int) -> None:
        self._count = count

    def get_type_name(self) -> str:
        return "listed"

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return [pafs.FileInfo(path, pafs.FileType.Directory) for path in paths]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        root, _, folder = selector.base_dir.partition("/")
        if not folder:
            return [pafs.FileInfo(f"{root}/{i:06d}", pafs.FileType.Directory) for i in range(-(-self._count // FOLDER))]
        numbers = range(int(folder) * FOLDER, min(self._count, (int(folder) + 1) * FOLDER))
        kind = pafs.FileType.File
        return [pafs.FileInfo(f"{root}/{folder}/{_name(i)}", kind, size=9000 + i % 1000, mtime_ns=i) for i in numbers]

    def _refuse(self, *_: object) -> Any:
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = move = copy_file = _refuse
    open_input_stream = open_input_file = open_output_stream = open_append_stream = normalize_path = _refuse


def _name(number: int) -> str:
    """The file's label and number, such as 0003x.123.png; number 1 of 200 has the label of the one before."""
    same = number - 1 if number % PATHS_BETWEEN == 1 else number
    digits = "".join(ALPHABET[same // 36**place % 36] for place in reversed(range(5)))
    return f"{digits}.{number}.png"


def _fact(file: Row, split_of: Callable[[str, str], str]) -> Row:
    path = path_text(file["path"])
    label, number, _ = path.rpartition("/")[2].split(".")
    content = int(number) - (int(number) % REPEATED == 1)
    sha256 = hashlib.sha256(str(content).encode()).hexdigest()
    facts = {"sha256": sha256, "label": label, "split": split_of(sha256, label), "mode": "L", "format": "PNG"}
    return {**file, "path": path, "width": 200, "height": 100, **facts}


def _facts_file(work: Path, number: int) -> Path:
    return work / f"facts-{number:05d}.parquet"


def _groups(paths: int, folder: str) -> list[tuple[int, str]]:
    return [(number, f"{folder}{_facts_file(Path(), number)}") for number in range(-(-paths // FILES))]


def _manifest(shards: int) -> Manifest:
    digest = f"{0:064x}"
    rows = shards * sum(ROW_GROUPS)
    return Manifest(
        version=1,
        fingerprint=digest[:32],
        input="images",
        input_digest=digest,
        settings=IngestSettings().model_dump(mode="json"),
        alphabet=ALPHABET,
        image_shape=(64, 160, 1),
        splits={"train": rows, "val": 0, "test": 0},
        shards=tuple(
            Shard(
                path=f"train/part-{n:05d}-{n:012x}.parquet",
                bytes=9_000_000 + n,
                sha256=f"{n:064x}",
                split="train",
                row_groups=ROW_GROUPS,
            )
            for n in range(shards)
        ),
        files=tuple(
            Part(path=f"files/part-{n:05d}-{n:012x}.parquet", bytes=400_000, sha256=f"{n:064x}") for n in range(shards)
        ),
        accounting=Accounting(listed=rows, written=rows, rejected=0, duplicates=0, reasons={}, examples={}),
        statistics={"all": {"lengths": {"5": rows}}},
        petastorm=False,
        tools={},
        created="2026-01-01T00:00:00+00:00",
        seconds=0.0,
    )


def _measured(part: str, ran: Ran) -> Row:
    """Runs a part in this process."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    steps, things, began = {}, 0, time.process_time()
    for step, count in PARTS[part](ran):
        steps[step] = round(time.process_time() - began, 2)
        began, things = time.process_time(), max(things, count)
    return {"part": part, "things": things, "steps": steps, "mib": _most_resident()}


def _most_resident() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def _child(part: str, fraction: float, work: Path) -> Row:
    print(f"{part} ...", flush=True)
    command = [sys.executable, "-m", "benchmarks.scale", "--part", part, "--fraction", str(fraction), "--work", str(work)]
    if part == "epoch":  # makes the manifest in a process of its own
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _check(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise RuntimeError(f"{what}: {got}, expected {expected}")


def _cells(row: Row) -> dict[str, str]:
    return {
        "part": row["part"],
        "things": f"{row['things']:,}",
        "CPU seconds": ", ".join(f"{step} {seconds:.1f}" for step, seconds in row["steps"].items()),
        "MiB": f"{row['mib']:,}",
    }


if __name__ == "__main__":
    main()
