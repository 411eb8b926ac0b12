"""Which strategy the devices and workers at hand give, what is refused, and how a loss among the workers is told."""

import socket
from itertools import islice

import pytest
import tensorflow as tf

from model import strategy
from model.cluster import Cluster, free_addresses
from model.config import DeviceSettings
from model.strategy import endless, strategy_for, told_loss
from pipelines.errors import DataError, SettingsError

pytestmark = pytest.mark.tf
TWO = Cluster(("127.0.0.1:1", "127.0.0.1:2"), 0)


def test_one_device_alone():
    assert strategy_for(DeviceSettings(), 7).num_replicas_in_sync == 1
    assert strategy_for(DeviceSettings(), 7, Cluster(("127.0.0.1:1",), 0)).num_replicas_in_sync == 1


def test_a_batch_that_does_not_split_over_the_workers_is_refused():
    with pytest.raises(SettingsError, match="train.batch_size=7 does not split over 2 workers; take a multiple of 2"):
        strategy_for(DeviceSettings(), 7, TWO)


def test_those_who_do_not_come_are_told_before_tensorflow_waits_for_them():
    addresses = free_addresses(2)
    with pytest.raises(DataError, match=r"worker 1 \(127.0.0.1:\d+\) did not come within 0.5 s"):
        strategy_for(DeviceSettings(wait=0.5), 8, Cluster(addresses, 0))


def failure(message: str) -> tf.errors.OpError:
    return tf.errors.UnavailableError(None, None, message)


def lost(cluster: Cluster, error: Exception) -> str:
    with pytest.raises(DataError) as caught, told_loss(cluster):
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "Collective ops is aborted by: Connection reset by peer\nfrom remote target /job:worker/replica:0/task:1 while calling X",
        "The following tasks are unhealthy (stopped sending heartbeats):\n/job:worker/replica:0/task:1",
        "Error reported from /job:worker/task:1: a shard is damaged",
    ],
)
def test_a_loss_is_told_with_the_name_that_tensorflow_knows(message):
    assert lost(TWO, failure(message)) == "worker 1 (127.0.0.1:2) is gone: start all workers again, and training goes on"


def test_a_loss_without_a_name_is_told_of_those_who_do_not_answer():
    addresses = free_addresses(3)
    with socket.create_server(("127.0.0.1", int(addresses[1].split(":")[1]))):
        assert lost(Cluster(addresses, 0), failure("Socket closed")).startswith(f"worker 2 ({addresses[2]}) is gone")


@pytest.mark.parametrize("cluster", [Cluster(), None])
def test_an_error_that_is_no_loss_stays_itself(monkeypatch, cluster):
    monkeypatch.setattr(strategy, "AFTERMATH", 0.3)
    addresses = free_addresses(2)
    with (
        socket.create_server(("127.0.0.1", int(addresses[1].split(":")[1]))),
        pytest.raises(tf.errors.InvalidArgumentError),
        told_loss(cluster or Cluster(addresses, 0)),
    ):
        raise tf.errors.InvalidArgumentError(None, None, "no such shape at /job:worker/replica:0/task:1")


def test_endless_data_is_what_it_was_up_to_its_end():
    data = endless(tf.data.Dataset.range(3))
    assert data.cardinality() == tf.data.INFINITE_CARDINALITY
    assert [int(value) for value in islice(data, 3)] == [0, 1, 2]
