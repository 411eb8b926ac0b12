"""The images of docker/, built without Docker: on a base made by debootstrap, by buildah in a chroot; and what is in them, run."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cluster.buildah import Builder, Container
from tests.cluster.console import tell, timed
from tests.cluster.pip import Pip
from tests.cluster.processes import FailedError
from tests.cluster.slim import base_folder

ROOT = Path(__file__).resolve().parents[2]
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
            ("cd /opt/glyphmill && python -c 'import model.tracking, onnxruntime; print(onnxruntime.__version__)'", "1."),
            ("python /opt/glyphmill/jobs/ingest.py --help", "--keep-rejects"),
            ("python /opt/glyphmill/jobs/predict_batch.py --help", "--model"),
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


def build_all(folder: Path, logs: Path, mirror: str, keep: bool, built: list[Built], seconds: dict[str, float]) -> None:
    """All images, built and examined, to `built`; raises FailedError where one is over its bar or not as it must be."""
    with Pip.of_this_machine(folder) as pip:
        builder = Builder(folder, logs / "images.log", pip)
        try:
            with timed("base", seconds):
                builder.base(base_folder(folder, mirror, logs / "debootstrap.log"))
            for name in IMAGES:
                built.append(_built(builder, name, seconds))
            with timed("train again, other code", seconds):
                _check_layers(builder.build("train", _changed(folder)))
        finally:
            shutil.rmtree(folder / "context", ignore_errors=True)
            if not keep:
                builder.remove()
    if heavy := [f"{image.name} {image.size / 1e9:.2f} of {image.bar} GB" for image in built if not image.good]:
        raise FailedError(f"over the bar: {', '.join(heavy)}")


def examine(builder: Builder, name: str) -> Built:
    """Runs what is in an image and looks at what it weighs and leaves. Raises FailedError where something is not as it must be."""
    image = IMAGES[name]
    says = (("id -u", USER), *image.says)
    with builder.container(name) as container:
        size = container.size()
        _check_left(name, container, builder.pip.private)
        for command, part in says:
            if part not in container.run(command):
                raise FailedError(f"{name}: {command} does not say {part!r}; its log: {builder.log}")
    return Built(name, size, image.bar, len(says))


def _built(builder: Builder, name: str, seconds: dict[str, float]) -> Built:
    with timed(f"build {name}", seconds):
        builder.build(name, ROOT)
    with timed(f"run {name}", seconds):
        built = examine(builder, name)
    tell(f"{name}: {built.size / 1e9:.2f} GB of {built.bar} GB, {built.commands} commands ran")
    return built


def _check_left(name: str, container: Container, private: Sequence[str]) -> None:
    """Raises FailedError where the image holds settings of pip, or what the build was given from this machine."""
    there = [path for path in (*LEFT, *(value.lstrip("/") for value in private)) if (container.root / path).exists()]
    if there:
        raise FailedError(f"{name}: /{there[0]} was left in the image")
    texts = {"its history": container.history()}
    texts |= {f"/{file.relative_to(container.root)}": file.read_text(encoding="utf-8") for file in _notes(container.root)}
    for place, text in texts.items():
        if found := [value for value in private if value in text]:
            raise FailedError(f"{name}: {place} has {found[0]}, which is of this machine")


def _notes(root: Path) -> list[Path]:
    """Where venv and pip note where something came from."""
    return [root / "opt/glyphmill/.venv/pyvenv.cfg", *(root / SITE).glob("*.dist-info/direct_url.json")]


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
