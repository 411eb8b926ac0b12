"""TF_CONFIG -> who the workers are, and a start that waits for them all and says who is missing."""

import json
import socket
import threading
import time

import pytest

from model import cluster
from model.cluster import Cluster, absent, free_addresses, meet
from pipelines.errors import DataError, SettingsError

TWO = ["host1:2222", "host2:2222"]


def config(jobs: object, kind: object = "worker", index: object = 0) -> str:
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "addresses", "index", "workers", "chief"),
    [
        (None, (), 0, 1, True),
        ("", (), 0, 1, True),
        ("{}", (), 0, 1, True),
        ('{"cluster": {}}', (), 0, 1, True),
        ('{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}', (), 0, 1, True),
        (config({"worker": ["host1:2222"]}), ("host1:2222",), 0, 1, True),
        (config({"worker": TWO}), tuple(TWO), 0, 2, True),
        (config({"worker": TWO}, index=1), tuple(TWO), 1, 2, False),
        (config({"worker": TWO}, index="1"), tuple(TWO), 1, 2, False),
        (config({"chief": ["host0:1"], "worker": TWO}, "chief", 0), ("host0:1", *TWO), 0, 3, True),
        (config({"worker": TWO, "chief": ["host0:1"]}, "worker", 0), ("host0:1", *TWO), 1, 3, False),
        (config({"chief": ["host0:1"], "worker": TWO}, "worker", 1), ("host0:1", *TWO), 2, 3, False),
        (config({"worker": ["10.0.0.1:65535", "[::1]:80"]}, index=1), ("10.0.0.1:65535", "[::1]:80"), 1, 2, False),
    ],
)
def test_the_environment_says_who_we_are(monkeypatch, text, addresses, index, workers, chief):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    found = Cluster.from_environment()
    assert found == Cluster(addresses, index)
    assert (found.workers, found.chief) == (workers, chief)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("nonsense", "Expecting value"),
        ("[]", "not a JSON object with the keys cluster and task"),
        ('{"cluster": ["host1:2222"]}', "not a JSON object with the keys cluster and task"),
        ('{"cluster": {"worker": ["host1:2222"]}}', "task with its type and index is missing"),
        ('{"cluster": {"worker": ["host1:2222"]}, "task": {"type": "worker"}}', "task with its type and index is missing"),
        (config({"worker": TWO}, index=2), "task worker 2 is not in the cluster, which has 2 of that job"),
        (config({"worker": TWO}, index=-1), "task.index is -1, not a number from 0 on"),
        (config({"worker": TWO}, index=None), "task.index is None, not a number from 0 on"),
        (config({"worker": TWO}, "chief"), "task chief 0 is not in the cluster, which has 0 of that job"),
        (config({"worker": TWO}, "evaluator"), "the job 'evaluator' has no part in this training; it knows chief and worker"),
        (config({"worker": TWO, "ps": ["host3:1"]}), "the job 'ps' has no part in this training; it knows chief and worker"),
        (config({"chief": TWO}, "chief"), "there is one chief at most"),
        (config({"worker": ["host1:1", "host1:1"]}), "an address stands twice in host1:1, host1:1"),
        (config({"worker": "host1:1"}), "cluster.worker is 'host1:1', not a list of host:port"),
        (config({"worker": ["host1"]}), "cluster.worker has 'host1', which is not host:port"),
        (config({"worker": ["host1:0"]}), "cluster.worker has 'host1:0', which is not host:port"),
        (config({"worker": ["host1:65536"]}), "cluster.worker has 'host1:65536', which is not host:port"),
        (config({"worker": [2222]}), "cluster.worker has 2222, which is not host:port"),
    ],
)
def test_a_broken_environment_is_told_in_one_line(monkeypatch, text, said):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(SettingsError) as caught:
        Cluster.from_environment()
    assert str(caught.value).startswith(f"TF_CONFIG: {said}")
    assert "\n" not in str(caught.value)


def test_a_worker_is_told_who_it_is(monkeypatch):
    given = Cluster(tuple(TWO), 1)
    monkeypatch.setenv("TF_CONFIG", given.tf_config)
    assert Cluster.from_environment() == given
    assert json.loads(given.tf_config) == {"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 1}}
    assert given.name_of(0) == "worker 0 (host1:2222)"


def test_free_addresses_differ_and_are_free():
    addresses = free_addresses(8)
    assert len(set(addresses)) == 8
    for address in addresses:
        host, port = address.split(":")
        socket.create_server((host, int(port))).close()


@pytest.mark.parametrize("delays", [(0, 0), (0, 0.7), (0.7, 0), (0, 0.5, 1)])
def test_workers_meet_whoever_is_first(delays):
    addresses, met, open_ports = free_addresses(len(delays)), {}, []

    def come(index: int) -> None:
        time.sleep(delays[index])
        meet(Cluster(addresses, index), 10)
        met[index] = time.monotonic()
        port = int(addresses[index].split(":")[1])
        open_ports.append(socket.create_server((cluster.LOOPBACK, port)))  # what TensorFlow does next

    began = time.monotonic()
    threads = [threading.Thread(target=come, args=(index,)) for index in range(len(delays))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert set(met) == set(range(len(delays)))
    assert min(met.values()) - began >= max(delays)
    for port in open_ports:
        port.close()


def test_those_who_do_not_come_are_told_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cluster, "SAY", 0.3)
    addresses = free_addresses(3)
    with (
        socket.create_server((cluster.LOOPBACK, int(addresses[1].split(":")[1]))),
        pytest.raises(DataError) as caught,
    ):
        meet(Cluster(addresses, 0), 1)
    assert str(caught.value) == (
        f"worker 2 ({addresses[2]}) did not come within 1 s to worker 0 ({addresses[0]});"
        " look whether they run and are reachable, or raise devices.wait"
    )
    assert capsys.readouterr().err.splitlines()[0] == f"waiting for worker 2 ({addresses[2]})"


def test_a_port_that_is_taken_is_told_in_one_line():
    addresses = free_addresses(2)
    port = int(addresses[0].split(":")[1])
    with socket.create_server(("", port)), pytest.raises(DataError) as caught:
        meet(Cluster(addresses, 0), 1)
    assert str(caught.value).startswith(f"worker 0 ({addresses[0]}): cannot listen at port {port}: Address already in use")


def test_who_is_absent():
    addresses = free_addresses(3)
    with socket.create_server((cluster.LOOPBACK, int(addresses[1].split(":")[1]))):
        assert absent(Cluster(addresses, 1), range(3)) == [0, 2]
    assert absent(Cluster(("no-such-host.invalid:1", *addresses), 1), [0]) == [0]
