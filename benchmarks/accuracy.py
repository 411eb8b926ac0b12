"""What our recognisers read of images that neither training nor tuning has seen: the bars of accuracy, part by part.

make bench-accuracy                             # all parts, some three and a half hours; the result: build/bench/accuracy.json
make bench-accuracy PARTS="text5 letters"       # these; what was measured of other parts stays in the result
make bench-accuracy PARTS=letters ARGS="--minutes 0.5 --runs 1"

text5       five folds: judged on one, trained on the others, of which a tenth validates; 5 minutes each
text5-made  the same folds, each trained on from the same 5 minutes on made images of 36 characters: 10 minutes a fold
text5-200   trained on 200 of the images, of which 30 validate, and judged on all others; first 10 minutes on made images of
            36 characters, then 5 minutes on these; three choices of the 200
digits4     three splits by the shares of the ingest, 10 minutes
digits4-20  the first of them, 20 minutes
letters     single characters of A-Z and 0-9, 60,000 drawn: 45,000 of all of them (a twentieth validates, a twelfth judges) and
            15,000 of 0 and O alone, which are hard to tell apart and are seen twice an epoch; 10 minutes, three seeds, each
            with its own drawing, of which none took part in the choice of settings; `fast` as LETTERS changes it
captcha36   4 characters of A-Z and 0-9, 192x64, 250,000 drawn, 20 minutes, once

Each training is that of `make train` with train.minutes and the preset `default` unless another is named: time for drawing and
ingesting is not in it. Exact match and CER are the means of a part's trainings, over the test split with the weights that
validated best.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import string
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from benchmarks import train_data
from benchmarks.measure import machine, versions
from benchmarks.rounds import NotRunError, about
from benchmarks.tables import bar, bar_lines, number, table, write_result
from benchmarks.train_peers.run import reported
from pipelines.config import IngestSettings
from pipelines.drawing import DrawingSettings
from pipelines.ingest import ingest
from pipelines.pool import PoolRunner
from pipelines.settings import read

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/accuracy.json"
PACKAGES = ("numpy", "tensorflow", "keras", "captcha")
APART = ("text5", "text5-made", "digits4", "letters")  # parts whose runs are judged on different rows
# Of one position, a little wider, with averaged weights; turned and shifted only: shear and zoom hide what tells 0 from O.
LETTERS = (
    "network.head=positions",
    "network.stem=full",
    "network.widths=[16,32,64]",
    "network.units=96",
    "network.dropout=0.1",
    "augment.rotate=4",
    "augment.shift=0.03",
    "augment.shear=0",
    "augment.zoom=0",
    "train.batch_size=64",  # in batches of 32 two cores train 0.65 times as many images/s
    "train.learning_rate=5.5e-3",
    "train.ema=0.999",
)
ALL_LETTERS, HARD_LETTERS, HARD_WEIGHT = 45_000, 15_000, 2.0
HARD_SEEDS = 1000  # these and up: an image's noise follows from seed and number, so the same seed would draw test images again
FIRST_UNSEEN = 200  # the seed of the first drawing of letters: settings were chosen on drawings below
Row = dict[str, Any]


class Trial(NamedTuple):
    """One training: its dataset, which judges, the minutes, settings beside those of the preset, what else is trained on.

    `weight` and those of `others` say how often a row is seen in an epoch.
    """

    dataset: str
    minutes: float
    settings: Sequence[str] = ()
    weight: float = 1.0
    preset: str = "default"
    others: Sequence[tuple[str, float]] = ()


class Place(NamedTuple):
    """Where a part finds the zips, where it may write, and the number of its runs."""

    data: Path
    work: Path
    runs: int


class Part(NamedTuple):
    """What is tried, in how many runs, and the exact match that their mean is to reach."""

    trials: Callable[[Place], Iterator[Trial]]
    runs: int
    bar: float


def main() -> None:
    args = _arguments()
    os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{ROOT}/mlruns/mlflow.db")
    rows = [row for row in _measured() if row["part"] not in args.parts]
    for name in args.parts:
        with tempfile.TemporaryDirectory(prefix="glyphmill-bench-") as work:
            part = PARTS[name]
            place = Place(args.data, Path(work), args.runs or part.runs)
            for run, trial in enumerate(part.trials(place)):
                rows.append({"contender": f"{name} {run}", "part": name, "run": run, "failure": None})
                rows[-1] |= _trained(trial, Path(work) / f"run-{run}", args.minutes or trial.minutes, run)
                print(f"{name}, run {run}: {_told(rows[-1])}", file=sys.stderr, flush=True)
                _write(rows)
    result = _write(rows)
    shown = [cells(name, [row for row in rows if row["part"] == name]) for name in PARTS]
    print("\n".join([table([row for row in shown if row]), "", *bar_lines(result["bars"]), "", *about(result)]))


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The mean exact match of each part's runs; not measured where one failed."""
    found = {}
    for name, part in PARTS.items():
        runs = [row for row in rows if row["part"] == name]
        whole = runs and not any(row["failure"] for row in runs)
        mean = fmean(row["exact_match"] for row in runs) if whole else None
        found[f"{name}_exact_match"] = bar(mean, part.bar, digits=4)
    return found


