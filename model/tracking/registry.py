"""The registry: versions, who is champion, since when and why, and who was before."""

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

import mlflow
from mlflow import entities
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from model.tracking.store import UNKNOWN, connect, first_line, living, patiently, where
from pipelines.errors import DataError

CHAMPION, CHALLENGER = "champion", "challenger"
VERDICT, REASON, BEFORE = "verdict", "reason", "previous_champion"  # tags of a version
SINCE, UNTIL, BACK = "champion_since", "champion_until", "rolled_back_to"
URI = re.compile(r"models:/(?P<name>[^/:@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


class Registered(NamedTuple):
    """A registered version, the alias it got and why."""

    uri: str
    version: str
    alias: str
    reason: str


def champion_version(name: str) -> ModelVersion | None:
    """The version that bears the champion's alias, or None."""
    return patiently(f"registered model {name}", lambda: _bearer(name, CHAMPION))


def version_of(uri: str) -> ModelVersion:
    """The version that models:/NAME/3 or models:/NAME@ALIAS names. Raises DataError where there is none."""
    connect()
    if not (match := URI.fullmatch(uri)):
        raise DataError(f"{uri}: not a registered version; expected a URI such as models:/glyphmill/3")
    client = mlflow.MlflowClient()
    try:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])
    except MlflowException as error:
        known = ", ".join(registered_models()) or "none"
        raise DataError(f"{uri}: {where()} has no such version: {first_line(error)}; registered models: {known}") from None


def version_by(run_id: str, name: str) -> ModelVersion | None:
    """The version that a run has registered as a model, or None."""
    found = patiently("the registry", lambda: mlflow.MlflowClient().search_model_versions(f"run_id='{run_id}'"))
    return next((version for version in found if version.name == name), None)


def register(model_uri: str, name: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
    """A new version, or the one that this run has registered already: before a kill, or by a call that seemed to fail."""

    def attempt() -> ModelVersion:
        return version_by(run_id, name) or mlflow.register_model(model_uri, name, tags=dict(tags))

    return patiently("the registration", attempt)


def verdict_on(version: ModelVersion) -> tuple[str, str] | None:
    """The alias and the reason that `settle` began to write to a version before it was killed, or has written; else None."""
    return (version.tags[VERDICT], version.tags[REASON]) if {VERDICT, REASON} <= {*version.tags} else None


def settle(version: ModelVersion, alias: str, reason: str) -> Registered:
    """Gives a version its alias, and says why in its tags and description; who had the alias before keeps that in writing.

    Doing it again changes nothing.
    """
    patiently("the registration", lambda: _settle(version.name, str(version.version), alias, reason))
    return Registered(_uri(version), str(version.version), alias, reason)


def roll_back(name: str) -> tuple[Registered, str]:
    """Makes the champion before this one champion again; returns it, and the version that it was put back in place of.

    Raises DataError where there is no champion, or none before it.
    """
    connect()
    now = champion_version(name)
    if now is None:
        raise DataError(f"registered model {name}: {where()} has no champion of it; jobs.promote --model names one")
    if not (before := now.tags.get(BEFORE)):
        raise DataError(
            f"{_uri(now)}: no champion is known before it; jobs.promote --model models:/{name}/VERSION --force puts any back"
        )
    target = version_of(f"models:/{name}/{before}")
    reason = f"put back in place of version {now.version}"
    client = mlflow.MlflowClient()

    def put_back() -> None:
        _settle(name, before, CHAMPION, reason, forward=False)
        client.set_model_version_tag(name, now.version, BACK, before)
        client.delete_model_version_tag(name, now.version, BEFORE)

    patiently("the roll-back", put_back)
    return Registered(_uri(target), before, CHAMPION, reason), str(now.version)


def registered_models() -> list[str]:
    """The names of all registered models, each with its aliases."""
    names = []
    try:
        models = mlflow.MlflowClient().search_registered_models()
    except MlflowException as error:
        return [f"unknown ({first_line(error)})"]
    for found in models:
        aliases = ", ".join(f"@{alias} is {version}" for alias, version in sorted(found.aliases.items()))
        names.append(f"{found.name} ({aliases or 'no alias'})")
    return names


def _bearer(name: str, alias: str) -> ModelVersion | None:
    try:
        return mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in UNKNOWN:
            return None
        raise


def _settle(name: str, number: str, alias: str, reason: str, forward: bool = True) -> None:
    """`forward` is whether a champion's place in line is after the present one."""
    client, now = mlflow.MlflowClient(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    holder = _bearer(name, alias)
    before = holder if holder is not None and str(holder.version) != number else None
    tags = {REASON: reason, VERDICT: alias}
    if alias == CHAMPION and holder is before:  # it is not champion yet
        tags |= {SINCE: now} | ({BEFORE: str(before.version)} if before and forward else {})
    for key, value in tags.items():
        client.set_model_version_tag(name, number, key, value)
    client.update_model_version(name, number, description=f"{alias}: {reason}")
    client.set_registered_model_alias(name, alias, number)
    _tell_run(client.get_model_version(name, number), alias)
    if before:
        _tell_run(before, f"former {alias}")
    if alias == CHAMPION:
        _leave(client, name, number, before, now)


def _leave(client: mlflow.MlflowClient, name: str, number: str, before: ModelVersion | None, now: str) -> None:
    """Notes with the champion before that it is none any more; the new one is no challenger any more."""
    if before:
        client.set_model_version_tag(name, before.version, UNTIL, now)
        told = f"champion until {now}, when version {number} took its place: {before.tags.get(REASON, '')}"
        client.update_model_version(name, before.version, description=told)
    challenger = _bearer(name, CHALLENGER)
    if challenger is not None and str(challenger.version) == number:
        client.delete_registered_model_alias(name, CHALLENGER)


def _tell_run(version: ModelVersion, alias: str) -> None:
    if version.run_id and living(version.run_id):
        tags = [entities.RunTag("registered_version", str(version.version)), entities.RunTag("alias", alias)]
        mlflow.MlflowClient().log_batch(version.run_id, tags=tags)


def _uri(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"
