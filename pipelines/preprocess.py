"""The one path from a decoded image to the pixels a network sees: at ingest, in training and in serving."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipelines.contrast import equalised
from pipelines.images import ImageChecks, decode
from pipelines.ink import cropped, inverted, on_light, thickened
from pipelines.settings import Settings

ADDED = ("crop", "invert", "stroke", "contrast")  # after datasets and models were made: told only where they do something


class PreprocessSpec(Settings):
    """What `apply` does, in this order: crop, mode, invert, resize, stroke, contrast, pad.

    - `crop: auto` keeps the part that holds text, with a margin (`ink.text_box`); the whole image where nothing stands out.
    - `mode`: Rec. 601 luma, or RGB.
    - `invert: auto` makes dark backgrounds light, by the median of the image's border; `always` inverts.
    - `fit: stretch` fills the canvas; `fit: pad` keeps the aspect ratio and pads on the right and below, at the end, with
      `background` (0 to 255).
    - `stroke: strong` makes dark strokes wider by a pixel of the canvas on each side: for thin ones.
    - `contrast: clahe` evens out contrast (`contrast.clahe`): the gray value, or the luma of RGB.
    """

    mode: Literal["gray", "rgb"] = "gray"
    height: int = Field(default=64, ge=8, le=1024)
    width: int = Field(default=160, ge=8, le=4096)
    fit: Literal["stretch", "pad"] = "stretch"
    background: int = Field(default=255, ge=0, le=255)
    crop: Literal["none", "auto"] = "none"
    invert: Literal["never", "auto", "always"] = "never"
    stroke: Literal["none", "strong"] = "none"
    contrast: Literal["none", "clahe"] = "none"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of what `apply` returns."""
        return self.height, self.width, 1 if self.mode == "gray" else 3

    def apply(self, image: Image.Image) -> np.ndarray:
        """(H, W, C) uint8 from an image in mode L or RGB."""
        *_, (_, last) = self._steps(image)
        return _pixels(last)

    def apply_bytes(self, data: bytes, checks: ImageChecks) -> np.ndarray:
        """(H, W, C) uint8 from the bytes of an image file. Raises Reject."""
        return self.apply(decode(data, checks).image)

    def stages(self, image: Image.Image) -> list[tuple[str, np.ndarray]]:
        """The image as it comes, named source, and after each step that is on; the last is what `apply` returns.

        Each is (h, w, c) uint8 of its own size.
        """
        return [("source", _pixels(image)), *((name, _pixels(step)) for name, step in self._steps(image))]

    def differences(self, other: "PreprocessSpec") -> dict[str, tuple[Any, Any]]:
        """Settings that differ, by name: this one's value and the other's."""
        ours, theirs = dict(self), dict(other)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def _steps(self, image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
        if self.crop == "auto":
            yield "crop", (image := cropped(image))
        yield "mode", (image := _in_mode(image, "L" if self.mode == "gray" else "RGB"))
        if self.invert != "never":
            yield "invert", (image := inverted(image) if self.invert == "always" else on_light(image))
        yield "resize", (image := _resized(image, self._size_of(image)))
        if self.stroke == "strong":
            yield "stroke", (image := thickened(image))
        if self.contrast == "clahe":
            yield "contrast", (image := equalised(image))
        if image.size != (self.width, self.height):
            yield "pad", self._padded(image)

    def _size_of(self, image: Image.Image) -> tuple[int, int]:
        """Width and height that the image takes of the canvas."""
        if self.fit == "stretch":
            return self.width, self.height
        scale = min(self.width / image.width, self.height / image.height)
        return max(1, round(image.width * scale)), max(1, round(image.height * scale))

    def _padded(self, image: Image.Image) -> Image.Image:
        canvas = Image.new(image.mode, (self.width, self.height), (self.background,) * len(image.getbands()))
        canvas.paste(image)
        return canvas

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was written before the ADDED fields were there stays equal: manifests, bundles and the fingerprint."""
        off = {name for name in ADDED if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in plain(self).items() if name not in off}


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Pillow's bilinear widens its support where it shrinks: no aliasing."""
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _pixels(image: Image.Image) -> np.ndarray:
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, -1)
