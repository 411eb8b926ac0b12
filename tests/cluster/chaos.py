"""Faults on the running cluster: each ends with the same dataset or a registered model, or in one line and a start that goes on."""

import time
from collections.abc import Callable, Sequence

from tests.cluster.console import tell
from tests.cluster.processes import FailedError, Process
from tests.cluster.report import Fault
from tests.cluster.road import Road, ingest, manifest, staged
from tests.cluster.services import Cluster
from tests.cluster.training import Training

CUT = 20.0  # seconds without a link
AWAY = 20.0  # seconds without MLflow and its database
GROUPS = 2  # finished when an ingest is disturbed

Scenario = Callable[[Cluster, Road], tuple[str, float]]


def run_chaos(cluster: Cluster, road: Road, faults: list[Fault], words: Sequence[str]) -> None:
    """Adds what became of each fault to `faults`. Raises FailedError at the end where one was not survived."""
    failed = []
    for name, scenario in SCENARIOS.items():
        if words and not any(word in name for word in words):
            continue
        tell(f"{name} ...")
        try:
            what, seconds = scenario(cluster, road)
        except FailedError as error:
            what, seconds = f"FAILED: {error}", 0.0
            failed.append(f"{name}: {error}")
        faults.append(Fault(name, what, round(seconds, 1)))
        tell(f"{name}: {what}, {seconds:.0f} s")
    if failed:
        raise FailedError(f"{len(failed)} of {len(faults)} faults were not survived: {failed[0]}")


def kill_spark_worker(cluster: Cluster, road: Road) -> tuple[str, float]:
    """kill -9 of a worker, its executor and that one's Python."""
    started = time.monotonic()
    job = _ingest_under_way(cluster, "killed-worker")
    cluster.running["spark-worker-0"].kill()
    seconds = _until_more(cluster, job, "killed-worker")
    job.good()
    _check(cluster, road, "killed-worker")
    told = _compared(started, road)
    cluster.start_spark_worker("worker-0")
    return f"its tasks ran again at the other worker; the same fingerprint; {told}", seconds


def cut_link(cluster: Cluster, road: Road) -> tuple[str, float]:
    """A Spark worker's host is cut off for CUT seconds."""
    if not cluster.network.namespaces:
        return "left out: without namespaces there is no link to cut", 0.0
    started = time.monotonic()
    job = _ingest_under_way(cluster, "cut-link")
    cluster.network.link("worker-1", up=False)
    try:
        time.sleep(CUT)
    finally:
        cluster.network.link("worker-1", up=True)
    seconds = _until_more(cluster, job, "cut-link")
    again = _ended_or_again(job, lambda: ingest(cluster, "cut-link", "cut-link"))
    _check(cluster, road, "cut-link")
    return f"{again}; the same fingerprint; {_compared(started, road)}", seconds


def kill_trainer(cluster: Cluster, road: Road) -> tuple[str, float]:
    """kill -9 of one of two training workers, which an engine starts again, as compose's restart: on-failure:5 says."""
    training = Training(cluster, "killed-trainer", epochs=8, seed=1)
    training.until_epoch(2)
    training.kill(1)
    before, began = training.epochs(), time.monotonic()
    restarts = training.supervise(lambda: training.epochs() > before)
    seconds = time.monotonic() - began
    lines = training.errors(0)
    restarts += training.supervise()
    training.check()
    return f"the other ended ({lines[0]}); {restarts} restarts by the engine, one run, every epoch once, registered", seconds


def restart_mlflow(cluster: Cluster, road: Road) -> tuple[str, float]:
    """kill -9 of MLflow's server and of PostgreSQL during a training, and both again after AWAY seconds."""
    training = Training(cluster, "without-mlflow", epochs=12, seed=2)
    training.until_epoch(2)
    cluster.running["mlflow"].kill()
    cluster.running["postgresql"].kill()
    before = training.written()
    training.wait(lambda: training.written() > before, "an epoch without MLflow")
    time.sleep(AWAY)
    cluster.start_database()
    cluster.start_mlflow()
    began, known = time.monotonic(), training.epochs()
    training.wait(lambda: training.epochs() > known, "metrics after MLflow is back")
    seconds = time.monotonic() - began
    restarts = training.supervise()
    training.check()
    return f"the training went on, {restarts} restarts; every epoch is there once, registered", seconds


