"""Made data: labelled text images drawn with the `captcha` package, the same bytes for the same seed anywhere."""

import random
import re
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

from captcha import image as captcha_image
from pydantic import Field, field_validator

from pipelines.settings import Settings

FOLDER_SIZE = 1000
FLAWS = ("empty", "truncated", "not_an_image", "duplicate")


class DrawingSettings(Settings):
    """What is drawn. `length` is the shortest and longest label, `size` width and height in pixels."""

    count: int = Field(ge=1)
    alphabet: str = Field(default=string.digits + string.ascii_lowercase, min_length=1)
    length: tuple[int, int] = (4, 6)
    size: tuple[int, int] = (200, 100)
    seed: int = 0
    flat: bool = False
    flaws: int = Field(default=0, ge=0)

    @field_validator("alphabet")
    @classmethod
    def _check_alphabet(cls, alphabet: str) -> str:
        if bad := sorted({c for c in alphabet if c in "/\\\0." or c.isspace() or alphabet.count(c) > 1}):
            raise ValueError(f"{''.join(bad)!r} stands twice or cannot stand in a file name")
        return alphabet

    @field_validator("length", mode="before")
    @classmethod
    def _parse_length(cls, value: object) -> object:
        return _pair(value, "-", "4-6")

    @field_validator("size", mode="before")
    @classmethod
    def _parse_size(cls, value: object) -> object:
        return _pair(value, "x", "200x100")

    @field_validator("length")
    @classmethod
    def _check_length(cls, length: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= length[0] <= length[1] <= 64:
            raise ValueError("expected a shortest and a longest length between 1 and 64, such as 4-6")
        return length

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(16 <= side <= 4096 for side in size):
            raise ValueError("expected width and height between 16 and 4096, such as 200x100")
        return size


class Drawing(NamedTuple):
    """One file to draw: its number, relative path and label; `flaw` is one of FLAWS, or empty for a good image."""

    number: int
    path: str
    label: str
    flaw: str = ""


def plan(settings: DrawingSettings) -> list[Drawing]:
    """All files to draw. A label that comes again gets a numbered suffix: `AB12.png`, `AB12.1.png`."""
    rng = random.Random(f"labels:{settings.seed}")
    seen = Counter[str]()
    drawings = []
    for index in range(settings.count):
        label = "".join(rng.choices(settings.alphabet, k=rng.randint(*settings.length)))
        drawings.append(Drawing(index, _folder(settings, index) + _name(label, seen), label))
    for flaw in range(settings.flaws):
        copied = drawings[rng.randrange(settings.count)]
        kind = FLAWS[flaw % len(FLAWS)]
        path = ("" if settings.flat else "flawed/") + _name(copied.label, seen)
        drawings.append(Drawing(copied.number, path, copied.label, kind))
    return drawings


def draw(settings: DrawingSettings, drawing: Drawing) -> bytes:
    """The bytes of one file, PNG unless flawed: a function of (settings.seed, drawing) alone."""
    if drawing.flaw == "empty":
        return b""
    if drawing.flaw == "not_an_image":
        return b"This is a text, whatever its name says.\n"
    width, height = settings.size
    with _seeded(f"image:{settings.seed}:{drawing.number}"):
        data = _painter(width, height).generate(drawing.label).getvalue()
    return data[: len(data) // 2] if drawing.flaw == "truncated" else data


@lru_cache(maxsize=4)
def _painter(width: int, height: int) -> captcha_image.ImageCaptcha:
    return captcha_image.ImageCaptcha(width, height)  # loads its fonts, which takes longer than drawing an image


class _Seeded(random.Random):
    """A seeded generator with the interface of the module `secrets`."""

    def randbelow(self, bound: int) -> int:
        return self.randrange(bound)

    def randbits(self, bits: int) -> int:
        return self.getrandbits(bits)


@contextmanager
def _seeded(seed: str) -> Iterator[None]:
    # captcha draws all its randomness from the module `secrets`, which takes no seed; a test keeps watch on this
    original = captcha_image.secrets
    captcha_image.secrets = _Seeded(seed)  # type: ignore[assignment]
    try:
        yield
    finally:
        captcha_image.secrets = original


def _folder(settings: DrawingSettings, index: int) -> str:
    return "" if settings.flat else f"{index // FOLDER_SIZE:05d}/"


def _name(label: str, seen: Counter[str]) -> str:
    copies = seen[label]
    seen[label] += 1
    return f"{label}.{copies}.png" if copies else f"{label}.png"


def _pair(value: object, separator: str, example: str) -> object:
    if isinstance(value, str):
        if not re.fullmatch(rf"\d+({separator}\d+)?", value):
            raise ValueError(f"expected numbers such as {example}")
        numbers: Sequence[int] = [int(part) for part in value.split(separator)]
        return (numbers[0], numbers[-1])
    return value
