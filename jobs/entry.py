"""What the jobs share: parsers, errors told in one line, and a process that suits training."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import DataError, GlyphmillError, SettingsError

if TYPE_CHECKING:
    from model.recognizer import Recognizer

# glibc gives freed memory back at once and pays for it in page faults, some 15% of a CPU training step.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_MMAP_THRESHOLD_": "4294967296"}


def add_runner(parser: argparse.ArgumentParser) -> None:
    """The arguments that say who runs the tasks of a job."""
    parser.add_argument("--runner", choices=("spark", "local"), default="spark", help="local: processes, without Spark")
    parser.add_argument("--workers", type=int, metavar="N", help="processes of the local runner (default: one for each core)")


def check_runner(args: argparse.Namespace) -> None:
    """Raises SettingsError where the parsed arguments of `add_runner` contradict one another."""
    if args.workers is not None and args.runner != "local":
        raise SettingsError(f"--workers {args.workers} is of the local runner; Spark has --master, such as local[4]")


@contextmanager
def needing_spark() -> Iterator[None]:
    """Raises DataError where what is imported within finds no Spark."""
    try:
        yield
    except ImportError as error:
        raise DataError(f"Spark cannot start: {error}; install pyspark, or run without Spark: --runner local") from None


def restart_for_training() -> None:
    """Starts this program again with ALLOCATOR in its environment, which glibc reads only at the start."""
    if sys.platform == "linux" and not all(name in os.environ for name in ALLOCATOR):
        os.environ.update({name: value for name, value in ALLOCATOR.items() if name not in os.environ})
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def load_tensorflow() -> None:
    """Imports TensorFlow without the start-up notes that it writes past Python's own logging; an error still shows them."""
    import model  # noqa: F401  (which says how)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def load_recognizer(folder: Path, runtime: str = "auto", threads: int | None = None) -> "Recognizer":
    """A bundle's recogniser on `threads` threads (None: all cores).

    TensorFlow is imported, without its notes, only where it is what reads the bundle.
    """
    from model.bundle import read_bundle
    from model.recognizer import Recognizer
    from model.runtimes import TENSORFLOW, chosen

    bundle = read_bundle(folder)
    found = chosen(runtime, bundle["files"], folder)
    if found == TENSORFLOW:
        load_tensorflow()
    return Recognizer.load(folder, found, threads, bundle)


def parser(doc: str | None) -> argparse.ArgumentParser:
    """An argument parser whose help is the job's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main: Callable[[], None]) -> None:
    """Runs `main` and leaves with 0, or with one line on standard error and the error's exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        main()
        sys.stdout.flush()
    except GlyphmillError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk, a missing permission: the machine's state, not the program's
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