def full_artifacts(cluster: Cluster, road: Road) -> tuple[str, float]:
    """The store is full when a training is to write its model there."""
    training = Training(cluster, "full-artifacts", epochs=3, seed=3)
    training.until_epoch(1)
    cluster.full.touch()
    try:
        lines = training.failed()
    finally:
        cluster.full.unlink()
    began = time.monotonic()
    training.start()
    training.supervise()
    training.check()
    return f"one line ({_short(lines)}); once there was room the same command finished and registered", time.monotonic() - began


def full_datasets(cluster: Cluster, road: Road) -> tuple[str, float]:
    """The store is full in the middle of an ingest."""
    job = _ingest_under_way(cluster, "full-store")
    cluster.full.touch()
    try:
        if job.end() == 0:
            raise FailedError(f"the ingest ended well in a full store; its log: {job.log}")
        lines = one_line(job)
    finally:
        cluster.full.unlink()
    began = time.monotonic()
    _until_free(cluster, "full-store")
    _check(cluster, road, "full-store")
    return (
        f"one line ({_short([lines])}); once there was room the same command ended with the same fingerprint",
        time.monotonic() - began,
    )


SCENARIOS: dict[str, Scenario] = {
    "a Spark worker is killed during ingest": kill_spark_worker,
    f"a Spark worker's link is cut for {CUT:.0f} s": cut_link,
    "the store is full during ingest": full_datasets,
    "a training worker is killed": kill_trainer,
    "MLflow and PostgreSQL are killed and restarted during training": restart_mlflow,
    "the artifact store is full at the end of training": full_artifacts,
}


def one_line(job: Process) -> str:
    """The one line that a job which failed has said. Raises FailedError where there are more, or a trace."""
    lines = job.errors()
    if len(lines) != 1 or "Traceback" in job.told():
        raise FailedError(f"{job.name}: not one clear line but {len(lines)}; its log: {job.log}")
    return lines[0]


def _ingest_under_way(cluster: Cluster, output: str) -> Process:
    job = ingest(cluster, output, output)
    job.until(lambda: staged(cluster, output) >= GROUPS, "the first groups")
    return job


def _until_more(cluster: Cluster, job: Process, output: str) -> float:
    """Seconds until another group is finished, or the job is over."""
    began, done = time.monotonic(), staged(cluster, output)
    while staged(cluster, output) <= done and job.code is None:
        time.sleep(0.05)
    return time.monotonic() - began


def _compared(started: float, road: Road) -> str:
    return f"{time.monotonic() - started:.0f} s in all, undisturbed {road.ingest_seconds:.0f} s"


def _ended_or_again(job: Process, again: Callable[[], Process]) -> str:
    """Waits for a job; where it stopped with one line, starts it again."""
    if job.end() == 0:
        return "the ingest went on"
    line = one_line(job)
    again().good()
    return f"one line ({_short([line])}), and the same command went on"


def _until_free(cluster: Cluster, output: str) -> None:
    """The same command again; where the lease of the failed one could not be removed, once it has run out."""
    job = ingest(cluster, output, output)
    if job.end() and "another ingest is writing here" in one_line(job):
        tell("the lease of the failed ingest runs out first")
        time.sleep(90)
        job = ingest(cluster, output, output)
    job.good()


def _check(cluster: Cluster, road: Road, output: str) -> None:
    found = manifest(cluster, output)
    if (found.fingerprint, found.accounting.listed) != (road.fingerprint, road.files):
        raise FailedError(f"{output}: the fingerprint {found.fingerprint} is not {road.fingerprint}")


def _short(lines: Sequence[str]) -> str:
    """The line that a person would see, without its middle where that is long."""
    text = lines[0].removeprefix("error: ")
    return text if len(text) < 200 else f"{text[:90]} ... {text[-90:]}"
