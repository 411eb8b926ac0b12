"""The local cache of remote shards: fetched once, checked, shared by processes, never over its limit."""

import fcntl
import hashlib
import multiprocessing
import random
import threading
import time
import uuid
from pathlib import Path

import pytest

from model.cache import GIB, ShardCache
from pipelines.errors import DataError, SettingsError
from pipelines.manifest import Shard
from pipelines.storage import Location, locate

SIZE = 100_000


def shards_in(place: Location, count: int) -> list[Shard]:
    """Files of SIZE random bytes as shards of a dataset at `place`."""
    place.join("train").make()
    found = []
    for number in range(count):
        data = random.Random(number).randbytes(SIZE)
        place.join(f"train/{number}.parquet").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        found.append(Shard(path=f"train/{number}.parquet", bytes=SIZE, sha256=digest, split="train", row_groups=(1,)))
    return found


@pytest.fixture
def remote() -> Location:
    return locate(f"memory://{uuid.uuid4().hex}/data")


def cache_of(folder: Path, files: float = 100) -> ShardCache:
    """A cache for that many shards."""
    return ShardCache(folder, files * SIZE / GIB)


def content(cache: ShardCache, remote: Location, shard: Shard) -> str:
    with cache.open(remote, shard) as file:
        return hashlib.sha256(file.read()).hexdigest()


def kept(folder: Path, shards: list[Shard]) -> list[int]:
    """The numbers of the shards that are in the cache."""
    return [number for number, shard in enumerate(shards) if (folder / f"{shard.sha256}.parquet").exists()]


def test_a_shard_is_fetched_once_and_read_from_disk(tmp_path, remote):
    shards, cache = shards_in(remote, 2), cache_of(tmp_path / "a" / "b")
    assert [content(cache, remote, shard) for shard in shards] == [shard.sha256 for shard in shards]
    remote.remove()
    assert content(cache, remote, shards[0]) == shards[0].sha256
    assert content(cache_of(tmp_path / "a" / "b"), remote, shards[1]) == shards[1].sha256
    names = sorted(path.suffix for path in (tmp_path / "a" / "b").iterdir())
    assert names == [".lock"] * 3 + [".parquet"] * 2


def test_shards_are_fetched_ahead(tmp_path, remote):
    shards, cache = shards_in(remote, 3), cache_of(tmp_path)
    for shard in shards:
        cache.ahead(remote, shard)
    end = time.monotonic() + 20
    while len(kept(tmp_path, shards)) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    remote.remove()
    assert [content(cache, remote, shard) for shard in shards] == [shard.sha256 for shard in shards]


def test_what_comes_ahead_takes_half_of_the_space(tmp_path, remote):
    shards, cache = shards_in(remote, 9), cache_of(tmp_path, files=6)
    for shard in shards:
        cache.ahead(remote, shard)
    assert [content(cache, remote, shard) for shard in shards[:3]] == [shard.sha256 for shard in shards[:3]]
    assert kept(tmp_path, shards) == [0, 1, 2]


def test_what_was_used_least_recently_goes_first(tmp_path, remote):
    shards, cache = shards_in(remote, 5), cache_of(tmp_path, files=3.5)
    for number in (0, 1, 2, 0):
        content(cache, remote, shards[number])
        time.sleep(0.02)
    content(cache, remote, shards[3])
    assert kept(tmp_path, shards) == [0, 2, 3]
    content(cache, remote, shards[4])
    assert kept(tmp_path, shards) == [0, 3, 4]
    assert content(cache, remote, shards[1]) == shards[1].sha256


def test_a_file_that_is_open_is_read_on_when_it_is_removed(tmp_path, remote):
    shards, cache = shards_in(remote, 2), cache_of(tmp_path, files=1)
    with cache.open(remote, shards[0]) as file:
        content(cache, remote, shards[1])
        assert kept(tmp_path, shards) == [1]
        assert hashlib.sha256(file.read()).hexdigest() == shards[0].sha256


def test_a_damaged_shard_is_named_and_not_kept(tmp_path, remote):
    [shard] = shards_in(remote, 1)
    remote.join(shard.path).write_bytes(b"x" * SIZE)
    cache = cache_of(tmp_path)
    for _ in range(2):
        with pytest.raises(DataError, match=r"data/train/0.parquet: damaged: its checksum") as caught:
            cache.open(remote, shard)
        assert "\n" not in str(caught.value)
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}
    shards_in(remote, 1)  # mended
    assert content(cache, remote, shard) == shard.sha256


def test_a_missing_shard_is_named(tmp_path, remote):
    [shard] = shards_in(remote, 1)
    remote.remove()
    with pytest.raises(DataError, match=r"data/train/0.parquet: a shard of the manifest cannot be read: .*; ingest again"):
        cache_of(tmp_path).open(remote, shard)


def test_a_file_that_was_damaged_in_the_cache_is_fetched_again(tmp_path, remote):
    [shard] = shards_in(remote, 1)
    content(cache_of(tmp_path), remote, shard)
    (tmp_path / f"{shard.sha256}.parquet").write_bytes(b"half")
    assert content(cache_of(tmp_path), remote, shard) == shard.sha256


def test_a_shard_over_the_limit_is_told(tmp_path, remote):
    [shard] = shards_in(remote, 1)
    with pytest.raises(SettingsError, match=r"loader.cache_gib=\S+ does not hold the shard train/0.parquet .*; raise it"):
        cache_of(tmp_path, files=0.9).open(remote, shard)


def test_parts_of_a_process_that_was_killed_go_when_space_is_needed(tmp_path, remote):
    [shard] = shards_in(remote, 1)
    for name in ("killed", "fetching"):
        (tmp_path / f"{name}.part").write_bytes(b"x" * 1000)
    with (tmp_path / "fetching.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        content(cache_of(tmp_path, files=1.01), remote, shard)
    assert [path.name for path in tmp_path.glob("*.part")] == ["fetching.part"]


def test_a_fetch_waits_for_space_that_another_one_holds(tmp_path, remote):
    [shard] = shards_in(remote, 1)
    part = tmp_path / "fetching.part"
    part.write_bytes(b"x" * 1000)
    cache = cache_of(tmp_path, files=1)
    with (tmp_path / "fetching.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        cache_open = threading.Thread(target=content, args=(cache, remote, shard))
        cache_open.start()
        time.sleep(0.3)
        assert kept(tmp_path, [shard]) == []
        part.replace(tmp_path / "fetched.parquet")
    cache_open.join(20)
    assert content(cache, remote, shard) == shard.sha256
    assert kept(tmp_path, [shard]) == [0]
    assert not (tmp_path / "fetched.parquet").exists()


def read_all(folder: Path, source: str, shards: list[Shard], seed: int) -> int:
    cache, place = cache_of(folder, files=3), locate(source)
    order = random.Random(seed).choices(shards, k=30)
    return sum(content(cache, place, shard) == shard.sha256 for shard in order)


def test_processes_share_a_cache_that_holds_half_of_the_shards(tmp_path):
    source = locate(tmp_path / "remote")
    shards = shards_in(source, 6)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        tasks = [(tmp_path / "cache", source.uri, shards, seed) for seed in range(3)]
        assert pool.starmap(read_all, tasks) == [30, 30, 30]
    assert len(kept(tmp_path / "cache", shards)) <= 3
    assert list((tmp_path / "cache").glob("*.part")) == []
