"""The trainings of a sweep: every combination of presets and values, or a random sample of them. Pure."""

import random
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import SettingsError

OPEN, CLOSE = "[{(", "]})"


class Trial(NamedTuple):
    """One training: its preset (None: the defaults), the settings that differ between trials, by key, and those that do not."""

    config: str | None
    values: tuple[tuple[str, str], ...]
    fixed: tuple[tuple[str, str], ...] = ()

    @property
    def preset(self) -> str:
        return Path(self.config or "default").stem

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={value}" for key, value in (*self.fixed, *self.values)]

    @property
    def name(self) -> str:
        """For people: what tells it from the others."""
        return " ".join([self.preset, *(f"{key}={value}" for key, value in self.values)])


def parse(text: str) -> tuple[str, list[str]]:
    """`train.learning_rate=1e-3,3e-4` as a key and its values; commas within brackets part nothing. Raises SettingsError."""
    key, sign, values = text.partition("=")
    parts, depth = [""], 0
    for character in values:
        depth += (character in OPEN) - (character in CLOSE)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    found = [part.strip() for part in parts]
    if not sign or not key or not all(found):
        raise SettingsError(f"--set {text}: expected key=value,value,..., such as train.learning_rate=1e-3,3e-4")
    if len(set(found)) < len(found):
        raise SettingsError(f"--set {text}: a value stands there twice")
    return key, found


def trials(configs: Sequence[str], settings: Sequence[str], sample: int | None = None, seed: int = 0) -> list[Trial]:
    """All combinations, the last setting changing fastest; or `sample` of them, in the same order, drawn with `seed`.

    Raises SettingsError where a setting is no list of values, or stands twice.
    """
    choices = [parse(text) for text in settings]
    if len({key for key, _ in choices}) < len(choices):
        raise SettingsError("--set: a key stands there twice; give all its values at once, such as train.seed=1,2,3")
    presets: Sequence[str | None] = list(dict.fromkeys(configs)) or [None]
    count = len(presets) * prod(len(values) for _, values in choices)
    chosen = range(count) if sample is None or sample >= count else sorted(random.Random(seed).sample(range(count), sample))
    fixed = tuple((key, values[0]) for key, values in choices if len(values) == 1)
    several = [(key, values) for key, values in choices if len(values) > 1]
    return [_trial(place, presets, several)._replace(fixed=fixed) for place in chosen]


def _trial(place: int, presets: Sequence[str | None], choices: Sequence[tuple[str, list[str]]]) -> Trial:
    """The combination at a place, as the digits of a number whose every digit has its own base."""
    values = []
    for key, options in reversed(choices):
        place, digit = divmod(place, len(options))
        values.append((key, options[digit]))
    return Trial(presets[place], tuple(reversed(values)))
