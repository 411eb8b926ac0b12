"""Work on all executors at one time, whose tasks know each other's addresses: one barrier stage."""

import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession

from pipelines.progress import say
from pipelines.spark.session import temporary_folder, told_tasks, zipped

T = TypeVar("T")
Tell = Callable[[str, bool], None]  # takes a line, and whether it is one for standard error
KINDS = (".py", ".yaml")
PLAIN, ERROR = "o", "e"  # what a line begins with on its way to the driver
REACH = 10.0  # seconds


def run_together(spark: SparkSession, tasks: int, work: Callable[[Sequence[str], int, Tell], T]) -> list[T]:
    """What `work(addresses, index, tell)` returns in each of `tasks` tasks that run at the same time.

    `addresses` are host:port of all tasks, each with a port that was free. What a task tells is printed here. Raises
    DataError of one line where a task fails, or where the cluster has too few slots.
    """
    host = spark.sparkContext.getConf().get("spark.driver.host") or socket.gethostname()
    with _told_lines(host) as (driver, token), told_tasks():

        def run(_: Iterable[int]) -> Iterator[T]:
            context = BarrierTaskContext.get()
            index = context.partitionId()
            host = context.getTaskInfos()[index].address.rpartition(":")[0]
            addresses = context.allGather(f"{host}:{_free_port()}")
            with _teller(driver, token) as tell:
                yield work(addresses, index, tell)

        return spark.sparkContext.parallelize(range(tasks), tasks).barrier().mapPartitions(run).collect()


def ship(spark: SparkSession, root: Path, packages: Sequence[str]) -> None:
    """Hands packages that lie under `root` to the executors; installed ones are there already."""
    if root.name == "site-packages":
        return
    target = temporary_folder() / f"{'-'.join(packages)}-{secrets.token_hex(4)}.zip"  # a session takes no name twice
    files = (path for name in packages for path in (root / name).rglob("*") if path.suffix in KINDS)
    spark.sparkContext.addPyFile(zipped(target, root, files))


def _free_port() -> int:
    with socket.create_server(("", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def _told_lines(host: str) -> Iterator[tuple[tuple[str, int], str]]:
    """Prints the lines that tasks send; the address to send to, and a word that shows who may."""
    token = secrets.token_hex(16)
    with socket.create_server(("", 0), backlog=64) as listener:

        def accept() -> None:
            with suppress(OSError):  # of the listener's end
                while True:
                    threading.Thread(target=show, args=(listener.accept()[0],), daemon=True).start()

        def show(connection: socket.socket) -> None:
            with connection, connection.makefile(encoding="utf-8", errors="replace") as lines, suppress(OSError):
                if lines.readline().strip() == token:
                    for line in lines:
                        print(line[1:].rstrip("\n"), file=sys.stderr if line[0] == ERROR else sys.stdout, flush=True)

        threading.Thread(target=accept, daemon=True).start()
        yield (host, listener.getsockname()[1]), token


@contextmanager
def _teller(driver: tuple[str, int], token: str) -> Iterator[Tell]:
    """Sends lines to the driver; where it cannot be reached they go to the task's own standard error, as Spark keeps it."""
    lock = threading.Lock()
    try:
        connection = socket.create_connection(driver, timeout=REACH)
    except OSError as error:
        say(f"the driver at {driver[0]}:{driver[1]} takes no lines ({error}); they stand here")
        yield lambda line, error: say(line)
        return
    with connection:
        connection.settimeout(None)

        def tell(line: str, error: bool) -> None:
            with lock, suppress(OSError):  # of a driver that went away: Spark ends this task then
                connection.sendall(f"{ERROR if error else PLAIN}{line}\n".encode())

        connection.sendall(f"{token}\n".encode())
        yield tell
