"""MLflow with a store of this test's own: what a run holds, who is champion, what is downloaded, and what is refused."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import mlflow
import pytest
from mlflow.exceptions import MlflowException

from model import tracking
from model.evaluate import Evaluation
from model.export import put_metrics, write_bundle
from model.metrics import Scores
from model.networks import build
from model.outbox import Journal, Metric
from model.recognizer import Recognizer
from model.termination import Stopped
from model.tracking.store import patiently
from pipelines.errors import DataError

pytestmark = pytest.mark.tf
FAIR = Scores(100, 80, 30, 400)


def evaluation(scores: Scores, fingerprint: str = "f" * 32) -> Evaluation:
    return Evaluation("test", fingerprint, scores, {4: scores}, (), 1.5)


@pytest.fixture(scope="module")
def bundle(digits, quick, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    keras.utils.set_random_seed(0)
    write_bundle(folder, build(quick().network, digits.manifest.image_shape, 10, 3), digits.manifest, quick())
    return folder


@pytest.fixture(scope="module")
def logged(store, digits, quick, bundle, tmp_path_factory):
    """A run that logged and registered a bundle; it is still open, so that others can be registered in it."""
    settings = quick(tracking={"registered_model": "first", "experiment": "tests", "run_name": "one"})
    figures = tmp_path_factory.mktemp("figures")
    (figures / "loss.png").write_bytes(b"a figure")
    with tracking.run(settings, digits, "preset") as run:
        run.log_metrics({"val_exact_match": 0.5}, step=1)
        run.log_metrics({"val_exact_match": 0.75}, step=2)
        run.log_files(figures, "figures")
        assert run.registered() is None
        model = run.log_model(bundle, put_metrics(bundle, evaluation(FAIR).summary()))
        version = run.register(model, evaluation(FAIR), "0123456789")
        registered = tracking.settle(version, "champion", "there was no champion")
        yield SimpleNamespace(run=run, model=model, registered=registered)


@pytest.fixture(scope="module")
def record(logged):
    return mlflow.get_run(logged.run.run_id)


def test_a_run_holds_all_settings(record):
    expected = {
        "network.widths": "[4, 4]",
        "train.batch_size": "8",
        "train.seed": "0",
        "augment.rotate": "0.0",
        "loader.window": "8192",
        "tracking.promote": "better",
        "data.image.width": "32",
        "data.split.by": "label",
        "data.rows.train": "41",
    }
    assert {key: record.data.params.get(key) for key in expected} == expected


def test_a_run_holds_the_dataset_by_its_fingerprint(record, digits):
    (held,) = record.inputs.dataset_inputs
    assert held.dataset.digest == digits.manifest.fingerprint
    assert digits.location.path in held.dataset.source
    assert {tag.value for tag in held.tags} == {"training"}


def test_a_run_holds_metrics_by_epoch(logged, record):
    history = mlflow.MlflowClient().get_metric_history(logged.run.run_id, "val_exact_match")
    assert [(metric.step, metric.value) for metric in history] == [(1, 0.5), (2, 0.75)]
    assert record.data.metrics["val_exact_match"] == 0.75


def test_a_run_is_named_and_tagged(record, digits):
    assert record.info.run_name == "one"
    assert mlflow.get_experiment(record.info.experiment_id).name == "tests"
    tags = {key: record.data.tags[key] for key in ("preset", "dataset", "alias", "registered_version")}
    assert tags == {"preset": "preset", "dataset": digits.manifest.fingerprint, "alias": "champion", "registered_version": "1"}
    assert record.data.tags["git_commit"]


def test_artifacts_lie_beside_the_store(logged, store):
    (found,) = mlflow.artifacts.list_artifacts(run_id=logged.run.run_id, artifact_path="figures")
    assert found.path == "figures/loss.png"
    assert list((store / "artifacts").rglob("loss.png"))
    assert not (store / "mlruns").exists()


def test_a_run_ends_as_failed_when_training_raises(store, logged, quick, digits):
    found = []

    def fail() -> None:
        with contextlib.suppress(KeyError), tracking.run(quick(tracking={"experiment": "failing"}), digits, "preset") as run:
            found.append(run.run_id)
            raise KeyError

    thread = threading.Thread(target=fail)  # MLflow's active run belongs to a thread, and this one has one
    thread.start()
    thread.join()
    assert mlflow.get_run(found[0]).info.status == "FAILED"


def test_the_first_is_champion(logged):
    assert logged.registered == tracking.Registered("models:/first/1", "1", "champion", "there was no champion")
    version = mlflow.MlflowClient().get_model_version("first", "1")
    assert version.run_id == logged.run.run_id
    assert {key: value for key, value in version.tags.items() if key not in ("champion_since", "git_commit")} == {
        "run": logged.run.run_id,
        "dataset": "f" * 32,
        "preset": "preset",
        "ms_per_image": "1.5000",
        "verdict": "champion",
        "test_exact_match": "0.800000",
        "test_cer": "0.075000",
        "alphabet": "0123456789",
        "reason": "there was no champion",
    }
    assert version.description == "champion: there was no champion"


def test_a_run_registers_once(logged):
    """A process that was killed after the registration, or an answer that got lost, makes no second version."""
    assert logged.run.registered().version == logged.run.register(logged.model, evaluation(FAIR), "01").version
    assert len(mlflow.MlflowClient().search_model_versions("name='first'")) == 1


def test_the_run_of_a_model(logged, bundle, tmp_path):
    tracking.download("models:/first@champion", tmp_path / "out")
    for uri in ("models:/first@champion", "models:/first/1", logged.model.model_uri, str(tmp_path / "out")):
        assert tracking.run_of(uri) == logged.run.run_id
    assert tracking.run_of(str(bundle)) is None


def test_the_run_of_a_model_from_another_store_is_not_known(logged, tmp_path):
    out = tracking.download("models:/first@champion", tmp_path / "out")
    (out / "MLmodel").write_text((out / "MLmodel").read_text().replace(logged.run.run_id, "0" * 32))
    assert tracking.run_of(str(out)) is None


def test_metrics_and_tags_come_to_a_run_later(mine, told):
    run_id = mine(lambda run: None)
    tracking.log_to_run(run_id, {"onnx_ms": 1.5}, {"exported": "onnx"})
    found = mlflow.get_run(run_id)
    assert (found.data.metrics["onnx_ms"], found.data.tags["exported"], found.info.status) == (1.5, "onnx", "FINISHED")
    assert "0" * 32 in told(tracking.log_to_run, "0" * 32, {"onnx_ms": 1.5}, {})


def test_a_bundle_is_found_by_uri_download_and_folder(logged, bundle, tmp_path):
    whole = (bundle / "bundle.json").read_text()
    for uri in ("models:/first@champion", "models:/first/1", logged.model.model_uri):
        with tracking.bundle_of(uri) as folder:
            assert (folder / "bundle.json").read_text() == whole
    tracking.download("models:/first@champion", tmp_path / "out")
    for uri in (tmp_path / "out", tmp_path / "out" / "data" / "bundle"):
        with tracking.bundle_of(str(uri)) as folder:
            assert (folder / "bundle.json").read_text() == whole


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/first@nobody", "first (@champion is 1)"),
        ("models:/first/99", "first (@champion is 1)"),
        ("models:/nothing@champion", "registered models here: "),
        ("models:/nothing/latest", "registered models here: "),
        ("models:/", "registered models here: "),
        ("runs:/00000000000000000000000000000000/model", "no such model in sqlite:///"),
        ("no/such/folder", "no/such/folder"),
        ("nonsense://first", "nonsense://first"),
    ],
)
def test_an_unknown_model_is_told_in_one_line(logged, told, tmp_path, uri, said):
    for ask in (lambda: tracking.download(uri, tmp_path / "out"), lambda: tracking.bundle_of(uri).__enter__()):
        message = told(ask)
        assert message.startswith(f"{uri}: ")
        assert said in message
    assert not (tmp_path / "out").exists()


def test_an_alias_is_pinned_to_its_version(logged, told):
    for uri in ("models:/first@champion", "models:/first/1"):
        assert tracking.pinned(uri) == "models:/first/1"
    assert tracking.pinned("some/folder") == "some/folder"
    assert "models:/first@nobody: " in told(tracking.pinned, "models:/first@nobody")


def test_a_store_that_cannot_be_read_is_told_in_one_line(told, tmp_path, monkeypatch):
    (tmp_path / "mlflow.db").write_bytes(b"no database, but long enough to be looked at: " * 40)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)  # MLflow sets it
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    before = mlflow.get_tracking_uri()
    uri = "models:/first@champion"
    for ask in (lambda: tracking.download(uri, tmp_path / "out"), lambda: tracking.run_of(uri), lambda: tracking.pinned(uri)):
        assert "file is not a database" in told(ask)
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(before)


def test_a_download_that_is_cut_short_is_not_in_the_way(logged, tmp_path, monkeypatch):
    copytree = shutil.copytree

    def cut_short(source, target, *more, **options):
        copytree(source, target, *more, **options)
        if Path(target).is_relative_to(tmp_path):  # MLflow copies too, from its store
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", cut_short)
    with pytest.raises(KeyboardInterrupt):
        tracking.download("models:/first@champion", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_glyphmill_did_not_log_is_told(logged, told, tmp_path):
    uri = f"runs:/{logged.run.run_id}/figures"
    assert "not a model that glyphmill logged" in told(tracking.download, uri, tmp_path / "out")
    assert not (tmp_path / "out").exists()

    def read() -> None:
        with tracking.bundle_of(uri) as folder:
            Recognizer.load(folder)

    assert uri in told(read)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_download_goes_to_a_new_or_empty_folder_only(logged, told, tmp_path, kind):
    output = tmp_path / "out"
    if kind == "file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / "mine.txt").write_text("mine")
    assert f"{output}: not an empty folder" in told(tracking.download, "models:/first@champion", output)
    assert [path.read_text() for path in (output, output / "mine.txt") if path.is_file()] == ["mine"]


ALONE = """
import sys, mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
table = model.predict([open(path, "rb").read() for path in sys.argv[2:]])
print(table.to_json(orient="records"))
"""


@pytest.mark.slow
def test_a_download_predicts_where_the_repository_is_not(logged, bundle, png, tmp_path):
    (tmp_path / "out").mkdir()  # empty folders are taken
    out = tracking.download("models:/first@champion", tmp_path / "out")
    assert {"MLmodel", "README.md", "predict.py", "requirements.txt", "code", "data"} <= {path.name for path in out.iterdir()}
    (tmp_path / "17.png").write_bytes(png("17"))
    (tmp_path / "bad.png").write_bytes(b"bad")
    command = [sys.executable, "-I", "-c", ALONE, str(out), "17.png", "bad.png"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    good, bad = json.loads(done.stdout.splitlines()[-1])
    (expected,) = Recognizer.load(bundle).predict([("", png("17"))])
    assert good["text"] == expected.text
    assert good["confidence"] == pytest.approx(expected.confidence, rel=1e-4)
    assert len(good["characters"]) == len(expected.text)
    assert bad["error"].startswith("not_an_image")


@pytest.fixture
def server():
    """A server on the loopback that answers every connection with the given bytes, or with silence."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections = []

    def serve(answer: bytes | None) -> str:
        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                open_connections.append(connection)
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for connection in open_connections:
        connection.close()
    listener.close()


