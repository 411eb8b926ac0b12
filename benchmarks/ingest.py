"""The ingest beside the bare limit and its peers, on the same made images, alternating, each in a process of its own.

make bench-ingest                      # 20,000 images of 200x100, three rounds; the result: build/bench/ingest.json
make bench-ingest COUNT=100000 ARGS="--keep-images"
make bench-ingest COUNT=2000 ROUNDS=1 ARGS="--only 'this job' 'bare limit'"

Seconds are those of the work, from the listing to the last file, without the start of a session; CPU seconds are those of
the same span, over all processes. Memory is the largest seen of one process (MiB resident); MB is what stands in the
output folder in the end. A ratio compares medians of images/s; "x limit" is to the bare limit, "ours x" how many times
faster this job is.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import (
    BENCH_PYTHON,
    CONTENDERS,
    DEFAULT,
    LIMIT,
    OURS,
    ROOT,
    Contender,
    Measured,
    run_once,
)
from benchmarks.images import Made, link, made_images
from benchmarks.measure import machine, versions
from benchmarks.rounds import about, add_turns, alternate, parser
from benchmarks.tables import bar, bar_lines, number, table, write_result

RESULT = ROOT / "build/bench/ingest.json"
PACKAGES = ("numpy", "pandas", "pillow", "kornia-rs", "pyarrow", "pyspark", "tensorflow", "petastorm", "datasets")
BARS_OF = 100_000
FEW = "the start of the first tasks, some 1.5 s on Spark, weighs more on fewer"
Row = dict[str, Any]


def main() -> None:
    args = _arguments()
    made = Made(args.count, seed=args.seed)
    chosen = [contender for contender in CONTENDERS if not args.only or contender.name in args.only]
    with made_images(made, args.keep_images) as images, tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        sample = _sample(images, Path(work), made, min(made.count, args.slow_count or max(200, made.count // 20)))
        inputs, output = {False: (images, made.count), True: sample}, Path(work) / "output"
        failures: dict[str, str] = {}
        runs = alternate(chosen, args.rounds, lambda one: run_once(one, *inputs[one.slow], output), _told, failures)
    rows = summaries(chosen, runs, failures)
    result = {
        "images": made.name,
        "rounds": args.rounds,
        "machine": machine(),
        "versions": {"default": versions(sys.executable, PACKAGES), "bench": versions(BENCH_PYTHON, PACKAGES)},
        "rows": rows,
        "bars": bars(rows),
    }
    write_result(RESULT, result)
    notes = [*_of_many(result), *about(result), f"written to {RESULT.relative_to(ROOT)}"]
    print("\n".join([table([cells(row) for row in rows]), "", *bar_lines(result["bars"]), "", *notes]))


def summaries(chosen: Sequence[Contender], runs: Mapping[str, Sequence[Measured]], failures: Mapping[str, str]) -> list[Row]:
    """A row for each contender: medians over its runs, ratios to others, or why it was not run."""
    speeds = {name: [m.images / m.seconds for m in found] for name, found in runs.items() if found}
    rows = []
    for contender in chosen:
        row: Row = {"contender": contender.name, "ours": contender.ours, "peer": contender.peer}
        row |= {name: getattr(contender, name) for name in ("verifies", "deduplicates", "accounts")}
        row["failure"] = failures.get(contender.name)
        if contender.name in speeds:
            own = speeds[contender.name]
            row |= {"images": runs[contender.name][0].images, "images_per_s": median(own), "range": [min(own), max(own)]}
            row |= {"to_limit": _ratio(own, speeds.get(LIMIT)), "ours_to_this": _ratio(speeds.get(OURS), own)}
            row |= _costs(runs[contender.name])
        rows.append(row)
    return rows


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The bars of the ingest. "Fastest of all peers" is measured only where all peers were."""
    found = {row["contender"]: row for row in rows if row.get("images_per_s")}
    peers = [found[c.name]["ours_to_this"] for c in CONTENDERS if c.peer and c.name in found]
    all_ran = OURS in found and len(peers) == sum(c.peer for c in CONTENDERS)
    to_limit = found.get(OURS, {}).get("to_limit")
    return {
        "ratio_to_bare_limit": bar(to_limit, 0.85),
        "ratio_to_default_binaryFile": bar(found.get(DEFAULT, {}).get("ours_to_this"), 10),
        "fastest_of_all_peers": bar(min(peers) if all_ran else None, 1.0),
        "beyond_bare_limit": bar(to_limit, 1.0),
    }


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    word = {True: "yes", False: "no"}
    kinds = row.get("mib", {})
    return {
        "contender": row["contender"],
        "images": f"{row['images']:,}" if "images" in row else "not run",
        "images/s": number(row.get("images_per_s")),
        "min-max": "-".join(number(speed) for speed in row.get("range", [None])),
        "x limit": number(row.get("to_limit"), 2),
        "ours x": number(row.get("ours_to_this"), 2),
        "CPU s/1000": number(row.get("cpu_s_per_1000"), 2),
        "driver MiB": number(kinds.get("driver") or None),
        "JVM MiB": number(kinds.get("jvm") or None),
        "worker MiB": number(kinds.get("worker") or None),
        "MB": number(row.get("mb_written"), 1),
    } | {name: word[row[name]] for name in ("verifies", "deduplicates", "accounts")}


def _told(found: Measured) -> str:
    return f"{found.images / found.seconds:,.0f} images/s in {found.seconds:.1f} s"


def _sample(images: Path, work: Path, made: Made, count: int) -> tuple[Path, int]:
    """Hard links of `count` images, spread evenly over the drawn ones and the copies."""
    return link(images, work / "sample", (index * made.count // count for index in range(count))), count


def _costs(found: Sequence[Measured]) -> Row:
    return {
        "seconds": median(m.seconds for m in found),
        "cpu_s_per_1000": median(1000 * m.cpu / m.images for m in found),
        "mb_written": median(m.bytes for m in found) / 1e6,
        "mib": {kind: max(m.mib[kind] for m in found) for kind in found[0].mib},
    }


def _ratio(speeds: Sequence[float] | None, others: Sequence[float] | None) -> float | None:
    return median(speeds) / median(others) if speeds and others else None


def _of_many(result: Mapping[str, Any]) -> list[str]:
    measured = result["rows"][0].get("images", BARS_OF)
    return [f"the bars are those of {BARS_OF:,} images: {FEW}"] if measured < BARS_OF else []


def _arguments() -> argparse.Namespace:
    options = parser(__doc__, 20_000)
    add_turns(options)
    options.add_argument(
        "--slow-count", type=int, help="images for contenders under 200 images/s (default a twentieth, at least 200)"
    )
    return options.parse_args()


if __name__ == "__main__":
    main()
