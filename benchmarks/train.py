"""Every preset and a peer on the same images, split and cores, each for the same time, one after another; each an MLflow run.

make bench-train                      # 600 s each, some 80 minutes a dataset; the result: build/bench/train.json
make bench-train BUDGET=60 DATASETS=text5 SYSTEMS="default fast fast-plate-ocr"
make bench-train DATASETS=made ARGS="--count 6000 --seed 1"
What was measured of other datasets and systems stays in the result, each row with its budget, seed and count.

Datasets: text5 and digits4 from the zips in --data; made, 12,000 drawn images of 62 characters, 4 to 6 a label; captcha36,
150,000 drawn of A-Z and 0-9, 4 a label, 192x64. Each system ingests them as its own preset in conf/ingest/ has it, with the
same split of rows, which --seed decides, and TensorFlow computes with oneDNN for each, as `model` has it. The time is that of
training and validation, from the first step on. It may be passed by one validation; the published presets may end before, by
their own early stopping. exact match and CER are those of the test split. images/s is the
median of the epochs (fast-plate-ocr's with its validation). Inference is without preprocessing: ms/image in batches of 128
through TensorFlow, ms alone of single images through onnxruntime on one core, where a dataset's networks take turns (not
fast-plate-ocr's: in its own export is an operation, Erfc, that onnxruntime lacks). fast-plate-ocr's schedule goes by epochs: as
many as its first ones, timed apart, promise to fit. The runs are in the experiment glyphmill-bench of the MLflow store, as
`make ui` shows it; the networks stay in build/bench/networks/.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks import train_data
from benchmarks.measure import machine, versions
from benchmarks.readings import Read, cores, random_images, readings
from benchmarks.rounds import NotRunError, about
from benchmarks.tables import bar, bar_lines, number, table, write_result
from benchmarks.train_peers.run import reported
from model.metrics import Scores
from pipelines.errors import DataError
from pipelines.manifest import Dataset

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/train.json"
NETWORKS = ROOT / "build/bench/networks"
BENCH_PYTHON = str(ROOT / ".venv-bench/bin/python")
PACKAGES = ("numpy", "tensorflow", "keras", "mlflow", "fast-plate-ocr")
EXPERIMENT = "glyphmill-bench"
DATASETS = (*train_data.ZIPS, *train_data.MADE)
PUBLISHED = ("multihead_rgb", "letter_cnn", "multihead_gray", "deep_multihead", "crnn_ctc")
OURS, FAST, PEER = "default", "fast", "fast-plate-ocr"
SYSTEMS = (OURS, FAST, *PUBLISHED, PEER)
CURVED, FROM_SECOND = "captcha36", 600
TOGETHER = 30  # seconds by which trainings of one budget end apart: their last validations are of one moment
LAST_EPOCH = 10_000
SINGLE = 500  # images of each network
Row = dict[str, Any]
Curve = Sequence[Sequence[float]]  # seconds of training and validation, and the exact match in validation then


class Place(NamedTuple):
    """Where a system finds a dataset's images, where it may write, and where one of ours leaves its ONNX file."""

    images: Path
    work: Path
    network: Path


def main() -> None:
    args = _arguments()
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT}/mlruns/mlflow.db")
    rows = _measured(args)
    NETWORKS.mkdir(parents=True, exist_ok=True)
    for name in args.datasets:
        with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as scratch:
            work = Path(scratch)
            images = train_data.images_of(name, args.data, args.count, args.seed, work / "images")
            for system in args.systems:
                about_it = {"contender": f"{name}: {system}", "dataset": name, "system": system}
                rows.append(about_it | _options(args) | {"failure": None})
                try:
                    rows[-1] |= measure(system, Place(images, work / system, _network(name, system)), args)
                except NotRunError as error:
                    rows[-1]["failure"] = str(error)
                print(f"{name}: {system}: {_told(rows[-1])}", file=sys.stderr, flush=True)
                _write(rows, args)
        ours = [row for row in rows if row["dataset"] == name and row["system"] != PEER and not row["failure"]]
        for row, ms in zip(ours, single_ms(ours), strict=True):
            row["single_ms"] = ms
    result = _write(rows, args)
    notes = [*about(result), f"written to {RESULT.relative_to(ROOT)}"]
    rows.sort(key=lambda row: (DATASETS.index(row["dataset"]), SYSTEMS.index(row["system"])))
    print("\n".join([table([cells(row) for row in rows]), "", *bar_lines(result["bars"]), "", *notes]))


