"""Our default preset beside OCR packages on the same unseen images, one at a time on one core, in one run.

make bench-predict                     # digits4 and text5, ours trained for 5 minutes each; writes build/bench/predict.json
make bench-predict ARGS="--minutes 1 --datasets text5 --rows 50"

Ours is trained on the train split of each dataset in this run. The packages come with models for any text, and get what
helps them: their own preprocessing, one thread, the alphabet where they have an option for it; what they read is folded to
the alphabet's case where it has one, and characters that are not in it are left out. ms is the median, from the bytes of the
file to the text. The packages' models are those inside them; nothing is downloaded, and one that tries is not run. rapidocr
looking for text on a page, seconds an image, reads the first 50 rows only.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import train_data
from benchmarks.measure import machine, versions
from benchmarks.rounds import NotRunError, about
from benchmarks.tables import bar, bar_lines, number, table, write_result
from benchmarks.train_peers.run import reported
from model.metrics import Scores
from pipelines.manifest import Dataset

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/predict.json"
BENCH_PYTHON = str(ROOT / ".venv-bench/bin/python")
PACKAGES = ("numpy", "pillow", "onnxruntime", "tensorflow", "ddddocr", "rapidocr")
OURS = "default"
UNREACHABLE = "http://127.0.0.1:9"  # the proxy of programs that must not download
Row = dict[str, Any]


class Peer(NamedTuple):
    """A program of predict_peers, which of its models it is to take, and how many rows it reads at most."""

    name: str
    program: str
    model: str
    most: int | None = None


PEERS = (
    Peer("ddddocr", "ddddocr", "default"),
    Peer("ddddocr, beta", "ddddocr", "beta"),
    Peer("rapidocr, a line", "rapidocr", "line"),
    Peer("rapidocr, a page", "rapidocr", "page", most=50),  # seconds an image
)


class Rows(NamedTuple):
    """The test rows of a dataset: a file with the paths of the images, their labels, and the dataset's alphabet."""

    listing: Path
    labels: list[str]
    alphabet: str


def main() -> None:
    args = _arguments()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as scratch:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        for name in args.datasets:
            rows += compared(name, args, Path(scratch) / name)
    found = {"default": versions(sys.executable, PACKAGES), "bench": versions(BENCH_PYTHON, PACKAGES)}
    result = {"minutes": args.minutes, "machine": machine(), "versions": found, "rows": rows, "bars": bars(rows)}
    write_result(RESULT, result)
    notes = [f"ours trained for {args.minutes:g} min", *about(result), f"written to {RESULT.relative_to(ROOT)}"]
    print("\n".join([table(list(map(cells, rows))), "", *bar_lines(result["bars"]), "", *notes]))


def compared(name: str, args: argparse.Namespace, work: Path) -> list[Row]:
    """Every reader on the test rows of a dataset; ours is trained first."""
    images = train_data.images_of(name, args.data, 0, 0, work / "images")
    dataset = train_data.ingested(images, OURS, work / "shards")
    rows: list[Row] = []
    for peer in (Peer(OURS, "ours", str(work / "bundle")), *PEERS):
        rows.append({"contender": f"{name}: {peer.name}", "dataset": name, "system": peer.name, "failure": None})
        test = rows_of(dataset, images, least(args.rows, peer.most), work / "test.json")
        try:
            if peer.name == OURS:
                rows[-1] |= trained(dataset, work, args.minutes)
            rows[-1] |= measure(peer, test)
        except NotRunError as error:
            rows[-1]["failure"] = str(error)
        print(f"{name}: {peer.name}: {_told(rows[-1])}", file=sys.stderr, flush=True)
    return rows


def least(*bounds: int | None) -> int | None:
    """The smallest of the bounds that are given; None where none is."""
    return min((bound for bound in bounds if bound is not None), default=None)


def rows_of(dataset: Dataset, images: Path, most: int | None, listing: Path) -> Rows:
    """The first `most` test rows (None: all), by path; writes their listing."""
    labels = dict(list(train_data.labels_of(dataset, "test").items())[:most])
    listing.write_text(json.dumps([str(images / path) for path in labels]), encoding="utf-8")
    return Rows(listing, list(labels.values()), dataset.manifest.alphabet)


