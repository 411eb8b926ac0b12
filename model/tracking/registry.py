"""The registry: versions, who is champion, since when and why, and who was before."""

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

import mlflow
from mlflow import entities
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from model.tracking.store import UNKNOWN, connect, first_line, living, one_line, patiently, where
from pipelines.errors import DataError

CHAMPION, CHALLENGER, NO_ALIAS = "champion", "challenger", "no alias"
VERDICT, REASON, BEFORE = "verdict", "reason", "previous_champion"  # tags of a version
SINCE, BACK = "champion_since", "rolled_back_to"
UNTIL = {CHAMPION: "champion_until", CHALLENGER: "challenger_until"}
ENDS = {CHAMPION: (UNTIL[CHAMPION], BACK), CHALLENGER: (UNTIL[CHALLENGER],)}  # what only a former bearer has
URI = re.compile(r"models:/(?P<name>[^/:@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


class Registered(NamedTuple):
    """A registered version, the alias it got (NO_ALIAS: none; "former champion": one that it has no more) and why."""

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
    with one_line("the MLflow store"):
        client = mlflow.MlflowClient()
        try:
            if match["alias"]:
                return client.get_model_version_by_alias(match["name"], match["alias"])
            return client.get_model_version(match["name"], match["version"])
        except MlflowException as error:
            known = ", ".join(registered_models()) or "none"
            raise DataError(f"{uri}: {where()} has no such version: {first_line(error)}; registered models: {known}") from None


def uri_of(version: ModelVersion) -> str:
    """The URI that names this version, whoever has its alias."""
    return f"models:/{version.name}/{version.version}"


def version_by(run_id: str, name: str) -> ModelVersion | None:
    """The version that a run has registered as a model, or None."""
    found = patiently("the registry", lambda: mlflow.MlflowClient().search_model_versions(f"run_id='{run_id}'"))
    return next((version for version in found if version.name == name), None)


def register(model_uri: str, name: str, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
    """A new version, or the one that this run has registered already: before a kill, or by a call that seemed to fail."""

    def attempt() -> ModelVersion:
        return version_by(run_id, name) or mlflow.register_model(model_uri, name, tags=dict(tags))

    return patiently("the registration", attempt)


def settle(version: ModelVersion, alias: str, reason: str) -> Registered:
    """Gives a version its alias, and says why in its tags and description; who had the alias before keeps that in writing.

    Doing it again changes nothing.
    """
    patiently("the registration", lambda: _settle(version.name, str(version.version), alias, reason))
    return Registered(uri_of(version), str(version.version), alias, reason)


def settle_against(champion: str, version: ModelVersion, alias: str, reason: str) -> Registered | None:
    """The same with a verdict that is against `champion`, the number of a version, or empty where there was none.

    None, and nothing is changed, where another is champion by now.
    """

    def attempt() -> bool:
        bearer = _bearer(version.name, CHAMPION)
        number = str(bearer.version) if bearer else ""
        if number != champion and (alias, number) != (CHAMPION, str(version.version)):  # the latter: an attempt before
            return False
        _settle(version.name, str(version.version), alias, reason)
        return True

    done = patiently("the registration", attempt)
    return Registered(uri_of(version), str(version.version), alias, reason) if done else None


def settle_again(version: ModelVersion) -> Registered | None:
    """Finishes what `settle` began before a kill. An alias that another version has got since stays where it is.

    None where nothing was begun, or where another became champion before this one did: it is to be judged.
    """
    tags, number = version.tags, str(version.version)
    if not {VERDICT, REASON} <= {*tags}:
        return None
    alias, reason = tags[VERDICT], tags[REASON]
    if UNTIL.get(alias) in tags:
        return Registered(uri_of(version), number, f"former {alias}", reason)
    if alias == CHAMPION:
        return settle_against(tags.get(BEFORE, ""), version, alias, reason)
    return settle(version, alias, reason)


def challenge(uri: str, reason: str) -> Registered:
    """Makes a version challenger without a judgement; one that was given an alias already keeps what it has."""
    version = version_of(uri)
    known = settle_again(version)
    return known if known is not None and known.alias != NO_ALIAS else settle(version, CHALLENGER, reason)


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
            f"{uri_of(now)}: no champion is known before it; jobs.promote --model models:/{name}/VERSION --force puts any back"
        )
    target = version_of(f"models:/{name}/{before}")
    reason = f"put back in place of version {now.version}"
    client = mlflow.MlflowClient()

    def put_back() -> None:
        _settle(name, before, CHAMPION, reason, forward=False)
        client.set_model_version_tag(name, now.version, BACK, before)
        client.delete_model_version_tag(name, now.version, BEFORE)

    patiently("the roll-back", put_back)
    return Registered(uri_of(target), before, CHAMPION, reason), str(now.version)


def registered_models() -> list[str]:
    """The names of all registered models, each with its aliases."""
    names = []
    try:
        models = mlflow.MlflowClient().search_registered_models()
    except (MlflowException, SQLAlchemyError) as error:
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
    holder = _bearer(name, alias) if alias in UNTIL else None
    before = holder if holder is not None and str(holder.version) != number else None
    tags = {REASON: reason, VERDICT: alias}
    if alias == CHAMPION and holder is before:  # it is not champion yet
        tags |= {SINCE: now} | ({BEFORE: str(before.version)} if before and forward else {})
    for key, value in tags.items():
        client.set_model_version_tag(name, number, key, value)
    client.update_model_version(name, number, description=f"{alias}: {reason}")
    if alias in UNTIL:
        client.set_registered_model_alias(name, alias, number)
    version = client.get_model_version(name, number)
    for key in ENDS.get(alias, ()):
        if key in version.tags:  # of an earlier time with the alias
            client.delete_model_version_tag(name, number, key)
    _tell_run(version, alias)
    _leave(name, number, alias, before, now)


def _leave(name: str, number: str, alias: str, before: ModelVersion | None, now: str) -> None:
    """Notes with the version before that it has the alias no more; a new champion is no challenger any more."""
    client = mlflow.MlflowClient()
    if before:
        client.set_model_version_tag(name, before.version, UNTIL[alias], now)
        told = f"{alias} until {now}, when version {number} took its place: {before.tags.get(REASON, '')}"
        client.update_model_version(name, before.version, description=told)
        _tell_run(before, f"former {alias}")
    challenger = _bearer(name, CHALLENGER) if alias == CHAMPION else None
    if challenger is not None and str(challenger.version) == number:
        client.delete_registered_model_alias(name, CHALLENGER)


def _tell_run(version: ModelVersion, alias: str) -> None:
    if version.run_id and living(version.run_id):
        tags = [entities.RunTag("registered_version", str(version.version)), entities.RunTag("alias", alias)]
        mlflow.MlflowClient().log_batch(version.run_id, tags=tags)
