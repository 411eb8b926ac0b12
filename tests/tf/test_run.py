"""Training runs from end to end in one store: each is judged against the champion before it."""

import json

import mlflow
import pytest

from model.run import train

pytestmark = [pytest.mark.tf, pytest.mark.slow]


@pytest.fixture(scope="module")
def results(store, digits, quick, light, loop, ingested, tmp_path_factory):
    """A run, the same again, and one on images of another width."""
    wider = ingested(tmp_path_factory.mktemp("wider"), loop, image={"width": 40})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.trainer.build", light)
        return [train(dataset, quick(), "preset") for dataset in (digits, digits, wider)]


def test_the_first_is_champion(results):
    first = results[0]
    assert (first.registered.uri, first.registered.alias) == ("models:/glyphmill/1", "champion")
    assert first.registered.reason == "there was no champion"
    assert first.evaluation.scores.rows == 12


def test_the_same_again_is_not_better(results):
    second = results[1].registered
    assert (second.version, second.alias) == ("2", "challenger")
    assert second.reason.startswith("not better: exact match ")
    assert "of the champion, version 1, on the test split of" in second.reason


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


def test_checkpoints_lie_beside_the_store(results, store):
    assert {path.name for path in (store / "checkpoints" / results[0].run_id).iterdir()} == {"best", "last"}
