"""Files go away while they are ingested: all of them, or a few."""

import os
import shutil

import pyarrow.parquet as pq
import pytest

from pipelines.manifest import open_dataset

pytestmark = pytest.mark.slow
BOTH = ["local", pytest.param("spark", marks=pytest.mark.spark)]


@pytest.fixture
def source(images, tmp_path):
    """A folder with the same files: names, bytes, times."""
    return shutil.copytree(images, tmp_path / "linked", copy_function=os.link)


@pytest.mark.parametrize("runner", BOTH)
def test_the_whole_input_goes_away(ingest, source, images, output, undisturbed, catch, runner):
    job = catch(lambda: ingest(runner, output, source=source))
    shutil.rmtree(source)
    job.resume()
    assert "files could not be read: the input went away while the ingest ran" in job.error()
    assert output.readable() is None
    assert f"{source}: no such folder" in ingest(runner, output, source=source).error()
    shutil.copytree(images, source, copy_function=os.link)
    assert "continuing an interrupted ingest" in ingest(runner, output, source=source).good()
    undisturbed.check(output)


@pytest.mark.parametrize("runner", BOTH)
def test_a_few_files_go_away(ingest, source, output, undisturbed, catch, runner):
    """Of the last group, which nobody has begun to read."""
    job = catch(lambda: ingest(runner, output, source=source))
    with pq.ParquetFile(output.staged("listing.parquet")[0]) as listing:
        last = listing.read_row_group(listing.num_row_groups - 1, columns=["path"])["path"].to_pylist()
    gone = sorted(path for path in map(os.fsdecode, last) if path[0].isdigit() and int(path[2:6]) % 30)[:3]
    for path in gone:
        (source / path).unlink()
    job.resume()
    job.good()
    count, whole = open_dataset(str(output)).manifest.accounting, undisturbed.manifest.accounting
    assert (count.listed, count.written, count.rejected) == (whole.listed, whole.written - 3, whole.rejected + 3)
    assert count.reasons == whole.reasons | {"vanished": 3}
    rejects = pq.read_table(output.path / "rejects").to_pylist()
    assert sorted(row["path"] for row in rejects if row["reason"] == "vanished") == gone
    assert output.readable() == 1
