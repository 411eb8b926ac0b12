"""Image bytes -> a decoded image in gray or RGB and its facts; or a Reject that says what is wrong."""

import io
import re
import struct
import warnings
import zlib
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from pipelines.rejects import Reason, Reject
from pipelines.settings import Settings

FastImage: Any = None  # only faster: Pillow decodes the same files to the same pixels
with suppress(ImportError):
    from kornia_rs.image import Image as FastImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# What Pillow's decoders raise on damaged input besides OSError (its fuzz tests name the same set).
DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, struct.error, zlib.error),
    Image.DecompressionBombError,
)
SIGNATURE = re.compile(  # how a file of each format starts; of BMP also what is always zero, because texts start with BM too
    rb"(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<JPEG>\xff\xd8\xff)|(?P<WEBP>RIFF.{4}WEBP)|(?P<BMP>BM.{4}\0{4})|(?P<GIF>GIF8[79]a)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])",
    re.DOTALL,
)
PILLOWS_LIMIT = 178_956_970  # pixels: twice PIL.Image.MAX_IMAGE_PIXELS; Pillow opens nothing larger

PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"
PNG_HEADER, PNG_CHUNK = struct.Struct(">II5s"), struct.Struct(">I4s")
PNG_KINDS = {b"\x08\0\0\0\0": "L", b"\x08\2\0\0\0": "RGB", b"\x08\6\0\0\0": "RGBA"}  # 8 bits, not interlaced
PNG_NOTES = {b"pHYs": 9, b"gAMA": 4, b"sRGB": 1, b"cHRM": 32, b"tIME": 7}  # chunks that no pixel depends on, and their length


class ImageChecks(Settings):
    """Which images are refused. Sides and areas are in pixels of the source; larger files than `max_bytes` are not read."""

    min_side: int = Field(default=2, ge=1)
    max_side: int = Field(default=20_000, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1, le=PILLOWS_LIMIT)
    max_bytes: int = Field(default=200_000_000, ge=1)


class Decoded(NamedTuple):
    """A decoded image in mode L or RGB, and what the file said of itself."""

    image: Image.Image
    width: int
    height: int
    mode: str
    format: str


def decode(data: bytes, checks: ImageChecks) -> Decoded:
    """Decodes fully; palettes are resolved, alpha is composited on white, EXIF orientation is applied. Raises Reject.

    A GIF, PNG, WebP or TIFF of several frames is a Reject; of a JPEG with several pictures (MPO) it is the first.
    Plain PNGs take kornia_rs's decoder, which needs half of Pillow's time; every verdict is Pillow's, with one exception:
    a PNG whose CRCs are right and whose Adler-32 is wrong (the writer's mistake, not damage) is decoded by kornia_rs.
    """
    if not data:
        raise Reject(Reason.EMPTY_FILE, "the file has no bytes")
    if image := _decode_plain_png(data, checks):
        return Decoded(_flatten(image), image.width, image.height, image.mode, "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is checked and named below
        image = _open(data)
        mode, kind = image.mode, "JPEG" if image.format == "MPO" else str(image.format)
        try:
            _check(image, checks)
            image.load()
            flat = _flatten(_turn(image))
        except DAMAGE as error:
            raise _damaged(kind, error) from None
        return Decoded(flat, flat.width, flat.height, mode, kind)


def _decode_plain_png(data: bytes, checks: ImageChecks) -> Image.Image | None:
    """The image in mode L, RGB or RGBA; None where Pillow has to decide."""
    if FastImage is None or len(data) < 57 or not (data.startswith(PNG_START) and data.endswith(PNG_END)):
        return None
    width, height, kind = PNG_HEADER.unpack_from(data, len(PNG_START))
    mode = PNG_KINDS.get(kind)
    if not mode or not _has_plain_chunks(data) or _misfit(width, height, checks):
        return None
    try:
        pixels = FastImage.decode(data, mode=mode).data
    except Exception:  # kornia_rs raises no narrower one
        return None
    return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)


def _has_plain_chunks(data: bytes) -> bool:
    """Whether IHDR is followed up to IEND by pixels and intact notes alone (kornia_rs checks the CRCs of pixels itself)."""
    place, end = 33, len(data) - len(PNG_END)
    while place < end:
        length, name = PNG_CHUNK.unpack_from(data, place)
        if name != b"IDAT":
            crc = data[place + 8 + length : place + 12 + length]
            if PNG_NOTES.get(name) != length or zlib.crc32(data[place + 4 : place + 8 + length]).to_bytes(4, "big") != crc:
                return False
        place += 12 + length
    return place == end


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except DAMAGE as error:
        signature = SIGNATURE.match(data)
        if not signature and not isinstance(error, Image.DecompressionBombError):
            raise Reject(Reason.NOT_AN_IMAGE, f"none of {', '.join(FORMATS)}") from None
        raise _damaged(str(signature.lastgroup) if signature else "image", error) from None


def _damaged(kind: str, error: Exception) -> Reject:
    # MAX_TEXT: Pillow's name for its limits on the compressed texts and profiles of a PNG; that error has no class of its own
    if isinstance(error, Image.DecompressionBombError) or "MAX_TEXT" in str(error):
        return Reject(Reason.DECOMPRESSION_BOMB, str(error))
    detail = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else error
    return Reject(Reason.TRUNCATED, f"damaged {kind}: {detail}")


def _check(image: Image.Image, checks: ImageChecks) -> None:
    if misfit := _misfit(*image.size, checks):
        raise misfit
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise Reject(Reason.ANIMATED, "more than one frame")  # counting those of a hostile TIFF takes for ever


def _misfit(width: int, height: int, checks: ImageChecks) -> Reject | None:
    if width * height > checks.max_pixels:
        return Reject(Reason.DECOMPRESSION_BOMB, f"{width}x{height} is over checks.max_pixels {checks.max_pixels}")
    if min(width, height) < checks.min_side:
        return Reject(Reason.TOO_SMALL, f"{width}x{height}, a side is under checks.min_side {checks.min_side}")
    if max(width, height) > checks.max_side:
        return Reject(Reason.TOO_LARGE, f"{width}x{height}, a side is over checks.max_side {checks.max_side}")
    return None


def _turn(image: Image.Image) -> Image.Image:
    """The image as viewers show it, and as the person saw it who labelled it; EXIF that nobody can read turns nothing."""
    if "exif" not in image.info:  # JPEG, PNG, WebP; Pillow turns a TIFF itself
        return image
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGE:
        return image


def _flatten(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, with transparency composited on white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        gray = (values >> 8).astype(np.uint8)  # Pillow's own conversion clips at 255
        gray[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(gray)
    if image.mode in ("I", "F", "LAB"):
        raise Reject(Reason.NOT_AN_IMAGE, f"mode {image.mode} has no agreed way to 8 bits; save it as gray or RGB with 8 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return rgba.convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")
