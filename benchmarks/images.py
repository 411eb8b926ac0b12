"""Many made images, quickly: some are drawn, the others are drawn ones with changed pixels; all differ, all are labelled."""

import io
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pipelines.drawing import Drawing, DrawingSettings, draw

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
LABEL_LENGTH = 6
CHANGED = 64  # pixels of a copy, beside the one that holds its number


@dataclass(frozen=True)
class Made:
    """What is made: `count` PNG files, of which up to `drawn` are drawn; `compress` is PNG's effort, 0 to 9."""

    count: int
    width: int = 200
    height: int = 100
    drawn: int = 2000
    seed: int = 0
    compress: int = 6  # as drawn ones have: copies cost a decoder the same

    @property
    def name(self) -> str:
        return f"{self.count}-{self.width}x{self.height}-{self.drawn}-{self.compress}-seed{self.seed}"


def label(number: int) -> str:
    """The label of image `number`: distinct for all numbers below 36 ** 6, and not in their order."""
    rest, characters = number * 1_234_567_891 % len(ALPHABET) ** LABEL_LENGTH, []  # coprime to 36: a permutation
    for _ in range(LABEL_LENGTH):
        rest, digit = divmod(rest, len(ALPHABET))
        characters.append(ALPHABET[digit])
    return "".join(characters)


def image(made: Made, number: int) -> bytes:
    """The PNG of image `number`: a function of (made, number) alone."""
    if number < made.drawn:
        return _drawn(made, number, label(number))
    pixels = _base(made, number % made.drawn).copy()
    rng = np.random.default_rng((made.seed, number))
    rows, columns = rng.integers(0, made.height, CHANGED), rng.integers(0, made.width, CHANGED)
    pixels[rows, columns] ^= 1
    pixels[0, 0] = tuple((number // made.drawn).to_bytes(3, "big"))  # so that no two copies can be equal
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=made.compress)
    return buffer.getvalue()


@contextmanager
def made_images(made: Made, keep: bool) -> Iterator[Path]:
    """A flat folder with the images of `made`, below the temporary directory; deleted in the end unless `keep`."""
    folder = Path(tempfile.gettempdir()) / f"glyphmill-bench-{made.name}"
    try:
        if not folder.is_dir():
            _write_all(made, folder)
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def link(images: Path, folder: Path, numbers: Iterable[int]) -> Path:
    """Hard links of these numbers of `images` in `folder`, which is made where it is missing."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        os.link(images / f"{label(number)}.png", folder / f"{label(number)}.png")
    return folder


def _write_all(made: Made, folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    tasks = [(made, partial, start) for start in range(0, made.count, 500)]
    try:
        with multiprocessing.Pool() as pool, tqdm(total=made.count, desc="make images", disable=None) as bar:
            for written in pool.imap_unordered(_write, tasks):
                bar.update(written)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(task: tuple[Made, Path, int]) -> int:
    made, folder, start = task
    numbers = range(start, min(start + 500, made.count))
    for number in numbers:
        (folder / f"{label(number)}.png").write_bytes(image(made, number))
    return len(numbers)


@lru_cache(maxsize=4096)
def _base(made: Made, number: int) -> np.ndarray:
    with Image.open(io.BytesIO(_drawn(made, number, label(number)))) as drawn:
        return np.asarray(drawn.convert("RGB"))


def _drawn(made: Made, number: int, text: str) -> bytes:
    settings = DrawingSettings(count=made.drawn, size=(made.width, made.height), seed=made.seed, flat=True)
    return draw(settings, Drawing(number, f"{text}.png", text))
