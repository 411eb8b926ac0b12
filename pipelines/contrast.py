"""Contrast-limited adaptive histogram equalisation, in integers: the same bits on every machine.

After Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV (1994), with the limits, the
border and the interpolation of OpenCV's `createCLAHE`; where OpenCV rounds in float32 a level may differ by 1.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

CLIP_LIMIT = 2  # how many times its mean count a level may have in a tile
TILES = 8  # along each side; an image with a shorter side has a tile for each pixel of it
LEVELS = 256


def equalised(image: Image.Image) -> Image.Image:
    """An image in mode L or RGB with its contrast evened out.

    Of RGB it is the Rec. 601 luma that is equalised; what it gains is added to each channel, so that hues stay.
    """
    gray = np.asarray(image.convert("L"))
    if image.mode == "L":
        return Image.fromarray(clahe(gray))
    gained = clahe(gray).astype(np.int16) - gray
    return Image.fromarray(np.clip(np.asarray(image) + gained[..., None], 0, 255).astype(np.uint8))


def clahe(gray: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> (H, W) uint8 of any size."""
    counts = tuple(min(TILES, side) for side in gray.shape)
    padded = _padded(gray, counts)
    sides = tuple(side // count for side, count in zip(padded.shape, counts, strict=True))
    tables = _tables(padded, counts, sides).reshape(-1)
    (upper, lower, down), (left, right, across) = (
        _neighbours(side, tile, count) for side, tile, count in zip(gray.shape, sides, counts, strict=True)
    )
    upper, lower = ((rows * (counts[1] * LEVELS))[:, None] + gray for rows in (upper, lower))
    left, right, down = left * LEVELS, right * LEVELS, down[:, None]
    above = tables[upper + left] * (2 * sides[1] - across) + tables[upper + right] * across
    below = tables[lower + left] * (2 * sides[1] - across) + tables[lower + right] * across
    whole = 4 * sides[0] * sides[1]
    return ((above * (2 * sides[0] - down) + below * down + whole // 2) // whole).astype(np.uint8)


def _padded(gray: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """The image, mirrored on the right and below until tiles fill it: OpenCV pads both sides where one needs it."""
    if not any(side % count for side, count in zip(gray.shape, counts, strict=True)):
        return gray
    missing = [(0, count - side % count) for side, count in zip(gray.shape, counts, strict=True)]
    return np.pad(gray, missing, mode="reflect")


def _tables(padded: np.ndarray, counts: tuple[int, ...], sides: tuple[int, ...]) -> np.ndarray:
    """What each tile makes of each level: (tiles, 256) int64 of 0 to 255, tiles row by row."""
    (rows, columns), area, tiles = counts, sides[0] * sides[1], counts[0] * counts[1]
    by_tile = padded.reshape(rows, sides[0], columns, sides[1]).swapaxes(1, 2).reshape(tiles, area)
    first = np.arange(0, tiles * LEVELS, LEVELS)[:, None]
    histograms = np.bincount((by_tile + first).reshape(-1), minlength=tiles * LEVELS).reshape(tiles, LEVELS)
    limit = max(1, CLIP_LIMIT * area // LEVELS)
    clipped = np.minimum(histograms, limit)
    each, left = np.divmod(area - clipped.sum(axis=1, keepdims=True), LEVELS)
    clipped += each + _spread()[left[:, 0]]
    return (2 * 255 * clipped.cumsum(axis=1) + area) // (2 * area)


@lru_cache(maxsize=1)
def _spread() -> np.ndarray:
    """Which levels get one of n counts that are left over, (n, 256) bool: n of them at equal steps from level 0."""
    level, n = np.arange(LEVELS), np.arange(LEVELS)[:, None]
    step = LEVELS // np.maximum(n, 1)
    return (level % step == 0) & (level // step < n)


def _neighbours(side: int, tile: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel along a side the tiles whose centres lie before and after it, and the weight of the latter.

    Weights are in units of 1 / (2 tile); before the first centre and after the last one both are the same tile.
    """
    before, weight = np.divmod(2 * np.arange(side) - tile, 2 * tile)
    return np.maximum(before, 0), np.minimum(before + 1, count - 1), weight
