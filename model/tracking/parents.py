"""Runs that train nothing themselves, and under which others are shown: those of sweeps."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow import entities

from model.termination import Stopped
from model.tracking.store import SECONDS, connect, experiment_of, log_files, one_line, patiently
from pipelines.errors import DataError
from pipelines.progress import say


class Parent(NamedTuple):
    """A run of that kind."""

    run_id: str

    def log_files(self, folder: Path, artifact_path: str) -> None:
        """Logs all files in `folder` under `artifact_path`, in place of those of the same names."""
        log_files(self.run_id, folder, artifact_path)


@contextmanager
def parent(
    experiment: str, name: str, tags: Mapping[str, str], params: Mapping[str, str], resume: str | None = None
) -> Iterator[Parent]:
    """A new run or, with its id, one that goes on; it ends as failed when the block raises, as killed when it is stopped."""
    connect()
    with one_line("the MLflow store"):
        client = mlflow.MlflowClient()
        if resume:
            client.update_run(resume, "RUNNING")
            run_id = resume
        else:
            run_id = client.create_run(experiment_of(experiment), tags=dict(tags), run_name=name).info.run_id
            client.log_batch(run_id, params=[entities.Param(key, value[:500]) for key, value in params.items()])
    try:
        yield Parent(run_id)
    except BaseException as error:
        status = "KILLED" if isinstance(error, Stopped | KeyboardInterrupt) else "FAILED"
        try:
            patiently("the end of the sweep", lambda: client.set_terminated(run_id, status), SECONDS)
        except DataError as untold:  # the first error is the one to tell
            say(f"{untold}; it shows the sweep as running until it goes on")
        raise
    patiently("the end of the sweep", lambda: client.set_terminated(run_id, "FINISHED"))
