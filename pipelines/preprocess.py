"""The one path from a decoded image to the pixels a network sees: at ingest, in training and in serving."""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from pipelines.images import ImageChecks, decode
from pipelines.settings import Settings


class PreprocessSpec(Settings):
    """What `apply` does, in this order: mode, then resize.

    `fit: stretch` fills the canvas; `fit: pad` keeps the aspect ratio and pads on the right and below
    with `background` (0 to 255).
    """

    mode: Literal["gray", "rgb"] = "gray"
    height: int = Field(default=64, ge=8, le=1024)
    width: int = Field(default=160, ge=8, le=4096)
    fit: Literal["stretch", "pad"] = "stretch"
    background: int = Field(default=255, ge=0, le=255)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of what `apply` returns."""
        return self.height, self.width, 1 if self.mode == "gray" else 3

    def apply(self, image: Image.Image) -> np.ndarray:
        """(H, W, C) uint8 from an image in mode L or RGB (Rec. 601 luma where gray is asked of RGB)."""
        mode = "L" if self.mode == "gray" else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        size = (self.width, self.height)
        if self.fit == "pad":
            scale = min(self.width / image.width, self.height / image.height)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)  # Pillow's bilinear widens its support: no aliasing
        pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(size[1], size[0], -1)
        if pixels.shape == self.shape:
            return pixels
        canvas = np.full(self.shape, self.background, np.uint8)
        canvas[: size[1], : size[0]] = pixels
        return canvas

    def apply_bytes(self, data: bytes, checks: ImageChecks) -> np.ndarray:
        """(H, W, C) uint8 from the bytes of an image file. Raises Reject."""
        return self.apply(decode(data, checks).image)
