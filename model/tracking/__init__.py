"""MLflow: runs, datasets, figures, the registry and downloads. The only folder that imports mlflow."""

from model.tracking.downloads import bundle_of, download, pinned, run_of
from model.tracking.parents import Parent, parent
from model.tracking.queries import Facts, facts_of, find_runs
from model.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    NO_ALIAS,
    Registered,
    challenge,
    champion_version,
    roll_back,
    settle,
    settle_again,
    settle_against,
    uri_of,
    version_of,
)
from model.tracking.runs import OUTBOX, Run, data_of, log_to_run, run
from model.tracking.store import connect, home

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "NO_ALIAS",
    "OUTBOX",
    "Facts",
    "Parent",
    "Registered",
    "Run",
    "bundle_of",
    "challenge",
    "champion_version",
    "connect",
    "data_of",
    "download",
    "facts_of",
    "find_runs",
    "home",
    "log_to_run",
    "parent",
    "pinned",
    "roll_back",
    "run",
    "run_of",
    "settle",
    "settle_again",
    "settle_against",
    "uri_of",
    "version_of",
]