def cells(name: str, rows: Sequence[Row]) -> dict[str, str]:
    """A part's line of the printed table; empty where nothing was measured."""
    done = [row for row in rows if not row["failure"]]
    if not done:
        return {}
    exact = [row["exact_match"] for row in done]
    return {
        "part": name,
        "runs": number(len(done)),
        "minutes": number(fmean(row["seconds"] for row in done) / 60, 1),
        "train": number(done[0]["rows"]["train"]),
        "test": number(sum(row["rows"]["test"] for row in done) if name in APART else done[0]["rows"]["test"]),
        "exact match": number(fmean(exact), 4),
        "lowest": number(min(exact), 4),
        "CER": number(fmean(row["cer"] for row in done), 4),
        "images/s": number(fmean(row["images_per_s"] for row in done)),
    }


def _text5(place: Place) -> Iterator[Trial]:
    images = train_data.images_of("text5", place.data, 0, 0, place.work / "images")
    order = ranked(images)
    for fold in range(place.runs):
        learned = [path for number, path in enumerate(order) if number % 5 != fold]
        yield Trial(split_by_hand(images, place.work / f"shards-{fold}", learned, len(learned) // 10), 5)


def _text5_made(place: Place) -> Iterator[Trial]:
    first = _first_on_made(place, 5)
    yield from (trial._replace(settings=first) for trial in _text5(place))


def _text5_200(place: Place) -> Iterator[Trial]:
    first = _first_on_made(place, 10)
    images = train_data.images_of("text5", place.data, 0, 0, place.work / "images")
    for choice in range(place.runs):
        learned = random.Random(choice).sample(ranked(images), 200)
        yield Trial(split_by_hand(images, place.work / f"shards-{choice}", learned, 30), 5, first)


def _first_on_made(place: Place, minutes: float) -> Sequence[str]:
    """The setting by which a training goes on from one of `minutes` on made images like those of text5."""
    made = {"count": 20_000, "alphabet": string.digits + string.ascii_lowercase, "length": (5, 5), "size": (200, 50)}
    drawn = _drawn(place, DrawingSettings(**made, seed=1), ("split.train=0.95", "split.val=0.04", "split.test=0.01"))
    return [f"train.init_from={_reported(Trial(drawn, minutes), place.work / 'made', minutes, 0)['model_uri']}"]


def _digits4(place: Place) -> Iterator[Trial]:
    images = train_data.images_of("digits4", place.data, 0, 0, place.work / "images")
    for run in range(place.runs):
        yield Trial(train_data.ingested(images, "default", place.work / f"shards-{run}", run).location.path, 10)


def _digits4_20(place: Place) -> Iterator[Trial]:
    yield from (trial._replace(minutes=20) for trial in _digits4(place))


def _letters(place: Place) -> Iterator[Trial]:
    size = ("image.height=75", "image.width=50")
    made = {"length": (1, 1), "size": (50, 75)}
    for run in range(place.runs):
        seed, work = FIRST_UNSEEN + run, place.work / f"drawn-{run}"
        every = DrawingSettings(**made, count=ALL_LETTERS, alphabet=train_data.CAPITALS, seed=seed)
        hard = DrawingSettings(**made, count=HARD_LETTERS, alphabet="0O", seed=HARD_SEEDS + seed)
        splits = ("split.train=0.867", "split.val=0.05", "split.test=0.083")
        shards = _drawn(place._replace(work=work / "all"), every, (*size, *splits))
        more = _drawn(place._replace(work=work / "hard"), hard, (*size, "split.train=1", "split.val=0", "split.test=0"))
        yield Trial(shards, 10, LETTERS, preset="fast", others=[(more, HARD_WEIGHT)])


def _captcha36(place: Place) -> Iterator[Trial]:
    drawing = train_data.MADE["captcha36"].model_copy(update={"count": 250_000})
    size = ("image.height=64", "image.width=192")
    shards = _drawn(place, drawing, (*size, "split.train=0.98", "split.val=0.01", "split.test=0.01"))
    for _ in range(place.runs):
        yield Trial(shards, 20, weight=0.1)  # each row once in ten epochs: a validation every 24,500 images


PARTS = {
    "text5": Part(_text5, 5, 0.97),
    "text5-made": Part(_text5_made, 5, 0.99),
    "text5-200": Part(_text5_200, 3, 0.95),
    "digits4": Part(_digits4, 3, 0.99),
    "digits4-20": Part(_digits4_20, 1, 0.995),
    "letters": Part(_letters, 3, 0.995),
    "captcha36": Part(_captcha36, 1, 0.90),
}


def ranked(images: Path) -> list[str]:
    """The relative paths of all images, in an order that their bytes decide."""
    files = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in images.rglob("*.png")}
    return [str(files[digest].relative_to(images)) for digest in sorted(files)]


def split_by_hand(images: Path, shards: Path, learned: Sequence[str], validated: int) -> str:
    """Ingests `images`: the first `validated` paths of `learned` are the val split, its others train, and the rest test."""
    splits = {path: "val" if number < validated else "train" for number, path in enumerate(learned)}
    file = shards.with_suffix(".csv")
    with file.open("w", encoding="utf-8", newline="") as text:
        lines = csv.writer(text)
        lines.writerow(["path", "label", "split"])
        lines.writerows([path, Path(path).name.partition(".")[0], splits.get(path, "test")] for path in ranked(images))
    columns = [f"file={file}", "image=path", "label=label", "split=split", "folder=", "extension="]
    return _ingested(images, shards, [*(f"label.table.{column}" for column in columns), "split.by=table"])


def _drawn(place: Place, drawing: DrawingSettings, settings: Sequence[str]) -> str:
    images = train_data.drawn(drawing, place.work / "drawn")
    return _ingested(images, place.work / "made-shards", settings)


def _ingested(images: Path, shards: Path, settings: Sequence[str]) -> str:
    rules = read(IngestSettings, ROOT / "conf/ingest/default.yaml", settings)
    return ingest(str(images), str(shards), rules, PoolRunner).dataset.location.path


def _trained(trial: Trial, output: Path, minutes: float, seed: int) -> Row:
    try:
        return _reported(trial, output, minutes, seed)
    except NotRunError as error:
        return {"failure": str(error)}


def _reported(trial: Trial, output: Path, minutes: float, seed: int) -> Row:
    config = ROOT / f"conf/train/{trial.preset}.yaml"
    shown = [(trial.dataset, trial.weight), *trial.others]
    data = [option for place, weight in shown for option in (("dataset", place), ("weight", weight))]
    places = {"config": config, "output": output}
    settings = [("set", setting) for setting in (*trial.settings, "train.patience=10000")]
    limits = {"minutes": minutes, "seed": seed, "experiment": "glyphmill-bench"}
    return reported(sys.executable, "ours", [*data, *places.items(), *limits.items(), *settings])


def _measured() -> list[Row]:
    """The rows of an earlier run of this benchmark."""
    return json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.is_file() else []


def _write(rows: Sequence[Row]) -> Row:
    found = {"machine": machine(), "versions": {"default": versions(sys.executable, PACKAGES)}}
    result = {"rows": list(rows), "bars": bars(rows), **found}
    write_result(RESULT, result)
    return result


def _told(row: Row) -> str:
    return row["failure"] or f"exact match {row['exact_match']:.4f} after {row['seconds']:.0f} s"


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=" ".join(PARTS))
    options.add_argument("--data", type=Path, default=ROOT / "../shared/data", metavar="DIR", help="folder of the zips")
    options.add_argument("--minutes", type=float, metavar="M", help="of each training, instead of the part's own")
    options.add_argument("--runs", type=int, metavar="N", help="of each part, instead of its own number")
    return options.parse_args()


if __name__ == "__main__":
    main()
