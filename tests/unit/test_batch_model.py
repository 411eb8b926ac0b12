"""A bundle at work on a folder: what is told of it, one load a process, and the job around it from its arguments on."""

import json
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from jobs import entry, predict_batch
from model.batch import META, model_of, open_reader
from model.recognizer import Recognizer
from pipelines.batch import BatchSettings
from pipelines.errors import DataError, GlyphmillError, SettingsError
from tests.tiny_bundle import write_tiny_bundle

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder as MLflow downloads it."""
    folder = tmp_path_factory.mktemp("model")
    write_tiny_bundle(folder / "data/bundle")
    (folder / META).write_text("model_name: glyphmill\nmodel_version: 7\n")
    return folder


def test_a_model_is_told_by_its_version(model):
    found, settings = model_of(model / "data/bundle", "models:/glyphmill@champion", BatchSettings())
    assert (found.uri, found.dataset, found.alphabet) == ("models:/glyphmill/7", "0123abcd", "0123456789")
    assert (found.max_bytes, len(found.fingerprint)) == (100_000, 32)
    assert settings == BatchSettings(runtime="onnx")


def test_another_network_is_another_model(model, tmp_path):
    first, _ = model_of(model / "data/bundle", "one", BatchSettings())
    same, _ = model_of(write_tiny_bundle(tmp_path / "same"), "same", BatchSettings())
    other, _ = model_of(write_tiny_bundle(tmp_path / "other", seed=1), "other", BatchSettings())
    assert (same.uri, other.uri) == ("same", "other")
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_a_preprocessing_that_there_is_not_is_refused(model):
    with pytest.raises(SettingsError, match="image: crop='all': Input should be 'none' or 'auto'"):
        model_of(model / "data/bundle", "x", BatchSettings(image={"crop": "all"}))


def test_a_damaged_bundle_is_refused(tmp_path):
    bundle = write_tiny_bundle(tmp_path)
    (bundle / "network.onnx").write_bytes(b"other")
    with pytest.raises(DataError, match="damaged"):
        model_of(bundle, "x", BatchSettings())


@pytest.mark.parametrize("key", ["alphabet", "checks", "dataset", "image"])
def test_a_bundle_that_is_not_of_a_recogniser_is_refused(tmp_path, key):
    bundle = write_tiny_bundle(tmp_path)
    held = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(held | {key: [1]}))
    with pytest.raises(DataError, match="not that of a recogniser") as caught:
        model_of(bundle, "x", BatchSettings())
    assert "\n" not in str(caught.value)


def test_a_reader_reads_what_the_recogniser_does_and_loads_once(model, noise):
    loads = []

    def load(*given: object) -> Recognizer:
        loads.append(given)
        return Recognizer.load(*given)

    bundle = model / "data/bundle"
    images = [(f"{n}.png", noise(n)) for n in range(9)] + [("bad.png", b"text")]
    for settings in (
        BatchSettings(batch=4, runtime="onnx"),
        BatchSettings(batch=4, runtime="onnx", image={"invert": "always"}),
    ):
        rows = list(open_reader(partial(str, bundle), settings, load)(images))
        expected = list(Recognizer.load(bundle).preparing(**settings.image).predict(images, 4))
        assert [(r.path, r.text or "", r.characters or ()) for r in rows] == [(p.path, p.text, p.characters) for p in expected]
        assert [bool(row.error) for row in rows] == [False] * 9 + [True]
        assert len({row.text for row in rows}) > 3
    assert loads == [(bundle, "onnx", 1)]


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["predict_batch", *map(str, arguments)])
    predict_batch.main()


@pytest.mark.tf
def test_the_job_without_spark(model, tmp_path, fill, noise, monkeypatch, capsys):
    fill(tmp_path, {f"images/{n:02d}.png": noise(n) for n in range(12)} | {"images/bad.png": b"text"})
    arguments = ("--model", model, "--input", tmp_path / "images", "--output", tmp_path / "read", "--runner", "local")
    arguments += ("--workers", 2, "--set", "files=5")
    run(monkeypatch, *arguments)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("13 images in 3 parts: 12 read, 1 not; ")
    assert said[0].endswith("/s by models:/glyphmill/7")
    rows = pd.read_parquet(tmp_path / "read").set_index("path")
    images = [(f"{n:02d}.png", noise(n)) for n in range(12)]
    for prediction in entry.load_recognizer(model / "data/bundle").predict(images):
        assert rows.loc[prediction.path, "text"] == prediction.text
    assert json.loads((tmp_path / "read/_summary.json").read_text())["settings"]["runtime"] == "onnx"
    run(monkeypatch, *arguments)
    assert capsys.readouterr().out.startswith(f"nothing to do: {tmp_path}/read already holds what this model reads")


WRONG = {
    "no such folder": (["--model", "nowhere"], 1, "nowhere: no such folder"),
    "no bundle": (["--model", "."], 1, "no bundle.json"),
    "unknown setting": (["--set", "bach=3"], 2, "unknown key bach"),
    "impossible setting": (["--set", "batch=0"], 2, "batch=0"),
    "workers of Spark": (["--runner", "spark", "--workers", "2"], 2, "--workers 2 is of the local runner"),
    "no workers": (["--workers", "0"], 2, "--workers 0"),
    "no input": (["--input", "missing"], 1, "missing: no such folder; --input names"),
}


@pytest.mark.tf
@pytest.mark.parametrize(("change", "code", "message"), WRONG.values(), ids=list(WRONG))
def test_a_mistake_is_told_in_one_line(model, tmp_path, fill, noise, monkeypatch, change, code, message):
    fill(tmp_path, {"images/1.png": noise(1)})
    monkeypatch.chdir(tmp_path)
    given = ["--model", model, "--input", "images", "--output", "read", "--runner", "local", *change]
    with pytest.raises(GlyphmillError) as caught:
        run(monkeypatch, *given)
    assert caught.value.exit_code == code
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "read/_summary.json").exists()
