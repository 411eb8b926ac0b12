"""A sweep as a person runs it: killed and started again, with trials that fail; its children, table and figure in MLflow."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import psutil
import pytest
from PIL import Image

from jobs import entry
from jobs import sweep as job
from model import tracking
from model.compare import Row
from model.run import train
from model.sweep import Sweep, best_of, run
from model.sweep import told as lines
from model.trials import trials
from pipelines.errors import DataError, SettingsError

pytestmark = [pytest.mark.tf, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
LIMIT = 240  # seconds
# Batches of 7 do not split over two devices, which a trial says at once; the others train for seconds.
GRID = [
    "devices.cpus=1,2",
    "train.seed=1,2",
    "train.batch_size=7",
    "train.epochs=5",
    "train.checkpoint_steps=3",
]
SMALL = ["network.widths=[4, 4]", "network.units=8", "network.depth=1", "network.dropout=0"]


def command(dataset: str, *more: str) -> list[str]:
    sets = [part for text in (*GRID, *SMALL) for part in ("--set", text)]
    return [sys.executable, "-m", "jobs.sweep", "--dataset", dataset, *sets, "--output", "sweep", *more]


def record(folder: Path, place: int) -> dict:
    found = list(folder.glob(f"{place:03d}-*/run.json"))
    return json.loads(found[0].read_text()) if found else {}


def wait_for(what, process: subprocess.Popen) -> None:
    limit = time.monotonic() + LIMIT
    while not what():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture(scope="module")
def swept(store, digits):
    """The folder of a sweep that was killed in its second trial and then run to its end, what that said, and the first runs."""
    tracking.connect()
    environment = os.environ | entry.ALLOCATOR | {"PYTHONPATH": str(ROOT)}
    folder = store / "sweep"
    with (store / "first.log").open("w") as log:
        process = subprocess.Popen(command(digits.location.path), cwd=store, env=environment, stdout=log, stderr=log)
        wait_for(lambda: record(folder, 2).get("run_id"), process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(children, timeout=LIMIT)  # the training is told to stop when the sweep is no more
    before = [record(folder, place) for place in (1, 2)]
    done = subprocess.run(
        command(digits.location.path, "--promote"), cwd=store, env=environment, check=False, capture_output=True, text=True
    )
    return folder, done, before


def children(folder: Path) -> list:
    parent = json.loads((folder / "sweep.json").read_text())["run_id"]
    client = mlflow.MlflowClient()
    experiment = client.get_run(parent).info.experiment_id
    return client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'", order_by=["attributes.start_time ASC"])


def test_it_goes_on_where_it_was_killed(swept):
    folder, done, before = swept
    assert done.returncode == 0, done.stderr
    assert (before[0]["finished"], before[1]["finished"]) == (True, False)
    found = [record(folder, place) for place in (1, 2)]
    assert [one["run_id"] for one in found] == [one["run_id"] for one in before]
    assert all(one["finished"] for one in found)
    assert "trial 1 of 4 (default devices.cpus=1 train.seed=1): exact match " in done.stderr
    assert done.stderr.count(": training; ") == 3  # not that of the first


def test_what_fails_is_a_row(swept):
    folder, done, _ = swept
    rows = list(csv.DictReader((folder / "table" / "table.csv").open()))
    assert [row["status"] for row in rows] == ["finished", "finished", "failed", "failed"]
    assert [row["error"] for row in rows[2:]] == ["train.batch_size=7 does not split over 2 devices; take a multiple of 2"] * 2
    assert [bool(row["exact_match"]) for row in rows] == [True, True, False, False]
    assert [row["devices.cpus"] for row in rows] == ["1", "1", "2", "2"]
    assert "2 of 4 trials failed; the same command tries them again" in done.stdout
    assert "* best by the val split: " in done.stdout


def test_the_children_stand_under_the_parent(swept, digits):
    folder, *_ = swept
    found = children(folder)
    assert len(found) == 2
    for child in found:
        assert child.info.status == "FINISHED"
        assert child.info.run_name in ("default devices.cpus=1 train.seed=1", "default devices.cpus=1 train.seed=2")
        assert child.data.params["tracking.promote"] == "never"
        assert {"preset", "dataset", "stack", "device"} <= {*child.data.tags}
    assert found[1].data.tags["resumed"] == "1"


def test_the_parent_has_the_table_the_figure_and_the_best(swept, digits):
    folder, *_ = swept
    client = mlflow.MlflowClient()
    parent = client.get_run(json.loads((folder / "sweep.json").read_text())["run_id"])
    assert parent.info.status == "FINISHED"
    kept = {file.path for file in client.list_artifacts(parent.info.run_id, "sweep")}
    assert kept == {f"sweep/{name}" for name in ("table.csv", "table.json", "table.txt", "exact_match.png")}
    tags = {key: parent.data.tags[key] for key in ("preset", "dataset")}
    assert tags == {"preset": "sweep", "dataset": digits.manifest.fingerprint}
    best = next(child for child in children(folder) if child.info.run_id == parent.data.tags["best_run"])
    assert parent.data.metrics["test_exact_match"] == best.data.metrics["test_exact_match"]
    assert (parent.data.metrics["trials"], parent.data.metrics["failed"]) == (4, 2)
    assert parent.data.params["sweep.train.seed"] == "1, 2"
    with Image.open(io.BytesIO((folder / "table" / "exact_match.png").read_bytes())) as image:
        assert image.format == "PNG"


def aliases() -> dict[str, str]:
    return {key: str(value) for key, value in mlflow.MlflowClient().get_registered_model("glyphmill").aliases.items()}


def test_the_best_is_promoted_and_no_other(swept):
    folder, done, _ = swept
    assert "is champion: there was no champion" in done.stdout
    client = mlflow.MlflowClient()
    champion = client.get_model_version_by_alias("glyphmill", "champion")
    parent = client.get_run(json.loads((folder / "sweep.json").read_text())["run_id"])
    assert champion.run_id == parent.data.tags["best_run"]
    assert aliases() == {"champion": str(champion.version)}
    (other,) = (n for n in ("1", "2") if n != str(champion.version))
    assert client.get_model_version("glyphmill", other).description == "no alias: tracking.promote is never"


def test_without_promote_the_best_is_challenger(swept, monkeypatch, capsys, digits):
    """As the command says it of rows in which the one without alias is best."""
    client = mlflow.MlflowClient()
    champion = str(client.get_model_version_by_alias("glyphmill", "champion").version)
    other = "1" if champion == "2" else "2"
    one = Row("a" * 32, "one", "finished", "p", "d", "data", 0.5, val_exact_match=0.5)
    rows = [
        replace(one, model=f"glyphmill/{other}"),
        replace(one, val_exact_match=0.9),
        replace(one, error="no", exact_match=None),
    ]
    monkeypatch.setattr("model.sweep.run", lambda *args: rows)
    monkeypatch.setattr(sys, "argv", ["jobs.sweep", "--dataset", digits.location.path])
    job.main()
    said = f"models:/glyphmill/{other} is challenger: the best of 3 trials by the val split\n"
    assert capsys.readouterr().out.endswith(said)
    assert aliases() == {"champion": champion, "challenger": other}


# --- refusals, without a training


def sweep_of(dataset, *settings: str, configs: tuple[str, ...] = (), program: str = "raise SystemExit(3)") -> Sweep:
    return Sweep(dataset, trials(configs, settings), None, [sys.executable, "-c", program])


def test_settings_that_there_are_not_are_told_before_anything_is_trained(store, digits, tmp_path):
    with pytest.raises(SettingsError, match="unknown key train.epoch"):
        run(sweep_of(digits, "train.seed=1,2", "train.epoch=3"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_sweep_does_not_take_the_folder(store, digits, tmp_path):
    assert best_of(run(sweep_of(digits, "train.seed=1"), tmp_path / "out")) is None
    with pytest.raises(DataError, match="holds another sweep"):
        run(sweep_of(digits, "train.seed=2"), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(DataError, match="not an empty folder"):
        run(sweep_of(digits, "train.seed=2"), tmp_path / "mine")


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("train: {epochs: 3}", "train: {epochs: 4}", False),
        ("train: {epochs: 3}", "{train: {epochs: 3}, augment: {rotate: 1}}", False),
        ("train: {learning_rate: 1.0e-5}", "# slow\ntrain: {learning_rate: 0.00001}", True),
        ("train: {epochs: 3}", "{train: {epochs: 3}, loader: {threads: 2}}", True),
    ],
)
def test_a_preset_that_was_edited_makes_another_sweep(store, digits, tmp_path, before, after, same):
    preset = tmp_path / "preset.yaml"
    preset.write_text(before)
    sweep = sweep_of(digits, "train.seed=1", configs=(str(preset),))
    run(sweep, tmp_path / "out")
    logs = set((tmp_path / "out").glob("*.log"))
    preset.write_text(after)
    if same:
        run(sweep, tmp_path / "out")
        assert set((tmp_path / "out").glob("*.log")) == logs
    else:
        with pytest.raises(DataError, match="holds another sweep: other trials, settings, "):
            run(sweep, tmp_path / "out")
        there = {*(store / "sweeps").glob("*/*.log")}
        for text in (before, after):
            preset.write_text(text)
            run(sweep)
        assert len({log.name for log in {*(store / "sweeps").glob("*/*.log")} - there}) == 2


def test_a_preset_that_is_edited_while_the_sweep_runs_is_told(store, digits, tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("train: {epochs: 3}")
    edit = f"open({str(preset)!r}, 'w').write('train: {{epochs: 4}}'); raise SystemExit(3)"
    rows = run(sweep_of(digits, "train.seed=1,2", configs=(str(preset),), program=edit), tmp_path / "out")
    assert [row.error for row in rows] == ["exit code 3", f"{preset} has changed since the sweep began; start the sweep anew"]


@pytest.mark.parametrize("arguments", ["--budget 0", "--budget x", "--sample -1"])
def test_what_is_no_number_is_told_by_its_option(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["jobs.sweep", "--dataset", "data", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        job.main()
    option, value = arguments.split()
    assert (caught.value.code, capsys.readouterr().err.splitlines()[-1]) == (
        2,
        f"jobs.sweep: error: argument {option}: invalid positive value: '{value}'",
    )


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import sys; print('error: no such thing', file=sys.stderr); sys.exit(1)", "no such thing"),
        ("raise ValueError('planted')", "ValueError: planted"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit code -9"),
    ],
)
def test_why_a_trial_failed(store, digits, tmp_path, program, error):
    rows = run(sweep_of(digits, "train.seed=1,2", program=program), tmp_path / "out")
    assert [(row.error, row.status, row.name) for row in rows] == [(error, "failed", f"default train.seed={n}") for n in (1, 2)]
    assert lines(rows) == ["2 of 2 trials failed; the same command tries them again"]


def test_a_budget_takes_the_place_of_the_epochs(digits):
    one = Sweep(digits, trials([], ["train.seed=1"]), 90.0, [])
    assert (one.settings(one.trials[0]).train.minutes, one.settings(one.trials[0]).train.epochs) == (1.5, 10_000)
    own = Sweep(digits, trials([], ["train.epochs=7", "tracking.promote=always"]), 90.0, [])
    settings = own.settings(own.trials[0])
    assert (settings.train.epochs, settings.tracking.promote) == (7, "never")


def test_a_training_in_this_process_is_no_child(store, digits, quick, light, monkeypatch):
    monkeypatch.setattr("model.trainer.build", light)
    result = train(digits, quick(train={"seed": 77}), "preset")
    assert "mlflow.parentRunId" not in mlflow.get_run(result.run_id).data.tags
