"""One byte of a file is flipped: of a published one, which is then named, and of a staged one, which is made again."""

import json
import signal
import sys

import pytest

from pipelines.errors import DataError
from pipelines.manifest import open_dataset


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def copied(undisturbed, output):
    import shutil

    shutil.copytree(undisturbed.output, output)
    return output


@pytest.mark.parametrize("kind", ["shards", "files", "rejects"])
def test_verify_names_the_file(begin, copied, kind):
    part = getattr(open_dataset(str(copied)).manifest, kind)[-1].path
    assert "are whole" in begin(sys.executable, "-m", "jobs.versions", "verify", copied).good()
    flip(copied.path / part)
    line = begin(sys.executable, "-m", "jobs.versions", "verify", copied).error()
    assert "1 of " in line
    assert f"{part}: its checksum is not the one in the manifest" in line


@pytest.mark.tf
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_loader_names_the_shard(copied, split):
    loader = pytest.importorskip("model.loader")
    dataset = open_dataset(str(copied))
    rows = sum(len(rows.ids) for rows in loader.ShardReader(dataset, split))
    assert rows == dataset.manifest.splits[split]
    shard = dataset.manifest.shards_of(split)[-1]
    flip(copied.path / shard.path)
    with pytest.raises(DataError, match=f"{shard.path}: damaged"):
        list(loader.ShardReader(dataset, split))


@pytest.mark.parametrize(
    "kind",
    ["shard", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("facts", "statistics", "half a shard", "no shard"))],
)
def test_a_group_whose_staged_file_is_damaged_is_made_again(ingest, output, undisturbed, kind):
    job = ingest("local", output, at="RUNNER.map:after:1")
    assert job.end() == -signal.SIGKILL
    done = json.loads(output.staged("done-*.json")[3].read_text())
    part = done["shards"][0] if "shard" in kind else done[kind]
    [path] = output.staged(part["path"])
    if kind == "half a shard":
        path.write_bytes(path.read_bytes()[: part["bytes"] // 2])
    elif kind == "no shard":
        path.unlink()
    else:
        flip(path)
    ingest("local", output).good()
    undisturbed.check(output)


@pytest.mark.slow
def test_a_damaged_group_without_its_repeats_is_made_again(ingest, output, undisturbed):
    job = ingest("local", output, at="RUNNER.map:after:2")
    assert job.end() == -signal.SIGKILL
    again = json.loads(output.staged("again-*.json")[0].read_text())
    [path] = output.staged(again["shards"][0]["path"])
    flip(path)
    ingest("local", output).good()
    undisturbed.check(output)
