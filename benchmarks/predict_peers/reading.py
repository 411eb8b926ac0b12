"""What the programs of this package share: one core, files read one at a time, and a line of JSON at the end."""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Read = Callable[[bytes], str]  # the bytes of an image file -> its text
WARMUP = 10


def report(prepare: Callable[[argparse.Namespace], Read]) -> None:
    """Reads the files that --input lists as JSON, and prints the texts and the median ms of an image, bytes to text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True, type=Path)
    parser.add_argument("--alphabet", required=True)
    parser.add_argument("--model", required=True)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before a runtime starts its threads
    images = [Path(path).read_bytes() for path in json.loads(args.input.read_text(encoding="utf-8"))]
    read = prepare(args)
    for image in images[:WARMUP]:
        read(image)
    texts, ms = [], []
    for image in images:
        began = time.perf_counter()
        texts.append(read(image))
        ms.append(1000 * (time.perf_counter() - began))
    print(json.dumps({"texts": texts, "ms_per_image": float(np.median(ms))}), flush=True)
