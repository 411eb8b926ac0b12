"""What all contenders do alike: arguments, the loop over batches, and the line that reports it."""

import argparse
import json
import resource
import time
from collections.abc import Iterable, Sequence
from typing import Any

HEIGHT, WIDTH, LABEL = 64, 160, 6  # pixels of an image, characters of a label
SHUFFLED = 8192  # rows that are shuffled together
KIB_IN_MIB = 1024


def arguments(*flags: str) -> argparse.Namespace:
    """The folder `--input`, which is read for `--epochs` epochs of `--rows` rows in batches of `--batch`, and named flags."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    for flag in flags:
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args()


def report(args: argparse.Namespace, batches: Iterable[Sequence[Any]], padded: bool = False) -> None:
    """Takes the batches of all epochs, and prints seconds and CPU seconds of each epoch, and resident MiB.

    The first tensor of a batch holds its images; `padded` ones are all of the same size. The first epoch's time has the
    start of the pipeline in it.
    """
    loaded = _resident()
    seconds, cpu, seen = [], [], 0
    began, began_cpu = time.perf_counter(), time.process_time()
    for images, *_ in batches:
        seen += images.shape[0]
        if seen >= args.rows * (len(seconds) + 1):
            now, now_cpu = time.perf_counter(), time.process_time()
            seconds.append(now - began)
            cpu.append(now_cpu - began_cpu)
            began, began_cpu = now, now_cpu
            seen = args.rows * len(seconds) if padded else seen
    if len(seconds) != args.epochs:
        raise SystemExit(f"error: {seen} rows in {len(seconds)} epochs; expected {args.epochs} of {args.rows}")
    found = {"rows": args.rows, "seconds": seconds, "cpu": cpu, "mib": _resident(), "mib_of_data": _resident() - loaded}
    print(json.dumps(found), flush=True)


def _resident() -> float:
    """The most that was resident of this process until now, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_IN_MIB
