"""Real ingests in processes of their own, to be killed, starved and disturbed, and what must hold afterwards."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.dataset as ds
import pytest

from pipelines.errors import DataError
from pipelines.manifest import Manifest, open_dataset
from pipelines.versions import damaged

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
PATIENCE = 300  # seconds; far beyond what anything here takes on a busy machine
GOOD, GROUPS = 600, 26
SETTINGS = ("shards.files=25", "shards.rows=20", "image.width=32", "image.height=16", "label.alphabet=0123456789")
PASSES = {"created", "seconds", "tools", "input"}  # what a manifest says of the run and not of the data
# Progress, and what Spark's Java says before Spark's own settings are read (`make setup` silences it)
NOISE = re.compile(
    r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d |WARNING: |Setting default log level|To adjust logging|[a-z ]+: [\d,]+(/[\d,]+)? "
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    everything = os.environ.get("GLYPHMILL_FAULTS") == "all"
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.faults)
        item.add_marker(pytest.mark.e2e)
        if item.get_closest_marker("slow") and not everything:
            item.add_marker(pytest.mark.skip(reason="a long one; all faults run with make test-faults (GLYPHMILL_FAULTS=all)"))


class Job:
    """A command in a process group of its own; all that descends from it is known by a mark in the environment."""

    def __init__(self, command: list[object], log: Path, **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        passed = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYTHON"))}
        passed |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        passed["PYTHONPYCACHEPREFIX"] = str(log.parent / "pycache")  # compiled once, wherever the environment cannot be written
        self._log = log.with_name(f"{log.name}-{self.mark}")
        with open(self._log, "wb") as file:  # a file, no pipe: nothing waits for an orphan that holds it open
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=REPOSITORY,
                env=passed | {"GLYPHMILL_FAULT": self.mark} | environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """All living processes of this job, orphans too; `info` has what was known of each when it was seen."""
        living = (
            p for p in psutil.process_iter(["cmdline", "environ", "ppid", "status"]) if p.info["cmdline"] and p.info["environ"]
        )
        return [p for p in living if p.info["environ"].get("GLYPHMILL_FAULT") == self.mark]

    def driver(self) -> psutil.Process | None:
        """The process that runs the job's Python: the first one, or with spark-submit its child. None before it is there."""
        mine = (p for p in self._pythons() if "--input" in p.info["cmdline"])
        return next((p for p in mine if p.info["ppid"] in (os.getpid(), self.process.pid)), None)

    def workers(self) -> list[psutil.Process]:
        """The processes that groups run in: of the pool, or of Spark's daemons."""
        spawned = [p for p in self._pythons() if "--multiprocessing-fork" in p.info["cmdline"]]
        daemons = {p.pid: p for p in self._pythons() if "pyspark.daemon" in p.info["cmdline"]}
        return spawned + [p for p in daemons.values() if p.info["ppid"] in daemons]

    def executors(self) -> list[psutil.Process]:
        return [p for p in self.processes() if any("CoarseGrainedExecutorBackend" in part for part in p.info["cmdline"])]

    def kill(self, *processes: psutil.Process | None) -> None:
        """SIGKILL, to those that are still there."""
        for process in filter(None, processes):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def kill_driver(self) -> None:
        """Before there is one, what starts it."""
        driver = self.driver()
        self.kill(driver) if driver else self.process.kill()

    def until(self, condition: Callable[[], object]) -> bool:
        """Waits for the condition; False where the job ended before."""
        limit = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None:
                return bool(condition())
            assert time.monotonic() < limit, self.told()
            time.sleep(0.002)
        return True

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self) -> int:
        """The exit code, once the job and all that descends from it are gone."""
        code = self.process.wait(PATIENCE)
        limit = time.monotonic() + PATIENCE
        while left := self.processes():
            assert time.monotonic() < limit, f"still there: {[p.cmdline() for p in left]}"
            time.sleep(0.01)
        return code

    def good(self) -> str:
        """What a job that must succeed tells."""
        assert self.end() == 0, self.told()
        assert "Traceback" not in self.told(), self.told()
        return self.told()

    def error(self) -> str:
        """The one line of a job that must fail."""
        assert self.end() == 1, self.told()
        lines = [line for line in self.told().splitlines() if line.strip() and not NOISE.match(line)]
        lines = [line for line in lines if not line.startswith("continuing an interrupted ingest")]
        assert len(lines) == 1, self.told()
        assert lines[0].startswith("error: ")
        return lines[0]

    def told(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        self._signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def _signal(self, number: int) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _pythons(self) -> list[psutil.Process]:
        return [p for p in self.processes() if Path(p.info["cmdline"][0]).name.startswith("python")]


class Output:
    """The folder that an ingest writes to, as anyone may find it at any moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    __str__ = __fspath__

    def staged(self, pattern: str) -> list[Path]:
        try:
            return sorted(self.path.glob(f"_staging/*/{pattern}"))
        except FileNotFoundError:  # the job removed the folder while it was looked into
            return []

    def done(self) -> int:
        return len(self.staged("done-*.json"))

    def under_way(self) -> bool:
        """At least two groups are finished and four others not even begun (of two workers)."""
        return 2 <= self.done() <= GROUPS - 6

    def readable(self) -> int | None:
        """The version that a reader gets now, every file of it whole, or None where it is told that there is no dataset."""
        try:
            dataset = open_dataset(str(self))
        except DataError:
            return None
        assert [(part.path, wrong) for part, wrong in damaged(dataset) if wrong] == []
        return dataset.manifest.version

    def contents(self) -> dict[str, str]:
        """The SHA-256 of every file but the manifests, by path."""
        files = (path for path in self.path.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.path)): ""
            if path.parent.name == "manifests"
            else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    def ids(self, split: str) -> list[int]:
        """The ids that a reader of the folder sees, who knows no manifest."""
        return sorted(ds.dataset(str(self.path / split), format="parquet").to_table(columns=["id"])["id"].to_pylist())

    def petastorm_ids(self, split: str) -> list[int]:
        from petastorm import make_reader

        with make_reader(
            f"file://{self}/{split}", reader_pool_type="dummy", schema_fields=["id"], shuffle_row_groups=False
        ) as rows:
            return sorted(int(row.id) for row in rows)


class Undisturbed(NamedTuple):
    """What a run gives that nothing befalls."""

    output: Output
    manifest: Manifest
    contents: dict[str, str]

    @classmethod
    def of(cls, output: Output) -> "Undisturbed":
        return cls(output, open_dataset(str(output)).manifest, output.contents())

    def check(self, output: Output) -> None:
        """Asserts that `output` is that dataset: accounting, fingerprint, every byte of every file, and nothing beside them."""
        manifest = open_dataset(str(output)).manifest
        count = manifest.accounting
        assert count.listed == count.written + count.rejected + count.duplicates
        assert (count, manifest.fingerprint) == (self.manifest.accounting, self.manifest.fingerprint)
        assert manifest.model_dump(exclude=PASSES) == self.manifest.model_dump(exclude=PASSES)
        assert output.contents() == self.contents
        assert not (output.path / "_staging").exists()
        for split, rows in manifest.splits.items():
            ids = output.ids(split)
            assert len(ids) == len(set(ids)) == rows
            if manifest.petastorm:
                assert output.petastorm_ids(split) == ids


@pytest.fixture(scope="session")
def images(tmp_path_factory, noise, fill) -> Path:
    """600 good files, and 45 that are duplicates, conflicts or bad."""
    folder = tmp_path_factory.mktemp("images")
    fill(folder, {f"{n // 100}/{n:04d}.png": noise(n, 60, 30) for n in range(GOOD)})
    fill(folder, {f"copies/{n:04d}.{n}.png": noise(n, 60, 30) for n in range(0, GOOD, 30)})
    fill(folder, {f"conflicts/{n}{way}.png": noise(5000 + n, 60, 30) for n in range(5) for way in (1, 2)})
    kinds = (b"", b"some text", noise(9000, 60, 30)[:200], noise(9001), noise(9002))
    return fill(folder, {f"bad/{n}{'é' if n % 5 > 2 else ''}.png": kinds[n % 5] + bytes([n]) * (n % 5 == 1) for n in range(15)})


@pytest.fixture
def linked(images, tmp_path) -> Callable[[], Path]:
    """Puts a folder of the same files (names, times, bytes) to `tmp_path`, as often as it is asked to."""
    return lambda: Path(shutil.copytree(images, tmp_path / "linked", copy_function=os.link))


@pytest.fixture(scope="session")
def begin(tmp_path_factory) -> Iterator[Callable[..., Job]]:
    """Starts a command; whatever is left of it at the end is killed."""
    jobs: list[Job] = []

    def begin(*command: object, **environment: str) -> Job:
        jobs.append(Job(list(command), tmp_path_factory.getbasetemp() / "job.log", **environment))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.close()


@pytest.fixture(scope="session")
def ingest(begin, images) -> Callable[..., Job]:
    """Starts an ingest. `at`: the call at which it kills itself; `master` and `conf` are Spark's."""

    def ingest(runner: str, output: object, *args: object, source: Path = images, at: str = "", **more: object) -> Job:
        how = [BIN / "python"] if runner == "local" else [BIN / "spark-submit", "--driver-memory", "1g"]
        if runner == "spark":
            conf = {"spark.ui.enabled": "false"} | more.pop("conf", {})
            how += [
                "--master",
                more.pop("master", "local[2]"),
                *(x for pair in conf.items() for x in ("--conf", "=".join(pair))),
            ]
        program = [HERE / "at_call.py", at.replace("RUNNER", RUNNERS[runner])] if at else [REPOSITORY / "jobs" / "ingest.py"]
        sets = () if "--append" in args else (part for value in SETTINGS for part in ("--set", value))
        where = ["--input", source, "--output", output, "--runner", runner, *(["--workers", 2] if runner == "local" else [])]
        return begin(*how, *program, *where, *sets, *args, **more)

    return ingest


RUNNERS = {"local": "pipelines.pool:PoolRunner", "spark": "pipelines.spark.ingest:SparkRunner"}


@pytest.fixture
def output(tmp_path) -> Output:
    return Output(tmp_path / "shards")


@pytest.fixture(scope="session")
def undisturbed(ingest, tmp_path_factory) -> Undisturbed:
    output = Output(tmp_path_factory.mktemp("undisturbed") / "shards")
    ingest("local", output).good()
    return Undisturbed.of(output)


@pytest.fixture(scope="session")
def moments(ingest, undisturbed, tmp_path_factory) -> Callable[[str], tuple[float, float]]:
    """How long a run takes in seconds, and how long from its first finished group on."""
    known: dict[str, tuple[float, float]] = {}

    def moments(runner: str) -> tuple[float, float]:
        if runner not in known:
            output = Output(tmp_path_factory.mktemp("timed") / "shards")
            job, began = ingest(runner, output), time.monotonic()
            job.until(output.done)
            first = time.monotonic()
            job.good()
            known[runner] = (time.monotonic() - began, time.monotonic() - first)
            undisturbed.check(output)
        return known[runner]

    return moments


@pytest.fixture
def wait_for_a_moment(moments, output) -> Callable[[Job, str, int], None]:
    """Lets a job run on for a random time: with an even seed of its whole duration, with an odd one after its first group."""

    def wait(job: Job, runner: str, seed: int) -> None:
        whole, groups = moments(runner)
        if seed % 2:
            job.until(output.done)
        limit = time.monotonic() + random.Random(seed).uniform(0, groups if seed % 2 else whole)
        job.until(lambda: time.monotonic() > limit)

    return wait


@pytest.fixture
def catch(output) -> Callable[[Callable[[], Job]], Job]:
    """Starts jobs until one is caught, and left paused, with groups finished and others not begun; one is enough but on a bad day."""

    def catch(start: Callable[[], Job]) -> Job:
        for _ in range(5):
            job = start()
            job.until(lambda: output.done() >= 2)
            job.pause()
            if output.under_way():
                return job
            job.close()
            shutil.rmtree(output)
        raise AssertionError("five jobs ran through before they could be stopped")

    return catch
