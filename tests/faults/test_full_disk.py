"""The output's disk is a small tmpfs and fills up: in the groups, in the publication, after the decision."""

import shutil
import signal
import subprocess

import pytest

pytestmark = pytest.mark.slow
ROOM = 1 << 28
NO_SPACE = "no space left"


class Disk:
    """A mounted tmpfs of so many bytes."""

    def __init__(self, folder) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, size: int, *options: str) -> None:
        told = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", self.folder],
            check=False,
            capture_output=True,
            text=True,
        )
        if told.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {told.stderr.strip()}")

    def resize(self, size: int) -> None:
        self.mount(size, "remount")

    def fill(self) -> None:
        """Leaves no room at all."""
        self.resize(shutil.disk_usage(self.folder).used)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    disk.mount(ROOM)
    yield disk
    subprocess.run(["umount", "--lazy", disk.folder], check=True)


@pytest.fixture
def output(disk, output):
    return type(output)(disk.folder / "shards")


BOTH = ["local", pytest.param("spark", marks=pytest.mark.spark)]


@pytest.mark.parametrize("runner", BOTH)
def test_full_while_groups_are_written(ingest, disk, output, undisturbed, runner):
    disk.resize(sum(path.stat().st_size for path in undisturbed.output.path.rglob("*.parquet")) // 2)
    assert NO_SPACE in ingest(runner, output).error().lower()
    assert output.readable() is None
    assert output.done() > 0
    disk.resize(ROOM)
    assert "continuing an interrupted ingest" in ingest(runner, output).good()
    undisturbed.check(output)


AT = {
    "repeats": "RUNNER.map:before:2",
    "the first file of the version": "pipelines.publish:stage_shards:before:1",
    "the decision": "pipelines.publish:Staged.decide:before:1",
    "the manifest": "pipelines.publish:Staged.decide:after:1",
}


@pytest.mark.parametrize("runner", BOTH)
@pytest.mark.parametrize("what", AT)
def test_full_when_this_is_to_be_written(ingest, disk, output, undisturbed, runner, what):
    """A first run is killed before it writes that; the one that goes on from there has no room for it."""
    at = AT[what]
    assert ingest(runner, output, at=at).end() in (-signal.SIGKILL, 128 + signal.SIGKILL)
    disk.fill()
    assert NO_SPACE in ingest(runner, output).error().lower()
    assert output.readable() is None
    assert NO_SPACE in ingest(runner, output).error().lower()  # and again, for as long as it is full
    disk.resize(ROOM)
    ingest(runner, output).good()
    undisturbed.check(output)
