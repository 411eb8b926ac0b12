"""The hosts of the cluster: network namespaces on a bridge; where these cannot be made, loopback addresses."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.console import tell
from tests.cluster.processes import FailedError, Process

HOSTS = ("master", "worker-0", "worker-1", "mlflow", "store", "driver", "trainer-0", "trainer-1")
NETWORK = "198.18.77"  # of the block that is set aside for tests of networks: no real host has an address in it
LOOPBACK = "127.0.77"
PREFIX = 24


class Network:
    """One address for each of HOSTS; what is started at a host sees that host's network alone."""

    def __init__(self, logs: Path, loopback: bool = False) -> None:
        self._logs, self._tag, self._made = logs, f"gm{os.getpid()}", list[str]()
        self.namespaces = not loopback and self._up()
        base = NETWORK if self.namespaces else LOOPBACK
        self.address = {host: f"{base}.{number}" for number, host in enumerate(HOSTS, 11)}

    def start(self, host: str, name: str, *command: object, cwd: Path, environment: Mapping[str, str] | None = None) -> Process:
        """Runs a command at a host; its log has the name of the command and is added to when it runs again."""
        at = ("ip", "netns", "exec", self._namespace(host)) if self.namespaces else ()
        return Process(name, [*at, *command], self._logs / f"{name}.log", cwd, environment or {})

    def link(self, host: str, up: bool) -> None:
        """Cuts a host's link to all others, or mends it."""
        _ip("link", "set", self._device(host), "up" if up else "down")

    def close(self) -> None:
        """Removes what was made; what is gone already is no error."""
        for namespace in self._made:
            _ip("netns", "delete", namespace, must=False)
        if self.namespaces:
            _ip("link", "delete", self._tag, must=False)
        self._made.clear()

    def _up(self) -> bool:
        if os.geteuid() != 0 or not _ip("link", "add", self._tag, "type", "bridge", must=False):
            tell(f"network namespaces cannot be made here: the hosts are the addresses {LOOPBACK}.x of this machine")
            return False
        try:
            _ip("addr", "add", f"{NETWORK}.1/{PREFIX}", "dev", self._tag)
            _ip("link", "set", self._tag, "up")
            for number, host in enumerate(HOSTS, 11):
                self._host(host, f"{NETWORK}.{number}/{PREFIX}")
        except BaseException:
            self.namespaces = True
            self.close()
            raise
        return True

    def _host(self, host: str, address: str) -> None:
        namespace, device = self._namespace(host), self._device(host)
        _ip("netns", "add", namespace)
        self._made.append(namespace)
        _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", device, "master", self._tag, "up")
        _ip("-n", namespace, "addr", "add", address, "dev", "eth0")
        for name in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", name, "up")

    def _namespace(self, host: str) -> str:
        return f"{self._tag}-{host}"

    def _device(self, host: str) -> str:
        """A name of at most 15 characters, as the kernel wants it."""
        return f"{self._tag}h{HOSTS.index(host)}"


def _ip(*words: str, must: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if must and done.returncode:
        raise FailedError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.returncode == 0
