"""Preprocessing: shapes and pixels written down for images small enough to do by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.images import ImageChecks
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