def trained(dataset: Dataset, work: Path, minutes: float) -> Row:
    """Trains our preset and puts its bundle in place. Raises NotRunError."""
    options: dict[str, object] = {
        "dataset": dataset.location.uri,
        "config": ROOT / f"conf/train/{OURS}.yaml",
        "output": work / "run",
        "experiment": f"bench-predict-{work.name}",
        "minutes": minutes,
        "seed": 0,
        "set": "train.patience=10000",  # its schedule ends with the time
    }
    found = reported(sys.executable, "ours", options.items())

    from model import tracking

    with tracking.bundle_of(found["model_uri"]) as folder:
        shutil.copytree(folder, work / "bundle")
    return {"seconds": found["seconds"], "epochs": found["epochs"]}


def measure(peer: Peer, test: Rows) -> Row:
    """What a reader reads of the test rows. Raises NotRunError."""
    python = sys.executable if peer.program == "ours" else BENCH_PYTHON
    options = [("input", test.listing), ("alphabet", test.alphabet), ("model", peer.model)]
    offline = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), UNREACHABLE)
    found = reported(python, peer.program, options, "predict_peers", offline)
    scores = Scores.of([fitted(text, test.alphabet) for text in found["texts"]], test.labels)
    return {
        "rows": scores.rows,
        "exact_match": scores.exact_match,
        "cer": scores.cer,
        "ms_per_image": found["ms_per_image"],
    }


def fitted(text: str, alphabet: str) -> str:
    """The text in the alphabet's case, where that has only one, without characters that are not in it."""
    upper, lower = alphabet != alphabet.lower(), alphabet != alphabet.upper()
    if upper != lower:
        text = text.upper() if upper else text.lower()
    return "".join(character for character in text if character in alphabet)


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """By dataset: how far ahead of the best package ours is in exact match, and its share of the fastest one's time."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(row["dataset"] for row in rows):
        of = {row["system"]: row for row in rows if row["dataset"] == name and not row["failure"]}
        peers, ours = [row for system, row in of.items() if system != OURS], of.get(OURS)
        whole = ours is not None and peers
        ahead = ours["exact_match"] - max(row["exact_match"] for row in peers) if whole else None  # type: ignore[index]
        share = ours["ms_per_image"] / min(row["ms_per_image"] for row in peers) if whole else None  # type: ignore[index]
        found |= {f"{name}_ahead": passed(ahead, 0.0), f"{name}_time_share": passed(share, 1.0, least=False)}
    return found


def passed(value: float | None, bound: float, least: bool = True) -> dict[str, Any]:
    """A bar that a tie does not pass."""
    found = bar(value, bound, least, digits=4)
    return found | {"holds": found["holds"] and value != bound}


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "dataset": row["dataset"],
        "system": row["system"],
        "rows": number(row.get("rows")),
        "exact match": number(row.get("exact_match"), 4) if "exact_match" in row else "not run",
        "CER": number(row.get("cer"), 4),
        "ms/image": number(row.get("ms_per_image"), 2),
    }


def _told(row: Row) -> str:
    return row["failure"] or f"exact match {row['exact_match']:.4f}, {row['ms_per_image']:.2f} ms an image"


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=5.0, help="of each training of ours (default 5)")
    names = tuple(train_data.ZIPS)
    options.add_argument("--datasets", nargs="+", choices=names, default=names, metavar="NAME", help=" ".join(names))
    options.add_argument("--data", type=Path, default=ROOT / "../shared/data", metavar="DIR", help="folder of the zips")
    options.add_argument("--rows", type=int, metavar="N", help="of the test split at most (default: all)")
    args = options.parse_args()
    missing = [train_data.ZIPS[name] for name in args.datasets if not (args.data / train_data.ZIPS[name]).is_file()]
    if missing:
        options.error(f"no {', '.join(missing)} in {args.data}; name their folder with --data")
    return args


if __name__ == "__main__":
    main()
