"""What runs groups is killed: a Python worker of Spark, a process of the pool, an executor. The run itself goes on."""

import pytest

pytestmark = pytest.mark.slow
CLUSTER = {"master": "local-cluster[2,1,1024]"}
BOTH = ["local", pytest.param("spark", marks=pytest.mark.spark)]


@pytest.mark.parametrize("runner", BOTH)
def test_every_worker_is_killed_at_once(ingest, output, undisturbed, catch, runner):
    job = catch(lambda: ingest(runner, output))
    workers = job.workers()
    job.kill(*workers)
    job.resume()
    assert workers
    assert "(attempt 1 of 4)" in job.good()
    undisturbed.check(output)


@pytest.mark.parametrize("runner", BOTH)
def test_one_worker_is_killed(ingest, output, undisturbed, catch, runner):
    job = catch(lambda: ingest(runner, output))
    job.kill(job.workers()[0])
    job.resume()
    job.good()
    undisturbed.check(output)


def test_workers_that_die_every_time_are_told_in_one_line(ingest, output, undisturbed):
    job = ingest("local", output)

    def kill_workers() -> bool:
        job.kill(*job.workers())
        return False

    job.until(kill_workers)
    assert job.told().count("a process of the pool died") == 4
    assert "error: ingest: processes of the pool died 4 times" in job.told()
    assert job.end() == 1
    assert output.readable() is None
    ingest("local", output).good()
    undisturbed.check(output)


@pytest.mark.spark
def test_an_executor_of_a_cluster_is_killed(ingest, output, undisturbed, catch):
    job = catch(lambda: ingest("spark", output, **CLUSTER))
    executors = job.executors()
    assert len(executors) == 2
    job.kill(executors[0])
    job.resume()
    job.good()
    undisturbed.check(output)


@pytest.mark.spark
def test_a_worker_on_a_cluster_is_killed(ingest, output, undisturbed, catch):
    job = catch(lambda: ingest("spark", output, **CLUSTER))
    job.kill(*job.workers())
    job.resume()
    job.good()
    undisturbed.check(output)


@pytest.mark.spark
def test_the_driver_of_a_cluster_is_killed(ingest, output, undisturbed, catch):
    job = catch(lambda: ingest("spark", output, **CLUSTER))
    job.kill_driver()
    job.resume()
    ingest("spark", output, **CLUSTER).good()  # at once: executors of the old one may be alive still
    undisturbed.check(output)
    job.end()
    undisturbed.check(output)
