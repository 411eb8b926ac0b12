"""The bare limit: a pool of processes that read files with the same recogniser, and hand the readings back. Nothing is kept."""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

from model.recognizer import Prediction, Recognizer

TASK = 1280  # files of a task, whole batches of the usual sizes
recognizer: Recognizer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", required=True)
    options.add_argument("--input", required=True)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--batch", type=int, default=64)
    args = options.parse_args()
    began = time.time()
    paths = sorted(entry.path for entry in os.scandir(args.input))
    tasks = [(paths[start : start + TASK], args.batch) for start in range(0, len(paths), TASK)]
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    with context.Pool(args.processes, _open, (args.model,)) as pool:
        found = sum(len(part) for part in pool.imap_unordered(_read, tasks))
    ended = time.time()
    print(json.dumps({"images": found, "seconds": ended - began, "ended": ended}))


def _open(model: str) -> None:
    global recognizer  # noqa: PLW0603 - what a pool's initializer leaves for its tasks
    recognizer = Recognizer.load(model, threads=1)


def _read(task: tuple[Sequence[str], int]) -> list[Prediction]:
    paths, batch = task
    return list(recognizer.predict(((path, Path(path)) for path in paths), batch))


if __name__ == "__main__":
    main()
