"""Images: what each kind of file decodes to, and what each kind of damage is called."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.images import ImageChecks, decode
from pipelines.rejects import Reason, Reject


def file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (8, 6), colour)


def palette() -> Image.Image:
    image = plain("P", 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    return image


def wide(value: int) -> Image.Image:
    return Image.fromarray(np.full((6, 8), value, np.uint16))


def frames(kind: str) -> bytes:
    return file(plain("L", 0), kind, save_all=True, append_images=[plain("L", 255)])


def png_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
PNG, JPEG = file(NOISE), file(NOISE, "JPEG")

# name: bytes, mode and format the file has, mode and first pixel of what is decoded
DECODED = {
    "gray": (file(plain("L", 100)), "L", "PNG", "L", 100),
    "rgb": (file(plain("RGB", (10, 20, 30))), "RGB", "PNG", "RGB", (10, 20, 30)),
    "black and white": (file(plain("1", 1)), "1", "PNG", "L", 255),
    "palette": (file(palette()), "P", "PNG", "RGB", (200, 100, 50)),
    "palette, one colour clear": (file(palette(), transparency=1), "P", "PNG", "RGB", (255, 255, 255)),
    "palette, 20% opaque": (file(palette(), transparency=b"\xff\x33"), "P", "PNG", "RGB", (244, 224, 214)),
    "gray with a clear value": (file(plain("L", 100), transparency=100), "L", "PNG", "RGB", (255, 255, 255)),
    "rgb with a clear colour": (file(plain("RGB", (1, 2, 3)), transparency=(1, 2, 3)), "RGB", "PNG", "RGB", (255, 255, 255)),
    "clear rgb": (file(plain("RGBA", (0, 0, 0, 0))), "RGBA", "PNG", "RGB", (255, 255, 255)),
    "20% opaque black": (file(plain("RGBA", (0, 0, 0, 51))), "RGBA", "PNG", "RGB", (204, 204, 204)),
    "opaque rgb": (file(plain("RGBA", (10, 20, 30, 255))), "RGBA", "PNG", "RGB", (10, 20, 30)),
    "gray, 20% opaque black": (file(plain("LA", (0, 51))), "LA", "PNG", "RGB", (204, 204, 204)),
    "16 bits": (file(wide(40000)), "I;16", "PNG", "L", 156),  # 40000 / 256
    "16 bits, white": (file(wide(65535)), "I;16", "PNG", "L", 255),
    "16 bits, big-endian": (file(plain("I;16B", 40000), "TIFF"), "I;16B", "TIFF", "L", 156),
    "cmyk": (file(plain("CMYK", (255, 0, 0, 0)), "JPEG"), "CMYK", "JPEG", "RGB", (0, 255, 255)),
    "bmp": (file(plain("RGB", (10, 20, 30)), "BMP"), "RGB", "BMP", "RGB", (10, 20, 30)),
    "gif": (file(plain("RGB", (10, 20, 30)), "GIF"), "P", "GIF", "RGB", (10, 20, 30)),
    "webp": (file(plain("RGB", (10, 20, 30)), "WEBP", lossless=True), "RGB", "WEBP", "RGB", (10, 20, 30)),
    "tiff": (file(plain("RGB", (10, 20, 30)), "TIFF"), "RGB", "TIFF", "RGB", (10, 20, 30)),
}

REJECTED = {
    "empty": (b"", Reason.EMPTY_FILE, "no bytes"),
    "text": (b"This is a text, whatever its name says.\n", Reason.NOT_AN_IMAGE, "none of PNG, JPEG"),
    "a format that nobody asked for": (file(plain("RGB", 0), "PPM"), Reason.NOT_AN_IMAGE, "none of PNG, JPEG"),
    "half a PNG": (PNG[: len(PNG) // 2], Reason.TRUNCATED, "damaged PNG"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], Reason.TRUNCATED, "damaged JPEG"),
    "a JPEG without its end": (JPEG[:-2], Reason.TRUNCATED, "damaged JPEG"),
    "zeros after a PNG's header": (PNG[:100] + bytes(len(PNG) - 100), Reason.TRUNCATED, "damaged"),
    "animated GIF": (frames("GIF"), Reason.ANIMATED, "2 frames"),
    "animated PNG": (frames("PNG"), Reason.ANIMATED, "2 frames"),
    "TIFF of two pages": (frames("TIFF"), Reason.ANIMATED, "2 frames"),
    "32 bits": (file(plain("I", 70000), "TIFF"), Reason.NOT_AN_IMAGE, "mode I"),
    "float": (file(plain("F", 0.5), "TIFF"), Reason.NOT_AN_IMAGE, "mode F"),
    "one row": (file(Image.new("L", (9, 1))), Reason.TOO_SMALL, "9x1, a side is under checks.min_side 2"),
    "long": (png_of_size(30_000, 2), Reason.TOO_LARGE, "30000x2, a side is over checks.max_side 20000"),
    "over the limit": (png_of_size(10_000, 10_000), Reason.DECOMPRESSION_BOMB, "checks.max_pixels 50000000"),
    "bomb": (png_of_size(60_000, 60_000), Reason.DECOMPRESSION_BOMB, "3600000000 pixels"),
}


@pytest.mark.parametrize("name", DECODED)
def test_decoded(name):
    data, mode, kind, flat_mode, first = DECODED[name]
    decoded = decode(data, ImageChecks())
    assert (decoded.width, decoded.height, decoded.mode, decoded.format) == (8, 6, mode, kind)
    assert (decoded.image.size, decoded.image.mode) == ((8, 6), flat_mode)
    assert decoded.image.getpixel((0, 0)) == first


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(name):
    data, reason, detail = REJECTED[name]
    with pytest.raises(Reject) as caught:
        decode(data, ImageChecks())
    assert caught.value.reason is reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("checks", "reason"),
    [
        ({"min_side": 6, "max_side": 8, "max_pixels": 48}, None),
        ({"min_side": 7}, Reason.TOO_SMALL),
        ({"max_side": 7}, Reason.TOO_LARGE),
        ({"max_pixels": 47}, Reason.DECOMPRESSION_BOMB),
    ],
)
def test_the_bounds_are_inclusive(checks, reason):
    try:
        decode(file(plain("L", 0)), ImageChecks(**checks))
    except Reject as reject:
        assert reject.reason is reason
    else:
        assert reason is None


def decodes_or_rejects(data: bytes) -> None:
    with contextlib.suppress(Reject):
        assert decode(data, ImageChecks(max_pixels=1_000_000)).image.mode in ("L", "RGB")


SMALL = NOISE.resize((12, 8))
REAL = [
    file(SMALL),
    file(SMALL, "JPEG"),
    file(SMALL.convert("P"), transparency=3),
    file(SMALL, "GIF"),
    file(SMALL, "WEBP"),
    file(SMALL, "BMP"),
    file(SMALL, "TIFF", compression="tiff_lzw"),
]
flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=300)
@given(st.sampled_from(REAL), flips, st.floats(0.2, 1))
def test_damage_raises_nothing_but_a_reject(data, flips, keep):
    damaged = bytearray(data)
    for place, value in flips:
        damaged[int(place * len(data))] = value
    decodes_or_rejects(bytes(damaged[: int(keep * len(data))]))
    decodes_or_rejects(bytes(damaged))


@given(
    st.binary(max_size=64),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0"]),
)
def test_any_bytes_raise_nothing_but_a_reject(data, magic):
    decodes_or_rejects(magic + data)
