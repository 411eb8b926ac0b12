"""The driver is killed: at any moment, in every phase, from Python and from Java. The next run ends what was begun."""

import json
import signal
from typing import NamedTuple

import pytest


class Phase(NamedTuple):
    """Where the driver dies, whether a reader then has the version, and what the rerun says. RUNNER is the runner's class."""

    at: str
    published: bool
    rerun: str


CONTINUED = "continuing an interrupted ingest: 26 of 26 groups were finished"
DECIDED = "version 1 was decided by an ingest that was interrupted; it is published now"
NOTHING = "nothing to do: "
DECISION = "pipelines.publish:Staged.decide"
MOVING = f"{DECISION} > pipelines.storage:Location"
PHASES = {
    "listing": Phase("pipelines.plan:list_files:after:1", False, ""),
    "groups laid out": Phase("RUNNER.map:before:1", False, "continuing an interrupted ingest: 0 of 26 groups were finished"),
    "groups finished": Phase("RUNNER.map:after:1", False, CONTINUED),
    "before dropping repeats": Phase("RUNNER.map:before:2", False, CONTINUED),
    "after dropping repeats": Phase("RUNNER.map:after:2", False, CONTINUED),
    "staging the first file": Phase("pipelines.publish:Staged.write:after:1", False, CONTINUED),
    "staging the last file": Phase("pipelines.publish:stage_petastorm:after:1", False, CONTINUED),
    "before the decision": Phase(f"{DECISION}:before:1", False, CONTINUED),
    "decided": Phase(f"{DECISION}:after:1", False, DECIDED),
    "one file moved": Phase(f"{MOVING}.move:after:1", False, DECIDED),
    "forty files moved": Phase(f"{MOVING}.move:after:40", False, DECIDED),
    "all files moved": Phase(f"{MOVING}.move_tree:before:1", False, DECIDED),
    "one folder moved": Phase(f"{MOVING}.move_tree:after:1", False, DECIDED),
    "all folders moved": Phase("pipelines.publish:publish:before:1", False, DECIDED),
    "manifest under a hidden name": Phase("os:link:before:1", False, DECIDED),
    "manifest there": Phase("os:link:after:1", True, NOTHING),
    "published": Phase("pipelines.publish:publish:after:1", True, NOTHING),
    "staging half removed": Phase("pipelines.publish:publish > os:unlink:after:9", True, NOTHING),
}
SHORT = {("local", "groups finished"), ("local", "forty files moved")}


def kinds(*names: str) -> list:
    long = [(runner, name) for runner in ("local", "spark") for name in names if (runner, name) not in SHORT]
    short = [pair for pair in sorted(SHORT) if pair[1] in names]
    marks = {"local": [], "spark": [pytest.mark.spark]}
    return [pytest.param(*pair) for pair in short] + [
        pytest.param(*pair, marks=[pytest.mark.slow, *marks[pair[0]]]) for pair in long
    ]


BOTH = ["local", pytest.param("spark", marks=pytest.mark.spark)]


@pytest.mark.parametrize(("runner", "phase"), kinds(*PHASES))
def test_killed_in_a_phase(ingest, output, undisturbed, runner, phase):
    at, published, said = PHASES[phase]
    job = ingest(runner, output, at=at)
    assert job.end() in (-signal.SIGKILL, 128 + signal.SIGKILL), job.told()
    assert output.readable() == (1 if published else None)
    assert said in ingest(runner, output).good()
    undisturbed.check(output)


@pytest.mark.slow
@pytest.mark.parametrize("runner", BOTH)
@pytest.mark.parametrize("pattern", ["done-*.json", "again-*.json", "new-*"])
def test_killed_when_a_file_shows(ingest, output, undisturbed, runner, pattern):
    job = ingest(runner, output)
    job.until(lambda: output.staged(pattern) or output.readable())
    job.kill_driver()
    job.end()
    assert output.readable() in (None, 1)
    ingest(runner, output).good()
    undisturbed.check(output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("runner", BOTH)
def test_killed_at_a_random_moment(ingest, output, undisturbed, wait_for_a_moment, runner, seed):
    job = ingest(runner, output)
    wait_for_a_moment(job, runner, seed)
    job.kill_driver()
    job.process.wait()
    assert output.readable() in (None, 1)
    ingest(runner, output).good()  # at once: workers of the old one may be alive still
    undisturbed.check(output)
    job.end()
    undisturbed.check(output)


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("seed", range(10))
def test_java_killed_at_a_random_moment(ingest, output, undisturbed, wait_for_a_moment, seed):
    job = ingest("spark", output)
    wait_for_a_moment(job, "spark", seed)
    job.process.kill()
    job.end()  # the Python driver, which holds the lock, ends too
    assert output.readable() in (None, 1)
    ingest("spark", output).good()
    undisturbed.check(output)


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize("phase", ["groups laid out", "before dropping repeats", "before the decision", "forty files moved"])
def test_java_killed_in_a_phase(ingest, output, undisturbed, phase):
    job = ingest("spark", output, at=PHASES[phase].at, KILL="parent")
    job.end()
    assert output.readable() in (None, 1)  # without Java, Python can still publish what is ready
    ingest("spark", output).good()
    undisturbed.check(output)


@pytest.mark.slow
def test_killed_again_and_again_it_gets_there(ingest, output, undisturbed):
    """Each run is killed as soon as it has finished two groups more; none that was finished is made again."""
    finished: dict[str, int] = {}
    for _ in range(100):
        job = ingest("local", output)
        if not job.until(lambda: output.done() >= len(finished) + 2):  # noqa: B023
            job.good()
            break
        job.kill_driver()
        job.end()
        stamps = {path.name: path.stat().st_ino for path in output.staged("done-*.json")}
        assert finished.items() <= stamps.items()
        finished = stamps
    assert len(finished) > 20
    undisturbed.check(output)


@pytest.mark.slow
def test_what_was_finished_is_what_is_published(ingest, output, undisturbed, catch):
    job = catch(lambda: ingest("local", output))
    job.kill_driver()
    job.resume()
    job.end()
    staged = [shard["path"] for path in output.staged("done-*.json") for shard in json.loads(path.read_text())["shards"]]
    before = {path.stat().st_ino for name in staged for path in output.staged(name)}
    count = output.done()
    assert f"{count} of 26 groups were finished" in ingest("local", output).good()
    undisturbed.check(output)
    after = {path.stat().st_ino for split in ("train", "val", "test") for path in (output.path / split).iterdir()}
    assert len(before & after) > 0  # the very files, but for groups that had repeats to drop


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.parametrize(("first", "second"), [("local", "spark"), ("spark", "local")])
def test_one_runner_continues_what_another_began(ingest, output, undisturbed, catch, first, second):
    job = catch(lambda: ingest(first, output))
    job.kill_driver()
    job.resume()
    job.end()
    assert "continuing an interrupted ingest" in ingest(second, output).good()
    undisturbed.check(output)


@pytest.mark.slow
@pytest.mark.spark
def test_a_worker_that_outlives_its_job_changes_nothing(ingest, output, undisturbed, catch):
    """It sleeps with a group in its hands while the job dies, and wakes up after another one has published."""
    job = catch(lambda: ingest("spark", output))
    sleepers = job.workers()
    assert sleepers
    job.kill_driver()
    job.process.kill()
    ingest("spark", output).good()
    undisturbed.check(output)
    job.resume()
    job.end()
    undisturbed.check(output)
