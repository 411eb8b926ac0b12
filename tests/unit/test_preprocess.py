"""Preprocessing: shapes and pixels written down for images small enough to do by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.config import IngestSettings
from pipelines.images import ImageChecks
from pipelines.ingest import fingerprint
from pipelines.preprocess import PreprocessSpec
from pipelines.rejects import Reason, Reject


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@settings(max_examples=40)
@given(
    st.sampled_from(["gray", "rgb"]),
    st.sampled_from(["stretch", "pad"]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(8, 64),
    st.integers(8, 64),
)
def test_every_source_gives_the_shape_of_the_settings(mode, fit, source_width, source_height, width, height):
    spec = PreprocessSpec(mode=mode, fit=fit, width=width, height=height)
    image = noise(source_width, source_height)
    pixels = spec.apply(image)
    assert pixels.shape == spec.shape == (height, width, 1 if mode == "gray" else 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, spec.apply(image))


def test_an_image_of_the_right_size_is_left_as_it_is():
    image = noise(20, 10)
    np.testing.assert_array_equal(PreprocessSpec(mode="rgb", width=20, height=10).apply(image), np.asarray(image))


@pytest.mark.parametrize(
    ("colour", "gray"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255), ((10, 20, 30), 18)],
)
def test_gray_is_the_luma_of_rec_601(colour, gray):
    pixels = PreprocessSpec(width=8, height=8).apply(Image.new("RGB", (8, 8), colour))
    assert (pixels == gray).all()


def test_rgb_of_gray_repeats_the_value():
    pixels = PreprocessSpec(mode="rgb", width=8, height=8).apply(Image.new("L", (8, 8), 99))
    assert (pixels == 99).all()


def test_stretch_fills_the_canvas():
    image = Image.new("L", (2, 1))
    image.putpixel((1, 0), 200)
    pixels = PreprocessSpec(width=8, height=8).apply(image)[..., 0]
    assert (pixels[:, 0] == 0).all()
    assert (pixels[:, 7] == 200).all()
    assert (pixels == pixels[0]).all()
    assert (np.diff(pixels[0].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("source", "inked"),  # (width, height) of the source; (rows, columns) it takes of a canvas of 8 rows and 16 columns
    [
        ((32, 16), (8, 16)),
        ((10, 10), (8, 8)),
        ((40, 10), (4, 16)),
        ((4, 2), (8, 16)),
        ((1000, 1), (1, 16)),
        ((1, 1000), (8, 1)),
    ],
)
def test_pad_keeps_the_aspect_ratio_and_pads_right_and_below(source, inked):
    pixels = PreprocessSpec(width=16, height=8, fit="pad", background=200).apply(Image.new("L", source, 7))[..., 0]
    expected = np.full((8, 16), 200)
    expected[: inked[0], : inked[1]] = 7
    np.testing.assert_array_equal(pixels, expected)


def test_shrinking_averages_and_does_not_pick_pixels():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))  # 64x64, every second column white
    pixels = PreprocessSpec(width=8, height=8).apply(Image.fromarray(stripes))
    assert np.abs(pixels.astype(int) - 127).max() <= 6  # nearest neighbour would give 0 or 255


def test_bytes_take_the_same_path_as_images(encode):
    image, spec = noise(30, 20), PreprocessSpec(width=16, height=8)
    np.testing.assert_array_equal(spec.apply_bytes(encode(image), ImageChecks()), spec.apply(image))


def test_bytes_that_are_no_image_are_rejected():
    with pytest.raises(Reject) as caught:
        PreprocessSpec().apply_bytes(b"text", ImageChecks())
    assert caught.value.reason is Reason.NOT_AN_IMAGE


# --- the steps that are off by default

BEFORE = {"mode": "gray", "height": 64, "width": 160, "fit": "stretch", "background": 255}  # what was written without them


def text(ink: int = 0, paper: int = 255, mode: str = "L") -> Image.Image:
    """100 x 40: five bars in columns 40 to 57 and rows 10 to 29; `ink.text_box` is (37, 7, 61, 33)."""
    pixels = np.full((40, 100), paper, np.uint8)
    pixels[10:30, 40:60:4] = pixels[10:30, 41:60:4] = ink
    return Image.fromarray(pixels).convert(mode)


def test_what_was_written_before_loads_and_is_equal():
    spec = PreprocessSpec()
    assert PreprocessSpec.model_validate(BEFORE) == spec
    assert spec.model_dump() == spec.model_dump(mode="json") == json.loads(spec.model_dump_json()) == BEFORE
    assert list(spec.model_dump()) == list(BEFORE)
    assert IngestSettings().model_dump()["image"] == BEFORE


def test_what_is_on_is_written():
    spec = PreprocessSpec(contrast="clahe", invert="auto")
    assert spec.model_dump() == BEFORE | {"invert": "auto", "contrast": "clahe"}
    assert PreprocessSpec.model_validate_json(spec.model_dump_json()) == spec != PreprocessSpec()
    assert IngestSettings.model_validate(IngestSettings(image=spec).model_dump(mode="json")).image == spec


def test_the_fingerprint_depends_on_what_is_on_alone():
    rows = pa.table({"id": [7], "sha256": ["bb"], "label": ["A"]})
    specs = [
        BEFORE,
        BEFORE | {"crop": "none"},
        *(BEFORE | on for on in ({"crop": "auto"}, {"invert": "auto"}, {"stroke": "strong"})),
    ]
    found = [fingerprint(IngestSettings(image=PreprocessSpec.model_validate(spec)), rows) for spec in specs]
    assert found[0] == found[1] == fingerprint(IngestSettings(), rows)
    assert len(set(found)) == 4


def test_differences_name_both_values():
    one, other = PreprocessSpec(width=40, contrast="clahe"), PreprocessSpec(crop="auto", width=40)
    assert one.differences(other) == {"crop": ("none", "auto"), "contrast": ("clahe", "none")}
    assert one.differences(one) == {}


STAGES = [
    ({}, ["source (40, 100, 1)", "mode (40, 100, 1)", "resize (20, 40, 1)"]),
    ({"mode": "rgb"}, ["source (40, 100, 1)", "mode (40, 100, 3)", "resize (20, 40, 3)"]),
    ({"fit": "pad"}, ["source (40, 100, 1)", "mode (40, 100, 1)", "resize (16, 40, 1)", "pad (20, 40, 1)"]),
    (
        {"fit": "pad", "crop": "auto", "invert": "auto", "stroke": "strong", "contrast": "clahe"},
        [
            *("source (40, 100, 1)", "crop (26, 24, 1)", "mode (26, 24, 1)", "invert (26, 24, 1)", "resize (20, 18, 1)"),
            *("stroke (20, 18, 1)", "contrast (20, 18, 1)", "pad (20, 40, 1)"),
        ],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), STAGES)
def test_stages_are_these(changes, expected):
    spec = PreprocessSpec(height=20, width=40, **changes)
    stages = spec.stages(text())
    assert [f"{name} {pixels.shape}" for name, pixels in stages] == expected
    np.testing.assert_array_equal(stages[-1][1], spec.apply(text()))


def test_each_step_does_its_own():
    small = {"height": 40, "width": 100}  # of the source: nothing is resized
    dark = PreprocessSpec(**small, invert="auto").apply(text(ink=255, paper=0))[..., 0]
    np.testing.assert_array_equal(dark, np.asarray(text()))
    np.testing.assert_array_equal(PreprocessSpec(**small, invert="auto").apply(text())[..., 0], np.asarray(text()))
    np.testing.assert_array_equal(PreprocessSpec(**small, invert="always").apply(text())[..., 0], 255 - np.asarray(text()))
    part = PreprocessSpec(height=26, width=24, crop="auto").apply(text())[..., 0]
    np.testing.assert_array_equal(part, np.asarray(text())[7:33, 37:61])
    strong = PreprocessSpec(**small, stroke="strong").apply(text())[..., 0]
    assert (strong[9:31, 39:59] == 0).all()  # bars 2 wide and 2 apart, a pixel wider on each side: one block
    assert np.count_nonzero(strong == 0) == 22 * 20
    faint = PreprocessSpec(**small, contrast="clahe").apply(text(ink=120, paper=130))[..., 0].astype(int)
    assert (faint[20, 43] - faint[20, 40:42] >= 12).all()  # from 10


def test_padding_has_its_background_after_all_else():
    spec = PreprocessSpec(height=40, width=120, fit="pad", background=9, invert="always", contrast="clahe", stroke="strong")
    assert (spec.apply(text())[:, 100:] == 9).all()


ON = {
    "crop": ["none", "auto"],
    "invert": ["never", "auto", "always"],
    "stroke": ["none", "strong"],
    "contrast": ["none", "clahe"],
}


@settings(max_examples=150)
@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in ON.items()}),
    st.sampled_from(["gray", "rgb"]),
    st.sampled_from(["stretch", "pad"]),
    st.sampled_from(["L", "RGB"]),
    st.integers(1, 80),
    st.one_of(st.integers(1, 80), st.integers(500, 1500)),
    st.booleans(),
)
def test_every_image_gives_the_shape_and_the_same_bits_twice(steps, mode, fit, source_mode, height, width, plain):
    spec = PreprocessSpec(mode=mode, fit=fit, height=16, width=40, **steps)
    image = (Image.new("RGB", (width, height), (9, 99, 199)) if plain else noise(width, height)).convert(source_mode)
    before = image.tobytes()
    pixels = spec.apply(image)
    assert (pixels.shape, pixels.dtype) == (spec.shape, np.uint8)
    np.testing.assert_array_equal(pixels, spec.apply(image.copy()))
    np.testing.assert_array_equal(pixels, spec.stages(image)[-1][1])
    assert image.tobytes() == before
