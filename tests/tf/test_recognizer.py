"""Bundles: written, read back, asked with every kind of image, and run where this repository is not."""

import argparse
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from jobs import entry, predict
from model import onnx, runtimes
from model.bundle import sha256_of
from model.decode import sure_readings
from model.evaluate import evaluate
from model.export import CODE, put_metrics, requirements, write_bundle, write_code
from model.networks import build
from model.reader import ShardReader
from model.recognizer import Prediction, Recognizer, add_arguments, files_in, image_bytes, main, write_predictions
from model.serving import PyfuncModel, ServingSettings
from pipelines.errors import SettingsError

pytestmark = pytest.mark.tf
LABEL = "17"


@pytest.fixture(scope="module")
def network(digits, quick) -> keras.Model:
    """An untrained network that reads something in every picture: its logits are spread, its blank is not preferred."""
    keras.utils.set_random_seed(7)
    made = build(quick().network, digits.manifest.image_shape, 10, 3)
    logits = made.get_layer("logits")
    kernel, bias = logits.get_weights()
    logits.set_weights([kernel * 3, bias * 0])
    return made


@pytest.fixture(scope="module")
def bundle(digits, quick, network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder, network, digits.manifest, quick())
    return folder


@pytest.fixture(scope="module")
def recognizer(bundle) -> Recognizer:
    return Recognizer.load(bundle)


