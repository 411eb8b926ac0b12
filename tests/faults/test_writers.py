"""Two ingests on one output, at one time: one publishes, the other one says so or finds nothing to do."""

import pytest


def test_the_second_of_two_is_told_to_wait(ingest, output, undisturbed, catch):
    first = catch(lambda: ingest("local", output))
    line = ingest("local", output).error()
    assert line.startswith(f"error: {output}: another ingest is writing here (pid {first.process.pid}); wait for it to end")
    first.resume()
    first.good()
    undisturbed.check(output)
    assert "nothing to do" in ingest("local", output).good()


@pytest.mark.slow
@pytest.mark.parametrize("runners", ["local local", pytest.param("spark local", marks=pytest.mark.spark), "local local local"])
def test_started_together(ingest, output, undisturbed, runners):
    jobs = [ingest(runner, output) for runner in runners.split()]
    codes = [job.end() for job in jobs]
    assert set(codes) <= {0, 1}
    assert 0 in codes
    published = [job for job in jobs if not job.process.returncode and "nothing to do" not in job.told()]
    assert len(published) == 1
    for job in jobs:
        if job.process.returncode:
            assert "another ingest is writing here" in job.error()
    undisturbed.check(output)
