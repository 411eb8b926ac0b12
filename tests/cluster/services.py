"""The cluster's services, each at a host of its own and as compose.yaml starts them: store, PostgreSQL, MLflow, Spark."""

import json
import os
import pwd
import secrets
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.cluster import processes
from tests.cluster.console import tell
from tests.cluster.network import Network
from tests.cluster.postgres_client import client_folder
from tests.cluster.processes import Process

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BUCKET = "glyphmill"
REGION = "us-east-1"
ANSWER = 3  # seconds that a service has to answer
SPARK_WORKERS = ("worker-0", "worker-1")


class Cluster:
    """What is up, by name, and how to reach it."""

    def __init__(self, place: Path, network: Network, client: Path) -> None:
        self.place, self.network, self._client = place, network, client
        self.running: dict[str, Process] = {}
        self.full = place / "full"  # while this file is there, the store is full
        at = network.address
        self.master = f"spark://{at['master']}:7077"
        self.store = f"http://{at['store']}:7070"
        self.tracking = f"http://{at['mlflow']}:5000"
        self._password = secrets.token_hex(12)
        self.s3 = {"AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
        self.s3 |= {"AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}

    @classmethod
    @contextmanager
    def up(cls, folder: Path, logs: Path, keep: bool, loopback: bool) -> "Iterator[Cluster]":
        """A cluster whose services answer; whatever was started is ended at the end of the block, however it ends."""
        network = Network(logs, loopback)
        place = Path(tempfile.mkdtemp(prefix="glyphmill-cluster-"))
        place.chmod(0o711)  # PostgreSQL's own user passes through
        try:
            cluster = cls(place, network, client_folder(folder))
            for start in (cluster.start_store, cluster.start_database, cluster.start_mlflow, cluster.start_spark):
                start()
            tell(
                f"the cluster is up: {len(network.address)} hosts, {'namespaces' if network.namespaces else 'loopback addresses'}"
            )
            yield cluster
        finally:
            processes.kill_all()
            network.close()
            if not keep:
                shutil.rmtree(place)

    def uri(self, name: str) -> str:
        """The URI of a folder in the bucket."""
        return f"s3://{BUCKET}/{name}?endpoint_override={self.store}&region={REGION}"

    def start(self, host: str, name: str, *command: object, **environment: str) -> Process:
        """Starts a command in the host's own folder, with this environment's programs first on its path."""
        folder = self.place / host
        folder.mkdir(exist_ok=True)
        common = {"HOME": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        return self.network.start(host, name, *command, cwd=folder, environment={**common, **environment})

    def start_store(self) -> None:
        process = self.start(
            "store", "store", sys.executable, Path(__file__).with_name("store.py"), *self._at("store", 7070), self.full
        )
        self._await("store", process, lambda: _get(self.store))
        import boto3

        keys = {"aws_access_key_id": self.s3["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": self.s3["AWS_SECRET_ACCESS_KEY"]}
        boto3.client("s3", endpoint_url=self.store, region_name=REGION, **keys).create_bucket(Bucket=BUCKET)

    def start_database(self) -> None:
        """PostgreSQL as a user without rights, made where it is not there yet."""
        address, data = self.network.address["mlflow"], self.place / "database"
        if not data.exists():
            self._make_database(data)
        server = (*_unprivileged(), "postgres", "-D", data, "-h", address, "-k", data, "-c", "fsync=on")
        process = self.start("mlflow", "postgresql", *server)
        self._await("postgresql", process, lambda: "ready to accept connections" in process.told())

    def start_mlflow(self) -> None:
        database = f"postgresql+psycopg2://mlflow:{self._password}@{self.network.address['mlflow']}:5432/postgres"
        settings = {
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/artifacts",
            "MLFLOW_S3_ENDPOINT_URL": self.store,
            "MLFLOW_SERVER_ALLOWED_HOSTS": self.tracking.removeprefix("http://"),
            "PYTHONPATH": str(self._client),
        }
        process = self.start("mlflow", "mlflow", ROOT / "docker/mlflow-entrypoint.sh", **settings, **self.s3)
        self._await("mlflow", process, lambda: _get(f"{self.tracking}/health"))

    def start_spark(self) -> None:
        settings = {"SPARK_MASTER_HOST": self.network.address["master"], **self._spark("master")}
        process = self.start("master", "spark-master", ROOT / "docker/spark-entrypoint.sh", "master", **settings)
        self._await("spark-master", process, lambda: self.spark_workers() is not None)
        for number, host in enumerate(SPARK_WORKERS):
            self.start_spark_worker(host, alive=number + 1)

    def start_spark_worker(self, host: str, alive: int = len(SPARK_WORKERS)) -> None:
        """Starts a worker, and returns once the master knows `alive` of them."""
        entry = (ROOT / "docker/spark-entrypoint.sh", "worker", self.master, "--host", self.network.address[host])
        process = self.start(host, f"spark-{host}", *entry, **self._spark(host), **self.s3)
        self._await(f"spark-{host}", process, lambda: (self.spark_workers() or 0) >= alive)

    def spark_workers(self) -> int | None:
        """How many workers the master calls alive; None where it does not answer."""
        told = _get(f"http://{self.network.address['master']}:8080/json/")
        return json.loads(told)["aliveworkers"] if told else None

    def mlflow(self, path: str, **query: str) -> dict[str, Any] | None:
        """What MLflow's server answers to a question; None where it has none."""
        told = _get(f"{self.tracking}/api/2.0/mlflow/{path}?{urlencode(query)}")
        return json.loads(told) if told else None

    def _spark(self, host: str) -> Mapping[str, str]:
        work = self.place / host / "work"
        sizes = {"SPARK_DAEMON_MEMORY": "512m", "SPARK_WORKER_CORES": "1", "SPARK_WORKER_MEMORY": "2g"}
        return {"SPARK_LOCAL_IP": self.network.address[host], "SPARK_WORKER_DIR": str(work), **sizes}

    def _at(self, host: str, port: int) -> tuple[str, str]:
        return self.network.address[host], str(port)

    def _await(self, name: str, process: Process, answers: Any) -> None:
        process.until(answers, "an answer", 120)
        self.running[name] = process

    def _make_database(self, data: Path) -> None:
        """Its files, a password for the one user, and who may come: the hosts of this network."""
        data.mkdir()
        secret = data.with_name("database-password")
        secret.write_text(self._password, encoding="utf-8")
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (data, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        secret.chmod(0o400)
        made = ("initdb", "-D", data, "-U", "mlflow", "--auth=scram-sha-256", f"--pwfile={secret}")
        self.start("mlflow", "initdb", *_unprivileged(), *made).good()
        secret.unlink()
        with (data / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write(f"host all all {self.network.address['mlflow']}/24 scram-sha-256\n")


def _unprivileged() -> tuple[str, ...]:
    """PostgreSQL refuses to run as root."""
    return ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups") if os.geteuid() == 0 else ()


def _get(url: str) -> bytes | None:
    """What a service answers; None where it does not, or with an error."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=ANSWER) as answer:  # HTTPError is an OSError
        return answer.read()
    return None
