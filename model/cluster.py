"""The workers of one training and which of them this process is, as TF_CONFIG says. Without TensorFlow."""

import json
import os
import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.errors import DataError, SettingsError
from pipelines.progress import say

VARIABLE = "TF_CONFIG"
JOBS = ("chief", "worker")  # in the order in which TensorFlow numbers them
EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
GONE = "is gone"  # what a worker says of one that left it
LOOPBACK = "127.0.0.1"
PROBE, PROBES = 2.0, 0.2  # seconds that an address has to answer, and between two rounds of asking
SAY = 15.0  # seconds from one line about who is missing to the next
ADDRESS = re.compile(r"(?P<host>[^\s:/]+|\[[0-9A-Fa-f:.%]+\]):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Cluster:
    """host:port of every worker (none: this process is alone), and this worker's number among them."""

    addresses: tuple[str, ...] = ()
    index: int = 0

    @property
    def workers(self) -> int:
        return max(1, len(self.addresses))

    @property
    def chief(self) -> bool:
        """Whether this is the one worker that writes to MLflow and to disk."""
        return self.index == 0

    def name_of(self, index: int) -> str:
        """What messages call worker `index`."""
        return f"worker {index} ({self.addresses[index]})"

    @property
    def tf_config(self) -> str:
        """The value of TF_CONFIG that makes a process this worker."""
        return json.dumps({"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": self.index}})

    @classmethod
    def from_environment(cls) -> "Cluster":
        """From TF_CONFIG; alone where it is missing, empty or names no cluster. Raises SettingsError where it is broken."""
        text = os.environ.get(VARIABLE, "").strip()
        if not text:
            return cls()
        try:
            return _parsed(json.loads(text))
        except ValueError as error:
            raise SettingsError(f"{VARIABLE}: {' '.join(str(error).split())}; expected such as {EXAMPLE}") from None


def check_split(batch_size: int, workers: int, devices: int = 1, cpus: int | None = None) -> None:
    """Raises SettingsError where a batch does not split over the devices of all workers, or they cannot have those `cpus`."""
    if workers > 1 and (cpus or 1) > 1:
        raise SettingsError(f"devices.cpus={cpus}: a worker among {workers} has one CPU device; take more workers instead")
    if batch_size % (workers * devices):
        replicas = workers * devices
        each = f" ({devices} in each of {workers} workers)" if workers > 1 and devices > 1 else ""
        what = f"{replicas} {'workers' if workers > 1 and devices == 1 else 'devices'}{each}"
        raise SettingsError(f"train.batch_size={batch_size} does not split over {what}; take a multiple of {replicas}")


def meet(cluster: Cluster, seconds: float) -> None:
    """Returns when every worker of the cluster listens at its address.

    TensorFlow itself would wait for an hour, and not say for whom. Raises DataError with the workers that did not come
    within `seconds`, or where the own address cannot be listened at.
    """
    began = said = time.monotonic()
    with _listening(cluster):
        missing = [index for index in range(cluster.workers) if index != cluster.index]
        while missing := absent(cluster, missing):
            now = time.monotonic()
            names = ", ".join(map(cluster.name_of, missing))
            if now - began > seconds:
                raise DataError(
                    f"{names} did not come within {seconds:g} s to {cluster.name_of(cluster.index)};"
                    " look whether they run and are reachable, or raise devices.wait"
                )
            if now - said > SAY:
                said = now
                say(f"waiting for {names}")
            time.sleep(PROBES)


def absent(cluster: Cluster, indices: Iterable[int]) -> list[int]:
    """Those of the workers whose address does not answer."""
    return [index for index in indices if not _answers(cluster.addresses[index])]


def free_addresses(count: int) -> tuple[str, ...]:
    """Addresses on the loopback that nobody listens at now, for workers on this machine."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]  # all open at once, so that no two are the same
    try:
        return tuple(f"{LOOPBACK}:{listener.getsockname()[1]}" for listener in sockets)
    finally:
        for listener in sockets:
            listener.close()


def _listening(cluster: Cluster) -> socket.socket:
    """A socket at this worker's port, on all interfaces as TensorFlow's own will be; nothing has to be accepted."""
    port, dual = _parts(cluster.addresses[cluster.index])[1], socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, backlog=4 * cluster.workers, dualstack_ipv6=dual)
    except OSError as error:
        name = cluster.name_of(cluster.index)
        raise DataError(f"{name}: cannot listen at port {port}: {error.strerror}; give it a free one in {VARIABLE}") from None


def _answers(address: str) -> bool:
    with suppress(OSError), socket.create_connection(_parts(address), timeout=PROBE):
        return True
    return False


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _parsed(config: Any) -> Cluster:
    """Raises ValueError with what is wrong."""
    if not isinstance(config, dict) or not isinstance(config.get("cluster", {}), dict):
        raise ValueError("not a JSON object with the keys cluster and task")
    jobs = {job: _addresses(job, hosts) for job, hosts in config.get("cluster", {}).items()}
    if not any(jobs.values()):
        return Cluster()
    addresses = tuple(address for job in JOBS for address in jobs.get(job, ()))
    kind, index = _task(config.get("task"))
    if kind not in JOBS or set(jobs) - set(JOBS):
        other = kind if kind not in JOBS else next(job for job in jobs if job not in JOBS)
        raise ValueError(f"the job {other!r} has no part in this training; it knows {' and '.join(JOBS)}")
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"an address stands twice in {', '.join(addresses)}")
    if len(jobs.get("chief", ())) > 1:
        raise ValueError("there is one chief at most")
    if index >= len(jobs.get(kind, ())):
        raise ValueError(f"task {kind} {index} is not in the cluster, which has {len(jobs.get(kind, ()))} of that job")
    return Cluster(addresses, index + (len(jobs.get("chief", ())) if kind == "worker" else 0))


def _addresses(job: str, hosts: Any) -> tuple[str, ...]:
    if not isinstance(hosts, list):
        raise ValueError(f"cluster.{job} is {hosts!r}, not a list of host:port")
    for host in hosts:
        found = ADDRESS.fullmatch(host) if isinstance(host, str) else None
        if found is None or not 0 < int(found["port"]) < 65536:
            raise ValueError(f"cluster.{job} has {host!r}, which is not host:port")
    return tuple(hosts)


def _task(task: Any) -> tuple[str, int]:
    if not isinstance(task, dict) or not {"type", "index"} <= set(task):
        raise ValueError("task with its type and index is missing")
    if not str(task["index"]).isdecimal():  # TensorFlow takes "0" too
        raise ValueError(f"task.index is {task['index']!r}, not a number from 0 on")
    return str(task["type"]), int(task["index"])
