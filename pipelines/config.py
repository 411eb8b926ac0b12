"""Settings of the data jobs. YAML files in conf/ingest/ hold the same keys."""

import math

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator
from typing_extensions import Self

from pipelines.images import ImageChecks
from pipelines.labels import LabelRule
from pipelines.preprocess import PreprocessSpec
from pipelines.settings import Settings
from pipelines.shards import ShardSettings, pixels
from pipelines.split import SplitRule

ROW_GROUP_BYTES = 1 << 30


class IngestSettings(Settings):
    """All that decides what a dataset holds."""

    label: LabelRule = LabelRule()
    checks: ImageChecks = ImageChecks()
    image: PreprocessSpec = PreprocessSpec()
    split: SplitRule = SplitRule()
    shards: ShardSettings = ShardSettings()

    def pixels(self, column: pa.ChunkedArray, shape: tuple[int, int, int]) -> np.ndarray:
        """The `image` column of a shard's row group as (N, H, W, C) uint8 of a (H, W, C) `shape`.

        One view where they are stored so. Raises Reject where the bytes of an image can no longer be decoded.
        """
        if self.shards.storage == "tensor":
            return pixels(column, shape)
        images = np.empty((len(column), *shape), np.uint8)
        for image, data in zip(images, column, strict=True):
            image[:] = self.image.apply_bytes(data.as_py(), self.checks)
        return images

    @model_validator(mode="after")
    def _check_row_group(self) -> Self:
        size = math.prod(self.image.shape)
        if self.shards.rows * size > ROW_GROUP_BYTES:
            most = ROW_GROUP_BYTES // size
            raise ValueError(f"shards.rows={self.shards.rows} images of {size} bytes are over 1 GiB; take at most {most}")
        return self

    @model_validator(mode="after")
    def _check_split_column(self) -> Self:
        if self.split.by == "table" and not (self.label.table and self.label.table.split):
            raise ValueError("split.by=table takes the splits from a column: name it with label.table.split")
        return self


class IngestOptions(Settings):
    """How one ingest runs, which does not change what a row holds.

    `append` adds what is new to the newest version; `verify` then also reads known files and compares their bytes.
    More than `max_reject_fraction` of the listed files rejected: nothing is published. `keep_rejects` files of each
    reject reason are copied into the dataset. The files that the list `exclude` names are left out (see `exclusion`).
    """

    append: bool = False
    verify: bool = False
    max_reject_fraction: float = Field(default=1.0, ge=0, le=1)
    keep_rejects: int = Field(default=0, ge=0, le=1000)
    exclude: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check_verify(self) -> Self:
        if self.verify and not self.append:
            raise ValueError("verify compares files with the rows of an older version: it goes with append")
        return self
