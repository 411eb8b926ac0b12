"""The report: lines for the terminal, figures, and a page that needs nothing else."""

import io
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import report as job
from pipelines.errors import DataError
from pipelines.manifest import Accounting, Dataset, Manifest, Part, Shard, publish
from pipelines.report import write_report
from pipelines.shards import ShardWriter
from pipelines.stats import Source, Statistics, total
from pipelines.storage import Location, locate
from pipelines.summary import summary_lines

LONG = "a very long folder/" * 30
SPLITS = {"train": ["0A", "1A", "0A1"], "val": ["A"], "test": []}
REJECTS = [
    ("<b>.png", "empty_file", "the file has no bytes"),
    (f"{LONG}x.png", "truncated", "damaged PNG"),
    ("y.png", "truncated", "damaged PNG"),
    ("copy.png", "duplicate", "the same bytes as 0A.png"),
]
LEAKS = {"bytes": [{"splits": ["train", "test"], "rows": 3, "labels": 2, "examples": ["a/<i>.png", "c.png"]}], "labels": []}


def write_shard(place: Location, labels: list[str], images: np.ndarray) -> Shard:
    place.fs.create_dir(place.path.rpartition("/")[0])
    count = len(labels)
    columns = {"id": range(count), "path": labels, "label": labels, "length": [len(label) for label in labels]}
    with ShardWriter(place, "zstd") as writer:
        writer.write(columns | {"sha256": ["0"] * count, "width": [9] * count, "height": [4] * count}, images)
    split = place.path.split("/")[-2]
    return Shard(split=split, path=f"{split}/part.parquet", bytes=writer.bytes, sha256=writer.sha256, row_groups=(count,))


def make_dataset(folder: Path, channels: int = 1, rejects: list[tuple[str, str, str]] = REJECTS, **changes: object) -> Dataset:
    """A dataset of SPLITS with statistics tables and `rejects`, written by hand."""
    location, shape = locate(folder), (8, 16, channels)
    shards, statistics = [], {}
    for split, labels in SPLITS.items():
        images = np.full((len(labels), *shape), 200, np.uint8)
        statistics[split] = Statistics.of([Source(label, 9, 4, "L", "PNG", 300) for label in labels], images)
        if labels:
            shards.append(write_shard(location.join(split, "part.parquet"), labels, images))
    for name in ("rejects", "statistics/v000001"):
        (folder / name).mkdir(parents=True)
    for name, table in Statistics.tables(statistics).items():
        pq.write_table(table, folder / "statistics/v000001" / f"{name}.parquet")
    columns = [[row[i] for row in rejects] for i in range(3)]
    pq.write_table(pa.table(columns, ["path", "reason", "detail"], None), folder / "rejects/part.parquet")
    reasons = {reason: sum(r == reason for _, r, _ in rejects) for _, reason, _ in rejects}
    duplicates = reasons.get("duplicate", 0)
    every = total(statistics.values())
    values = {
        "version": 1,
        "fingerprint": "f" * 32,
        "input": "s3:images",
        "input_digest": "d",
        "settings": {"image": {"width": 16}},
        "alphabet": every.alphabet,
        "image_shape": shape,
        "splits": {split: len(labels) for split, labels in SPLITS.items()},
        "shards": shards,
        "rejects": [Part(path="rejects/part.parquet", bytes=1, sha256="0")],
        "accounting": Accounting(
            listed=4 + len(rejects),
            written=4,
            rejected=len(rejects) - duplicates,
            duplicates=duplicates,
            reasons=reasons,
            examples={reason: f"{path}: {detail}" for path, reason, detail in reversed(rejects)},
        ),
        "statistics": {"all": every.summary()} | {split: value.summary() for split, value in statistics.items()},
        "leaks": LEAKS,
        "petastorm": True,
        "tools": {"python": "3.11"},
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": 1.5,
    }
    manifest = Manifest.model_validate(values | changes)
    publish(location, manifest)
    return Dataset(location, manifest)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("report")
    made = make_dataset(folder / "shards")
    kept = folder / "shards/rejected/v000001/truncated"
    kept.mkdir(parents=True)
    (kept / "000-x.png").write_bytes(noise(1)[:100])
    (kept / "001-y.png").write_bytes(noise(1))
    return made


def test_summary_lines(dataset):
    assert summary_lines(dataset) == [
        "8 listed = 4 written + 3 rejected + 1 duplicates",
        "splits       train 3, val 1, test 0",
        "alphabet     01A (3)",
        "characters   A 4, 0 2, 1 2",
        "lengths      1: 1, 2: 2, 3: 1",
        "rejected     1 empty_file, such as <b>.png: the file has no bytes",
        f"rejected     2 truncated, such as {LONG}x.png: damaged PNG",
        "duplicates   1 duplicate, such as copy.png: the same bytes as 0A.png",
        "version      1, fingerprint ffffffffffffffff, 1.5 s",
        f"dataset      {dataset.location.uri}",
    ]


