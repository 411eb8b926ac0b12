"""The stages of preprocessing as PNG files, for a person to look at. Goes with the bundle."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from pipelines.errors import DataError

NAME = 60  # characters of a file's name that are kept, from its end


class Snapshots:
    """Writes the stages of one image after another into a folder.

    `00012-aB3x.png-2-resize.png` is the third stage of the twelfth image that could be decoded. The number makes each name
    the only one, and of an image's path only letters, digits, `_`, `-` and dots of its last part are in it.
    Raises DataError where the folder holds something.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.written = 0
        if self.folder.is_dir() and any(self.folder.iterdir()):
            raise DataError(f"{self.folder}: holds something already; --save-debug names a new or empty folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be made ({error.strerror}); --save-debug names a folder") from None

    def __call__(self, path: str, stages: Sequence[tuple[str, np.ndarray]]) -> None:
        """Writes the stages (name, (h, w, c) uint8) of the image at `path`."""
        self.written += 1
        name = re.sub(r"[^\w.-]", "_", PurePath(path).name, flags=re.ASCII)[-NAME:]
        for index, (stage, pixels) in enumerate(stages):
            image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
            image.save(self.folder / f"{self.written:05d}-{name}-{index}-{stage}.png")
