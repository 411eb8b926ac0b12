"""The images of docker/, built without Docker: on a base made by debootstrap, by buildah in a chroot; and what is in them, run."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cluster.console import tell, timed
from tests.cluster.pip import Pip
from tests.cluster.processes import FailedError
from tests.cluster.slim import base_folder

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/debian:bookworm-slim"  # as the FROM lines name it
CONTEXT = ("conf", "docker", "jobs", "model", "pipelines", "requirements", ".dockerignore")
SITE = "opt/glyphmill/.venv/lib/python3.11/site-packages"
ENTRY = "/opt/glyphmill/docker"
USER = "10001"
LEFT = (
    "etc/pip.conf",
    "root/.config",
    "root/.cache",
    "root/.pip",
    "work/.cache/pip",
    "run/secrets",
    "opt/glyphmill/.venv/bin/pip",
)


class Image(NamedTuple):
    """An image: the bar on its unpacked size in GB, and commands with a part of what each must print."""

    bar: float
    says: tuple[tuple[str, str], ...]


IMAGES = {
    "mlflow": Image(
        0.9,
        (
            (f"{ENTRY}/mlflow-entrypoint.sh mlflow --version", "mlflow, version"),
            ("python -c 'import boto3, mlflow, psycopg2; print(psycopg2.__version__)'", "2."),
            ("mlflow server --help", "--artifacts-destination"),
        ),
    ),
    "spark": Image(
        1.6,
        (
            ("$JAVA_HOME/bin/java -version", 'version "17'),
            (f"{ENTRY}/spark-entrypoint.sh spark-submit --version", "version 3.5"),
            ("python -c 'import kornia_rs, petastorm, pyarrow, pyspark; print(pyarrow.__version__)'", "14.0"),
            ("python /opt/glyphmill/jobs/ingest.py --help", "--keep-rejects"),
            # one executor's worth of the real work: Java, Python workers and Arrow together, as user 10001
            (
                "spark-submit --master local[1] /opt/glyphmill/jobs/generate.py --output /tmp/drawn --count 20",
                "20 files written",
            ),
            (
                "spark-submit --master local[1] /opt/glyphmill/jobs/ingest.py --input /tmp/drawn --output /tmp/shards",
                "fingerprint",
            ),
        ),
    ),
    "train": Image(
        2.8,
        (
            ("python -c 'import keras, mlflow, onnxruntime, tensorflow; print(keras.__version__)'", "3."),
            ("python -m jobs.train --help", "--resume"),
            (f"python {ENTRY}/training-health.py && echo healthy", "healthy"),
        ),
    ),
}


class Built(NamedTuple):
    """What became of an image: its unpacked size in bytes, the bar, and how many commands ran in it."""

    name: str
    size: int
    bar: float
    commands: int

    @property
    def good(self) -> bool:
        return self.size <= self.bar * 1e9


class Builder:
    """buildah with a storage of its own."""

    def __init__(self, folder: Path, log: Path, pip: Pip) -> None:
        self._folder, self._log, self._pip = folder, log, pip
        self._tmp = folder / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True)
        where = ("--root", str(folder / "storage"), "--runroot", str(folder / "runroot"))
        self._buildah = ("buildah", "--storage-driver", "overlay", *where)

    def run(self, *words: str, what: str = "") -> str:
        """The standard output of a buildah command. Raises FailedError with the last line of what it said."""
        done = subprocess.run(
            [*self._buildah, *words],
            capture_output=True,
            text=True,
            check=False,
            env={**self._pip.environment, "TMPDIR": str(self._tmp)},
        )
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ buildah {' '.join(words)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            last = ([line for line in (done.stdout + done.stderr).splitlines() if line.strip()] or ["nothing was said"])[-1]
            raise FailedError(
                f"{what or 'buildah ' + words[0]} failed with exit code {done.returncode}: {last[:300]}; its log: {self._log}"
            )
        return done.stdout + (done.stderr if words[0] == "run" else "")

    def base(self, root: Path) -> None:
        """Commits a folder as the image that the FROM lines name, where it is not there from an earlier run."""
        if BASE in self.run("images", "--format", "{{.Name}}:{{.Tag}}").split():
            return
        container = self.run("from", "scratch").strip()
        self.run("copy", "--quiet", container, f"{root}/", "/")
        self.run(
            "config", "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "--cmd", "bash", container
        )
        self.run("commit", "--quiet", "--rm", container, BASE)

    def build(self, name: str, context: Path) -> str:
        """Builds an image: packages first with this machine's wheels at hand, then the rest without them. Returns what was said."""
        file = str(context / "docker" / f"{name}.Dockerfile")
        how = ("bud", "--isolation", "chroot", "--format", "docker", "--layers", "--pull-never", *self._pip.secret)
        self.run(
            *how,
            *self._pip.volumes,
            "--target",
            "packages",
            "--tag",
            f"packages/{name}",
            "--file",
            file,
            str(context),
            what=name,
        )
        return self.run(*how, "--tag", f"glyphmill/{name}", "--file", file, str(context), what=name)

    def examine(self, name: str) -> Built:
        """Runs what is in an image and looks at what it weighs and leaves. Raises FailedError where something is not as it must be."""
        container = self.run("from", "--pull-never", f"localhost/glyphmill/{name}").strip()
        root = Path(self.run("mount", container).strip())
        try:
            size = int(subprocess.run(["du", "-s", "-B1", root], capture_output=True, text=True, check=True).stdout.split()[0])
            _check_left(name, root, self.run("inspect", container), self._pip.private)
            says = (("id -u", USER), *IMAGES[name].says)
            for command, part in says:
                said = self.run("run", "--isolation", "chroot", container, "--", "sh", "-c", command, what=f"{name}: {command}")
                if part not in said:
                    raise FailedError(f"{name}: {command} does not say {part!r}; its log: {self._log}")
        finally:
            self.run("rm", container)
        return Built(name, size, IMAGES[name].bar, len(says))

    def remove(self) -> None:
        """Removes the storage, and what a build that was interrupted has left mounted in it."""
        for mount in reversed(_mounts(self._folder)):
            subprocess.run(["umount", "--lazy", mount], check=True)
        for name in ("storage", "runroot", "tmp"):
            shutil.rmtree(self._folder / name)