def _measured(args: argparse.Namespace) -> list[Row]:
    """The rows of earlier runs, but for those that are measured now."""
    if not RESULT.is_file():
        return []
    found = json.loads(RESULT.read_text(encoding="utf-8"))
    return [row for row in found["rows"] if row["dataset"] not in args.datasets or row["system"] not in args.systems]


def _options(args: argparse.Namespace) -> Row:
    return {"budget_s": args.budget, "seed": args.seed, "count": args.count}


def _write(rows: Sequence[Row], args: argparse.Namespace) -> Row:
    found = {"default": versions(sys.executable, PACKAGES), "bench": versions(BENCH_PYTHON, PACKAGES)}
    result = {"machine": machine(), "versions": found, "rows": list(rows), "bars": bars(rows)}
    write_result(RESULT, result)
    return result


def measure(system: str, place: Place, args: argparse.Namespace) -> Row:
    """What a system came to. Raises NotRunError."""
    place.work.mkdir()
    try:
        dataset = train_data.ingested(place.images, OURS if system == PEER else system, place.work / "shards", args.seed)
    except DataError as error:
        raise NotRunError(str(error)) from None
    count = dataset.manifest.accounting
    if count.rejected:  # it would be judged on other rows than the others
        raise NotRunError(f"{count.rejected} of {count.listed} images are none for it: {next(iter(count.examples.values()))}")
    shown = {split: dataset.manifest.splits[split] for split in ("train", "val", "test")}
    about_it = {"rows": shown, "image": [*dataset.manifest.image_shape]}
    return about_it | (_peer(dataset, place, args) if system == PEER else _ours(system, dataset, place, args))


def single_ms(rows: Sequence[Row]) -> list[float]:
    """The median ms of a single image on one core through onnxruntime, by row; their networks take turns."""
    with cores(1):
        found = readings({row["contender"]: _reader(row) for row in rows}, SINGLE)
    return [median(found[row["contender"]]) for row in rows]


def _reader(row: Row) -> Read:
    from model.runtimes import open_onnx

    read, image = open_onnx(_network(row["dataset"], row["system"]), threads=1), random_images((1, *row["image"]))
    return lambda: read(image)


def _network(dataset: str, system: str) -> Path:
    return NETWORKS / f"{dataset}-{system}.onnx"


def _ours(preset: str, dataset: Dataset, place: Place, args: argparse.Namespace) -> Row:
    config = ROOT / f"conf/train/{preset}.yaml"
    options: dict[str, object] = {
        "dataset": dataset.location.uri,
        "config": config,
        "output": place.work / "run",
        "experiment": EXPERIMENT,
        "onnx": place.network,
    }
    if preset in (OURS, FAST):  # whose schedule ends with the time
        options["set"] = f"train.patience={LAST_EPOCH}"
    return reported(sys.executable, "ours", [*options.items(), *_limits(args)])


def _peer(dataset: Dataset, place: Place, args: argparse.Namespace) -> Row:
    folder = train_data.write_annotations(dataset, place.images, place.work / "annotations")
    places = [("input", folder), ("output", place.work / "run")]
    found = reported(BENCH_PYTHON, "fast_plate_ocr", [*places, *_limits(args)])
    scores = Scores.of(found.pop("texts"), train_data.labels_of(dataset, "test").values())
    found |= {"exact_match": scores.exact_match, "cer": scores.cer}
    return found | {"run_id": _logged(found, dataset, args)}


def _limits(args: argparse.Namespace) -> list[tuple[str, object]]:
    return [("minutes", args.budget / 60), ("seed", args.seed)]


