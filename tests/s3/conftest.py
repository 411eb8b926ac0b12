"""A local S3 server (moto), and the kinds of place that everything must work on."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.storage import Location, locate

BUCKETS = itertools.count(1)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, such as http://127.0.0.1:40565; its credentials stand in the environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "glyphmill")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "not-secret")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        environment.delenv("AWS_PROFILE", raising=False)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        try:
            yield "http://{}:{}".format(*server.get_host_and_port())
        finally:
            server.stop()


@pytest.fixture
def s3(s3_server: str) -> Location:
    """A new, empty bucket."""
    import boto3

    bucket = f"bucket-{next(BUCKETS)}"
    boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1").create_bucket(Bucket=bucket)
    return locate(f"s3://{bucket}?endpoint_override={s3_server}&region=us-east-1")


@pytest.fixture(params=["local", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """An empty folder on a filesystem of each kind: local, of Arrow, of fsspec."""
    if request.param == "s3":
        return request.getfixturevalue("s3").join("some folder")
    return locate(tmp_path if request.param == "local" else f"memory://{tmp_path.name}/some%20folder")
