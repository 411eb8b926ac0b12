"""Exports: checked before they are there, with all in them that a runner needs, and refused where they read other texts."""

import json
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from jobs import export as job
from model import heads, tracking
from model.config import TrainSettings
from model.export import write_bundle
from model.exports import litert, onnx, savedmodel
from model.exports.about import FILE
from model.exports.check import Checked, texts_of
from model.exports.rows import first_rows
from model.exports.write import Exported, export
from model.networks import build
from model.provenance import dataset_of
from model.recognizer import Recognizer
from pipelines.errors import SettingsError
from pipelines.settings import read

pytestmark = pytest.mark.tf
EXAMPLES = Path(__file__).parents[2] / "examples"
FORMS = {"onnx": onnx, "litert": litert, "savedmodel": savedmodel}
CASES = [("onnx", False), ("onnx", True), ("litert", False), ("litert", True), ("savedmodel", False)]


@pytest.fixture(scope="module")
def bundle(digits, quick, tmp_path_factory) -> Path:
    """An untrained network that reads something in every picture: its logits are spread, its blank is not preferred."""
    keras.utils.set_random_seed(7)
    network = build(quick().network, digits.manifest.image_shape, 10, 3)
    logits = network.get_layer("logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel * 3, bias * 0])
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder, network, digits.manifest, quick())
    return folder


@pytest.fixture(scope="module")
def recognizer(bundle) -> Recognizer:
    return Recognizer.load(bundle, runtime="tensorflow")


