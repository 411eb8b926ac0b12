"""A served model under load: ms of a request of one image, requests a second, errors and memory, by workers and threads.

make bench-serve                                            # 8 clients, 60 s for each row; the result: build/bench/serve.json
make bench-serve ARGS="--workers 1 2 --threads 1 2"         # all of these pairs, each with a server of its own
make bench-serve ARGS="--model model_out --seconds 5"       # a downloaded folder

Each row starts `jobs.serve` on a free port of the loopback and asks for drawn images, each request one image on a connection of
its own, as curl does. One client asks alone first and last, for its median; between these all at once, each of them sends the
next image when it has its answer. The answers must be those that the first client had. The clients are a process on the same
cores. MiB are the server's workers together, resident; their growth is the last quarter of the load over its second quarter.

The knobs: --workers are processes, each with Python and the model. With one, MLflow's JSON and pandas keep one core busy and
the others idle; more than cores win nothing. --threads are the cores that one request computes on: 1 is best under load, 0
(all) where one client waits for large batches.
"""

import argparse
import base64
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measure import MIB, machine, versions
from benchmarks.rounds import NotRunError, about
from benchmarks.tables import bar, bar_lines, number, table, write_result
from jobs import entry
from model import playground
from pipelines import drawing
from pipelines.pool import cores

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "build/bench/serve.json"
PACKAGES = ("numpy", "pandas", "onnxruntime", "mlflow", "fastapi", "uvicorn")
IMAGES, ALONE, WARMUP = 64, 600, 30  # images drawn; requests of one client, before and after; those that are not counted
START, INTERVAL = 120, 0.5  # seconds that a server may take to start; between looks at its memory
TIMES, GROWTH = 5.0, 1.05
Row = dict[str, Any]


@dataclass
class Answers:
    """The ms of each answered request, and what was wrong with others."""

    ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(self.ms + other.ms, self.errors + other.errors, self.texts + other.texts)

    def percentile(self, share: float) -> float | None:
        return float(np.percentile(self.ms, share)) if self.ms else None


def main() -> None:
    args = _arguments()
    bodies = requests(args.model)
    rows = []
    for workers, threads in product(args.workers, args.threads):
        rows.append(
            {"contender": f"{workers} workers, {threads} threads", "workers": workers, "threads": threads, "failure": None}
        )
        try:
            with served(args.model, workers, threads) as (port, process):
                rows[-1] |= measured(port, process, bodies, args)
        except NotRunError as error:
            rows[-1]["failure"] = str(error)
        print(f"{rows[-1]['contender']}: {rows[-1]['failure'] or cells(rows[-1])}", file=sys.stderr, flush=True)
    result: Row = {"clients": args.clients, "seconds": args.seconds, "machine": machine()}
    result |= {"versions": {"this": versions(sys.executable, PACKAGES)}, "rows": rows, "bars": bars(rows)}
    write_result(RESULT, result)
    shown = [cells(row) for row in rows if not row["failure"]]
    print("\n".join([*([table(shown), ""] if shown else []), *bar_lines(result["bars"]), "", *about(result)]))


def requests(model: str) -> list[bytes]:
    """Bodies of requests of one drawn image each, as the model was trained on."""
    from model.tracking import bundle_of

    with bundle_of(model) as folder:
        settings = playground.settings_for(entry.load_recognizer(folder).bundle, IMAGES, 0)
    images = (drawing.draw(settings, one) for one in drawing.plan(settings))
    return [json.dumps({"inputs": [base64.b64encode(image).decode()]}).encode() for image in images]


@contextmanager
def served(model: str, workers: int, threads: int) -> Iterator[tuple[int, psutil.Process]]:
    """The port of a server that answers, and its first process. Raises NotRunError where it does not start."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = {"--model": model, "--port": port, "--workers": workers, "--threads": threads}
    command = [sys.executable, "-m", "jobs.serve", *(str(word) for option in options.items() for word in option)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        ends = time.monotonic() + START
        while not answers_pings(port):
            if server.poll() is not None or time.monotonic() > ends:
                raise NotRunError(f"no server within {START} s: {' '.join(command[1:])}")
            time.sleep(INTERVAL)
        yield port, psutil.Process(server.pid)
    finally:
        children = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        server.terminate()
        server.wait(START)
        psutil.wait_procs(children, START)


def answers_pings(port: int) -> bool:
    try:
        return ask(port, "GET", "/ping")[0] == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and contents of the answer to a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def client(port: int, bodies: Sequence[bytes], texts: Sequence[str], until: float, first: int = 0) -> Answers:
    """Asks for one image after another, from the first-th on, until a moment of the monotonic clock."""
    found = Answers()
    place = first
    while time.monotonic() < until:
        index = place % len(bodies)
        began = time.perf_counter()
        text, error = read(port, bodies[index])
        found.ms.append(1000 * (time.perf_counter() - began))
        if error or (texts and text != texts[index]):
            found.errors.append(error or f"{text!r} in place of {texts[index]!r}")
        place += 1
    return found


def read(port: int, body: bytes) -> tuple[str, str]:
    """The text of a request's only image, or what went wrong."""
    try:
        status, answer = ask(port, "POST", "/invocations", body)
    except (OSError, http.client.HTTPException) as error:
        return "", f"{type(error).__name__}: {error}"
    if status != 200:
        return "", f"HTTP status {status}"
    (row,) = json.loads(answer)["predictions"]
    return row["text"], row["error"]


