"""Time and memory of the ingest on very many small files in ONE flat folder, and of adding 1,000 files to a tenth of them.

make bench-ingest-million                    # 1,000,000 PNG of 64x24; the result: build/bench/ingest_million.json
make bench-ingest-million COUNT=20000

Three runs of `spark-submit jobs/ingest.py` with Spark's default memory: on a tenth of the files, on all, and with `--append`
on the tenth and 1,000 more. Seconds are without the start of the session. Driver MiB are the Python driver and the JVM
together at one moment, worker MiB the largest Python worker, both resident. The bars are those of a million files.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.contenders import CONTENDERS, ENVIRONMENT, OURS, ROOT, manifest_of
from benchmarks.images import Made, link, made_images
from benchmarks.rounds import parser
from benchmarks.tables import bar, bar_lines, table, write_result

RESULT = ROOT / "build/bench/ingest_million.json"
MORE = 1000
Row = dict[str, Any]


def main() -> None:
    args = parser(__doc__, 1_000_000).parse_args()
    made = Made(args.count, width=64, height=24, seed=args.seed, compress=1)
    with made_images(made, args.keep_images) as images, tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
        rows = _runs(made, images, Path(work))
    versions = measure.versions(sys.executable, ("pyspark", "pyarrow", "pillow", "kornia-rs"))
    facts: dict[str, Row] = {"machine": measure.machine(), "versions": versions}
    reached = bars(rows)
    write_result(RESULT, {"images": made.name, "rows": rows, "bars": reached, **facts})
    about = [", ".join(f"{name} {value}" for name, value in found.items()) for found in facts.values()]
    print("\n".join([table([_cells(row) for row in rows]), "", *bar_lines(reached), "", *about]))
    print(f"written to {RESULT.relative_to(ROOT)}")


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The bars from the rows of a tenth, of all, and of the append."""
    tenth, every, append = rows
    growth = (every["seconds"] / every["files"]) / (tenth["seconds"] / tenth["files"])
    return {
        "time_to_ten_times_a_tenth": bar(growth, 1.2, least=False),
        "driver_mib": bar(every["driver_mib"], 2048, least=False),
        "worker_mib": bar(every["worker_mib"], 1024, least=False),
        "append_seconds": bar(append["seconds"], 15, least=False),
    }


def _runs(made: Made, images: Path, work: Path) -> list[Row]:
    tenth, more = made.count // 10, min(MORE, made.count - made.count // 10)
    few = link(images, work / "tenth", range(tenth))
    rows = [_run("a tenth", few, work / "shards-tenth", tenth), _run("all", images, work / "shards", made.count)]
    link(images, few, range(tenth, tenth + more))
    return [*rows, _run(f"append {more:,}", few, work / "shards-tenth", tenth + more, "--append")]


def _run(name: str, images: Path, output: Path, count: int, *options: str) -> Row:
    """One run of the job; raises RuntimeError where it fails or its dataset has not `count` rows."""
    print(f"{name}: {count:,} files ...", flush=True)
    job = next(contender for contender in CONTENDERS if contender.name == OURS)
    ran = measure.run([*job.command, "--input", str(images), "--output", str(output), *options], ROOT, ENVIRONMENT)
    if ran.code:
        raise RuntimeError(f"{name}: {ran.failure}")
    manifest, published = manifest_of(output)
    if (rows := sum(manifest["splits"].values())) != count:
        raise RuntimeError(f"{name}: {rows} rows of {count} images")
    seconds = manifest["seconds"]
    return {
        "run": name,
        "files": count,
        "seconds": seconds,
        "wall_seconds": round(ran.seconds, 1),
        "cpu_seconds": round(ran.watch.cpu_between(published - seconds, published), 1),
        "driver_mib": round(ran.watch.drivers / measure.MIB),
        "driver_python_mib": round(ran.watch.largest["driver"] / measure.MIB),
        "jvm_mib": round(ran.watch.largest["jvm"] / measure.MIB),
        "worker_mib": round(ran.watch.largest["worker"] / measure.MIB),
        "mb_written": round(measure.size_of(output) / 1e6, 1),
    }


def _cells(row: Row) -> dict[str, str]:
    return {
        "run": row["run"],
        "files": f"{row['files']:,}",
        "seconds": f"{row['seconds']:.1f}",
        "with start": f"{row['wall_seconds']:.1f}",
        "CPU s": f"{row['cpu_seconds']:.1f}",
        "driver + JVM MiB": f"{row['driver_mib']} (at most {row['driver_python_mib']} + {row['jvm_mib']})",
        "worker MiB": f"{row['worker_mib']}",
        "MB": f"{row['mb_written']:.1f}",
    }


if __name__ == "__main__":
    main()
