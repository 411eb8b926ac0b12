"""Figures of few and of many values: PNG of a bearable size, without a warning, whatever the characters."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from pipelines import figures
from pipelines.figures import Cell
from pipelines.plotting import columns, lettering, shortened, shown, visible, wrapped

CJK = {chr(0x4E00 + i): 5001 - i for i in range(5000)}
ODD = {"$": 9, " ": 8, "\u0301": 7, "\u200b": 6, "^": 5, "_": 4, "😀": 3, "𝔸": 2, "<": 1}


def opened(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    image.load()
    assert (image.format, image.width <= 1400, image.height <= 1400, len(png) < 400_000) == ("PNG", True, True, True)
    return image


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.mark.parametrize("counts", [{"A": 1}, ODD, CJK, {"$a$": 0}, {}])
def test_bars(counts):
    opened(figures.characters(counts))


def test_thirty_reasons_with_long_names():
    opened(figures.bars({f"a_very_long_reason_name_number_{i}": i**9 for i in range(30)}, "rejects", "files", most=30))


@pytest.mark.parametrize("length", [1, 6, 64])
@pytest.mark.parametrize("counts", [{"A": 1}, ODD, CJK], ids=["one", "odd", "cjk"])
def test_positions(counts, length):
    opened(figures.positions([counts] * length, counts))


def test_positions_beyond_the_usual_are_left_out():
    usual = figures.positions([{"A": 1000}] * 6, {"A": 1000})
    assert opened(figures.positions([{"A": 1000}] * 6 + [{"A": 9}] * 58, {"A": 1000})).size == opened(usual).size


@pytest.mark.parametrize("counts", [{"5": 3}, {str(n): n for n in range(1, 65)}, {"4": 10, "70": 1}])
def test_lengths(counts):
    opened(figures.lengths(counts))


SIZES = {
    "one": {"200x100": 7},
    "few": {"200x100": 7, "1x4000": 1},
    "one height": {f"{width}x32": 1 for width in range(20, 400)},
    "many": {f"{i % 1000 + 20}x{i // 1000 + 20}": 1 + i % 40 for i in range(100_000)},
}


@pytest.mark.parametrize("counts", SIZES.values(), ids=SIZES)
def test_sizes(counts):
    opened(figures.sizes(counts))


@pytest.mark.parametrize("counts", [{"1": 1}, {"8192": 5}, {"100": 5, "1073741824": 1}])
def test_file_sizes(counts):
    opened(figures.file_sizes(counts))


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_and_their_mean(channels):
    flat = [[4] * 256] * channels
    opened(figures.pixels(flat))
    opened(figures.pixels(flat, [[0] * 255 + [1]]))
    opened(figures.mean_image(np.full((64, 160, channels), 254.7)))


@pytest.mark.parametrize("shape", [(8, 512, 1), (64, 160, 1), (64, 160, 3), (200, 20, 3)])
def test_grid(shape):
    cells = [Cell(label, np.zeros(shape, np.uint8)) for label in ("a", "$x$_^", "一" * 64, "W" * 64, " ", "a b")]
    opened(figures.grid(cells, "train"))


def test_grid_of_what_cannot_be_shown_and_of_other_shapes():
    missing = Cell("000-a very long name " * 9, None, "the file has no bytes")
    opened(figures.grid([missing, Cell("b", np.zeros((1, 1, 3), np.uint8)), Cell("c", np.zeros((99, 7, 3), np.uint8))], ""))
    opened(figures.grid([missing], "", per_row=6))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", "a b"),
        (" ", "U+0020"),
        ("\u200b", "U+200B"),
        ("\u0301", "U+0301"),
        ("é$一", "é$一"),
        ("a\tb", "aU+0009b"),
        ("", ""),
    ],
)
def test_what_nobody_sees_is_named(text, expected):
    assert visible(text) == expected


def test_what_no_font_draws_is_named():
    assert shown("a\uf8ff") in ("aU+F8FF", "a\uf8ff")  # private use: some fonts do
    assert shown("a\U0010fffd") == "aU+10FFFD"
    assert lettering("a") == {"fontfamily": ["DejaVu Sans"], "parse_math": False}


@pytest.mark.parametrize(("text", "width", "expected"), [("abc", 3, "abc"), ("abcdefgh", 5, "ab…gh"), ("x" * 99, 1, "…")])
def test_shortened(text, width, expected):
    assert shortened(text, width) == expected


def test_wrapped():
    assert wrapped("abcdefgh", 4) == "abcd\nefgh"
    assert columns("a一") == 3
    assert all(columns(line) <= 12 for line in wrapped("𝔸b" * 99, 12).split("\n"))