def refusal(told, uri: str, call, *args) -> str:
    """What a call says with `uri` as the tracking server; the store of this module is put back after it."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)  # MLflow sets it for its children
        try:
            message = told(call, *args)
        finally:
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])
    assert time.monotonic() - began < 10
    return message


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9",  # nobody listens
        "https://127.0.0.1:9",
        "http://no-such-host.invalid:5000",
        "http://127.0.0.1:port",
        "http://",
    ],
)
def test_a_server_that_is_not_there_is_told(store, told, tmp_path, uri):
    message = refusal(told, uri, tracking.download, "models:/first@champion", tmp_path / "out")
    assert message.startswith(f"{uri}: the MLflow server does not answer")
    assert "MLFLOW_TRACKING_URI" in message


@pytest.mark.parametrize("answer", [None, b"SSH-2.0-OpenSSH_9.2\r\n", b""], ids=["silence", "no HTTP", "hangs up"])
def test_a_server_that_does_not_speak_is_told(store, told, server, tmp_path, monkeypatch, answer):
    monkeypatch.setattr("model.tracking.store.SECONDS", 1)
    uri = server(answer)
    message = refusal(told, uri, tracking.download, "models:/first@champion", tmp_path / "out")
    assert message.startswith(f"{uri}: the MLflow server does not answer")


def test_a_server_that_refuses_is_told(store, told, server, tmp_path):
    uri = server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nConnection: close\r\n\r\nforbidden")
    assert uri in refusal(told, uri, tracking.download, "models:/first@champion", tmp_path / "out")


def test_a_server_that_cannot_write_artifacts_is_told(store, told, server, monkeypatch):
    monkeypatch.setattr("model.tracking.store.PAUSE", 0)
    full = MlflowException("API request to http://s/api failed: Max retries exceeded (too many 500 error responses)")
    uri = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def log() -> None:
        tracking.connect()
        patiently("the model", raising(full))

    assert refusal(told, uri, log) == (
        f"the model: the MLflow server {uri}: it answers with HTTP status 500;"
        " its own log says why, such as an artifact store that is full or away"
    )


def raising(error: Exception):
    def call():
        raise error

    return call


@pytest.mark.parametrize("uri", ["nonsense://store", "sqlite:///{tmp_path}/file/mlflow.db", "sqlite:///{tmp_path}/file"])
def test_a_store_that_cannot_be_opened_is_told(store, told, digits, quick, tmp_path, uri):
    (tmp_path / "file").write_text("this is no database, and no folder for one")
    uri = uri.format(tmp_path=tmp_path)
    assert uri in refusal(told, uri, lambda: tracking.run(quick(), digits, "preset").__enter__())


@pytest.fixture
def mine(store, digits, quick):
    """Runs of this test's own, in a thread each: MLflow's active run belongs to a thread, and this one has one."""

    def mine(act, **more) -> str:
        failed = []

        def follow() -> None:
            try:
                with tracking.run(quick(tracking={"experiment": "mine"}), digits, "preset", **more) as run:
                    failed.append(run.run_id)
                    act(run)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=follow)
        thread.start()
        thread.join()
        run_id, *errors = failed
        if errors:
            raise errors[0]
        if isinstance(run_id, BaseException):
            raise run_id
        return run_id

    return mine


def history(run_id: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in mlflow.MlflowClient().get_metric_history(run_id, key)]


def test_a_run_that_goes_on_is_one_run(mine, digits):
    first = mine(lambda run: [run.log_metrics({"loss": 1 / step, "cer": step}, step) for step in (1, 2)])
    again = mine(lambda run: [run.log_metrics({"loss": 9.0, "cer": 9.0}, step) for step in (2, 3)], resume=first)
    assert mine(lambda run: run.log_metrics({"loss": 8.0}, 4), resume=again) == first
    assert history(first, "loss") == [(1, 1.0), (2, 0.5), (3, 9.0), (4, 8.0)]
    assert history(first, "cer") == [(1, 1.0), (2, 2.0), (3, 9.0)]
    found = mlflow.get_run(first)
    assert (found.data.tags["resumed"], found.info.status) == ("2", "FINISHED")
    assert len(found.inputs.dataset_inputs) == 1
    assert found.data.params["train.batch_size"] == "8"


@pytest.mark.parametrize(
    ("error", "status"),
    [(Stopped("saved"), "KILLED"), (KeyboardInterrupt(), "KILLED"), (DataError("no shard"), "FAILED"), (OSError(28, "full"), "FAILED")],
)  # fmt: skip
def test_a_run_that_was_stopped_is_no_failure(mine, error, status):
    seen = []

    def stop(run: tracking.Run) -> None:
        seen.append(run.run_id)
        run.log_metrics({"loss": 1.0}, 1)
        raise error

    with pytest.raises(type(error)):
        mine(stop)
    assert mlflow.get_run(seen[0]).info.status == status
    assert history(seen[0], "loss") == [(1, 1.0)]
    mine(lambda run: None, resume=seen[0])
    assert mlflow.get_run(seen[0]).info.status == "FINISHED"


def test_a_run_that_there_is_not_cannot_go_on(mine, told):
    assert "0" * 32 in told(mine, lambda run: None, resume="0" * 32)


def test_system_metrics_go_on_after_a_resume(mine, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    first = mine(lambda run: time.sleep(0.5))
    before = len(history(first, "system/cpu_utilization_percentage"))
    assert before >= 2
    mine(lambda run: time.sleep(0.5), resume=first)
    for key in ("system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"):
        steps = [step for step, _ in history(first, key)]
        assert steps == list(range(len(steps)))
        assert len(steps) > before


def test_what_a_killed_run_left_is_sent_by_the_next_start(mine, store, capfd):
    first = mine(lambda run: run.log_metrics({"loss": 1.0}, 1))
    for run_id, keeps in ((first, False), ("f" * 32, True)):  # the second one is of another store
        journal = Journal(store / tracking.OUTBOX / f"{run_id}.jsonl")
        journal.append([Metric("loss", 7.0, 1, 10**13), Metric("loss", 0.5, 2, 10**13)])
        journal._file.close()
        mine(lambda run: None)
        assert journal.path.exists() == keeps
    assert history(first, "loss") == [(1, 1.0), (2, 0.5)]
    assert f"has 2 metrics that run {first} had left" in capfd.readouterr().err


def test_a_run_under_way_is_left_alone(mine, store):
    def other(run: tracking.Run) -> None:
        assert len(list((store / tracking.OUTBOX).glob("*.jsonl"))) >= 2
        with pytest.raises(DataError, match="another process writes to this MLflow run"):
            mine(lambda other: None, resume=run.run_id)

    first = mine(lambda run: (run.log_metrics({"loss": 1.0}, 1), mine(other)))
    assert history(first, "loss") == [(1, 1.0)]
