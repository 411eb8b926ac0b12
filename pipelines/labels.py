"""Relative path -> label, by a rule; or a Reject that says why there is none."""

import re
import unicodedata
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from pipelines.rejects import Reason, Reject
from pipelines.settings import Settings

COPY_NUMBER = re.compile(r"\.\d+$")


class LabelRule(Settings):
    """How a file's label is found.

    Without a pattern it is the file's stem; a numbered copy (`1869.1.png`) has the label of its first
    (`1869`), unless `copy_number` is off. With a pattern it is the group `label` of the first match
    anywhere in the relative path. `alphabet` None means: whatever characters the data has.
    """

    pattern: str | None = None
    copy_number: bool = True
    case: Literal["keep", "lower", "upper"] = "keep"
    alphabet: str | None = None
    min_length: int = Field(default=1, ge=1)
    max_length: int | None = Field(default=None, ge=1)

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groupindex
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if "label" not in groups:
                raise ValueError("the regular expression has no group named label, such as (?P<label>[^_]+)_")
        return pattern

    @field_validator("alphabet")
    @classmethod
    def _check_alphabet(cls, alphabet: str | None) -> str | None:
        if alphabet is not None:
            alphabet = unicodedata.normalize("NFC", alphabet)
            twice = sorted({c for c in alphabet if alphabet.count(c) > 1})
            if twice or not alphabet:
                raise ValueError(f"each character once, at least one; more than once: {''.join(twice) or 'none'}")
        return alphabet

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.max_length is not None and self.max_length < self.min_length:
            raise ValueError(f"max_length {self.max_length} is below min_length {self.min_length}")
        return self

    def label_of(self, path: str) -> str:
        """The label of the file at `path` (relative, with `/`), in Unicode NFC. Raises Reject."""
        label = self._raw_label(path)
        if self.case != "keep":
            label = label.lower() if self.case == "lower" else label.upper()
        label = unicodedata.normalize("NFC", label)  # last: lower() and upper() take some letters apart
        if len(label) < self.min_length:
            raise Reject(Reason.TOO_SHORT, f"label {label!r} is shorter than {self.min_length}")
        if self.max_length is not None and len(label) > self.max_length:
            raise Reject(Reason.TOO_LONG, f"label {label!r} is longer than {self.max_length}")
        if self.alphabet is not None and (foreign := sorted(set(label) - set(self.alphabet))):
            names = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in foreign)
            raise Reject(Reason.FOREIGN_CHARACTER, f"label {label!r} has {names}, not in the alphabet")
        return label

    def _raw_label(self, path: str) -> str:
        if self.pattern is not None:
            match = re.search(self.pattern, path)
            if not match or not match["label"]:
                raise Reject(Reason.NO_LABEL, f"label.pattern {self.pattern} does not match")
            return match["label"]
        stem = PurePosixPath(path).stem
        return COPY_NUMBER.sub("", stem) if self.copy_number else stem