def alone(port: int, bodies: Sequence[bytes]) -> Answers:
    """One client: each image once and more, with its text. Raises NotRunError for an error."""
    found = Answers()
    for place in range(WARMUP + ALONE):
        began = time.perf_counter()
        text, error = read(port, bodies[place % len(bodies)])
        if error:
            raise NotRunError(f"a single request: {error}")
        if place >= WARMUP:
            found.ms.append(1000 * (time.perf_counter() - began))
        found.texts.append(text)
    return found


def measured(port: int, process: psutil.Process, bodies: Sequence[bytes], args: argparse.Namespace) -> Row:
    """What a server does for one client, and for all of them."""
    single = alone(port, bodies)
    workers = [child for child in process.children(recursive=True) if is_worker(child, process)]
    ended, resident = threading.Event(), list[float]()
    watcher = threading.Thread(target=watch, args=(workers, ended, resident))
    watcher.start()
    began = time.monotonic()
    with ThreadPoolExecutor(args.clients) as pool:
        starts = range(0, len(bodies), max(1, len(bodies) // args.clients))
        futures = [
            pool.submit(client, port, bodies, single.texts, began + args.seconds, first)
            for first in islice(starts, args.clients)
        ]
        every = sum((future.result() for future in futures), Answers())
    seconds = time.monotonic() - began
    ended.set()
    watcher.join()
    return summary(single + alone(port, bodies), every, seconds, resident)


def is_worker(child: psutil.Process, first: psutil.Process) -> bool:
    """Whether a process below `first` has the model: uvicorn's own, or those that it spawned."""
    return child.pid != first.pid and "resource_tracker" not in " ".join(child.cmdline())


def watch(processes: Sequence[psutil.Process], ended: threading.Event, resident: list[float]) -> None:
    """Notes the MiB that the processes have together, every INTERVAL."""
    while not ended.wait(INTERVAL):
        resident.append(sum(process.memory_info().rss for process in processes) / MIB)


def summary(single: Answers, every: Answers, seconds: float, resident: Sequence[float]) -> Row:
    """A row's figures; those of memory are None where the load was too short to tell."""
    quarter = len(resident) // 4
    second, last = resident[quarter : 2 * quarter], resident[len(resident) - quarter :]
    return {
        "single_ms": single.percentile(50),
        "single_ms_p95": single.percentile(95),
        "ms": every.percentile(50),
        "ms_p95": every.percentile(95),
        "ms_p99": every.percentile(99),
        "requests": len(every.ms),
        "per_second": (len(every.ms) - len(every.errors)) / seconds,
        "errors": len(every.errors),
        "first_errors": every.errors[:5],
        "memory_mib": max(resident, default=None),
        "memory_growth": float(np.median(last) / np.median(second)) if quarter else None,
    }


def bars(rows: Sequence[Row]) -> dict[str, Any]:
    """The bars of each row: no error, the 95th percentile under load in single medians, memory flat."""
    found: dict[str, Any] = {}
    for row in rows:
        name, failed = f"{row['workers']}x{row['threads']}", row["failure"] is not None
        found[f"{name}_errors"] = bar(None if failed else row["errors"], 0, least=False)
        found[f"{name}_p95_over_single"] = bar(None if failed else row["ms_p95"] / row["single_ms"], TIMES, least=False)
        found[f"{name}_memory_growth"] = bar(None if failed else row["memory_growth"], GROWTH, least=False)
    return found


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the printed table."""
    return {
        "workers": str(row["workers"]),
        "threads": str(row["threads"]),
        "alone: ms": number(row["single_ms"], 1),
        "95%": number(row["single_ms_p95"], 1),
        "load: ms": number(row["ms"], 1),
        "95% ": number(row["ms_p95"], 1),
        "99%": number(row["ms_p99"], 1),
        "requests/s": number(row["per_second"]),
        "errors": str(row["errors"]),
        "MiB": number(row["memory_mib"]),
        "growth": number(row["memory_growth"], 3),
    }


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="models:/glyphmill@champion", metavar="URI_OR_DIR", help="default %(default)s")
    options.add_argument("--clients", type=int, default=8, help="clients at once (default 8)")
    options.add_argument("--seconds", type=float, default=60, help="of load for each row (default 60)")
    options.add_argument(
        "--workers", type=int, nargs="+", default=[min(cores(), 4)], help="processes (default: those of jobs.serve)"
    )
    options.add_argument("--threads", type=int, nargs="+", default=[1], help="cores of each request (default 1; 0: all)")
    return options.parse_args()


if __name__ == "__main__":
    entry.run(main)
