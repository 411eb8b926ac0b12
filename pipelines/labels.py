"""Relative path or table cell -> label, by a rule; or a Reject that says why there is none."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from pipelines.rejects import Reason, Reject
from pipelines.settings import Settings
from pipelines.tables import TableRule

COPY_NUMBER = re.compile(r"\.\d+\Z")
CASES: dict[str, Callable[[str], str]] = {"keep": str, "lower": str.lower, "upper": str.upper, "fold": str.casefold}
SHOWN = 60  # characters of a label that a message repeats: a table's cell may hold a whole page


class LabelRule(Settings):
    """How a file's label is found.

    source name: the file's stem; a numbered copy (`1869.1.png`) has the label of its first (`1869`), unless
    `copy_number` is off. With a pattern it is the group `label` of the first match anywhere in the relative path.
    source folder: the name of the folder that the file lies in.
    source table: a cell of `table`; a rule that has a table has this source without saying so.

    `case` fold is Unicode's case folding, which also writes ß as ss; lower keeps such letters.
    `alphabet` None means: whatever characters the data has, but never control characters.
    """

    source: Literal["name", "folder", "table"] = "name"
    table: TableRule | None = None
    pattern: str | None = None
    copy_number: bool = True
    case: Literal["keep", "lower", "upper", "fold"] = "keep"
    alphabet: str | None = None
    min_length: int = Field(default=1, ge=1)
    max_length: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _imply_source(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("table") is not None:
            return {"source": "table", **values}
        return values

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
            if controls := _controls(alphabet):
                raise ValueError(f"{_named(controls)} cannot be read off an image; remove it")
        return alphabet

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if self.max_length is not None and self.max_length < self.min_length:
            raise ValueError(f"max_length {self.max_length} is below min_length {self.min_length}")
        return self

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "table" and self.table is None:
            raise ValueError("source table needs a table: set table.file, table.image and table.label")
        if self.source != "table" and self.table is not None:
            raise ValueError(f"source {self.source} reads no table; remove table, or set source to table")
        if self.source != "name" and self.pattern is not None:
            raise ValueError(f"source {self.source} uses no pattern; remove pattern, or set source to name")
        return self

    def label_of(self, path: str, given: str | None = None) -> str:
        """The label, in Unicode NFC, of the file at `path` (relative, with `/`); `given` is its cell where a table labels.

        Raises Reject: also for a name that is not valid UTF-8 (held as surrogates) where the label is taken from it.
        """
        label = self._raw_label(path, given)
        label = unicodedata.normalize("NFC", CASES[self.case](label))  # last: lower() and upper() take some letters apart
        if not label.isprintable() and (controls := _controls(label)):
            raise self._control_reject(label, controls)
        if len(label) < self.min_length:
            raise Reject(Reason.TOO_SHORT, f"label {_shown(label)} is shorter than {self.min_length}")
        if self.max_length is not None and len(label) > self.max_length:
            raise Reject(Reason.TOO_LONG, f"label {_shown(label)} is longer than {self.max_length}")
        if self.alphabet is not None and (foreign := set(label) - _alphabet(self.alphabet)):
            raise Reject(Reason.FOREIGN_CHARACTER, f"label {_shown(label)} has {_named(foreign)}, not in the alphabet")
        return label

    def _raw_label(self, path: str, given: str | None) -> str:
        if self.source == "table":
            if not given:
                raise Reject(Reason.NO_LABEL, "the table gives it no label")
            return given
        folder, _, name = path.rpartition("/")
        if self.source == "folder":
            if not folder:
                raise Reject(Reason.NO_LABEL, "it lies in no folder that could label it")
            return folder.rpartition("/")[2]
        if self.pattern is not None:
            match = _compiled(self.pattern).search(path)
            if not match or not match["label"]:
                raise Reject(Reason.NO_LABEL, f"label.pattern {self.pattern} does not match")
            return match["label"]
        dot = name.rfind(".")
        stem = name[:dot] if 0 < dot < len(name) - 1 else name
        return COPY_NUMBER.sub("", stem) if self.copy_number and "." in stem else stem

    def _control_reject(self, label: str, controls: Iterable[str]) -> Reject:
        if self.source != "table" and any("\ud800" <= c <= "\udfff" for c in controls):
            return Reject(Reason.NO_LABEL, f"the {'file' if self.source == 'name' else 'folder'} name is not valid UTF-8")
        return Reject(Reason.FOREIGN_CHARACTER, f"label {_shown(label)} has {_named(controls)}, a control character")


# Settings hold plain values; what is derived from them is kept here, because label_of runs for every listed file.
@lru_cache(maxsize=16)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(maxsize=16)
def _alphabet(characters: str) -> frozenset[str]:
    return frozenset(characters)


def _controls(text: str) -> set[str]:
    """Control characters and surrogates in `text`: no image shows them."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cs")}


def _named(characters: Iterable[str]) -> str:
    return ", ".join(f"{c!r} (U+{ord(c):04X})" for c in sorted(characters))


def _shown(label: str) -> str:
    return repr(label if len(label) <= SHOWN else label[:SHOWN] + "…")