def test_missing_petastorm_is_said(dataset):
    without = dataset._replace(manifest=dataset.manifest.model_copy(update={"petastorm": False}))
    assert any(line.startswith("petastorm    is not installed") for line in summary_lines(without))


@pytest.fixture(scope="module")
def report(dataset, tmp_path_factory):
    """The folder of the written report."""
    folder = locate(tmp_path_factory.mktemp("page")).join("new", "report")
    assert write_report(dataset, folder) == folder.join("index.html")
    return folder


@pytest.fixture(scope="module")
def html(report):
    return report.join("index.html").read_bytes().decode()


OF_ALL = ["characters", "file_sizes", "lengths", "pixels", "positions", "sizes", "splits"]
FIGURES = [*OF_ALL, "mean_image", "rejected_truncated", "rejects", "samples_train", "samples_val"]
DRIFT = ["drift_characters", "drift_lengths", "drift_pixels"]


def test_figures_are_png(report):
    assert report.names() == sorted([*(f"{name}.png" for name in FIGURES), "index.html"])
    for name in FIGURES:
        with Image.open(io.BytesIO(report.join(f"{name}.png").read_bytes())) as image:
            image.load()
            assert (image.format, image.width > 100, image.height > 50) == ("PNG", True, True)


def test_the_page_is_self_contained(html):
    sources = re.findall(r"""src\s*=\s*["']?([^"'>\s]+)""", html)
    assert len(sources) == len(FIGURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    for outside in ("http", "//", "href", "<script", "<link", "@import", "url("):
        assert outside not in rest


def test_the_page_tells_the_accounting_and_shows_names_as_text(html, dataset):
    assert "<b>8</b> listed = <b>4</b> written + <b>3</b> rejected + <b>1</b> duplicates" in html
    assert "&lt;b&gt;.png" in html
    assert "<b>.png" not in html
    assert dataset.manifest.fingerprint in html


def test_the_page_names_rejects_and_shortens_long_paths(html):
    for path, _, detail in REJECTS:
        assert detail in html
        assert path.replace("<b>", "&lt;b&gt;")[-40:] in html
    assert LONG not in html


def test_the_page_tells_leaks_where_there_are_any(html, tmp_path):
    assert "Leaks between splits" in html
    assert "<code>a/&lt;i&gt;.png</code>" in html
    assert "train and test" in html
    without = write_report(make_dataset(tmp_path / "a", leaks={}), locate(tmp_path / "page")).read_bytes().decode()
    assert "Leaks" not in without


def test_the_same_dataset_makes_the_same_page(dataset, report, tmp_path):
    assert write_report(dataset, locate(tmp_path / "again")).read_bytes() == report.join("index.html").read_bytes()


def test_rgb_without_rejects_samples_and_tables(tmp_path):
    made = make_dataset(tmp_path / "a", channels=3, rejects=[])
    (tmp_path / "a/statistics/v000001/mean_image.parquet").unlink()
    write_report(made, locate(tmp_path / "page"))
    names = locate(tmp_path / "page").names()
    assert names == sorted(["index.html", *(f"{name}.png" for name in (*OF_ALL, "samples_train", "samples_val"))])


def test_a_version_of_an_older_glyphmill_still_has_a_report(tmp_path):
    new = {"entropy_normalised", "imbalance", "by_length", "file_sizes"}
    made = make_dataset(tmp_path / "a")
    statistics = {s: {k: v for k, v in summary.items() if k not in new} for s, summary in made.manifest.statistics.items()}
    old = made._replace(manifest=made.manifest.model_copy(update={"statistics": statistics, "rejects": ()}))
    assert "copy.png: the same bytes as 0A.png" in write_report(old, locate(tmp_path / "page")).read_bytes().decode()


def test_a_damaged_shard_is_named(tmp_path):
    made = make_dataset(tmp_path / "a")
    (tmp_path / "a/val/part.parquet").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"a/val/part.parquet: this file of the dataset cannot be read: "):
        write_report(made, locate(tmp_path / "page"))


def test_drift_is_in_the_page(dataset, tmp_path):
    other = make_dataset(tmp_path / "other", channels=3, rejects=[])
    folder = locate(tmp_path / "page")
    html = write_report(dataset, folder, against=other).read_bytes().decode()
    assert "<h2>Drift</h2>" in html
    assert f"<code>{other.location.uri}@1</code>" in html
    assert "The alphabet is the same." in html
    assert folder.names() == sorted([*(f"{name}.png" for name in (*FIGURES, *DRIFT)), "index.html"])


def test_the_job(dataset, tmp_path, monkeypatch, capsys):
    uri = dataset.location.uri
    monkeypatch.setattr(sys, "argv", ["report", "--dataset", uri, "--output", str(tmp_path), "--against", f"{uri}@1"])
    job.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"drift        from {uri}@1 to {uri}@1"
    assert lines[-1] == f"{tmp_path}/index.html"
    assert (tmp_path / "drift_lengths.png").exists()
