"""The label doctor as a command, on a bundle in a folder."""

import sys

import pyarrow.parquet as pq
import pytest

from jobs import doctor
from model.export import write_bundle
from model.networks import build
from pipelines.errors import SettingsError

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def bundle(digits, quick, tmp_path_factory):
    """A network that was never trained: it contradicts everything."""
    settings, manifest = quick(), digits.manifest
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder, build(settings.network, manifest.image_shape, len(manifest.charset), 3), manifest, settings)
    return folder


@pytest.fixture
def call(digits, bundle, monkeypatch, tmp_path):
    def call(*words: str) -> None:
        places = ["--dataset", digits.location.path, "--model", str(bundle), "--output", str(tmp_path / "doctor")]
        monkeypatch.setattr(sys, "argv", ["doctor", *places, *words])
        doctor.main()

    return call


def test_it_leaves_scores_of_all_rows_and_shows_the_first(call, tmp_path, capsys):
    call("--top", "12", "--write-exclude", "2")
    assert pq.read_metadata(tmp_path / "doctor/scores.parquet").num_rows == 60
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("60 rows: ")
    assert sum(line.startswith("suspect") for line in shown) == 10
    names = {path.name for path in (tmp_path / "doctor").iterdir()}
    assert names == {"scores.parquet", "suspects.csv", "gallery.png", "index.html", "exclude.txt"}
    assert len((tmp_path / "doctor/suspects.csv").read_text().splitlines()) == 1 + 12
    named = [line for line in (tmp_path / "doctor/exclude.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(named) == 2


def test_more_rows_excluded_than_shown_are_refused(call):
    with pytest.raises(SettingsError, match="no more excluded"):
        call("--top", "1", "--write-exclude", "2")
