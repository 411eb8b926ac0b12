"""A split that depends on content and salt alone: appending data never moves an old row."""

import hashlib
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from pipelines.settings import Settings

SPLITS = ("train", "val", "test")


class SplitRule(Settings):
    """Shares of the three splits, and what is hashed: an image's bytes, or its label (all images of a label together)."""

    train: float = Field(default=0.7, ge=0, le=1)
    val: float = Field(default=0.1, ge=0, le=1)
    test: float = Field(default=0.2, ge=0, le=1)
    salt: str = "glyphmill"
    by: Literal["content", "label"] = "content"

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test add up to {total:g}; they are shares of 1")
        return self

    def of(self, sha256: str, label: str) -> str:
        """The split of an image with the hex digest `sha256` and the given label."""
        key = f"{self.salt}:{sha256 if self.by == 'content' else label}"
        point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        if point < self.train:
            return "train"
        return "val" if point < self.train + self.val else "test"
