"""The driver is killed while it appends: the old version stays whole, and the next run publishes the new one."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from pipelines.manifest import open_dataset
from pipelines.versions import damaged

pytestmark = pytest.mark.slow
DECISION = "pipelines.publish:Staged.decide"
MOVING = f"{DECISION} > pipelines.storage:Location"
PHASES = {  # where the driver dies, and the version that a reader gets then
    "listing": ("pipelines.plan:list_files:after:1", 1),
    "groups laid out": ("RUNNER.map:before:1", 1),
    "groups finished": ("RUNNER.map:after:1", 1),
    "after dropping repeats": ("RUNNER.map:after:2", 1),
    "staging the version": ("pipelines.publish:Staged.write:after:3", 1),
    "before the decision": (f"{DECISION}:before:1", 1),
    "decided": (f"{DECISION}:after:1", 1),
    "ten files moved": (f"{MOVING}.move:after:10", 1),
    "one folder moved": (f"{MOVING}.move_tree:after:1", 1),
    "all folders moved": ("pipelines.publish:publish:before:1", 1),
    "manifest under a hidden name": ("os:link:before:1", 1),
    "manifest there": ("os:link:after:1", 2),
    "staging half removed": ("pipelines.publish:publish > os:unlink:after:9", 2),
}


@pytest.fixture(scope="module")
def grown(images, noise, fill, tmp_path_factory) -> Path:
    """The files of version 1 and 200 more, some of which repeat others."""
    folder = shutil.copytree(images, tmp_path_factory.mktemp("grown") / "images", copy_function=os.link)
    fill(folder, {f"new/{n:04d}.png": noise(n, 60, 30) for n in range(2000, 2180)})
    return fill(folder, {f"new/copies/{n:04d}.2.png": noise(n, 60, 30) for n in (*range(10, 20), *range(2000, 2010))})


@pytest.fixture
def first(undisturbed, output):
    """Version 1, in a folder of this test."""
    shutil.copytree(undisturbed.output, output)
    return output


@pytest.fixture(scope="module")
def appended(undisturbed, ingest, grown, tmp_path_factory):
    """What an undisturbed append gives."""
    output = type(undisturbed.output)(tmp_path_factory.mktemp("appended") / "shards")
    shutil.copytree(undisturbed.output, output)
    ingest("local", output, "--append", source=grown).good()
    return type(undisturbed).of(output)


def check_both(undisturbed, appended, output) -> None:
    appended.check(output)
    old = open_dataset(f"{output}@1")
    assert old.manifest == undisturbed.manifest
    assert [part.path for part, wrong in damaged(old) if wrong] == []


@pytest.mark.parametrize("runner", ["local", pytest.param("spark", marks=pytest.mark.spark)])
@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_a_phase(ingest, grown, first, undisturbed, appended, runner, phase):
    at, readable = PHASES[phase]
    job = ingest(runner, first, "--append", source=grown, at=at)
    assert job.end() in (-signal.SIGKILL, 128 + signal.SIGKILL), job.told()
    assert first.readable() == readable
    assert open_dataset(f"{first}@1").manifest == undisturbed.manifest
    ingest(runner, first, "--append", source=grown).good()
    check_both(undisturbed, appended, first)


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment(ingest, grown, first, undisturbed, appended, wait_for_a_moment, seed):
    job = ingest("local", first, "--append", source=grown)
    wait_for_a_moment(job, "local", seed)
    job.kill_driver()
    job.process.wait()
    assert first.readable() in (1, 2)
    assert open_dataset(f"{first}@1").manifest == undisturbed.manifest
    ingest("local", first, "--append", source=grown).good()
    check_both(undisturbed, appended, first)
