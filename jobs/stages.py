"""Other jobs as stages of one: each runs as its own process, as a person would run it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pipelines.errors import DataError


def stage(job: str, *args: str) -> float:
    """Runs `python -m jobs.JOB ARGS` and returns its seconds. Raises DataError where it fails; it has then said why."""
    print(f"\n--- {job} {' '.join(args)}", flush=True)
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", f"jobs.{job}", *args], check=False)
    if done.returncode:
        raise DataError(f"jobs.{job} failed with exit code {done.returncode}; its own message is above")
    return time.monotonic() - began


def draw_and_ingest(images: str, shards: str, *more: str) -> dict[str, float]:
    """Draws the sample that the demo and a first `make train` learn from, and ingests it; returns seconds by stage."""
    drawn = ("--count", "5000", "--length", "4-5", "--size", "160x60", *more)
    return {
        "draw": stage("generate", "--output", images, *drawn),
        "ingest": stage("ingest", "--input", images, "--output", shards, "--config", conf("ingest/default.yaml")),
    }


def read_by_itself(model: Path, images: Sequence[str]) -> list[dict[str, Any]]:
    """What a downloaded model's own predict.py reads in `images`, run outside this repository."""
    command = [sys.executable, str(model / "predict.py"), "--format", "jsonl", *images]
    done = subprocess.run(command, cwd=model, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"{model / 'predict.py'} failed with exit code {done.returncode}: {done.stderr[-500:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def clear(folder: Path, parts: Iterable[str]) -> None:
    """Makes `folder` empty where it holds nothing but `parts` of an earlier run. Raises DataError where it holds more."""
    others = sorted(path.name for path in folder.iterdir() if path.name not in parts) if folder.is_dir() else []
    if others:
        raise DataError(f"{folder}: holds {others[0]}, which no earlier run made; --output names a new or empty folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def conf(name: str) -> str:
    """The path of a shipped settings file."""
    return str(files("conf").joinpath(name))
