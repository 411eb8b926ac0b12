"""Galleries: any characters, any shapes, without a warning; what is too long shows its first error."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from model.alignment import aligned
from model.gallery import ELLIPSIS, LETTER, Cell, around_error, gallery


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def picture(height: int = 48, width: int = 160, channels: int = 1) -> np.ndarray:
    return np.full((height, width, channels), 200, np.uint8)


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert (image.format, image.width) == ("PNG", 1272)
    return image


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("aB3", "aB8"),
        ("ab", ""),
        ("", "ab"),
        ("$x$_^", "$x$^"),
        ("a b", "ab"),
        ("一二", "一\u0301\u200b"),
        ("😀", "\U0010fffd"),
        (None, "ab"),
    ],
)
def test_any_text(label, text):
    opened(gallery([Cell(picture(), label, text, "0.98")], "a title with $ and 一"))


@pytest.mark.parametrize("shape", [(75, 50, 3), (8, 512, 1), (1, 1, 1), (300, 20, 3)])
def test_any_shape(shape):
    opened(gallery([Cell(picture(*shape), "abc", "abd")] * 7, "shapes"))


def test_shapes_together_and_none_at_all():
    opened(gallery([Cell(picture(20, 90), "a", "a"), Cell(picture(90, 20, 3), None, "b", "note")], ""))
    opened(gallery([], "nothing"))


def colours(image: Image.Image) -> set[tuple[int, int, int]]:
    return {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}


def test_what_is_wrong_is_marked_and_what_is_right_is_not():
    tint = (0xF9, 0xDD, 0xD3)
    assert tint in colours(opened(gallery([Cell(picture(), "abc", "abd")], "")))
    assert tint in colours(opened(gallery([Cell(picture(), "abc", "ac")], "")))
    assert tint not in colours(opened(gallery([Cell(picture(), "abc", "abc")], "")))
    assert tint not in colours(opened(gallery([Cell(picture(), None, "abc")], "")))


@pytest.mark.parametrize(
    ("label", "text", "columns", "shown"),
    [
        ("abcdef", "abcdef", 6, "abcdef"),
        ("abcdefgh", "abcdefgh", 6, "abcd…"),
        ("abcdefgh", "abcdefgX", 6, "…efgX"),
        ("abcdefgh", "abcXefgh", 6, "…bcXe…"),
        ("abcdefgh", "Xbcdefgh", 6, "Xbcd…"),
    ],
)
def test_what_is_too_long_shows_its_first_error(label, text, columns, shown):
    pairs = around_error(aligned(label, text), (columns + 0.5) * LETTER)
    assert "".join(theirs for _, theirs in pairs) == shown
    assert pairs.count(ELLIPSIS) == shown.count("…")
