"""The report: lines for the terminal, figures, and a page that needs nothing else."""

import io
import re

import pytest
from PIL import Image

from pipelines.config import IngestSettings
from pipelines.ingest import ingest
from pipelines.report import figures, summary_lines, write_report
from pipelines.storage import locate


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, fill, noise, loop):
    folder = tmp_path_factory.mktemp("report")
    good = {f"{n % 3}A{n % 2}.{n}.png": noise(n) for n in range(12)}
    fill(folder / "images", good | {"<b>.png": b"", "copy.png": noise(0), "0A0.png": noise(0), "1A1.99.png": noise(1)})
    settings = IngestSettings.model_validate({"image": {"width": 16, "height": 8}})
    return ingest(str(folder / "images"), str(folder / "shards"), settings, loop()).dataset


def test_summary_lines(dataset):
    lines = summary_lines(dataset)
    assert lines[0] == "16 listed = 11 written + 4 rejected + 1 duplicates"
    assert lines[2] == "alphabet     012A (4)"
    assert lines[3] == "characters   A 11, 1 10, 0 8, 2 4"
    assert lines[4] == "lengths      3: 11"
    assert any(
        re.match(r"rejected +3 conflicting_label, such as (copy|0A0|0A0\.0)\.png: the same bytes are labelled", line)
        for line in lines
    )
    assert any(re.fullmatch(r"rejected +1 empty_file, such as <b>.png: the file has no bytes", line) for line in lines)
    assert any(
        re.fullmatch(r"duplicates +1 duplicate, such as 1A1.99.png: the same bytes as 1A1.1.png", line) for line in lines
    )
    assert lines[-1] == f"dataset      {dataset.location.uri}"
    assert not any("\n" in line for line in lines)


def test_the_splits_are_in_the_summary(dataset):
    assert summary_lines(dataset)[1] == "splits       " + ", ".join(f"{s} {n}" for s, n in dataset.manifest.splits.items())
    assert list(dataset.manifest.splits) == ["train", "val", "test"]


def test_missing_petastorm_is_said(dataset):
    without = dataset._replace(manifest=dataset.manifest.model_copy(update={"petastorm": False}))
    assert any(line.startswith("petastorm    is not installed") for line in summary_lines(without))


@pytest.fixture(scope="module")
def report(dataset, tmp_path_factory):
    """The folder of the written report."""
    folder = locate(tmp_path_factory.mktemp("page")).join("new", "report")
    assert write_report(dataset, folder) == folder.join("index.html")
    return folder


FIGURES = ["characters", "lengths", "pixels", "positions", "rejects", "splits"]


def test_figures_are_png(report):
    assert report.names() == sorted([*(f"{name}.png" for name in FIGURES), "index.html"])
    for name in FIGURES:
        with Image.open(io.BytesIO(report.join(f"{name}.png").read_bytes())) as image:
            image.load()
            assert (image.format, image.width > 100, image.height > 100) == ("PNG", True, True)


def test_figures_of_rgb_and_of_a_dataset_without_rejects(tmp_path, fill, noise, loop):
    fill(tmp_path / "images", {"$a$.png": noise(1), "é_^.png": noise(2)})  # nothing here is a formula to typeset
    settings = IngestSettings.model_validate({"image": {"width": 16, "height": 8, "mode": "rgb"}})
    manifest = ingest(str(tmp_path / "images"), str(tmp_path / "shards"), settings, loop()).dataset.manifest
    assert sorted(figures(manifest)) == [name for name in FIGURES if name != "rejects"]


def test_the_page_is_self_contained(report):
    html = report.join("index.html").read_bytes().decode()
    sources = re.findall(r"""src\s*=\s*["']?([^"'>\s]+)""", html)
    assert len(sources) == len(FIGURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    rest = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    for outside in ("http", "//", "href", "<script", "<link", "@import", "url("):
        assert outside not in rest


def test_the_page_tells_the_accounting_and_shows_names_as_text(report, dataset):
    html = report.join("index.html").read_bytes().decode()
    assert "<b>16</b> listed = <b>11</b> written + <b>4</b> rejected + <b>1</b> duplicates" in html
    assert "&lt;b&gt;.png" in html
    assert "<b>.png" not in html
    assert dataset.manifest.fingerprint in html
