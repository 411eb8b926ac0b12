"""What several suites share: hypothesis without chance, small images, and an ingest runner that is a plain loop."""

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

import model  # noqa: F401  (before tensorflow is imported: it says how)
from pipelines.groups import GroupResult
from pipelines.ingest import Facts
from pipelines.pool import PoolRunner
from pipelines.repeats import Copy

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise_png(seed: int, width: int = 24, height: int = 12) -> bytes:
    """A gray PNG whose bytes are another for every seed."""
    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)))


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


class LoopRunner(PoolRunner):
    """Runs an ingest in this process, one task after another; `backwards` changes every order it is free to change."""

    def __init__(self, backwards: bool = False) -> None:
        self.tools = {"runner": "loop"}
        self.step = -1 if backwards else 1
        self.calls: list[tuple[str, int]] = []

    def __call__(self) -> "LoopRunner":
        return self

    def map(self, work: Callable, tasks: Sequence, what: str, files: int) -> list[GroupResult]:
        self.calls.append((what, len(tasks)))
        return [work(task) for task in tasks[:: self.step]]

    def repeated(self, facts: Facts) -> list[list[Copy]]:
        return [same[:: self.step] for same in super().repeated(facts)][:: self.step]


@pytest.fixture(scope="module", autouse=True)
def same_path():
    """MLflow puts a model's own code first on the path, for good, and processes that start later would import that."""
    before = sys.path[:]
    yield
    sys.path[:] = before


@pytest.fixture(scope="session")
def noise() -> Callable[..., bytes]:
    return noise_png


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return encoded


@pytest.fixture(scope="session")
def fill() -> Callable[[Path, Mapping[str, bytes]], Path]:
    return write_files


@pytest.fixture(scope="session")
def loop() -> type[LoopRunner]:
    return LoopRunner
