"""Manifests: published once, read by name and version, and clear words where there is none."""

import json

import pytest

from pipelines.charset import Charset
from pipelines.errors import DataError
from pipelines.manifest import Accounting, Manifest, Shard, manifest_name, open_dataset, publish, versions
from pipelines.storage import locate


def manifest(version: int = 1, **changes: object) -> Manifest:
    shards = [
        ("train", "train/part-00000-a.parquet", (2, 1)),
        ("train", "train/part-00001-b.parquet", (1,)),
        ("test", "test/c.parquet", (1,)),
    ]
    values = {
        "version": version,
        "fingerprint": "f" * 64,
        "input": "images",
        "input_digest": "d" * 64,
        "settings": {"image": {"width": 160}},
        "alphabet": "abc𝔸",
        "image_shape": (64, 160, 1),
        "splits": {"train": 4, "val": 0, "test": 1},
        "shards": [
            Shard(split=split, path=path, bytes=9, sha256="0" * 64, row_groups=groups) for split, path, groups in shards
        ],
        "accounting": Accounting(
            listed=7, written=5, rejected=1, duplicates=1, reasons={"truncated": 1}, examples={"truncated": "a.png: cut"}
        ),
        "statistics": {"all": {"rows": 5}},
        "petastorm": True,
        "tools": {"python": "3.11"},
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": 1.5,
    }
    return Manifest.model_validate(values | changes)


@pytest.fixture
def place(tmp_path):
    return locate(tmp_path / "shards")


def told(uri: str) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(uri)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_published_is_read_back(place):
    publish(place, manifest())
    dataset = open_dataset(place.uri)
    assert dataset.manifest == manifest()
    assert dataset.location.path == place.path
    assert dataset.manifest.charset == Charset("abc𝔸")
    assert place.join("manifests").names() == ["v000001.json"]


def test_the_name_of_a_version():
    assert manifest_name(12) == "v000012.json"


def test_the_latest_version_or_the_one_asked_for(place):
    for version in (1, 2, 10):
        publish(place, manifest(version))
    assert versions(place) == [1, 2, 10]
    assert open_dataset(place.uri).manifest.version == 10
    assert open_dataset(f"{place.uri}@2").manifest.version == 2
    assert open_dataset(f"file://{place.path}@2").manifest.version == 2
    assert told(f"{place.uri}@3") == f"{place.uri}: no version 3; there are 1, 2, 10"


def test_a_version_never_changes(place):
    publish(place, manifest())
    with pytest.raises(DataError, match="published already"):
        publish(place, manifest(seconds=9))
    assert open_dataset(place.uri).manifest.seconds == 1.5


def test_a_folder_that_is_no_dataset_is_told_with_the_remedy(tmp_path, fill):
    fill(
        tmp_path, {"empty/x": b"", "file": b"", "unfinished/manifests/.v000001.json.123": b"{", "odd/manifests/v1.json": b"{}"}
    )
    for name in ("missing", "file"):
        message = told(f"{tmp_path}/{name}")
        assert message.startswith(f"{tmp_path}/{name}: no such dataset folder")
        assert "jobs/ingest.py --output" in message
    for name in ("empty", "unfinished", "odd"):
        message = told(f"{tmp_path}/{name}")
        assert message.startswith(f"{tmp_path}/{name}: no manifest in this folder")
        assert "jobs/ingest.py --output" in message


WHOLE = manifest().model_dump(mode="json")
DAMAGED = [
    (b"", "JSON"),
    (b"\xff\xfe", "JSON"),
    (b"[]", "not a manifest"),
    (json.dumps(WHOLE).encode()[:200], "JSON"),
    (json.dumps({key: value for key, value in WHOLE.items() if key != "fingerprint"}).encode(), "fingerprint: Field required"),
    (json.dumps(WHOLE | {"shards": [{"split": "train"}]}).encode(), "shards.0.path"),
    (json.dumps(WHOLE | {"from_the_future": 1}).encode(), "from_the_future"),
]


@pytest.mark.parametrize(("data", "said"), DAMAGED)
def test_a_damaged_manifest_is_named(place, fill, tmp_path, data, said):
    fill(tmp_path, {"shards/manifests/v000001.json": data})
    message = told(place.uri)
    assert message.startswith(f"{place.uri}/manifests/v000001.json: not a manifest")
    assert said in message


def test_shards_of_a_split():
    assert [shard.path for shard in manifest().shards_of("train")] == [
        "train/part-00000-a.parquet",
        "train/part-00001-b.parquet",
    ]
    assert [shard.rows for shard in manifest().shards_of("train")] == [3, 1]
    with pytest.raises(DataError, match="no split is named 'dev'; there are train, val, test"):
        manifest().shards_of("dev")
    with pytest.raises(DataError, match="the split val of dataset ffffffffffff has no rows"):
        manifest().shards_of("val")


def test_a_manifest_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        manifest().version = 2
