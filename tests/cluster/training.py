"""A training in two workers as an engine runs it: each is started again where it fails, as restart: on-failure:5 says."""

import json
import time
from collections.abc import Callable

from tests.cluster.processes import PATIENCE, FailedError, Process
from tests.cluster.road import TRAINERS, train
from tests.cluster.services import Cluster

RESTARTS = 5  # of each worker, as compose.yaml has it
PAUSE = 0.2


class Training:
    """One MLflow run, whoever works at it."""

    def __init__(self, cluster: Cluster, name: str, epochs: int, seed: int) -> None:
        self._cluster, self._name, self._epochs, self._seed = cluster, name, epochs, seed
        self._folder = cluster.place / "checkpoints" / name
        self._ended: dict[int, list[Process]] = {index: [] for index in range(len(TRAINERS))}
        self.start()

    def start(self) -> None:
        """All workers, whatever became of those before."""
        self._workers = [self._worker(index) for index in range(len(TRAINERS))]

    def kill(self, index: int) -> None:
        self._workers[index].kill()

    def errors(self, index: int) -> list[str]:
        """The lines of errors that a worker's ended processes have said. Raises FailedError where there is none."""
        lines = [line.removeprefix("error: ") for process in self._ended[index] for line in process.errors()]
        if not lines:
            raise FailedError(f"{self._name}: worker {index} said nothing of its end")
        return lines

    def epochs(self) -> int:
        """How many epochs MLflow knows."""
        return len(self._steps())

    def written(self) -> int:
        """How many epochs' losses wait in the journal on disk."""
        journals = (self._cluster.place / TRAINERS[0] / "mlruns/outbox").glob("*.jsonl")
        return sum(journal.read_text(encoding="utf-8").count('["train_loss"') for journal in journals)

    def until_epoch(self, count: int) -> None:
        self.wait(lambda: self.epochs() >= count, f"{count} epochs")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        self._workers[0].until(condition, what)

    def supervise(self, enough: Callable[[], bool] = lambda: False) -> int:
        """Starts workers again that fail, until all have ended well or it is enough; returns how often. Raises FailedError."""
        restarts, limit = 0, time.monotonic() + PATIENCE
        while not enough() and any(worker.code != 0 for worker in self._workers):
            for index, worker in enumerate(self._workers):
                if worker.code:
                    self._restart(index)
                    restarts += 1
            if time.monotonic() > limit:
                raise FailedError(f"{self._name} has not ended in {PATIENCE:.0f} s; its log: {self._workers[0].log}")
            time.sleep(PAUSE)
        return restarts

    def failed(self) -> list[str]:
        """The chief's line, of a training that must fail and is not started again."""
        codes = [worker.end() for worker in self._workers]
        lines = self._workers[0].errors()
        if not codes[0] or len(lines) != 1 or any("Traceback" in worker.told() for worker in self._workers):
            raise FailedError(
                f"{self._name}: exit codes {codes} and {len(lines)} lines, not one; its log: {self._workers[0].log}"
            )
        return lines

    def check(self) -> None:
        """Raises FailedError where there is not one run that is finished, has every epoch once, and one model of it registered."""
        run = self._run() or {}
        status, steps = run.get("info", {}).get("status"), self._steps()
        if (status, steps) != ("FINISHED", list(range(1, self._epochs + 1))):
            raise FailedError(f"{self._name}: the run is {status}, with the epochs {steps}")
        found = self._cluster.mlflow("model-versions/search", filter=f"run_id='{run['info']['run_id']}'") or {}
        if (count := len(found.get("model_versions", ()))) != 1:
            raise FailedError(f"{self._name}: {count} registered models")

    def _worker(self, index: int) -> Process:
        return train(self._cluster, index, self._name, self._epochs, self._seed)

    def _restart(self, index: int) -> None:
        self._ended[index].append(self._workers[index])
        if len(self._ended[index]) > RESTARTS:
            raise FailedError(f"{self._name}: worker {index} failed {RESTARTS + 1} times; its log: {self._workers[index].log}")
        self._workers[index] = self._worker(index)

    def _run(self) -> dict | None:
        record = self._folder / "run.json"
        run_id = json.loads(record.read_text(encoding="utf-8"))["run_id"] if record.is_file() else None
        found = self._cluster.mlflow("runs/get", run_id=run_id) if run_id else None
        return found["run"] if found else None

    def _steps(self) -> list[int]:
        """The epochs that MLflow has a loss of, in order; none where it does not answer."""
        run = self._run()
        if run is None:
            return []
        found = self._cluster.mlflow("metrics/get-history", run_id=run["info"]["run_id"], metric_key="train_loss") or {}
        return sorted(int(metric.get("step", 0)) for metric in found.get("metrics", ()))