@pytest.fixture(scope="module")
def by_keras(bundle) -> Recognizer:
    return Recognizer.load(bundle, runtime="tensorflow")


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    """A bundle of this test's own."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for path in bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def one(recognizer, image) -> Prediction:
    (prediction,) = recognizer.predict([("it", image)])
    return prediction


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
def test_a_bundle_reads_as_the_network_it_was_made_of(digits, network, recognizer, by_keras, picture, runtime):
    images = np.stack([picture(f"{n:02d}")[..., None] for n in range(40)])
    logits = network(images.astype(np.float32), training=False).numpy()
    sure = np.exp(logits - logits.max(-1, keepdims=True))
    expected = sure_readings("ctc_greedy", sure / sure.sum(-1, keepdims=True), digits.manifest.charset)
    reader = {"onnx": recognizer, "tensorflow": by_keras}[runtime]
    assert reader.runtime == runtime
    found = reader.read_pixels(images)
    assert [reading.text for reading in found] == [reading.text for reading in expected]
    assert len({reading.text for reading in found}) > 5
    np.testing.assert_allclose([r.confidence for r in found], [r.confidence for r in expected], rtol=1e-4)


def test_both_runtimes_read_the_rows_of_a_dataset_the_same(digits, recognizer, by_keras):
    ours, theirs = (evaluate(reader, digits, "train") for reader in (recognizer, by_keras))
    assert ours.scores == theirs.scores
    assert ours.by_length == theirs.by_length
    assert ours.details.statistics.confusions == theirs.details.statistics.confusions
    rows = np.concatenate([rows.images for rows in ShardReader(digits, "train")])
    (found, shares), (expected, others) = (reader.read_distributions(rows) for reader in (recognizer, by_keras))
    assert [one.text for one in found] == [one.text for one in expected]
    assert shares.dtype == others.dtype == np.float32
    np.testing.assert_allclose(shares, others, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_text(bundle, by_keras, png, threads):
    images = [("", png(f"{n:02d}")) for n in range(8)]
    read = [[one.text for one in reader.predict(images)] for reader in (by_keras, Recognizer.load(bundle, threads=threads))]
    assert read[0] == read[1]


def test_only_the_runtime_tensorflow_has_a_network(recognizer, by_keras):
    assert isinstance(by_keras.network, keras.Model)
    assert not hasattr(recognizer, "network")


def test_a_bundle_without_its_onnx_form_is_read_by_tensorflow(digits, quick, network, tmp_path, monkeypatch, capsys, told, png):
    monkeypatch.setattr(onnx, "PACKAGES", ("tf2onnx", "no_such_package"))
    write_bundle(tmp_path, network, digits.manifest, quick())
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "no_such_package" in line] == [
        "the model has no network.onnx and needs TensorFlow to read: not installed: no_such_package; pip install no_such_package"
    ]
    assert Recognizer.load(tmp_path).runtime == "tensorflow"
    assert "no network.onnx in it" in told(Recognizer.load, tmp_path, "onnx")
    assert "tensorflow" in " ".join(requirements(json.loads((tmp_path / "bundle.json").read_text())))


def test_a_runtime_that_is_not_installed_is_told(copied, told, monkeypatch):
    monkeypatch.setitem(runtimes.PACKAGE_OF, "onnx", "no_such_package")
    assert Recognizer.load(copied).runtime == "tensorflow"
    assert "no_such_package is not installed; pip install no_such_package" in told(Recognizer.load, copied, "onnx")
    assert "there are auto, onnx, tensorflow" in told(Recognizer.load, copied, "torch")


def test_a_bundle_of_the_first_format_is_read(copied, recognizer, png):
    held = json.loads((copied / "bundle.json").read_text())
    del held["files"]["network.onnx"]
    (copied / "network.onnx").unlink()
    (copied / "bundle.json").write_text(json.dumps(held | {"format": 1}))
    old = Recognizer.load(copied)
    assert old.runtime == "tensorflow"
    assert one(old, png(LABEL)).text == one(recognizer, png(LABEL)).text


def test_a_bundle_carries_what_it_needs(digits, bundle):
    held = json.loads((bundle / "bundle.json").read_text())
    assert held["alphabet"] == "0123456789"
    assert held["image"] == {"mode": "gray", "height": 16, "width": 32, "fit": "stretch", "background": 255}
    assert held["dataset"]["fingerprint"] == digits.manifest.fingerprint
    assert held["dataset"]["lengths"] == {"2": 40, "3": 20}
    assert held["dataset"]["sizes"] == {"32x16": 60}
    assert held["decode"] == "ctc_greedy"
    assert held["format"] == 2
    assert list(held["files"]) == ["network.keras", "network.onnx"]


def test_metrics_are_put_in(copied):
    put_metrics(copied, {"rows": 12, "exact_match": 0.75, "cer": 0.0625})
    held = json.loads((copied / "bundle.json").read_text())
    assert held["metrics"] == {"rows": 12, "exact_match": 0.75, "cer": 0.0625}
    Recognizer.load(copied)


def test_every_kind_of_image_reads_the_same(recognizer, picture, png, tmp_path):
    data, pixels = png(LABEL), picture(LABEL)
    path = tmp_path / "image.png"
    path.write_bytes(data)
    text = base64.b64encode(data).decode()
    kinds = [
        data,
        bytearray(data),
        memoryview(data),
        path,
        text,
        f"data:image/png;base64,{text}",
        pixels,
        pixels[..., None],
    ]
    kinds += [np.repeat(pixels[..., None], 3, axis=2)]
    predictions = list(recognizer.predict((str(i), kind) for i, kind in enumerate(kinds)))
    assert [p.path for p in predictions] == [str(i) for i in range(len(kinds))]
    assert {p.error for p in predictions} == {""}
    assert len({p.text for p in predictions}) == 1
    np.testing.assert_allclose([p.confidence for p in predictions], predictions[0].confidence, rtol=1e-3)
    assert len(predictions[0].characters) == len(predictions[0].text) > 0


@pytest.mark.parametrize("noise", [0, 100, 200, 250, 300, 400, 700, 3000])
def test_base64_of_any_length_is_an_image(png, noise):
    data = png(LABEL) + bytes(noise)  # readers of PNG stop at its end
    assert image_bytes(base64.b64encode(data).decode()) == data


BAD = [
    (b"", "empty_file"),
    (b"some text", "not_an_image"),
    ("no/such/file.png", "'no/such/file.png' is not base64; a file is given as a pathlib.Path"),
    ("http://127.0.0.1/image.png", "is not base64"),
    ("file:///etc/hostname", "is not base64"),
    ("data:image/png;base64,äöü=", "is not base64"),
    ("data:", "empty_file"),
    (Path("no/such/file.png"), "unreadable"),
    ("", "empty_file"),
    (None, "expected bytes, base64 text, a pathlib.Path or an array, got NoneType"),
    ([[1, 2], [3, 4]], "expected bytes, base64 text, a pathlib.Path or an array, got list"),
    (np.zeros((16, 32), np.float32), "float32"),
    (np.zeros((16, 32, 4), np.uint8), "(16, 32, 4)"),
    (np.zeros(16, np.uint8), "(16,)"),
    (np.zeros((0, 32), np.uint8), ""),
    (Path("/"), "unreadable"),
]


@pytest.mark.parametrize(("image", "error"), BAD)
def test_a_bad_image_is_an_error_in_its_own_row(recognizer, png, image, error):
    good = one(recognizer, png(LABEL))
    before, bad, after = recognizer.predict([("a", png(LABEL)), ("bad", image), ("b", png("38"))])
    assert (bad.path, bad.text, bad.confidence, bad.characters) == ("bad", "", 0.0, ())
    assert bad.error
    assert error in bad.error
    assert "\n" not in bad.error
    assert (before.text, before.error) == (good.text, "")
    assert after == one(recognizer, png("38"))._replace(path="b", confidence=after.confidence, characters=after.characters)


@pytest.mark.parametrize("name", ["image.png", "abcd", "images/abcd"])  # the last two are base64 too
def test_a_text_never_names_a_file(recognizer, png, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for text in (name, str(tmp_path / name)):
        Path(text).parent.mkdir(exist_ok=True)
        Path(text).write_bytes(png(LABEL))
        assert one(recognizer, text).error
        assert one(recognizer, Path(text)).error == ""


def test_what_is_too_large_is_refused_before_it_is_decoded(recognizer, png, tmp_path):
    data, path = png(LABEL), tmp_path / "image.png"
    path.write_bytes(data)
    kinds = [data, path, base64.b64encode(data).decode(), f"data:image/png;base64,{base64.b64encode(data).decode()}"]
    for most, error in (
        (len(data), ""),
        (len(data) - 1, f"too_large: {len(data)} bytes are over checks.max_bytes {len(data) - 1}"),
    ):
        assert [one(recognizer.refusing(10**9, most), kind).error for kind in kinds] == [error] * 4
    few = one(recognizer.refusing(16 * 32 - 1, 10**9), data)
    assert few.error == "decompression_bomb: 32x16 is over checks.max_pixels 511"
    assert one(recognizer.refusing(16 * 32, 10**9), data).error == ""
    assert recognizer.refusing(10**9, 10**9).checks == recognizer.checks


def test_a_file_cut_short_is_an_error(recognizer, png):
    assert one(recognizer, png(LABEL)[:60]).error.startswith("truncated: ")


def test_an_array_without_pixels_is_an_error_where_images_are_padded_too(recognizer):
    padded = Recognizer.__new__(Recognizer)
    padded.image, padded.checks = recognizer.image.model_copy(update={"fit": "pad"}), recognizer.checks
    assert one(padded, np.zeros((16, 0), np.uint8)).error


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_batches_do_not_matter(recognizer, png, batch):
    images = [("bad" if n % 3 == 1 else "good", b"" if n % 3 == 1 else png(f"{n:02d}")) for n in range(8)]
    found = list(recognizer.predict(images, batch))
    assert [bool(p.error) for p in found] == [False, True, False] * 2 + [False, True]
    assert [p.text for p in found] == [p.text for p in recognizer.predict(images)]


@pytest.mark.parametrize("batch", ["0", "-1", "x"])
def test_a_batch_without_images_is_refused(capsys, batch):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--batch", batch, "image.png"])
    assert "--batch" in capsys.readouterr().err


def test_other_settings_than_the_bundles(recognizer, picture):
    turned = recognizer.preparing(invert="always", crop="none")
    assert turned.image.differences(recognizer.image) == {"invert": ("always", "never")}
    assert one(turned, 255 - picture(LABEL))[:3] == one(recognizer, picture(LABEL))[:3]
    with pytest.raises(ValueError, match="sideways"):
        recognizer.preparing(invert="sideways")


def test_a_watcher_sees_each_image_that_is_decoded(recognizer, png):
    seen = []
    images = [("a", png(LABEL)), ("bad", b""), ("b", png("38"))]
    watched = list(recognizer.predict(images, 2, lambda name, stages: seen.append((name, [stage for stage, _ in stages]))))
    assert watched == list(recognizer.predict(images, 2))
    assert seen == [(name, ["source", "mode", "resize"]) for name in "ab"]


def test_a_watchers_error_is_not_the_images(recognizer, png):
    def full(name: str, stages: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        list(recognizer.predict([("a", png(LABEL))], watch=full))


def test_options_of_the_command_line(bundle, png, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a", "b", "c"):
        (images / f"{name}.png").write_bytes(png(LABEL))
    main(bundle, [str(images), "--limit", "2", "--strong", "--no-auto-crop", "--save-debug", str(tmp_path / "stages")])
    rows = capsys.readouterr().out.splitlines()
    assert [row.partition(",")[0] for row in rows] == ["path", str(images / "a.png"), str(images / "b.png")]
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == [
        f"0000{n}-{name}.png-{stage}.png"
        for n, name in ((1, "a"), (2, "b"))
        for stage in ("0-source", "1-mode", "2-resize", "3-stroke")
    ]
    with pytest.raises(SystemExit, match="holds something already"):
        main(bundle, [str(images), "--save-debug", str(tmp_path / "stages")])


def test_a_reader_that_goes_away_is_no_error(bundle, monkeypatch):
    """As `predict.py DIR | head` does."""
    end, pipe = os.pipe()
    os.close(end)
    with open(pipe, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        main(bundle, ["no/such/file.png"])


def test_the_playground(bundle, tmp_path, monkeypatch, capsys):
    arguments = ["--model", str(bundle), "--draw", "3", "--seed", "7", "--grid", str(tmp_path / "grid.png")]
    monkeypatch.setattr(sys, "argv", ["predict", *arguments, "--save-debug", str(tmp_path / "stages")])
    predict.main()
    first, *rows, last = capsys.readouterr().out.splitlines()
    labels = [row.split()[0] for row in rows]
    assert first.split() == ["label", "text", "judged", "confidence"]
    assert [label.isdigit() and 2 <= len(label) <= 3 for label in labels] == [True] * 3
    assert all(("right" in row) == (row.split()[0] == row.split()[1]) for row in rows)
    assert "of 3 read right" in last
    assert last.endswith(f"--seed 7; pictures in {tmp_path / 'grid.png'}")
    assert Image.open(tmp_path / "grid.png").width > 300
    assert [path.name[6:].partition(".")[0] for path in sorted((tmp_path / "stages").glob("*-source.png"))] == labels


@pytest.mark.parametrize("more", [[], ["--draw", "3", "image.png"]])
def test_files_or_draw(monkeypatch, more):
    monkeypatch.setattr(sys, "argv", ["predict", "--model", "x", *more])
    with pytest.raises(SettingsError, match="--draw N to read new images; not both"):
        predict.main()


def test_no_image_has_no_prediction(recognizer):
    assert list(recognizer.predict([])) == []


@pytest.mark.parametrize("name", ["network.keras", "network.onnx"])
def test_a_damaged_file_is_refused(copied, damage, told, name):
    damage(copied / name)
    message = told(Recognizer.load, copied)
    assert str(copied / name) in message
    assert "checksum" in message


def test_a_load_looks_at_each_file_once(bundle, monkeypatch):
    looked = []
    monkeypatch.setattr("model.bundle.sha256_of", lambda path: looked.append(path.name) or sha256_of(path))
    assert entry.load_recognizer(bundle).runtime == "onnx"
    assert looked == ["network.keras", "network.onnx"]


def test_a_missing_file_is_refused(copied, told):
    (copied / "network.keras").unlink()
    assert "network.keras: missing or damaged" in told(Recognizer.load, copied)


def put(folder: Path, name: str, **changes: object) -> None:
    """Another file and other contents of a bundle, by its maker: the checksum is right."""
    held = json.loads((folder / "bundle.json").read_text()) | changes
    held["files"][name] = sha256_of(folder / name)
    (folder / "bundle.json").write_text(json.dumps(held))


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
def test_a_file_that_is_no_network_is_refused(copied, told, runtime):
    name = {"onnx": "network.onnx", "tensorflow": "network.keras"}[runtime]
    (copied / name).write_bytes(b"something else")
    put(copied, name)
    assert name in told(Recognizer.load, copied, runtime)


def test_keras_runs_no_code_of_a_bundle(copied, told):
    layers = [keras.Input((16, 32, 1)), keras.layers.Lambda(lambda x: x), keras.layers.Reshape((32, 16))]
    keras.Sequential(layers).save(copied / "network.keras")
    put(copied, "network.keras")
    assert "network.keras: Keras refuses it: " in told(Recognizer.load, copied, "tensorflow")
    assert Recognizer.load(copied).runtime == "onnx"  # the file is not opened


def test_an_onnx_file_takes_its_weights_from_no_other_file(copied, told, monkeypatch):
    package = pytest.importorskip("onnx")
    held = package.load(copied / "network.onnx")
    data = b""
    for tensor in held.graph.initializer:
        if tensor.data_type == package.TensorProto.FLOAT and len(tensor.raw_data) > 16:
            entries = {"location": "weights", "offset": len(data), "length": len(tensor.raw_data)}
            data += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = package.TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
    (copied / "weights").write_bytes(data)
    (copied / "network.onnx").write_bytes(held.SerializeToString())
    put(copied, "network.onnx")
    monkeypatch.chdir(copied)  # where onnxruntime looks by itself
    said = told(Recognizer.load, copied, "onnx")
    assert "network.onnx cannot be used: " in said
    assert "External data path" in said


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"\xff",
        b"{}",
        b"[]",
        b'"text"',
        b'{"files": {}}',
        b'{"files": {}, "alphabet": "ab"}',
        b'{"format": 2, "files": {"a": 1}}',
    ],
)
def test_a_folder_that_is_no_bundle_is_refused(tmp_path, told, content):
    if content is not None:
        (tmp_path / "bundle.json").write_bytes(content)
    assert str(tmp_path) in told(Recognizer.load, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"alphabet": ""},
        {"alphabet": 3},
        {"decode": "eval"},
        {"image": {"height": -1}},
        {"checks": None},
        {"format": 3},
        {"format": None},
    ],
)
def test_a_bundle_that_makes_no_recognizer_is_refused(copied, told, changes):
    put(copied, "network.onnx", **changes)
    assert str(copied / "bundle.json") in told(Recognizer.load, copied)


def test_rows_past_the_limit_are_errors(recognizer, png):
    model = PyfuncModel(recognizer, ServingSettings(max_rows=2))
    table = model.predict(pd.DataFrame({"image": [png(LABEL), None, png(LABEL), b""]}))
    assert table["text"].tolist() == [one(recognizer, png(LABEL)).text, "", "", ""]
    assert table["error"].tolist()[2:] == ["too_many_rows: 4 in one request, and max_rows is 2; send it in parts"] * 2
    assert "NoneType" in table["error"][1]
    assert model.predict([png(LABEL)] * 2)["error"].tolist() == ["", ""]


def test_the_pyfunc_model_gives_a_table(recognizer, picture, png):
    model = PyfuncModel(recognizer)
    images = [png(LABEL), b"bad", base64.b64encode(png(LABEL)).decode()]
    tables = [
        model.predict(images),
        model.predict(pd.DataFrame({"image": images}), params={}),
        model.predict(np.array(images, object)),
    ]
    for table in tables:
        assert list(table.columns) == ["text", "confidence", "characters", "error"]
        assert table["error"].tolist() == ["", tables[0]["error"][1], ""]
        assert table["text"].tolist() == [table["text"][0], "", table["text"][0]]
        assert [len(c) for c in table["characters"]] == [len(text) for text in table["text"]]
    stacked = model.predict(np.stack([picture(LABEL), picture("38")]))
    assert stacked["text"][0] == tables[0]["text"][0]
    assert list(model.predict([]).columns) == ["text", "confidence", "characters", "error"]


def test_files_folders_and_a_list(tmp_path):
    for name in ("b/2.png", "b/1.png", "b/.hidden.png", "b/.git/3.png", "a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = io.StringIO("x y.png\n\nz.png\n")
    found = list(files_in([str(tmp_path / "a.png"), str(tmp_path / "b"), "-", "missing.png"], listing))
    assert [name.removeprefix(f"{tmp_path}/") for name in found] == [
        "a.png",
        "b/1.png",
        "b/2.png",
        "x y.png",
        "z.png",
        "missing.png",
    ]


PREDICTIONS = [
    Prediction("a, b.png", "12", 0.25, (0.5, 0.5)),
    Prediction("é.png", error='truncated: "damaged"'),
]


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("csv", 'path,text,confidence,error\n"a, b.png",12,0.250000,\né.png,,0.000000,"truncated: ""damaged"""\n'),
        (
            "jsonl",
            '{"path": "a, b.png", "text": "12", "confidence": 0.25, "characters": [0.5, 0.5], "error": ""}\n'
            '{"path": "é.png", "text": "", "confidence": 0.0, "characters": [], "error": "truncated: \\"damaged\\""}\n',
        ),
    ],
)
def test_predictions_are_written(form, written):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert write_predictions(PREDICTIONS, form) == 1
    assert out.getvalue() == written


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_file_name_that_is_not_utf_8_is_written(monkeypatch, form):
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    assert write_predictions([Prediction("\udcff.png", "12", 0.5), PREDICTIONS[0]], form) == 0
    out.flush()
    assert len(out.buffer.getvalue().splitlines()) == (3 if form == "csv" else 2)


