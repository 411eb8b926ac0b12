"""A task that runs twice at one time, on a cluster of two hosts: Spark starts it again where it is slow. Rows show once."""

import json
import socket

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.spark]
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "50ms",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.quantile": "0.1",
    "spark.eventLog.enabled": "true",
}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def master(begin):
    """The address of a standalone cluster with a worker on each of two addresses: Spark never speculates on one host."""
    import pyspark

    spark_class = f"{pyspark.__path__[0]}/bin/spark-class"
    port = free_port()
    url = f"spark://127.0.0.1:{port}"
    jobs = [
        begin(
            spark_class,
            "org.apache.spark.deploy.master.Master",
            "--host",
            "127.0.0.1",
            "--port",
            port,
            "--webui-port",
            free_port(),
        )
    ]
    for host in ("127.0.0.1", "127.0.0.2"):
        start = [spark_class, "org.apache.spark.deploy.worker.Worker", "--host", host, "--cores", 1, "--memory", "1g"]
        jobs.append(begin(*start, "--webui-port", free_port(), url, SPARK_LOCAL_IP=host))
    yield url, jobs
    for job in jobs:
        job.close()


def attempts(events) -> list[dict]:
    lines = (json.loads(line) for path in events.iterdir() for line in path.read_text().splitlines())
    return [line["Task Info"] for line in lines if line["Event"] == "SparkListenerTaskStart"]


def test_a_task_that_hangs_is_run_again_elsewhere_and_wakes_up(ingest, master, output, undisturbed, tmp_path):
    url, (_, *hosts) = master
    events = tmp_path / "events"
    events.mkdir()
    conf = SPECULATION | {"spark.eventLog.dir": f"file://{events}"}
    job = ingest("spark", output, master=url, conf=conf)
    asleep = []

    def one_sleeps() -> bool:
        if output.done() >= 4:
            for host in hosts:
                for worker in host.workers():
                    if not asleep:
                        worker.suspend()
                        asleep.append(worker)
        return bool(asleep)

    job.until(one_sleeps)
    job.until(lambda: output.done() == 26 or output.readable())
    for worker in asleep:
        if worker.is_running():
            worker.resume()
    job.good()
    undisturbed.check(output)
    assert any(task["Speculative"] for task in attempts(events))
    for host in hosts:
        host.until(lambda: not host.workers())  # noqa: B023
    undisturbed.check(output)
