"""A split that depends on content and salt alone, so that appending never moves an old row; or one that is there already."""

import hashlib
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from pipelines.rejects import Reason, Reject
from pipelines.settings import Settings

SPLITS = ("train", "val", "test")
# eval is missing on purpose: it means validation in some datasets and test in others
NAMES = dict.fromkeys(("train", "training"), "train")
NAMES |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
NAMES |= dict.fromkeys(("test", "testing"), "test")


class SplitRule(Settings):
    """Shares of the three splits, and what is hashed: an image's bytes, or its label (all images of a label together).

    By folder or table an existing split is respected and the shares are not used: the first folder of the path names it,
    or a cell of the label's table, in any case: train, training; val, valid, validation, dev; test, testing.
    """

    train: float = Field(default=0.7, ge=0, le=1)
    val: float = Field(default=0.1, ge=0, le=1)
    test: float = Field(default=0.2, ge=0, le=1)
    salt: str = "glyphmill"
    by: Literal["content", "label", "folder", "table"] = "content"

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, val and test add up to {total:g}; they are shares of 1")
        return self

    @property
    def respected(self) -> bool:
        """Whether the data name their split."""
        return self.by in ("folder", "table")

    def of(self, sha256: str, label: str, path: str = "", given: str | None = None) -> str:
        """The split of an image with the hex digest `sha256`, the label, the relative path and the table's cell.

        Raises Reject where a split is respected and none is named.
        """
        if self.by == "folder":
            return _named(path.partition("/")[0] if "/" in path else None, "the first folder of its path")
        if self.by == "table":
            return _named(given, "the table's cell")
        key = f"{self.salt}:{sha256 if self.by == 'content' else label}"
        point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        if point < self.train:
            return "train"
        return "val" if point < self.train + self.val else "test"


def _named(name: str | None, where: str) -> str:
    split = NAMES.get(name.lower()) if name else None
    if split is None:
        got = f"is {name[:60]!r}" if name else "is missing"
        raise Reject(Reason.NO_SPLIT, f"{where} {got}; expected one of {', '.join(NAMES)}")
    return split