@pytest.fixture(scope="module")
def exported(recognizer, digits, tmp_path_factory) -> dict[tuple[str, bool], Exported]:
    """Each format, written once; 8 bits as far as they go with noise for weights: judged by what they read of it."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        (form, int8): export(recognizer, digits, form, folder / f"{form}{int8}", int8=int8, rows=60) for form, int8 in CASES
    }


@pytest.mark.parametrize("case", CASES)
def test_it_stands_in_its_place_and_reads_what_the_original_reads(case, exported, recognizer, digits):
    form, int8 = case
    found = exported[case]
    rows = first_rows(digits, "train", 40)
    run = FORMS[form].load(found.path)
    texts = [reading.text for reading in recognizer.read_pixels(rows.images)]
    assert len(set(texts)) > 5
    assert [len(run(rows.images[:count])) for count in (1, 3, 40)] == [1, 3, 40]
    if not int8:
        assert texts_of(run, recognizer, rows.images) == texts
        assert found.checked == Checked(12, 1.0, found.checked.exact_match, found.checked.exact_match)
    assert found.name == (f"{form}_int8" if int8 else form)
    assert found.ms > 0
    size = (
        sum(p.stat().st_size for p in found.path.rglob("*") if p.is_file())
        if found.path.is_dir()
        else found.path.stat().st_size
    )
    assert found.size == size
    assert sorted(p.name for p in found.path.parent.iterdir()) == sorted(f"{form}{int8}" for form, int8 in CASES)


@pytest.mark.parametrize("case", CASES)
def test_it_says_what_a_runner_needs(case, exported, digits):
    form, int8 = case
    held = json.loads(FORMS[form].told(exported[case].path))
    assert held["alphabet"] == "0123456789"
    assert held["image"] == {"mode": "gray", "height": 16, "width": 32, "fit": "stretch", "background": 255}
    assert held["decode"] == "ctc_greedy"
    assert held["dataset"] == digits.manifest.fingerprint
    assert held["quantisation"] == (exported[case].quantisation if int8 else "float32")


def test_8_bits_of_fast_are_less_than_a_megabyte(tmp_path):
    settings = read(TrainSettings, EXAMPLES.parent / "conf/train/fast.yaml")
    network = build(settings.network, (64, 200, 1), 36, 6)
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 200, 1), np.uint8)
    for way in litert.INT8:
        litert.write(network, "{}", tmp_path / "model", way, noise)
        assert (tmp_path / "model").stat().st_size < 1_000_000


NETWORKS = {
    "lstm": {"widths": [4, 4], "units": 8, "depth": 1, "sequence": "lstm"},
    "joint": {"widths": [4, 4], "units": 8, "depth": 1, "head": "joint"},
    "multihead": {"name": "multihead", "widths": [4], "units": 4, "batch_norm": "each"},
    "letter_cnn": {"name": "letter_cnn", "widths": [4]},
    "crnn_ctc": {"name": "crnn_ctc", "widths": [4], "units": 4, "lstm": [4]},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_has_a_litert_form_for_any_number_of_images(name, tmp_path):
    keras.utils.set_random_seed(0)
    network = heads.reader(build(TrainSettings.model_validate({"network": NETWORKS[name]}).network, (16, 32, 1), 10, 3))
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 32, 1), np.uint8)
    litert.write(network, "{}", tmp_path / "model", "float32", images)
    run = litert.load(tmp_path / "model")
    for some in (images, images[:1]):
        np.testing.assert_allclose(run(some), network(some.astype(np.float32), training=False), atol=1e-4)


def test_a_network_without_a_litert_form_is_told_in_one_line(told, tmp_path):
    image = keras.Input((16, 16, 1))
    network = keras.Model(image, keras.ops.erfinv(image))  # no runtime of LiteRT has it
    said = told(litert.write, network, "{}", tmp_path / "model", "float32", np.zeros((0, 16, 16, 1), np.uint8))
    assert said.startswith("the network has no LiteRT form: ")
    assert said.endswith("; take --format onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_its_example_reads_as_the_original_does(
    form, exported, recognizer, digits, picture, png, tmp_path, capsys, monkeypatch
):
    labels = [f"{n:02d}" for n in range(20)]
    paths = [tmp_path / f"{label}.png" for label in labels]
    for path, label in zip(paths, labels, strict=True):
        path.write_bytes(png(label))
    monkeypatch.setattr(sys, "argv", ["example", str(exported[form, False].path), *map(str, paths)])
    runpy.run_path(str(EXAMPLES / f"read_{form}.py"), run_name="__main__")
    predictions = recognizer.predict((str(path), path) for path in paths)
    assert capsys.readouterr().out.splitlines() == [f"{p.path}\t{p.text}" for p in predictions]


@pytest.mark.parametrize("form", FORMS)
def test_its_example_says_what_it_does_not_do(form, recognizer, tmp_path, monkeypatch):
    held = json.dumps({"image": {"crop": "auto", "contrast": "clahe"}, "alphabet": "0123456789"})
    path = tmp_path / "model"
    FORMS[form].write(recognizer.network, held, path, "float32", np.zeros((0, 16, 32, 1), np.uint8))
    monkeypatch.setattr(sys, "argv", ["example", str(path), "image.png"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(EXAMPLES / f"read_{form}.py"), run_name="__main__")
    assert str(caught.value) == f"error: {path}: its preprocessing has contrast, crop, which this example does not do"


def scrambled(network: keras.Model) -> keras.Model:
    """The network with the weights of its logits shuffled."""
    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    logits = other.get_layer("logits")
    logits.set_weights([np.random.default_rng(0).permuted(each) for each in logits.get_weights()])
    return other


@pytest.fixture
def scrambling(monkeypatch):
    """Plants a fault: a converter that shuffles weights, in the ways that are named (none: in all)."""

    def scrambling(form: str, *ways: str) -> None:
        write = FORMS[form].write

        def wrong(network, about, path, quantisation, calibration):
            write(scrambled(network) if quantisation in ways or not ways else network, about, path, quantisation, calibration)

        monkeypatch.setattr(FORMS[form], "write", wrong)

    return scrambling


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_mismatch_is_refused_and_leaves_nothing(form, scrambling, recognizer, digits, told, tmp_path):
    scrambling(form)
    said = told(export, recognizer, digits, form, tmp_path / "model", int8=False, rows=60)
    assert said.startswith(
        f"{tmp_path / 'model'}: not written, the {form} form does not read what the model reads: float32: the same texts on 0."
    )
    assert said.endswith(" of the original 0.0000)")
    assert list(tmp_path.iterdir()) == []


def test_a_mismatch_leaves_the_file_that_was_there(scrambling, recognizer, digits, told, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the last one")
    scrambling("onnx")
    told(export, recognizer, digits, "onnx", path, int8=False, rows=60)
    assert path.read_bytes() == b"the last one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def right(recognizer, monkeypatch) -> None:
    """The original is right in every row, so that what 8 bits lose counts."""

    def labelled(dataset, split, most):
        rows = first_rows(dataset, split, most)
        return rows._replace(labels=[reading.text for reading in recognizer.read_pixels(rows.images)])

    monkeypatch.setattr("model.exports.write.first_rows", labelled)


@pytest.mark.usefixtures("right")
@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_8_bits_that_lose_too_much_are_refused_with_both_figures(form, scrambling, recognizer, digits, told, tmp_path):
    scrambling(form)
    said = told(export, recognizer, digits, form, tmp_path / "model", int8=True, rows=60)
    for way in FORMS[form].INT8:
        assert f"{way}: exact match 0." in said
    assert "where the original has 1.0000 on 12 rows, more than 0.5 points less" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("right")
def test_where_whole_numbers_lose_too_much_dynamic_range_is_taken(scrambling, recognizer, digits, monkeypatch, tmp_path):
    monkeypatch.setattr("model.exports.check.WITHIN", 0.5)  # noise for weights: texts change at the slightest
    scrambling("litert", litert.FULL)
    found = export(recognizer, digits, "litert", tmp_path / "model", int8=True, rows=60)
    assert found.quantisation == litert.DYNAMIC
    assert json.loads(litert.told(found.path))["quantisation"] == litert.DYNAMIC


def test_what_is_asked_for_wrongly_is_told_in_one_line(recognizer, digits, ingested, loop, told, tmp_path):
    with pytest.raises(SettingsError, match="--int8: there is no savedmodel with 8 bits"):
        export(recognizer, digits, "savedmodel", tmp_path / "a", int8=True, rows=60)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for form, kind in (("onnx", "file"), ("savedmodel", "folder")):
        said = told(export, recognizer, digits, form, tmp_path / "full", int8=False, rows=60)
        assert said == f"{tmp_path / 'full'}: a folder that holds something; --output names a new {kind}"
    said = told(export, recognizer, digits, "savedmodel", tmp_path / "full" / "file", int8=False, rows=60)
    assert said == f"{tmp_path / 'full' / 'file'}: a file; --output names a new or empty folder"
    others = ingested(tmp_path / "others", loop, image={"width": 40})
    said = told(export, recognizer, others, "onnx", tmp_path / "b", int8=False, rows=60)
    assert "preprocessed otherwise than the model expects: image.width 40 (model: 32)" in said


def test_a_package_that_is_missing_is_named(recognizer, digits, told, monkeypatch, tmp_path):
    monkeypatch.setattr(litert, "PACKAGES", ("no_such_package",))
    said = told(export, recognizer, digits, "litert", tmp_path / "model", int8=False, rows=60)
    assert said == "--format litert needs no-such-package: pip install no-such-package"


def test_the_dataset_is_the_one_that_the_run_notes(digits, quick, store, monkeypatch, told):
    tracking.connect()
    with tracking.run(quick(), digits, "preset") as run:
        pass
    assert dataset_of(run.run_id, "models:/m/1").manifest == digits.manifest
    place, fingerprint = tracking.data_of(run.run_id)
    for noted, said in (
        ((f"{place}/gone", fingerprint), f"the dataset of run 0123 is not where it was: {place}/gone: "),
        ((place, "e" * 32), f"{place}: no version of it is the dataset eeeeeeeeeeee of the run"),
    ):
        monkeypatch.setattr(tracking, "data_of", lambda run_id, noted=noted: noted)
        message = told(dataset_of, "0123", "models:/m/1")
        assert message.startswith(said)
        assert message.endswith("with --dataset")


def test_the_job_says_what_it_wrote(bundle, digits, store, capsys, monkeypatch, tmp_path):
    output = tmp_path / "model.onnx"
    words = ["--model", bundle, "--format", "onnx", "--output", output, "--dataset", digits.location.uri]
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
    job.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"written      {output}, {output.stat().st_size:,} bytes, float32"
    assert lines[1] == "same texts   1.0000 of 12 rows"
    assert lines[3].endswith("(one image at a time, one thread)")
    assert len(lines) == 4  # a bundle's own folder comes from no run


def test_what_is_measured_is_logged_to_the_run(bundle, digits, store, capsys, monkeypatch, tmp_path):
    logged = {}
    monkeypatch.setattr("model.tracking.run_of", lambda uri: "0123")
    monkeypatch.setattr(
        "model.tracking.log_to_run", lambda *what: logged.update(zip(("run", "metrics", "tags"), what, strict=True))
    )
    words = ["--model", bundle, "--format", "litert", "--output", tmp_path / "m", "--dataset", digits.location.uri]
    monkeypatch.setattr(sys, "argv", ["export", *map(str, words)])
    job.main()
    assert logged["run"] == "0123"
    assert set(logged["metrics"]) == {
        f"export_litert_{name}" for name in ("bytes", "ms_per_image", "same_texts", "exact_match")
    }
    assert logged["metrics"]["export_litert_bytes"] == (tmp_path / "m").stat().st_size
    assert logged["tags"] == {"export_litert": "float32"}
    assert capsys.readouterr().out.splitlines()[-1] == "logged to    MLflow run 0123"


def test_the_files_hold_what_they_say_where_others_look(exported):
    """ONNX among its metadata, LiteRT in a zip behind the model, a SavedModel among its assets."""
    import zipfile

    import onnxruntime

    session = onnxruntime.InferenceSession(exported["onnx", False].path, providers=["CPUExecutionProvider"])
    assert "alphabet" in session.get_modelmeta().custom_metadata_map["glyphmill"]
    assert zipfile.ZipFile(exported["litert", False].path).namelist() == [FILE]
    assert (exported["savedmodel", False].path / "assets" / FILE).is_file()
