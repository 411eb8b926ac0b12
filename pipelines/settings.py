"""The base of all settings, and the one reader of YAML files and `--set key=value`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import SettingsError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def read(cls: type[S], path: str | Path | None = None, overrides: Iterable[str] = ()) -> S:
    """Settings of type `cls` from a YAML file (defaults where None) and `key.sub=value` overrides.

    Raises SettingsError with file, key, value and remedy, in one line.
    """
    values = read_yaml(path) if path else {}
    where = str(path) if path else "settings"
    for text in overrides:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise SettingsError(f"--set {text}: expected key=value, such as --set image.width=200")
        _put(values, key.split("."), _parse(cls, key.split("."), value, text), text)
        where = f"{where} with --set"
    return build(cls, values, where.replace(" with --set" * 2, " with --set"))


def build(cls: type[S], values: Mapping[str, Any], where: str) -> S:
    """`cls` from plain values; `where` is named when a value is refused."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"{where}: " + "; ".join(_explain(cls, e) for e in error.errors())) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file; the shipped ones are in conf/") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: not a readable YAML file: {_one_line(error)}") from None
    if not isinstance(values, dict | None):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return values or {}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _put(values: dict[str, Any], keys: list[str], value: Any, text: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--set {text}: {key} is a value, not a group of settings")
    values[keys[-1]] = value


def _parse(cls: type[BaseModel], keys: list[str], text: str, whole: str) -> Any:
    """A command-line value: the text itself where the field is a string (0123 is no number), else YAML."""
    field = cls.model_fields.get(keys[0])
    kinds = get_args(field.annotation) or (field.annotation,) if field else ()
    for kind in kinds:
        if len(keys) > 1 and _is_group(kind):
            return _parse(kind, keys[1:], text, whole)
    if str in kinds and text != "null":
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {whole}: not a YAML value: {_one_line(error)}") from None


def _explain(cls: type[BaseModel], error: Any) -> str:
    keys, beside = _place(cls, error["loc"])
    key = ".".join(keys) or "settings"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key}; known here: {', '.join(beside.model_fields)}"
    if error["type"] == "union_tag_invalid":
        return f"{key}.name={error['ctx']['tag']!r}: expected one of {error['ctx']['expected_tags']}"
    message = re.sub(r"^Value error, ", "", error["msg"])
    if error["type"] == "string_type":
        message += " (put it in quotes)"
    return f"{key}: {message}" if isinstance(error["input"], dict) else f"{key}={error['input']!r}: {message}"


def _place(cls: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel]]:
    """The keys that lead to an error, and the group of settings that the last of them stands in.

    Where a key is one of several kinds of settings, pydantic's `loc` also has the name of the one that was chosen.
    """
    parts, keys = [str(part) for part in loc], list[str]()
    while parts:
        keys.append(parts.pop(0))
        field = cls.model_fields.get(keys[-1])
        if not parts or field is None:
            break
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_group(kind)]
        if len(kinds) > 1:
            name = parts.pop(0)
            kinds = [kind for kind in kinds if name in get_args(kind.model_fields["name"].annotation)]
        cls = kinds[0] if kinds else cls
    return [*keys, *parts], cls


def _is_group(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
