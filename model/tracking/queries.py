"""Runs looked up: by id, by its beginning, by the model that they made, or the newest of an experiment."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import mlflow
from mlflow.entities import Run as Found

from model.tracking.downloads import run_of
from model.tracking.store import connect, one_line, patiently, where
from pipelines.errors import DataError

ID = re.compile(r"[0-9a-f]{1,32}")


class Facts(NamedTuple):
    """What is known of a run; `model` is the version that it registered, as glyphmill/3, and `alias` what that bears."""

    run_id: str
    name: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    data: str
    model: str
    alias: str


def find_runs(names: Sequence[str], experiment: str, newest: int = 10) -> list[Facts]:
    """The runs of these ids, beginnings of ids, or models' URIs; of none the `newest` that trained in the experiment.

    Raises DataError where one is not there, or where a beginning fits several.
    """
    connect()
    with one_line("the MLflow store"):
        ids = [_find(name) for name in names] if names else _newest(experiment, newest)
    return facts_of(list(dict.fromkeys(ids)))


def facts_of(ids: Sequence[str]) -> list[Facts]:
    """What is known of the runs of these ids."""
    return patiently("runs", lambda: [_facts(mlflow.get_run(run_id)) for run_id in ids])


def _find(name: str) -> str:
    if ":/" in name:
        if run_id := run_of(name):
            return run_id
        raise DataError(f"{name}: {where()} does not know the run that made it")
    if not ID.fullmatch(name):
        raise DataError(f"{name}: neither the id of a run, nor the beginning of one, nor a URI such as models:/glyphmill/3")
    found = _search(f"attributes.run_id LIKE '{name}%'", 3)
    if not found:
        raise DataError(f"{name}: {where()} has no run whose id begins so")
    if len(found) > 1:
        raise DataError(f"{name}: several runs begin so: {', '.join(run.info.run_id for run in found)}; give more of the id")
    return str(found[0].info.run_id)


def _newest(experiment: str, newest: int) -> list[str]:
    found = mlflow.get_experiment_by_name(experiment)
    runs = _search("params.`train.seed` != ''", newest, [found.experiment_id]) if found else []
    if not runs:
        raise DataError(f"{where()} has no training in the experiment {experiment}; --experiment names another")
    return [run.info.run_id for run in runs]


def _search(query: str, most: int, experiments: Sequence[str] | None = None) -> list[Found]:
    client = mlflow.MlflowClient()
    where_to = experiments or [found.experiment_id for found in client.search_experiments()]
    return list(client.search_runs(list(where_to), query, max_results=most, order_by=["attributes.start_time DESC"]))


def _facts(run: Found) -> Facts:
    inputs = run.inputs.dataset_inputs if run.inputs else []
    data = inputs[0].dataset.name if inputs else ""
    version, alias = _registered_by(run)
    info, known = run.info, run.data
    about = info.run_id, info.run_name or "", info.status
    return Facts(*about, known.tags, known.params, known.metrics, data, version, alias)


def _registered_by(run: Found) -> tuple[str, str]:
    """The newest version that a run registered, and the aliases that it bears now."""
    client = mlflow.MlflowClient()
    found = max(client.search_model_versions(f"run_id='{run.info.run_id}'"), key=lambda v: int(v.version), default=None)
    if found is None:
        return "", ""
    aliases = client.get_model_version(found.name, str(found.version)).aliases
    return f"{found.name}/{found.version}", ", ".join(sorted(aliases))