def build_all(folder: Path, logs: Path, mirror: str, keep: bool, seconds: dict[str, float]) -> list[Built]:
    """All images, built and examined; raises FailedError where one is over its bar or not as it must be."""
    with Pip.of_this_machine(folder) as pip:
        builder = Builder(folder, logs / "images.log", pip)
        try:
            with timed("base", seconds):
                builder.base(base_folder(folder, mirror, logs / "debootstrap.log"))
            built = [_built(builder, name, seconds) for name in IMAGES]
            with timed("train again, other code", seconds):
                _check_layers(builder.build("train", _changed(folder)))
        finally:
            shutil.rmtree(folder / "context", ignore_errors=True)
            if not keep:
                builder.remove()
    if heavy := [f"{image.name} {image.size / 1e9:.2f} of {image.bar} GB" for image in built if not image.good]:
        raise FailedError(f"over the bar: {', '.join(heavy)}")
    return built


def _built(builder: Builder, name: str, seconds: dict[str, float]) -> Built:
    with timed(f"build {name}", seconds):
        builder.build(name, ROOT)
    with timed(f"run {name}", seconds):
        built = builder.examine(name)
    tell(f"{name}: {built.size / 1e9:.2f} GB of {built.bar} GB, {built.commands} commands ran")
    return built


def _mounts(folder: Path) -> list[str]:
    """Where something is mounted in a folder, in the order in which it was mounted."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def _check_left(name: str, root: Path, history: str, private: Sequence[str]) -> None:
    """Raises FailedError where the image holds settings of pip, or what the build was given from this machine."""
    there = [path for path in (*LEFT, *(value.lstrip("/") for value in private)) if (root / path).exists()]
    if there:
        raise FailedError(f"{name}: /{there[0]} was left in the image")
    texts = {"its history": history} | {str(file): file.read_text(errors="replace") for file in _notes(root)}
    for place, text in texts.items():
        if found := [value for value in private if value in text]:
            raise FailedError(f"{name}: {place} has {found[0]}, which is of this machine")


def _notes(root: Path) -> list[Path]:
    """Where pip and venv write what they know."""
    notes = (root / SITE).glob("*.dist-info/[!L]*")
    return [file for file in (root / "opt/glyphmill/.venv/pyvenv.cfg", *notes) if file.is_file() and file.name != "RECORD"]


def _changed(folder: Path) -> Path:
    """The repository as the build sees it, with another comment in its code."""
    context = folder / "context"
    shutil.rmtree(context, ignore_errors=True)
    context.mkdir()
    for name in CONTEXT:
        source = ROOT / name
        shutil.copytree(source, context / name) if source.is_dir() else shutil.copy2(source, context / name)
    with (context / "jobs/entry.py").open("a", encoding="utf-8") as code:
        code.write("# changed\n")
    return context


def _check_layers(said: str) -> None:
    """Raises FailedError where a change of code installed packages again."""
    steps = said.split("STEP ")
    again = [step.splitlines()[0] for step in steps[1:] if "RUN " in step.splitlines()[0] and "Using cache" not in step]
    if again:
        raise FailedError(f"train: a change of code runs {again[0]} again")
