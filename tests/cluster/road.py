"""The road of `make demo` across the hosts: draw, ingest, train in two workers, register, evaluate, predict a folder."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pyarrow.fs import FileSelector

from pipelines.drawing import DrawingSettings, draw, plan
from pipelines.manifest import Manifest, open_dataset
from pipelines.settings import build
from pipelines.storage import locate
from tests.cluster.console import timed
from tests.cluster.processes import FailedError, Process
from tests.cluster.services import ROOT, Cluster

COUNT, FLAWS = 2000, 12
DRAWN = {"count": COUNT, "flaws": FLAWS, "length": "3-4", "size": "80x32", "alphabet": "0123456789"}
SHAPE = ("image.width=64", "image.height=32", "shards.files=64")
NETWORK = ("network.widths=[8,16]", "network.units=32", "network.depth=1", "train.batch_size=32", "train.patience=99")
MODEL = "models:/glyphmill@champion"
TRAINERS = ("trainer-0", "trainer-1")
PORT = 2222


class Road(NamedTuple):
    """Where the road led."""

    files: int
    rows: int
    fingerprint: str
    local_fingerprint: str
    model_version: str
    exact_match: float
    read: int
    ingest_seconds: float


def run_road(cluster: Cluster, seconds: dict[str, float]) -> Road:
    """Goes the whole road. Raises FailedError where a step fails or the fingerprint is not that of a local run."""
    with timed("generate", seconds):
        drawn = [word for key, value in DRAWN.items() for word in (f"--{key}", value)]
        submit(cluster, "generate", "generate", "--output", cluster.uri("images"), *drawn).good()
    with timed("ingest", seconds):
        ingest(cluster, "ingest", "shards").good()
    with timed("the same without a cluster", seconds):
        local = _local(cluster)
    with timed("train", seconds):
        trainers = [train(cluster, index, "road", epochs=3) for index in (0, 1)]
        for trainer in trainers:
            trainer.good()
    with timed("evaluate", seconds):
        scores = _evaluated(cluster)
    with timed("batch predict", seconds):
        read = _predicted(cluster)
    there = manifest(cluster, "shards")
    count = there.accounting
    prints, model = (there.fingerprint, local.fingerprint), champion(cluster)
    road = Road(count.listed, count.written, *prints, model, scores, read, seconds["ingest"])
    if (there.fingerprint, count) != (local.fingerprint, local.accounting):
        raise FailedError(f"the cluster made the dataset {there.fingerprint}, one machine {local.fingerprint}")
    if read != count.listed:
        raise FailedError(f"{read} of {count.listed} files were read by the batch")
    return road


def submit(cluster: Cluster, name: str, job: str, *args: object) -> Process:
    """A job of ours on the Spark cluster, its driver at a host of its own."""
    memory = ("--driver-memory", "1g", "--executor-memory", "1g")
    command = ("spark-submit", "--master", cluster.master, *memory, ROOT / f"jobs/{job}.py", *args)
    environment = {"SPARK_LOCAL_IP": cluster.network.address["driver"], "MLFLOW_TRACKING_URI": cluster.tracking}
    return cluster.start("driver", name, *command, **environment, **cluster.s3)


def ingest(cluster: Cluster, name: str, output: str) -> Process:
    """The ingest of the drawn images into another folder of the bucket."""
    return submit(cluster, name, "ingest", "--input", cluster.uri("images"), "--output", cluster.uri(output), *_sets(SHAPE))


def train(cluster: Cluster, index: int, name: str, epochs: int, seed: int = 0) -> Process:
    """One of the two workers of a training; checkpoints are in a folder that both hosts share."""
    settings = _sets((*NETWORK, f"train.epochs={epochs}", f"train.seed={seed}", "devices.wait=120"))
    where = ("--dataset", cluster.uri("shards"), "--output", cluster.place / "checkpoints" / name)
    workers = [f"{cluster.network.address[host]}:{PORT + number}" for number, host in enumerate(TRAINERS)]
    config = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
    environment = {"TF_CONFIG": config, "MLFLOW_TRACKING_URI": cluster.tracking, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", "jobs.train", *where, "--config", ROOT / "conf/train/fast.yaml", *settings)
    return cluster.start(TRAINERS[index], f"{name}-{TRAINERS[index]}", *command, **environment, **cluster.s3)


def manifest(cluster: Cluster, output: str) -> Manifest:
    with credentials(cluster.s3):
        return open_dataset(cluster.uri(output)).manifest


def staged(cluster: Cluster, output: str) -> int:
    """How many groups an ingest has finished and not published yet."""
    with credentials(cluster.s3):
        place = locate(cluster.uri(output))
        names = place.fs.get_file_info(FileSelector(f"{place.path}/_staging", recursive=True, allow_not_found=True))
    return sum(info.base_name.startswith("done-") for info in names)


def champion(cluster: Cluster) -> str:
    """The version that the registry calls champion."""
    found = cluster.mlflow("registered-models/alias", name="glyphmill", alias="champion")
    if found is None:
        raise FailedError(f"{cluster.tracking} has no champion")
    return str(found["model_version"]["version"])


@contextmanager
def credentials(s3: Mapping[str, str]) -> Iterator[None]:
    """This process reads the store itself with the cluster's keys."""
    before = {name: os.environ.get(name) for name in s3}
    os.environ.update(s3)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _sets(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in ("--set", value))


def _local(cluster: Cluster) -> Manifest:
    """The dataset that this machine alone makes of the same images, drawn once more to a folder."""
    images, output = cluster.place / "images", cluster.place / "shards"
    settings = build(DrawingSettings, DRAWN, "generate")
    for drawing in plan(settings):
        (images / drawing.path).parent.mkdir(parents=True, exist_ok=True)
        (images / drawing.path).write_bytes(draw(settings, drawing))
    where = ("--input", images, "--output", output, "--runner", "local")
    cluster.start("driver", "ingest-local", sys.executable, ROOT / "jobs/ingest.py", *where, *_sets(SHAPE)).good()
    return open_dataset(str(output)).manifest


def _evaluated(cluster: Cluster) -> float:
    """The champion's exact match on the test split, judged at a host with the trainer's packages."""
    judged: Path = cluster.place / "evaluation.json"
    command = (sys.executable, "-m", "jobs.evaluate", "--model", MODEL, "--dataset", cluster.uri("shards"), "--json", judged)
    environment = {"MLFLOW_TRACKING_URI": cluster.tracking, "PYTHONPATH": str(ROOT), **cluster.s3}
    cluster.start("trainer-0", "evaluate", *command, **environment).good()
    return round(json.loads(judged.read_text(encoding="utf-8"))["exact_match"], 4)


def _predicted(cluster: Cluster) -> int:
    """How many files the champion has read on the executors."""
    where = ("--input", cluster.uri("images"), "--output", cluster.uri("read"))
    submit(cluster, "predict-batch", "predict_batch", "--model", MODEL, *where).good()
    with credentials(cluster.s3):
        return json.loads(locate(cluster.uri("read")).join("_summary.json").read_bytes())["files"]
