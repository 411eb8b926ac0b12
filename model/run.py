"""One training run from end to end: train, judge on the test split, tell MLflow, register."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from model import figures, outputs, promotion, tracking
from model.agreement import Agreement
from model.cluster import Cluster
from model.config import TrainSettings
from model.evaluate import Evaluation, evaluate
from model.evaluation.page import write_page
from model.export import DATA, put_metrics, write_bundle
from model.mixture import Mixture
from model.outputs import Output
from model.recognizer import Recognizer
from model.records import write_records
from model.stack import device, stack
from model.strategy import strategy_for
from model.trainer import Trained, Trainer
from pipelines.manifest import Dataset, Manifest, open_dataset
from pipelines.progress import say
from pipelines.report import write_report
from pipelines.storage import locate

ALONE = Cluster()
NOWHERE = Path()  # the folder of a worker that writes nothing
INTERVALS = ("exact_match", "cer")  # scores whose 95% intervals are logged too
# What of an evaluation's summary is logged as metrics, beside exact match, character error rate and time.
LOGGED = (
    "exact_match_folded",
    "exact_match_folded_found",
    "cer_folded",
    "character_precision",
    "character_recall",
    "auc",
    "average_precision",
    "calibration_error",
    "ms_single_median",
    "ms_single_p95",
)


class Result(NamedTuple):
    """What a run came to."""

    run_id: str
    folder: Path
    trained: Trained
    evaluation: Evaluation
    registered: tracking.Registered

    def told(self) -> str:
        """Lines for the person who waited."""
        scores, registered = self.evaluation.scores, self.registered
        what = ("with " if registered.alias == tracking.NO_ALIAS else "as ") + registered.alias
        return (
            f"test split   exact match {scores.exact_match:.4f}, character error rate {scores.cer:.4f}, {scores.rows} images\n"
            f"registered   {registered.uri} {what} ({registered.reason})\n"
            f"MLflow run   {self.run_id}\n"
            f"checkpoints  {self.folder}"
        )


def train(
    data: Mixture | Dataset, settings: TrainSettings, preset: str, output: Path | None = None, cluster: Cluster = ALONE
) -> Result | None:
    """Trains, logs everything to MLflow and registers the model; None where there is nothing to do, and but for the chief.

    A run that was begun in `output` goes on. Without it the folder lies beside the MLflow store, and the same settings and
    data have the same. Raises DataError, SettingsError and Stopped.
    """
    mixture = Mixture.of(data)
    mixture.first.manifest.shards_of("test")  # an empty one is told now, not after hours of training
    strategy = strategy_for(settings.devices, settings.train.batch_size, cluster)
    agreement = Agreement(strategy, cluster)
    if not cluster.chief:
        if not agreement.message(""):
            Trainer(mixture, settings, strategy, cluster).fit(NOWHERE, lambda epoch: None)
            agreement.message("")  # the chief is done
        return None
    tracking.connect()  # and so is a server that does not answer
    record = outputs.record_of(mixture, settings, preset)
    with outputs.opened(output or outputs.default_folder(tracking.home(), record), record) as opened:
        if agreement.message("finished" if opened.record.finished else ""):
            say(f"nothing to do: {opened.folder} has the finished run {opened.record.run_id}; another --output trains anew")
            return None
        trainer = Trainer(mixture, settings, strategy, cluster)
        result = _run(trainer, mixture, settings, opened, {"stack": stack(), "device": device(strategy)})
        opened.finished()
    agreement.message("done")
    return result


def resume(what: str, cluster: Cluster = ALONE) -> Result | None:
    """Goes on with the run of a folder, or of an MLflow run's id, with its own settings and data. Raises as `train`."""
    tracking.connect()
    folder = outputs.find(what, tracking.home())
    record = outputs.read_record(folder)
    mixture = Mixture(tuple(map(open_dataset, record.datasets)), record.weights)
    return train(mixture, record.settings, record.preset, folder, cluster)


def _run(trainer: Trainer, data: Mixture, settings: TrainSettings, output: Output, tags: Mapping[str, str]) -> Result:
    dataset, preset, run_id = data.first, output.record.preset, output.record.run_id
    with tracking.run(settings, dataset, preset, run_id, tags) as run, tempfile.TemporaryDirectory() as scratch:
        output.started(run.run_id, tracking.home())
        trained = trainer.fit(output.folder, lambda epoch: run.log_metrics(epoch.metrics(), step=epoch.epoch))
        bundle = Path(scratch) / Path(DATA).name
        write_bundle(bundle, trained.model, _manifest(data), settings)
        artifacts = Path(scratch) / "artifacts"
        judged = artifacts / "evaluation"
        judged.mkdir(parents=True)
        recognizer = Recognizer.load(bundle)  # what will be shipped, read back from its files
        evaluation = evaluate(recognizer, dataset, "test", judged / "test_errors.jsonl")
        run.log_metrics(_final_metrics(trained, evaluation))
        curves = figures.curves(trained.history, trained.best)
        write_page(evaluation, dataset, judged, f"{preset}, run {run.run_id[:8]}", curves)
        _log_artifacts(run, artifacts, dataset, trained, curves)
        version = run.registered()
        if version is None:
            model = run.log_model(bundle, put_metrics(bundle, evaluation.summary()))
            version = run.register(model, evaluation, recognizer.charset.alphabet)
        registered = promotion.place(version, settings.tracking, recognizer, evaluation, dataset)
    return Result(run.run_id, output.folder, trained, evaluation, registered)


def _manifest(data: Mixture) -> Manifest:
    """That of the first dataset, with the alphabet and the fingerprint of all."""
    update = {"alphabet": data.charset.alphabet, "fingerprint": data.fingerprint}
    return data.first.manifest.model_copy(update=update)


def _final_metrics(trained: Trained, evaluation: Evaluation) -> dict[str, float]:
    told, best = evaluation.summary(), trained.best
    ends = {f"test_{name}_{end}": told[f"{name}_interval"][at] for name in INTERVALS for at, end in enumerate(("low", "high"))}
    scores = {
        "best_epoch": best.epoch,
        "best_val_exact_match": best.val.exact_match,
        "best_val_cer": best.val.cer,
        "test_exact_match": evaluation.scores.exact_match,
        "test_cer": evaluation.scores.cer,
        "test_ms_per_image": evaluation.ms_per_image,
        "weights": trained.model.count_params(),
        "minutes_trained": sum(epoch.seconds for epoch in trained.history) / 60,
    }
    return scores | ends | {f"test_{name}": told[name] for name in LOGGED if told.get(name) is not None}


def _log_artifacts(run: tracking.Run, folder: Path, dataset: Dataset, trained: Trained, curves: Mapping[str, bytes]) -> None:
    """Adds figures, history and the dataset's report to what is in `folder` already, and logs all of it."""
    drawn = folder / "figures"
    drawn.mkdir(parents=True)
    for name, png in curves.items():
        (drawn / f"{name}.png").write_bytes(png)
    history = folder / "history"
    history.mkdir()
    write_records(history, trained.history, trained.best)
    write_report(dataset, locate(folder / "dataset"))
    (folder / "dataset" / "manifest.json").write_text(dataset.manifest.model_dump_json(indent=1))
    for part in folder.iterdir():
        run.log_files(part, part.name)