@pytest.mark.parametrize(
    ("files", "runtime", "expected"),
    [
        (("network.keras", "network.onnx"), None, ["onnxruntime", "numpy", "pillow", "pydantic", "pyyaml"]),
        (("network.keras", "network.onnx"), "tensorflow", ["keras", "tensorflow", "numpy", "pillow", "pydantic", "pyyaml"]),
        (("network.keras",), None, ["keras", "tensorflow", "numpy", "pillow", "pydantic", "pyyaml"]),
    ],
)
def test_requirements_are_pinned(files, runtime, expected):
    lines = requirements({"files": dict.fromkeys(files, "")}, runtime)
    assert [line.partition("==")[0] for line in lines] == expected
    assert all(line.partition("==")[2] for line in lines)


ALONE = """
import sys
sys.path[:0] = [sys.argv[1]]
import model.serving
from model.recognizer import main
main(sys.argv[2], sys.argv[3:])
names = {"model", "pipelines", "jobs", "tensorflow", "keras", "mlflow", "pyspark", "pandas", "onnxruntime"}
print(sorted(name for name in sys.modules if name in names or name.startswith(("model.", "pipelines."))), file=sys.stderr)
"""


@pytest.fixture
def alone(tmp_path):
    """Runs a bundle's command line with the code of CODE and nothing else of this repository."""
    write_code(tmp_path / "code")

    def alone(*args: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-I", "-c", ALONE, tmp_path / "code", *args]
        return subprocess.run([str(a) for a in command], cwd=tmp_path, check=False, capture_output=True, text=True)

    return alone


@pytest.mark.slow
def test_the_shipped_code_is_enough_and_no_more(alone, bundle, recognizer, png, picture, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "bad.png").write_bytes(b"")
    (images / "good.png").write_bytes(png(LABEL))
    Image.fromarray(picture(LABEL)).convert("RGB").save(images / "good.webp", lossless=True)
    done = alone(bundle, images, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    bad, good, other = map(json.loads, done.stdout.splitlines())
    assert bad["error"].startswith("empty_file")
    assert good["text"] == other["text"] == one(recognizer, png(LABEL)).text
    assert good["confidence"] == pytest.approx(one(recognizer, png(LABEL)).confidence, rel=1e-4)
    imported = done.stderr.splitlines()[-1]
    shipped = sorted(f"{package}.{m}" if m != "__init__" else package for package, modules in CODE.items() for m in modules)
    assert imported == str(sorted([*shipped, "onnxruntime"]))
    again = alone(bundle, images, "--format", "jsonl", "--runtime", "tensorflow")
    assert [json.loads(line)["text"] for line in again.stdout.splitlines()] == ["", good["text"], other["text"]]


@pytest.mark.slow
def test_a_damaged_download_is_told_in_one_line(alone, copied, damage):
    damage(copied / "network.keras")
    done = alone(copied, "image.png")
    assert done.returncode == 1
    assert "network.keras: missing or damaged" in done.stderr
    assert "Traceback" not in done.stderr
