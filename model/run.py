"""One training run from end to end: train, judge on the test split, tell MLflow, register."""

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

from model import figures, tracking
from model.config import TrainSettings
from model.evaluate import Evaluation, comparable, evaluate
from model.export import DATA, put_metrics, write_bundle
from model.recognizer import Recognizer
from model.strategy import strategy_for
from model.trainer import Epoch, Trained, Trainer
from pipelines.manifest import Dataset
from pipelines.report import write_report
from pipelines.storage import locate


class Result(NamedTuple):
    """What a run came to."""

    run_id: str
    trained: Trained
    evaluation: Evaluation
    registered: tracking.Registered


def train(dataset: Dataset, settings: TrainSettings, preset: str) -> Result:
    """Trains on `dataset`, logs everything to MLflow and registers the model. Raises DataError and SettingsError."""
    tracking.connect()  # a server that does not answer, or an empty test split, is told now, not after hours of training
    dataset.manifest.shards_of("test")
    trainer = Trainer(dataset, settings, strategy_for(settings.devices, settings.train.batch_size))
    with tracking.run(settings, dataset, preset) as run, tempfile.TemporaryDirectory() as scratch:
        folder = tracking.home() / "checkpoints" / run.run_id
        trained = trainer.fit(folder, lambda epoch: run.log_metrics(epoch.metrics(), step=epoch.epoch))
        bundle = Path(scratch) / Path(DATA).name
        write_bundle(bundle, trained.model, dataset.manifest, settings)
        evaluation = evaluate(Recognizer.load(bundle), dataset, "test")  # what will be shipped, read back from its files
        run.log_metrics(_final_metrics(trained.best, evaluation))
        _log_artifacts(run, Path(scratch) / "artifacts", dataset, trained, evaluation)
        model = run.log_model(bundle, put_metrics(bundle, evaluation.summary()))
        champion, against = _judge_champion(settings.tracking.registered_model, dataset)
        registered = run.register(model, evaluation, champion, against)
    return Result(run.run_id, trained, evaluation, registered)


def _judge_champion(name: str, dataset: Dataset) -> tuple[Evaluation | None, str]:
    """The present champion's evaluation on this test split, and what to say of it where there is none."""
    version = tracking.champion_version(name)
    if version is None:
        return None, ""
    who = f"version {version.version}"
    with tracking.bundle_of(f"models:/{name}/{version.version}") as folder:
        champion = Recognizer.load(folder)
        if not comparable(champion, dataset):
            return None, f"the champion, {who}, was made for other preprocessing; force with --set tracking.promote=always"
        return evaluate(champion, dataset, "test"), who


def _final_metrics(best: Epoch, evaluation: Evaluation) -> dict[str, float]:
    return {
        "best_epoch": best.epoch,
        "best_val_exact_match": best.val.exact_match,
        "best_val_cer": best.val.cer,
        "test_exact_match": evaluation.scores.exact_match,
        "test_cer": evaluation.scores.cer,
        "test_ms_per_image": evaluation.ms_per_image,
    }


def _log_artifacts(run: tracking.Run, folder: Path, dataset: Dataset, trained: Trained, evaluation: Evaluation) -> None:
    drawn = folder / "figures"
    drawn.mkdir(parents=True)
    for name, png in figures.curves(trained.history).items():
        (drawn / f"{name}.png").write_bytes(png)
    judged = folder / "evaluation"
    judged.mkdir()
    (judged / "test.json").write_text(json.dumps(evaluation.summary(), indent=1))
    with (judged / "test_errors.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(wrong._asdict(), ensure_ascii=False) + "\n" for wrong in evaluation.wrong)
    write_report(dataset, locate(folder / "dataset"))
    (folder / "dataset" / "manifest.json").write_text(dataset.manifest.model_dump_json(indent=1))
    for part in folder.iterdir():
        run.log_files(part, part.name)
