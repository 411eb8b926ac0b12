"""The images of bench-train: folders of a zip each, and made ones; ingested for each system, split alike."""

import csv
import multiprocessing
import string
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.config import IngestSettings
from pipelines.drawing import DrawingSettings, draw, plan
from pipelines.ingest import ingest
from pipelines.manifest import Dataset
from pipelines.pool import PoolRunner
from pipelines.settings import read
from pipelines.split import SPLITS

ROOT = Path(__file__).resolve().parents[1]
ZIPS = {"text5": "text5-200x50.zip", "digits4": "digits4-240x80.zip"}
CAPITALS, ALL = string.digits + string.ascii_uppercase, string.digits + string.ascii_letters
MADE = {
    "made": DrawingSettings(count=12_000, alphabet=ALL, length=(4, 6), size=(200, 100), flat=True),
    "captcha36": DrawingSettings(count=150_000, alphabet=CAPITALS, length=(4, 4), size=(192, 64)),
}
# Every preset's own shares would give each system other rows; where a label stands is the same for all of them, too.
SAME = ("split.train=0.7", "split.val=0.1", "split.test=0.2", "label.table=null", "label.source=name")


def images_of(name: str, data: Path, count: int, seed: int, folder: Path) -> Path:
    """The folder with the images of a dataset: unpacked from a zip in `data`, or `count` made (0: as many as it has).

    Raises FileNotFoundError.
    """
    if name in ZIPS:
        with zipfile.ZipFile(data / ZIPS[name]) as archive:
            archive.extractall(folder)
        return folder
    return drawn(MADE[name].model_copy(update={"seed": seed} | ({"count": count} if count else {})), folder)


def drawn(settings: DrawingSettings, folder: Path) -> Path:
    """The new folder, with all that `settings` ask for."""
    for name in {Path(drawing.path).parent for drawing in _planned(settings)}:
        (folder / name).mkdir(parents=True)
    with multiprocessing.Pool() as pool:
        tasks = [(settings, folder, part) for part in range(multiprocessing.cpu_count())]
        pool.map(_draw, tasks)
    return folder


def ingested(images: Path, preset: str, output: Path, seed: int) -> Dataset:
    """The images as the ingest preset of a system has them; each `seed` splits them in another way."""
    config = ROOT / f"conf/ingest/{preset}.yaml"
    if not config.is_file():
        config = ROOT / "conf/ingest/default.yaml"
    settings = read(IngestSettings, config, (*SAME, f"split.salt=bench-{seed}"))
    return ingest(str(images), str(output), settings, PoolRunner).dataset


def labels_of(dataset: Dataset, split: str) -> dict[str, str]:
    """The label of each row of a split, by path, in the order of paths."""
    rows: dict[str, str] = {}
    for shard in dataset.manifest.shards_of(split):
        table = pq.read_table(dataset.location.join(shard.path).path, columns=["path", "label"])
        rows |= zip(table["path"].to_pylist(), table["label"].to_pylist(), strict=True)
    return dict(sorted(rows.items()))


def write_annotations(dataset: Dataset, images: Path, folder: Path) -> Path:
    """A folder with the images and train.csv, val.csv and test.csv (image_path, plate_text) of the dataset's splits."""
    folder.mkdir()
    (folder / "images").symlink_to(images)
    for split in SPLITS:
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image_path", "plate_text"])
            table.writerows([f"images/{path}", label] for path, label in labels_of(dataset, split).items())
    return folder


def _draw(task: tuple[DrawingSettings, Path, int]) -> None:
    settings, folder, part = task
    drawings: Sequence = _planned(settings)[part :: multiprocessing.cpu_count()]
    for drawing in drawings:
        (folder / drawing.path).write_bytes(draw(settings, drawing))


@lru_cache(maxsize=1)
def _planned(settings: DrawingSettings) -> list:
    return plan(settings)
