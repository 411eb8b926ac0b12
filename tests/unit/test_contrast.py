"""CLAHE: levels that OpenCV 5.0's `createCLAHE(2.0, (8, 8))` gave for the same images, and bits that never change."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.contrast import clahe, equalised


def waves(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((columns * columns + 3 * rows * rows) // 97 % 256).astype(np.uint8)


@pytest.mark.parametrize(("shape", "level", "expected"), [((16, 16), 77, 128), ((64, 160), 200, 255), ((50, 200), 0, 3), ((1, 200), 9, 20), ((8, 8), 3, 255)])  # fmt: skip
def test_a_plain_image_stays_plain(shape, level, expected):
    # 16 x 16: tiles of 4 pixels, one count kept, the other three at levels 0, 85 and 170: 2 / 4 of 255 up to 77
    np.testing.assert_array_equal(clahe(np.full(shape, level, np.uint8)), np.full(shape, expected))


def test_levels_are_those_of_opencv():
    rows, columns = np.mgrid[:16, :16]
    found = clahe(((columns * 7 + rows * 13) % 256).astype(np.uint8))
    assert found[0].tolist() == [64, *[128] * 15]
    assert found[7].tolist() == [191, 255, *[223, 255] * 7]


def test_levels_are_those_of_opencv_within_its_rounding():
    found = clahe(waves(128, 160))[60, ::16].astype(int)
    assert np.abs(found - [138, 141, 152, 167, 184, 203, 213, 234, 47, 105]).max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "digest"),
    [
        (50, 200, "5a1a54b204de75a4"),
        (64, 160, "2a0a9d23e9613c6d"),
        (13, 7, "98305cd9200f97b5"),
    ],
)
def test_the_bits_are_these(height, width, digest):
    assert hashlib.sha256(clahe(waves(height, width)).tobytes()).hexdigest()[:16] == digest


def test_faint_text_is_told_from_its_background():
    image = np.full((64, 160), 100, np.uint8)
    image[20:40, 40:120:8] = 90
    found = clahe(image).astype(int)
    assert (found[22:38, 52:112:8] - found[22:38, 48:112:8] >= 15).all()  # from 10


@settings(max_examples=60)
@given(st.integers(1, 70), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_every_size_keeps_its_shape_and_gives_the_same_twice(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    found = clahe(image)
    assert (found.shape, found.dtype) == ((height, width), np.uint8)
    np.testing.assert_array_equal(found, clahe(image.copy()))


def test_of_colours_the_luma_is_evened_out():
    gray = waves(50, 200)
    np.testing.assert_array_equal(np.asarray(equalised(Image.fromarray(gray))), clahe(gray))
    coloured = np.asarray(equalised(Image.fromarray(np.stack([gray] * 3, axis=2))))
    np.testing.assert_array_equal(coloured, np.stack([clahe(gray)] * 3, axis=2))  # gray stays gray
    blue = np.full((16, 16, 3), (10, 20, 150), np.uint8)  # a luma of 32, which counts at 0, 32, 85 and 170 make 128
    assert (np.asarray(equalised(Image.fromarray(blue))) == (106, 116, 246)).all()
