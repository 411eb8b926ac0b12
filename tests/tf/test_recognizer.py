"""Bundles: written, read back, asked with every kind of image, and run where this repository is not."""

import argparse
import base64
import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from jobs import predict
from model.decode import sure_readings
from model.export import CODE, REQUIREMENTS, model_card, put_metrics, requirements, write_bundle, write_code
from model.networks import build
from model.recognizer import (
    Prediction,
    PyfuncModel,
    Recognizer,
    add_arguments,
    files_in,
    image_bytes,
    main,
    write_predictions,
)
from pipelines.errors import SettingsError

pytestmark = pytest.mark.tf
LABEL = "17"


@pytest.fixture(scope="module")
def network(digits, quick) -> keras.Model:
    """An untrained network that reads something in every picture: its logits are spread, its blank is not preferred."""
    keras.utils.set_random_seed(0)
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


def test_a_bundle_reads_as_the_network_it_was_made_of(digits, network, recognizer, picture):
    images = np.stack([picture(f"{n:02d}")[..., None] for n in range(40)])
    logits = network(images.astype(np.float32), training=False).numpy()
    sure = np.exp(logits - logits.max(-1, keepdims=True))
    expected = sure_readings("ctc_greedy", sure / sure.sum(-1, keepdims=True), digits.manifest.charset)
    found = recognizer.read_pixels(images)
    assert [reading.text for reading in found] == [reading.text for reading in expected]
    assert len({reading.text for reading in found}) > 5
    np.testing.assert_allclose([r.confidence for r in found], [r.confidence for r in expected], rtol=1e-4)


def test_a_bundle_carries_what_it_needs(digits, bundle):
    held = json.loads((bundle / "bundle.json").read_text())
    assert held["alphabet"] == "0123456789"
    assert held["image"] == {"mode": "gray", "height": 16, "width": 32, "fit": "stretch", "background": 255}
    assert held["dataset"]["fingerprint"] == digits.manifest.fingerprint
    assert held["dataset"]["lengths"] == {"2": 40, "3": 20}
    assert held["dataset"]["sizes"] == {"32x16": 60}
    assert held["decode"] == "ctc_greedy"
    assert list(held["files"]) == ["network.keras"]


def test_metrics_are_put_in_and_told_on_the_card(copied):
    put_metrics(copied, {"rows": 12, "exact_match": 0.75, "cer": 0.0625})
    held = json.loads((copied / "bundle.json").read_text())
    assert held["metrics"] == {"rows": 12, "exact_match": 0.75, "cer": 0.0625}
    card = model_card(held)
    assert all(
        text in card for text in ("12 images", "0.7500", "0.0625", "`0123456789`", held["dataset"]["fingerprint"], "16 x 32")
    )
    assert "32 pixels (stretch)." in card
    held["image"] |= {"crop": "auto", "contrast": "clahe"}
    assert "32 pixels (stretch, crop auto, contrast clahe)." in model_card(held)
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
        str(path),
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
    ("no/such/file.png", "neither a file nor base64"),
    (Path("no/such/file.png"), "unreadable"),
    ("", "empty_file"),
    (None, "expected bytes, a path, base64 text or an array, got NoneType"),
    ([[1, 2], [3, 4]], "expected bytes, a path, base64 text or an array, got list"),
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


@pytest.mark.parametrize("name", ["network.keras"])
def test_a_damaged_file_is_refused(copied, damage, told, name):
    damage(copied / name)
    message = told(Recognizer.load, copied)
    assert str(copied / name) in message
    assert "checksum" in message


def test_a_missing_file_is_refused(copied, told):
    (copied / "network.keras").unlink()
    assert "network.keras: missing or damaged" in told(Recognizer.load, copied)


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"\xff", b"{}", b"[]", b'"text"', b'{"files": {}}', b'{"files": {}, "alphabet": "ab"}']
)
def test_a_folder_that_is_no_bundle_is_refused(tmp_path, told, content):
    if content is not None:
        (tmp_path / "bundle.json").write_bytes(content)
    assert str(tmp_path) in told(Recognizer.load, tmp_path)


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


def test_requirements_are_pinned():
    assert [line.partition("==")[0] for line in requirements()] == list(REQUIREMENTS)
    assert all(line.partition("==")[2] for line in requirements())


ALONE = """
import sys
sys.path[:0] = [sys.argv[1]]
from model.recognizer import main
main(sys.argv[2], sys.argv[3:])
ours = sorted(name for name in sys.modules if name.partition(".")[0] in ("model", "pipelines", "jobs"))
print(ours, file=sys.stderr)
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
    assert imported == str(shipped)


@pytest.mark.slow
def test_a_damaged_download_is_told_in_one_line(alone, copied, damage):
    damage(copied / "network.keras")
    done = alone(copied, "image.png")
    assert done.returncode == 1
    assert "network.keras: missing or damaged" in done.stderr
    assert "Traceback" not in done.stderr
