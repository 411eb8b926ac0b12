"""Runs side by side, from facts written down and from a store: the best, what is within the noise, other datasets, every format."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from model import tracking
from model.compare import advice, differing, rows_of, text, to_csv, to_json
from model.tracking import Facts

pytestmark = pytest.mark.tf
ROOT = Path(__file__).parents[2]


def facts(letter: str, exact: float | None, *, data: str = "d" * 32, **more) -> Facts:
    """A run; its interval is two points to each side."""
    scores = {} if exact is None else {"test_exact_match": exact, "test_cer": (1 - exact) / 4}
    ends = {} if exact is None else {"test_exact_match_low": exact - 0.02, "test_exact_match_high": exact + 0.02}
    metrics = scores | ends | {"weights": 300_000, "images_per_second": 350.4, "minutes_trained": 2.5}
    params = {"train.seed": "0", "data.image.width": letter, "tracking.run_name": letter} | more.get("params", {})
    tags = {"preset": f"preset-{letter}", "dataset": data, "device": "CPU, 2 cores"}
    metrics |= more.get("metrics", {"test_ms_per_image": 2.0})
    status = more.get("status", "FINISHED")
    return Facts(
        letter * 32, f"run {letter}", status, tags, params, metrics, "images", more.get("model", ""), more.get("alias", "")
    )


A = facts("a", 0.95, params={"train.learning_rate": "0.001"}, model="glyphmill/1", alias="champion")
B = facts("b", 0.94, params={"train.learning_rate": "0.003", "network.units": "64"}, metrics={"test_ms_per_image": 0.5})
C = facts("c", 0.90, params={"train.learning_rate": "0.003"})
OTHER = facts("e", 0.99, data="0" * 32, params={"train.learning_rate": "0.003"})
OPEN = facts("f", None, params={"train.learning_rate": "0.003"}, status="RUNNING")


def test_settings_that_differ():
    settings = [{"x": "1", "y": "2", "data.rows": "5"}, {"x": "1", "y": "3"}, {"x": "1", "z": "4", "data.rows": "6"}]
    assert differing(settings) == [{"y": "2"}, {"y": "3"}, {"z": "4"}]
    assert differing([{"x": "1"}]) == [{}]


@pytest.mark.parametrize(
    ("runs", "best"),
    [
        ([A, B, C], "a"),
        ([C, B], "b"),
        ([A], ""),  # better than nothing is no praise
        ([C, B, OTHER], "b"),  # the only one of its dataset
        ([OPEN, C, B], "b"),
        ([C, facts("g", 0.90, metrics={"test_cer": 0.001})], "g"),
        ([OPEN], ""),
    ],
)
def test_the_best_of_a_dataset_is_marked(runs, best):
    assert [row.run[0] for row in rows_of(runs) if row.best] == [*best]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (
            [A, B, C],
            [
                "* best on dataset dddddddddddd (images): aaaaaaaa (models:/glyphmill/1, champion), exact match 0.9500",
                "  bbbbbbbb is within its 95% interval and reads 4.0 times as fast",
            ],
        ),
        (
            [C, OTHER],
            [
                "dataset dddddddddddd (images): only cccccccc, nothing to compare it with",
                "dataset 000000000000 (images): only eeeeeeee, nothing to compare it with",
                "the runs are of 2 datasets: scores of one say nothing of those of another",
            ],
        ),
        ([OPEN], ["no run has been judged on a test split yet"]),
    ],
)
def test_which_one_to_use(runs, said):
    assert advice(rows_of(runs)) == said


def test_the_table_of_the_terminal():
    assert text(rows_of([A, B, OPEN])).splitlines()[:8] == [
        "   run       preset    dataset   exact match (95%)          val     CER  weights  images/s  ms/image  minutes  model",
        "*  aaaaaaaa  preset-a  dddddddd  0.9500 (0.9300 to 0.9700)       0.0125  300,000       350      2.00      2.5  glyphmill/1 champion",
        "   bbbbbbbb  preset-b  dddddddd  0.9400 (0.9200 to 0.9600)       0.0150  300,000       350      0.50      2.5",
        "   ffffffff  preset-f  dddddddd  running                                 300,000       350      2.00      2.5",
        "",
        "settings that differ:",
        "  aaaaaaaa  train.learning_rate=0.001",
        "  bbbbbbbb  network.units=64  train.learning_rate=0.003",
    ]  # fmt: skip


def test_a_run_without_interval_shows_its_score_alone():
    old = B._replace(metrics={"test_exact_match": 0.94})
    assert text(rows_of([A, old])).splitlines()[2].endswith("  0.9400")


def test_many_changes_are_told_in_other_formats():
    many = facts("g", 0.9, params={f"network.{n:02d}": "1" for n in range(20)})
    shown = next(line for line in text(rows_of([A, many])).splitlines() if line.startswith("  gggggggg"))
    assert shown.endswith("network.07=1  and 12 more (--format json)")
    assert len(json.loads(to_json(rows_of([A, many])))["runs"][1]["changed"]) == 20


def test_csv_and_json_have_whole_numbers_and_all_settings():
    rows = rows_of([A, B, OPEN])
    one, two, three = csv.DictReader(io.StringIO(to_csv(rows)))
    assert (one["run"], one["exact_match"], one["best"], one["train.learning_rate"]) == ("a" * 32, "0.95", "True", "0.001")
    assert (two["network.units"], three["network.units"], three["exact_match"]) == ("64", "", "")
    found = json.loads(to_json(rows))
    assert found["runs"][1]["changed"] == {"network.units": "64", "train.learning_rate": "0.003"}
    assert found["advice"] == advice(rows)


# --- from a store


@pytest.fixture(scope="module")
def runs(store) -> list[str]:
    """Ids of three runs, the oldest first; two have a dataset and settings, one is a parent that trained nothing."""
    tracking.connect()
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("glyphmill")
    ids = []
    for n in range(3):
        run = client.create_run(experiment, start_time=1000 + n, tags={"preset": f"p{n}", "dataset": "d" * 32})
        ids.append(run.info.run_id)
        if n < 2:
            client.log_param(run.info.run_id, "train.seed", n)
            client.log_metric(run.info.run_id, "test_exact_match", 0.5 + n / 10)
        client.set_terminated(run.info.run_id)
    return ids


def test_without_names_the_newest_trainings_come(runs):
    assert [run.run_id for run in tracking.find_runs([], "glyphmill")] == [runs[1], runs[0]]
    assert [run.run_id for run in tracking.find_runs([], "glyphmill", 1)] == [runs[1]]


def test_runs_are_found_by_the_beginnings_of_their_ids(runs):
    found = tracking.find_runs([runs[0][:10], runs[1], runs[0]], "glyphmill")
    assert [run.run_id for run in found] == runs[:2]
    assert (found[0].tags["preset"], found[1].metrics["test_exact_match"], found[0].status) == ("p0", 0.6, "FINISHED")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("0123456789abcdef", "has no run whose id begins so"),
        ("my run", "neither the id of a run, nor the beginning of one"),
        ("models:/nothing/1", "models:/nothing/1: no such model"),
    ],
)
def test_a_run_that_is_not_there_is_told(runs, told, name, said):
    assert said in told(tracking.find_runs, [name], "glyphmill")


def test_an_experiment_without_runs_is_told(runs, told):
    assert "has no training in the experiment nothing" in told(tracking.find_runs, [], "nothing")


def test_a_beginning_that_fits_several_is_told(store, runs, told):
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("many")
    made = [client.create_run(experiment).info.run_id for _ in range(17)]  # of 17 two begin with the same digit
    first = next(run_id[0] for run_id in made if sum(other[0] == run_id[0] for other in made) > 1)
    assert f"{first}: several runs begin so: " in told(tracking.find_runs, [first], "many")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "code", "said"),
    [([], 0, "* best on dataset dddddddddddd"), (["--format", "json"], 0, '"exact_match": 0.6'), (["zz"], 1, "error: zz: ")],
)
def test_the_command(runs, store, args, code, said):
    command = [sys.executable, "-m", "jobs.compare", *args]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert said in (done.stderr if code else done.stdout)
