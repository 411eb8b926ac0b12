"""What stands out: boxes written down for bars drawn on all kinds of background."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.ink import cropped, inverted, on_light, text_box, thickened

BOX = (37, 7, 61, 33)  # of bars in columns 40 to 57 and rows 10 to 29: found with 1 around, and a margin of 2


def bars(ink: object = 0, paper: object = 255, channels: int = 1, scale: int = 1) -> np.ndarray:
    """(40, 100, channels) uint8 times `scale`: five bars, 2 wide and 20 high."""
    image = np.full((40, 100, channels), paper, np.uint8)
    image[10:30, 40:60:4] = image[10:30, 41:60:4] = ink
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def sloping() -> np.ndarray:
    return np.minimum(bars(), np.linspace(120, 250, 100).astype(np.uint8)[:, None])


def crossed() -> np.ndarray:
    image = bars()
    image[35] = 0
    return image


def hyphened() -> np.ndarray:
    image = bars()
    image[19:21, 62:68] = 0
    return image


def tailed() -> np.ndarray:
    image = bars()
    image[30:35, 44:46] = 0
    return image


def dotted() -> np.ndarray:
    image = bars()
    for row, column in ((2, 5), (34, 12), (2, 20), (3, 72), (33, 80), (35, 92)):
        image[row : row + 3, column : column + 3] = 0
    return image


def shaky() -> np.ndarray:
    return bars(ink=40, paper=210) + np.random.default_rng(0).integers(0, 8, (40, 100, 1), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "box"),
    [
        (bars(), BOX),
        (bars(ink=255, paper=0), BOX),
        (bars(ink=115, paper=128), BOX),
        (bars(ink=(0, 0, 60), paper=(0, 0, 0), channels=3), BOX),  # a luma of 7 is next to nothing
        (bars(ink=(255, 0, 0), paper=(0, 130, 0), channels=3), BOX),  # the same luma
        (sloping(), BOX),
        (shaky(), BOX),
        (crossed(), (21, 6, 77, 40)),  # the line is taken for a part within half the text's height
        (hyphened(), (37, 7, 71, 33)),
        (tailed(), (36, 6, 62, 39)),
        (dotted(), BOX),
    ],
    ids=["dark", "light", "faint", "blue", "colours", "slope", "noise", "line", "hyphen", "tail", "dots"],
)
def test_text_is_found(pixels, box):
    found = text_box(picture(pixels))
    assert found == box
    assert cropped(picture(pixels)).size == (box[2] - box[0], box[3] - box[1])


def test_a_large_image_is_looked_at_in_a_smaller_size():
    box = text_box(picture(bars(scale=8)))
    assert all(abs(side - 8 * small) <= 8 for side, small in zip(box, BOX, strict=True)), box
    assert all(side % 2 == 0 for side in box)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((40, 100, 1), 200, np.uint8),
        np.full((40, 100, 3), 0, np.uint8),
        np.tile(np.arange(0, 200, 2, dtype=np.uint8)[:, None], (40, 1, 1)),
        np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8),
        np.zeros((1, 1, 1), np.uint8),
        bars()[10:30, 40:60],
    ],
    ids=["light", "dark", "slope", "noise", "one pixel", "text alone"],
)
def test_where_nothing_stands_out_all_is_kept(pixels):
    image = picture(pixels)
    assert text_box(image) == (0, 0, *image.size)
    assert cropped(image) is image


@pytest.mark.parametrize(
    ("pixels", "light"),
    [
        (bars(), True),
        (bars(ink=255, paper=0), False),
        (bars(ink=0, paper=128), True),
        (bars(ink=255, paper=127), False),
        (bars(ink=(255, 255, 255), paper=(0, 0, 250), channels=3), False),
        (bars(ink=0, paper=(255, 255, 0), channels=3), True),
    ],
)
def test_a_dark_background_is_made_light(pixels, light):
    np.testing.assert_array_equal(np.asarray(on_light(picture(pixels))), np.asarray(picture(pixels if light else 255 - pixels)))


def test_inverted_is_light_for_dark():
    image = np.array([[0, 10, 255]], np.uint8)
    assert np.asarray(inverted(Image.fromarray(image))).tolist() == [[255, 245, 0]]
    np.testing.assert_array_equal(
        np.asarray(inverted(Image.fromarray(np.stack([image] * 3, 2)))), 255 - np.stack([image] * 3, 2)
    )


def test_strokes_grow_by_a_pixel_on_each_side():
    image = np.array([[9, 9, 9, 9, 9], [9, 9, 9, 9, 9], [9, 9, 1, 9, 9], [9, 9, 9, 9, 9], [9, 9, 9, 9, 5]], np.uint8)
    wider = [[9, 9, 9, 9, 9], [9, 1, 1, 1, 9], [9, 1, 1, 1, 9], [9, 1, 1, 1, 5], [9, 9, 9, 5, 5]]
    assert np.asarray(thickened(Image.fromarray(image))).tolist() == wider
    coloured = np.asarray(thickened(Image.fromarray(np.stack([image, image, np.full_like(image, 7)], axis=2))))
    assert coloured[..., 0].tolist() == coloured[..., 1].tolist() == wider
    assert (coloured[..., 2] == 7).all()


@settings(max_examples=80)
@given(st.integers(1, 60), st.integers(1, 700), st.sampled_from([1, 3]), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_the_box_lies_in_the_image_and_is_never_empty(height, width, channels, specks, seed):
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, channels), rng.integers(0, 256), np.uint8)
    pixels[rng.integers(0, height, specks), rng.integers(0, width, specks)] = rng.integers(0, 256, (specks, channels))
    left, upper, right, lower = text_box(picture(pixels))
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
