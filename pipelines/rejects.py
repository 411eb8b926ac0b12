"""Why a listed file was not written: one closed list of reasons, and the exception that carries one."""

from enum import Enum


class Reason(str, Enum):
    """The reject reasons of the `rejects/` table and of the accounting in the manifest."""

    EMPTY_FILE = "empty_file"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    DECOMPRESSION_BOMB = "decompression_bomb"
    ANIMATED = "animated"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    EXCLUDED = "excluded"
    NO_LABEL = "no_label"
    NO_IMAGE = "no_image"
    NO_ROW = "no_row"
    NO_SPLIT = "no_split"
    FOREIGN_CHARACTER = "foreign_character"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    CONFLICTING_LABEL = "conflicting_label"
    CHANGED = "changed"
    DUPLICATE = "duplicate"


class Reject(Exception):  # noqa: N818 - a verdict on a file, not an error of the program
    """A file that is not written, with its reason and a detail that a person understands."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)  # both arguments, so that it survives pickling
        self.reason = reason
        self.detail = detail
