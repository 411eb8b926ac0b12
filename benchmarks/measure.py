"""Runs a command in a process of its own and watches its whole process tree: time, CPU, memory by kind of process."""

import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

INTERVAL = 0.2
KINDS = ("driver", "jvm", "worker")
# glibc settings that make gives TensorFlow: they change speed and memory, and a user of a bare command has none
UNSET = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")
MIB = 2**20


@dataclass
class Watch:
    """What was seen of a process tree, at every INTERVAL: resident bytes by kind, CPU seconds since its start."""

    largest: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))  # of a single process
    drivers: int = 0  # the Python driver and the JVM at the same moment
    total: int = 0  # all processes at the same moment
    cpu: list[tuple[float, float]] = field(default_factory=list)  # (time.time(), CPU seconds until then)

    def cpu_between(self, start: float, end: float) -> float:
        """CPU seconds of all processes between two moments of time.time(); a process's last 0.2 s may be missing."""
        return self._cpu_at(end) - self._cpu_at(start)

    def _cpu_at(self, moment: float) -> float:
        before, at = (0.0, 0.0), self.cpu[-1]
        for sample in self.cpu:
            if sample[0] >= moment:
                at = sample
                break
            before = sample
        share = 1.0 if at[0] == before[0] else (moment - before[0]) / (at[0] - before[0])
        return before[1] + (at[1] - before[1]) * min(1.0, share)


@dataclass(frozen=True)
class Ran:
    """How a command ended: exit code, wall seconds, its output and errors, and what was seen of its processes."""

    code: int
    seconds: float
    output: str
    errors: str
    watch: Watch

    @property
    def failure(self) -> str:
        """The line that tells why it failed, or empty where it did not: the last one that names an error, else the last."""
        lines = [line.strip() for line in (self.output + "\n" + self.errors).splitlines() if line.strip()]
        named = [line for line in lines if re.match(r"([\w.]*(Error|Exception)|.*\berror): ", line)]
        return "" if self.code == 0 else ([f"exit code {self.code}"] + lines[-1:] + named[-1:])[-1]


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ran:
    """Runs `command` in the working directory `folder` until it ends; its processes are gone when this returns."""
    env = {name: value for name, value in os.environ.items() if name not in UNSET} | dict(environment)
    began = time.time()
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    watch, ended = Watch(cpu=[(began, 0.0)]), threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, watch, ended))
    watcher.start()
    try:
        output, errors = process.communicate()
    finally:
        ended.set()
        watcher.join()
    return Ran(process.returncode, time.time() - began, output, errors, watch)


def kind_of(name: str, command: Sequence[str], under_python: bool) -> str:
    """`driver`, `jvm`, `worker`, or empty for a process that is none of them (a shell)."""
    if name == "java":
        return "jvm"
    if not name.startswith("python"):
        return ""
    return (
        "worker" if under_python or any("pyspark.daemon" in word or "pyspark/daemon" in word for word in command) else "driver"
    )


def _watch(pid: int, watch: Watch, ended: threading.Event) -> None:
    kinds: dict[psutil.Process, tuple[str, str]] = {}  # name and kind: a shell may become Java
    spent: dict[psutil.Process, float] = defaultdict(float)  # stays when its process ends
    while not ended.wait(INTERVAL):
        resident: dict[psutil.Process, int] = {}
        for process in _tree(pid):
            try:
                with process.oneshot():
                    name = process.name()
                    if kinds.get(process, ("", ""))[0] != name:
                        kinds[process] = name, kind_of(name, process.cmdline(), _under_python(process, kinds))
                    times = process.cpu_times()
                    resident[process] = process.memory_info().rss
                spent[process] = times.user + times.system
            except psutil.Error:  # it ended just now
                continue
        _note(watch, {process: (kinds[process][1], size) for process, size in resident.items()})
        watch.cpu.append((time.time(), sum(spent.values())))


def _note(watch: Watch, resident: Mapping[psutil.Process, tuple[str, int]]) -> None:
    for kind, size in resident.values():
        if kind:
            watch.largest[kind] = max(watch.largest[kind], size)
    watch.drivers = max(watch.drivers, sum(size for kind, size in resident.values() if kind in ("driver", "jvm")))
    watch.total = max(watch.total, sum(size for _, size in resident.values()))


def _tree(pid: int) -> Iterator[psutil.Process]:
    try:
        root = psutil.Process(pid)
        yield root
        yield from root.children(recursive=True)
    except psutil.Error:
        return


def _under_python(process: psutil.Process, kinds: Mapping[psutil.Process, tuple[str, str]]) -> bool:
    return any(kinds.get(parent, ("", ""))[1] in ("driver", "worker") for parent in process.parents())


def size_of(folder: Path) -> int:
    """The bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def machine() -> dict[str, object]:
    """The machine in a few facts."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return {
        "cpu": models[0] if models else "unknown",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{os.uname().sysname} {os.uname().release}",
        "python": sys.version.split()[0],
    }


def versions(python: str, names: Sequence[str]) -> dict[str, str]:
    """The versions of those of the packages `names` that are installed beside the interpreter `python`."""
    code = (
        'import sys; from importlib.metadata import distributions; print(*(f"{d.name}={d.version}" for d in distributions()))'
    )
    if not Path(python).exists():
        return {}
    words = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    found = dict(word.lower().split("=", 1) for word in words)
    return {name: found[name] for name in names if name in found}
