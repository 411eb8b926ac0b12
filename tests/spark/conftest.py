"""One Spark session for the whole suite: local, two threads."""

import os
import sys

import pytest

pytest.importorskip("pyspark")


@pytest.fixture(scope="session")
def spark():
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["PYSPARK_SUBMIT_ARGS"] = (
        "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=2"
        " --conf spark.scheduler.barrier.maxConcurrentTasksCheck.interval=1s pyspark-shell"
    )
    from pipelines.spark.session import spark_session

    session = spark_session("glyphmill-tests")
    yield session
    session.stop()