def _logged(found: Row, dataset: Dataset, args: argparse.Namespace) -> str:
    """An MLflow run beside those of our own trainings, with the metrics' names that they have; returns its id."""
    import mlflow

    from model import tracking

    tracking.connect()
    mlflow.set_experiment(EXPERIMENT)
    names = {
        "exact_match": "test_exact_match",
        "cer": "test_cer",
        "ms_per_image": "test_ms_per_image",
        "images_per_s": "images_per_second",
    }
    with mlflow.start_run(run_name=PEER) as begun:
        mlflow.set_tags({"preset": PEER, "dataset": dataset.manifest.fingerprint})
        mlflow.log_params({"budget_s": args.budget, "seed": args.seed, "epochs": found["epochs"], "weights": found["weights"]})
        mlflow.log_metrics({names.get(name, name): value for name, value in found.items() if isinstance(value, float)})
    return begun.info.run_id


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """By dataset: how far ahead of the best other system `default` is, what `fast` loses to it, and its share of the time.

    The first is measured only where all others ran that can read such labels. Rows with other options than those of `default`
    do not count. Of captcha36 also how far ahead `default` stays of all others, `fast` too, in what was validated as they
    were trained (fast-plate-ocr tells no such scores).
    """
    found: dict[str, Any] = {}
    options = {row["dataset"]: _asked(row) for row in rows if row["system"] == OURS}
    for name in dict.fromkeys(row["dataset"] for row in rows):
        same = [row for row in rows if row["dataset"] == name and _asked(row) == options.get(name)]
        exact, ms = ({row["system"]: row.get(key) for row in same} for key in ("exact_match", "single_ms"))
        others = [exact.get(system) for system in (*PUBLISHED, PEER) if system != "letter_cnn"]
        ours, fast = exact.get(OURS), exact.get(FAST)
        ahead = None if ours is None or None in others else ours - max(others)  # type: ignore[type-var,operator]
        lost = None if ours is None or fast is None else ours - fast
        share = ms[FAST] / ms[OURS] if ms.get(OURS) and ms.get(FAST) else None  # type: ignore[operator]
        found |= {
            f"{name}_default_ahead": bar(ahead, 0.0),
            f"{name}_fast_loses": bar(lost, 0.01, least=False),
            f"{name}_fast_time_share": bar(share, 0.333, least=False),
        }
        if name == CURVED:
            found[f"{name}_default_curve_ahead"] = bar(_ahead_of_curves({row["system"]: row.get("curve") for row in same}), 0.0)
    return found


def _ahead_of_curves(curves: Mapping[str, Curve | None]) -> float | None:
    """The least by which `default` is ahead in exact match at its validations from FROM_SECOND on; None where it had none.

    Of each other one the last validation until then counts, and those that are TOGETHER with it.
    """
    others = [curve for system, curve in curves.items() if curve and system != OURS]
    moments = [moment for moment in curves.get(OURS) or () if moment[0] >= FROM_SECOND]
    leads = [exact - other[-1][1] for second, exact in moments for curve in others if (other := _until(curve, second))]
    return min(leads, default=None)


def _until(curve: Curve, second: float) -> Curve:
    return [moment for moment in curve if moment[0] <= second + TOGETHER]


def _asked(row: Row) -> tuple:
    return tuple(row.get(name) for name in ("budget_s", "seed", "count"))


def cells(row: Row) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "dataset": row["dataset"],
        "system": row["system"],
        "budget s": number(row.get("budget_s")),
        "exact match": number(row.get("exact_match"), 4) if "exact_match" in row else "not run",
        "CER": number(row.get("cer"), 4),
        "weights": number(row.get("weights")),
        "images/s": number(row.get("images_per_s")),
        "ms/image": number(row.get("ms_per_image"), 2),
        "ms alone": number(row.get("single_ms"), 2),
        "epochs": number(row.get("epochs")),
        "seconds": number(row.get("seconds")),
    }


def _told(row: Row) -> str:
    return row["failure"] or f"exact match {row['exact_match']:.4f} after {row['seconds']:.0f} s"


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--budget", type=float, default=600, metavar="S", help="seconds for each training (default 600)")
    options.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS, metavar="NAME", help=" ".join(DATASETS))
    options.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="NAME", help=" ".join(SYSTEMS))
    options.add_argument("--data", type=Path, default=ROOT / "../shared/data", metavar="DIR", help="folder of the zips")
    options.add_argument("--count", type=int, default=0, help="images of a made dataset (default: as many as it has)")
    options.add_argument("--seed", type=int, default=0, help="of trainings, splits and made images")
    args = options.parse_args()
    missing = [name for name in args.datasets if name in train_data.ZIPS and not (args.data / train_data.ZIPS[name]).is_file()]
    if missing:
        names = ", ".join(train_data.ZIPS[name] for name in missing)
        made = " ".join(train_data.MADE)
        options.error(f"no {names} in {args.data}; name their folder with --data, or take --datasets {made}")
    return args


if __name__ == "__main__":
    main()
