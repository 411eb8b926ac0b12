"""Image bytes -> a decoded image in gray or RGB and its facts; or a Reject that says what is wrong."""

import io
import struct
import warnings
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from pipelines.rejects import Reason, Reject
from pipelines.settings import Settings

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# What Pillow's decoders raise on damaged input besides OSError (its fuzz tests name the same set).
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, OverflowError, struct.error, zlib.error)


class ImageChecks(Settings):
    """Which images are refused. Sides and areas are in pixels of the source."""

    min_side: int = Field(default=2, ge=1)
    max_side: int = Field(default=20_000, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)


class Decoded(NamedTuple):
    """A decoded image in mode L or RGB, and what the file said of itself."""

    image: Image.Image
    width: int
    height: int
    mode: str
    format: str


def decode(data: bytes, checks: ImageChecks) -> Decoded:
    """Decodes fully; palettes are resolved and alpha is composited on white. Raises Reject."""
    if not data:
        raise Reject(Reason.EMPTY_FILE, "the file has no bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what is checked and named below
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise Reject(Reason.DECOMPRESSION_BOMB, str(error)) from None
        except UnidentifiedImageError:
            raise Reject(Reason.NOT_AN_IMAGE, f"none of {', '.join(FORMATS)}") from None
        except DAMAGE as error:
            raise Reject(Reason.TRUNCATED, f"damaged header: {error}") from None
        _check(image, checks)
        facts = (image.width, image.height, image.mode, image.format or "")
        try:
            image.load()
            return Decoded(_flatten(image), *facts)
        except DAMAGE as error:
            raise Reject(Reason.TRUNCATED, f"damaged {facts[3]}: {error}") from None


def _check(image: Image.Image, checks: ImageChecks) -> None:
    width, height = image.size
    if width * height > checks.max_pixels:
        raise Reject(Reason.DECOMPRESSION_BOMB, f"{width}x{height} is over checks.max_pixels {checks.max_pixels}")
    if min(width, height) < checks.min_side:
        raise Reject(Reason.TOO_SMALL, f"{width}x{height}, a side is under checks.min_side {checks.min_side}")
    if max(width, height) > checks.max_side:
        raise Reject(Reason.TOO_LARGE, f"{width}x{height}, a side is over checks.max_side {checks.max_side}")
    if getattr(image, "is_animated", False):
        raise Reject(Reason.ANIMATED, f"{getattr(image, 'n_frames', 2)} frames")


def _flatten(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, with transparency composited on white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # Pillow's own conversion clips at 255
    if image.mode in ("I", "F"):
        raise Reject(Reason.NOT_AN_IMAGE, f"mode {image.mode} has no agreed range of values; save it with 8 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")
