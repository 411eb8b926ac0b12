"""Images: what each kind of file decodes to, with and without the fast decoder, and what each kind of damage is called."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from pipelines import images
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


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


IEND = chunk(b"IEND", b"")


def png(
    width: int, height: int, idat: bytes = zlib.compress(b""), colour: int = 0, before: bytes = b"", after: bytes = IEND
) -> bytes:
    """A PNG of 8 bits that claims any size, from the bytes of its one IDAT and of the chunks around it."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", idat) + after


def turned(kind: str, orientation: int, **options: object) -> bytes:
    """8x6, black, with one white pixel in the first corner of what is stored."""
    image, exif = plain("RGB", 0), Image.Exif()
    image.putpixel((0, 0), (255, 255, 255))
    exif[0x0112] = orientation
    return file(image, kind, exif=exif, **options)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
PNG, JPEG, WEBP, BMP, GIF, TIFF = (file(NOISE, kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"))
GRAY = (b"\0" + bytes(8)) * 6  # what an IDAT holds of 8x6 black pixels
NOTES = chunk(b"pHYs", bytes(9)) + chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"sRGB", b"\0") + chunk(b"tIME", bytes(7))
UNREADABLE_EXIF = turned("WEBP", 3, lossless=True).replace(b"MM\0*", b"what").replace(b"II*\0", b"what")
BOMB = zlib.compress(bytes(20_000_000))

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
    "16 bits, one value clear": (file(wide(40000), transparency=40000), "I;16", "PNG", "L", 255),
    "gray with notes": (png(8, 6, zlib.compress(GRAY), before=NOTES), "L", "PNG", "L", 0),
    "a palette that is missing": (png(8, 6, zlib.compress(GRAY), 3), "P", "PNG", "RGB", (0, 0, 0)),
    "a wrong CRC of the pixels": (file(plain("L", 100))[:-16] + b"abcd" + IEND, "L", "PNG", "L", 100),
    "no end, but all pixels": (file(plain("L", 100))[:-12], "L", "PNG", "L", 100),
    "cmyk": (file(plain("CMYK", (255, 0, 0, 0)), "JPEG"), "CMYK", "JPEG", "RGB", (0, 255, 255)),
    "two pictures in a JPEG": (file(plain("L", 9), "MPO", save_all=True, append_images=[plain("L", 99)]), "L", "JPEG", "L", 9),
    "exif that nobody can read": (UNREADABLE_EXIF, "RGB", "WEBP", "RGB", (255, 255, 255)),
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
    "half a BMP": (BMP[: len(BMP) // 2], Reason.TRUNCATED, "damaged BMP"),
    "half a GIF": (GIF[: len(GIF) // 2], Reason.TRUNCATED, "damaged GIF"),
    "half a WebP": (WEBP[: len(WEBP) // 2], Reason.TRUNCATED, "damaged WEBP"),
    "half a TIFF": (TIFF[: len(TIFF) // 2], Reason.TRUNCATED, "damaged TIFF"),
    "the first bytes of a PNG": (PNG[:8], Reason.TRUNCATED, "damaged PNG: its header cannot be read"),
    "a wrong CRC of the header": (PNG[:29] + b"abcd" + PNG[33:], Reason.TRUNCATED, "damaged PNG: its header"),
    "a text that starts like a BMP": (b"BMW is a car, and this line is longer than a header.", Reason.NOT_AN_IMAGE, "none of"),
    "zeros after a PNG's header": (PNG[:100] + bytes(len(PNG) - 100), Reason.TRUNCATED, "damaged"),
    "no pixels": (png(8, 6).replace(b"IDAT", b"teXt"), Reason.TRUNCATED, "damaged PNG"),
    "animated WebP": (frames("WEBP"), Reason.ANIMATED, "more than one frame"),
    "animated GIF": (frames("GIF"), Reason.ANIMATED, "more than one frame"),
    "animated PNG": (frames("PNG"), Reason.ANIMATED, "more than one frame"),
    "TIFF of two pages": (frames("TIFF"), Reason.ANIMATED, "more than one frame"),
    "32 bits": (file(plain("I", 70000), "TIFF"), Reason.NOT_AN_IMAGE, "mode I"),
    "float": (file(plain("F", 0.5), "TIFF"), Reason.NOT_AN_IMAGE, "mode F"),
    "one row": (file(Image.new("L", (9, 1))), Reason.TOO_SMALL, "9x1, a side is under checks.min_side 2"),
    "long": (png(30_000, 2), Reason.TOO_LARGE, "30000x2, a side is over checks.max_side 20000"),
    "over the limit": (png(10_000, 10_000), Reason.DECOMPRESSION_BOMB, "checks.max_pixels 50000000"),
    "lab": (file(Image.new("LAB", (8, 6)), "TIFF"), Reason.NOT_AN_IMAGE, "mode LAB"),
    "a bomb in a profile": (
        png(8, 6, zlib.compress(GRAY), before=chunk(b"iCCP", b"a\0\0" + BOMB)),
        Reason.DECOMPRESSION_BOMB,
        "too large",
    ),
    "a bomb in a text": (
        png(8, 6, zlib.compress(GRAY), after=chunk(b"zTXt", b"a\0\0" + BOMB) + IEND),
        Reason.DECOMPRESSION_BOMB,
        "large",
    ),
    "bomb": (png(60_000, 60_000), Reason.DECOMPRESSION_BOMB, "3600000000 pixels"),
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


# orientation: the size, and where the pixel in the first corner of the stored 8x6 lies in what a viewer shows (EXIF 2.32, 4.6.4)
TURNED = {
    1: ((8, 6), (0, 0)),
    2: ((8, 6), (7, 0)),
    3: ((8, 6), (7, 5)),
    4: ((8, 6), (0, 5)),
    5: ((6, 8), (0, 0)),
    6: ((6, 8), (5, 0)),
    7: ((6, 8), (5, 7)),
    8: ((6, 8), (0, 7)),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("JPEG", {"quality": 100})]
)
def test_exif_turns_an_image_upright(kind, options, orientation):
    size, corner = TURNED[orientation]
    decoded = decode(turned(kind, orientation, **options), ImageChecks())
    assert (decoded.width, decoded.height) == decoded.image.size == size
    pixels = np.asarray(decoded.image.convert("L"))
    assert np.unravel_index(pixels.argmax(), pixels.shape) == (corner[1], corner[0])


def test_pillow_is_strict_about_truncated_files():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert images.PILLOWS_LIMIT == 2 * Image.MAX_IMAGE_PIXELS


# --- the fast decoder of plain PNGs


@pytest.fixture
def both(monkeypatch):
    """Calls `decode` with and without the fast decoder; each result is comparable, be it an image or a Reject."""

    def both(data: bytes, **checks: int) -> tuple[object, object]:
        with_it = outcome(data, ImageChecks(**checks))
        with monkeypatch.context() as patch:
            patch.setattr(images, "FastImage", None)
            return with_it, outcome(data, ImageChecks(**checks))

    return both


@pytest.fixture
def fast_calls(monkeypatch):
    """The modes that the fast decoder was asked for."""
    pytest.importorskip("kornia_rs")
    calls, real = [], images.FastImage

    class Spy:
        @staticmethod
        def decode(data, mode):
            calls.append(mode)
            return real.decode(data, mode=mode)

    monkeypatch.setattr(images, "FastImage", Spy)
    return calls


def outcome(data: bytes, checks: ImageChecks) -> object:
    try:
        decoded = decode(data, checks)
    except Reject as reject:
        return reject.reason, reject.detail
    return decoded.image.mode, decoded.image.tobytes(), *decoded[1:]


@pytest.mark.parametrize("name", [*DECODED, *REJECTED])
def test_the_fast_decoder_changes_no_verdict_and_no_pixel(name, both):
    with_it, without = both((DECODED.get(name) or REJECTED.get(name))[0])
    assert with_it == without


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
@pytest.mark.parametrize("size", [(2, 2), (3, 2), (200, 100), (1, 300), (301, 77)])
@pytest.mark.parametrize(
    "options", [{"compress_level": 0}, {"compress_level": 1}, {"optimize": True}, {"dpi": (96, 96)}], ids=str
)
def test_the_fast_decoder_gives_pillows_pixels(mode, size, options, both):
    rough = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), np.uint8)
    smooth = np.indices(size[::-1]).sum(0).astype(np.uint8)[..., None] * np.uint8([1, 2, 3, 0]) + np.uint8([0, 0, 0, 255])
    for pixels in (rough, smooth):  # every filter type of PNG is chosen in one of them; the alpha of the second is opaque
        with_it, without = both(file(Image.fromarray(pixels).convert(mode), **options), min_side=1)
        assert with_it == without
        assert isinstance(with_it[0], str)


# whether the fast decoder is asked, and the mode
FAST = {
    "gray": (file(plain("L", 1)), ["L"]),
    "rgb": (PNG, ["RGB"]),
    "rgba": (file(plain("RGBA", 1)), ["RGBA"]),
    "with notes": (png(8, 6, zlib.compress(GRAY), before=NOTES), ["L"]),
    "a damaged note": (png(8, 6, zlib.compress(GRAY), before=NOTES[:-1] + b"x"), []),
    "a text": (png(8, 6, zlib.compress(GRAY), before=chunk(b"tEXt", b"a\0b")), []),
    "transparency": (png(8, 6, zlib.compress(GRAY), before=chunk(b"tRNS", b"\0\0")), []),
    "frames": (frames("PNG"), []),
    "palette": (file(palette()), []),
    "16 bits": (file(wide(1)), []),
    "something after the end": (PNG + b"more", []),
    "no end": (PNG[:-12], []),
    "too large": (png(30_000, 2), []),
    "JPEG": (JPEG, []),
}


@pytest.mark.parametrize("name", FAST)
def test_only_plain_pngs_take_the_fast_decoder(name, fast_calls):
    data, modes = FAST[name]
    outcome(data, ImageChecks())
    assert fast_calls == modes


def test_a_wrong_sum_of_right_chunks_is_the_one_difference(both):
    """The writer's mistake: zlib's Adler-32 is wrong and the CRC over it is right. Pillow refuses it, kornia_rs does not look."""
    pytest.importorskip("kornia_rs")
    idat = zlib.compress(GRAY)[:-4] + b"abcd"
    with_it, without = both(png(8, 6, idat))
    assert with_it == ("L", bytes(48), 8, 6, "L", "PNG")
    assert without == (Reason.TRUNCATED, "damaged PNG: broken data stream when reading image file")
