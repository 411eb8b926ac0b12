"""Training runs from end to end in one store: each is judged against the champion before it."""

import json

import mlflow
import pytest

from model.run import resume, train

pytestmark = [pytest.mark.tf, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(store, digits, quick, light, loop, ingested, tmp_path_factory):
    """A run, one like it that starts from another seed but learns nothing more, and one on images of another width."""
    wider = ingested(tmp_path_factory.mktemp("wider"), loop, image={"width": 40})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.trainer.build", light)
        still = {"learning_rate": 1e-30}  # so that the second is as good as the first
        seeds = [(digits, {}), (digits, {"patience": 14}), (wider, {})]
        return [train(dataset, quick(train=still | more), "preset") for dataset, more in seeds]


def test_the_first_is_champion(results):
    first = results[0]
    assert (first.registered.uri, first.registered.alias) == ("models:/glyphmill/1", "champion")
    assert first.registered.reason == "there was no champion"
    assert first.evaluation.scores.rows == 12


def test_the_same_again_is_not_better(results):
    second = results[1].registered
    assert (second.version, second.alias) == ("2", "challenger")
    assert second.reason.startswith("not better by more than the noise: exact match ")
    assert "of the champion, version 1, on the same 12 rows: +0.00 points" in second.reason


def test_one_for_other_preprocessing_cannot_be_compared(results):
    third = results[2].registered
    assert (third.version, third.alias) == ("3", "challenger")
    assert third.reason.startswith("the champion, version 1, was made for other preprocessing")
    assert "tracking.promote=always" in third.reason


def test_a_run_keeps_figures_scores_and_report(results, store):
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")
    run_id = results[0].run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    kept = {file.path for folder in ("figures", "evaluation", "dataset") for file in client.list_artifacts(run_id, folder)}
    assert kept >= {
        "figures/loss.png",
        "figures/scores.png",
        "evaluation/index.html",
        "evaluation/confusions.png",
        "evaluation/training_loss.png",
        "evaluation/test.json",
        "evaluation/test_errors.jsonl",
        "dataset/manifest.json",
    }
    metrics = client.get_run(run_id).data.metrics
    assert metrics["best_epoch"] == 1
    assert metrics["test_exact_match"] == results[0].evaluation.scores.exact_match
    written = json.loads(next((store / "artifacts" / run_id).rglob("test.json")).read_text())
    assert written["rows"] == 12
    errors = next((store / "artifacts" / run_id).rglob("test_errors.jsonl")).read_text().splitlines()
    assert len(errors) == 12 - results[0].evaluation.scores.exact


def test_records_are_among_the_artifacts(results, store):
    (folder,) = {path.parent for path in (store / "artifacts" / results[0].run_id).rglob("*_metrics.json")}
    kept = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    (epoch,) = results[0].trained.history
    assert kept == {
        "loss_metrics.json": [{"epoch": 1, "train_loss": epoch.train_loss, "val_loss": epoch.val_loss}],
        "best_metrics.json": {"epoch": 1} | epoch.metrics(),
        "all_metrics.json": [{"epoch": 1} | epoch.metrics()],
    }


def test_checkpoints_lie_beside_the_store(results, store):
    assert results[0].folder.parent == store / "checkpoints"
    assert {path.name for path in results[0].folder.iterdir()} == {"best-1.npz", "last.npz", "run.json"}
    assert (store / "checkpoints" / results[0].run_id).resolve() == results[0].folder


def test_a_finished_run_does_nothing_when_it_is_started_again(results, digits, quick, capfd):
    assert train(digits, quick(train={"learning_rate": 1e-30}), "preset") is None
    assert f"has the finished run {results[0].run_id}; another --output trains anew" in capfd.readouterr().err
    assert resume(results[0].run_id) is None
    assert resume(str(results[0].folder)) is None


def test_the_same_in_another_folder_is_another_run(results, digits, quick, light, monkeypatch, tmp_path):
    monkeypatch.setattr("model.trainer.build", light)
    again = train(digits, quick(train={"learning_rate": 1e-30}), "preset", tmp_path / "again")
    assert again.folder == tmp_path / "again"
    assert again.run_id != results[0].run_id


def test_a_run_that_failed_goes_on_when_it_is_started_again(store, digits, quick, light, monkeypatch):
    """After its first epoch; with its id it needs no settings."""
    monkeypatch.setattr("model.trainer.build", light)
    settings = quick(train={"epochs": 2, "seed": 5})
    with monkeypatch.context() as patch:
        patch.setattr("model.run.evaluate", lambda *args: exec("raise OSError('disk full')"))
        with pytest.raises(OSError, match="disk full"):
            train(digits, settings, "preset")
    (record,) = {path.resolve() for path in store.glob("checkpoints/*/run.json") if '"seed": 5' in path.read_text()}
    run_id = json.loads(record.read_text())["run_id"]
    result = resume(run_id)
    assert result.run_id == run_id
    assert [epoch.epoch for epoch in result.trained.history] == [1, 2]
