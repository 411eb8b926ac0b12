"""The runners in examples/: short, alike where they do the same, with the pixels and the decoding of this repository."""

import ast
import importlib.util
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from model.decode import readings
from pipelines.charset import Charset
from pipelines.images import ImageChecks
from pipelines.preprocess import PreprocessSpec

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("read_onnx", "read_litert", "read_savedmodel")
KINDS = {
    "gray": ("L", "PNG", {}),
    "color": ("RGB", "PNG", {}),
    "alpha": ("RGBA", "PNG", {}),
    "gray with alpha": ("LA", "PNG", {}),
    "palette": ("P", "PNG", {}),
    "palette, one color transparent": ("P", "PNG", {"transparency": 7}),
    "gray, one value transparent": ("L", "PNG", {"transparency": 40}),
    "black and white": ("1", "PNG", {}),
    "JPEG": ("RGB", "JPEG", {"quality": 80}),
    "CMYK": ("CMYK", "JPEG", {}),
    "turned by EXIF": ("RGB", "JPEG", {"exif": 6}),
    "WebP": ("RGBA", "WEBP", {"lossless": True}),
    "GIF": ("P", "GIF", {}),
    "BMP": ("RGB", "BMP", {}),
    "TIFF": ("L", "TIFF", {}),
}
SPECS = {
    "gray, stretch": {"mode": "gray", "fit": "stretch"},
    "color, stretch": {"mode": "rgb", "fit": "stretch"},
    "gray, pad": {"mode": "gray", "fit": "pad", "background": 90},
    "color, pad": {"mode": "rgb", "fit": "pad", "background": 0},
}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    pytest.importorskip("onnxruntime")
    spec = importlib.util.spec_from_file_location("read_onnx", EXAMPLES / "read_onnx.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def image_file(mode: str, kind: str, options: dict) -> bytes:
    """A small picture of noise over a ramp, in all channels."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (23, 61, 4), np.uint8), "RGBA")
    image = {"LA": lambda: picture.convert("LA"), "P": lambda: picture.convert("RGB").quantize(32)}.get(
        mode, lambda: picture.convert(mode)
    )()
    if "exif" in options:
        exif = Image.Exif()
        exif[274] = options["exif"]
        options = {"exif": exif}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("settings", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_preprocess_to_the_bit(kind, settings, example, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(image_file(*KINDS[kind]))
    spec = PreprocessSpec.model_validate({"height": 16, "width": 40} | settings)
    found = example.pixels(str(path), spec.model_dump(mode="json"))
    expected = spec.apply_bytes(path.read_bytes(), ImageChecks())
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_what_it_does_not_do_it_says_in_one_line(example, tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(path)
    with pytest.raises(SystemExit) as caught:
        example.pixels(str(path), PreprocessSpec().model_dump(mode="json"))
    assert str(caught.value) == f"error: {path}: mode I;16 is not for this example; save the image with 8 bits"


@pytest.mark.parametrize("rule", ["ctc_greedy", "positions"])
def test_the_text_is_that_of_decode(rule, example):
    logits = np.random.default_rng(1).normal(size=(50, 12, 4)).astype(np.float32)  # characters often stand twice
    expected = readings(rule, logits.argmax(-1), np.ones(logits.shape[:2]), Charset("abc"))
    assert [example.text(one, {"alphabet": "abc", "decode": rule}) for one in logits] == [one.text for one in expected]


@pytest.mark.parametrize("name", NAMES)
def test_each_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60


def test_all_have_the_same_pixels_and_text():
    parts = {}
    for name in NAMES:
        tree = ast.parse((EXAMPLES / f"{name}.py").read_text())
        parts[name] = [
            ast.dump(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in ("pixels", "text")
        ]
    assert len(parts["read_onnx"]) == 2
    assert parts["read_onnx"] == parts["read_litert"] == parts["read_savedmodel"]


ALLOWED = {
    "read_onnx": {"json", "sys", "numpy", "onnxruntime", "PIL"},
    "read_litert": {"json", "sys", "zipfile", "numpy", "ai_edge_litert", "PIL"},
    "read_savedmodel": {"json", "sys", "pathlib", "numpy", "tensorflow", "PIL"},
}


@pytest.mark.parametrize("name", NAMES)
def test_each_needs_its_runtime_numpy_and_pillow_only(name):
    imported = set()
    for node in ast.walk(ast.parse((EXAMPLES / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.partition(".")[0])
    assert imported == ALLOWED[name]
