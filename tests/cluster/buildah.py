"""buildah with a storage of its own: images built in a chroot, and commands run in them."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.cluster.pip import Pip
from tests.cluster.processes import FailedError

BASE = "docker.io/library/debian:bookworm-slim"  # as the FROM lines name it
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Builder:
    """buildah, told what pip needs here; all that it does and says goes to `log`."""

    def __init__(self, folder: Path, log: Path, pip: Pip) -> None:
        self._folder, self.log, self.pip = folder, log, pip
        self._tmp = folder / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True)
        where = ("--root", str(folder / "storage"), "--runroot", str(folder / "runroot"))
        self._buildah = ("buildah", "--storage-driver", "overlay", *where)

    def base(self, root: Path) -> None:
        """Commits a folder as the image that the FROM lines name, where it is not there from an earlier run."""
        if BASE in self.run("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        container = self.run("from", "scratch").strip()
        self.run("copy", "--quiet", container, f"{root}/", "/")
        self.run("config", "--env", f"PATH={SEARCH}", "--cmd", "bash", container)
        self.run("commit", "--quiet", "--rm", container, BASE)

    def build(self, name: str, context: Path) -> str:
        """Builds an image: packages first with this machine's wheels at hand, then the rest without them. Returns what was said."""
        how = ("bud", "--isolation", "chroot", "--format", "docker", "--layers", "--pull-never", *self.pip.secret)
        what = ("--file", str(context / "docker" / f"{name}.Dockerfile"), str(context))
        self.run(*how, *self.pip.volumes, "--target", "packages", "--tag", f"packages/{name}", *what)
        return self.run(*how, "--tag", f"glyphmill/{name}", *what)

    @contextmanager
    def container(self, name: str) -> "Iterator[Container]":
        """A container of an image that was built."""
        made = self.run("from", "--pull-never", f"localhost/glyphmill/{name}").strip()
        try:
            yield Container(self, made, Path(self.run("mount", made).strip()))
        finally:
            self.run("rm", made)

    def remove(self) -> None:
        """Removes the storage, and what a build that was interrupted has left mounted in it."""
        for mount in reversed(_mounts(self._folder)):
            subprocess.run(["umount", "--lazy", mount], check=True)
        for name in ("storage", "runroot", "tmp"):
            if (self._folder / name).exists():  # it may have been interrupted before anything was stored
                shutil.rmtree(self._folder / name)

    def run(self, *words: str) -> str:
        """What a command of buildah prints. Raises FailedError with the last line of what it said."""
        environment = {**self.pip.environment, "TMPDIR": str(self._tmp)}
        done = subprocess.run([*self._buildah, *words], capture_output=True, text=True, check=False, env=environment)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ buildah {' '.join(words)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["nothing was said"]
            raise FailedError(f"buildah {words[0]} ... {words[-1]}: {said[-1][:300]}; its log: {self.log}")
        return done.stdout + (done.stderr if words[0] == "run" else "")


class Container(NamedTuple):
    """A container, and where its files are."""

    builder: Builder
    name: str
    root: Path

    def run(self, command: str) -> str:
        """What a shell command prints in it, as the image's own user."""
        return self.builder.run("run", "--isolation", "chroot", self.name, "--", "sh", "-c", command)

    def history(self) -> str:
        return self.builder.run("inspect", self.name)

    def size(self) -> int:
        """Bytes on disk."""
        told = subprocess.run(["du", "-s", "-B1", self.root], capture_output=True, text=True, check=True).stdout
        return int(told.split()[0])


def _mounts(folder: Path) -> list[str]:
    """Where something is mounted in a folder, in the order in which it was mounted."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]
