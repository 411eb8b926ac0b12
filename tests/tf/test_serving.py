"""A model in MLflow, downloaded and behind a port of this machine's loopback: what it answers, and what it refuses."""

import base64
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import keras
import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest
from mlflow.models import Model

from jobs import entry, serve
from model import readiness, tracking
from model.bundle import BUNDLE
from model.export import CODE, put_metrics, write_bundle
from model.networks import build
from model.recognizer import Recognizer
from model.tracking.flavor import Flavor
from pipelines.errors import SettingsError

pytestmark = [pytest.mark.tf, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
URI = "models:/served@champion"
SECONDS = 120  # that a server may take to start, on a busy machine
MAX_ROWS, MAX_PIXELS, MAX_BYTES = 8, 600, 1500


@pytest.fixture(scope="module")
def bundle(digits, quick, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "bundle"
    keras.utils.set_random_seed(0)
    network = build(quick().network, digits.manifest.image_shape, 10, 3)
    kernel, bias = network.get_layer("logits").get_weights()
    network.get_layer("logits").set_weights([kernel * 3, bias * 0])  # it reads something in every picture
    write_bundle(folder, network, digits.manifest, quick())
    return folder


@pytest.fixture(scope="module")
def registered(store, bundle) -> str:
    """The model's URI."""
    tracking.connect()
    mlflow.create_experiment("served", (store / "artifacts").as_uri())
    mlflow.set_experiment("served")
    with mlflow.start_run():
        scores = {"rows": 12, "exact_match": 0.75, "cer": 0.0625}
        logged = Model.log(None, flavor=Flavor, name="model", bundle_folder=bundle, bundle=put_metrics(bundle, scores))
    version = mlflow.register_model(logged.model_uri, "served").version
    mlflow.MlflowClient().set_registered_model_alias("served", "champion", version)
    return URI


@pytest.fixture(scope="module")
def downloaded(registered, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("downloaded") / "out"
    done = job("download", "--model", registered, "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def job(name: str, *args: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"jobs.{name}", *map(str, args)]
    return subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)


def answered(url: str, data: bytes | None = None, kind: str = "application/json") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": kind}), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_until_up(process: subprocess.Popen, url: str, log: Path) -> None:
    for _ in range(SECONDS * 5):
        try:
            answered(f"{url}/ping")
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="module")
def server(registered, store):
    """The address of a server with small limits, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = [
        "--port",
        port,
        "--max-rows",
        MAX_ROWS,
        "--max-pixels",
        MAX_PIXELS,
        "--max-bytes",
        MAX_BYTES,
        "--model",
        registered,
    ]
    command = [sys.executable, "-m", "jobs.serve", *map(str, options)]
    log = store / "serve.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment(), stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(process, url, log)
        yield url, process
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(20)
        psutil.wait_procs(children, 20)
    with pytest.raises(OSError, match="refused"):
        answered(f"{url}/ping")


@pytest.fixture(scope="module")
def ask(server):
    """The rows that the server answers to the contents of a request."""

    def ask(contents: dict) -> list[dict]:
        status, answer = answered(f"{server[0]}/invocations", json.dumps(contents).encode())
        assert status == 200, answer
        return json.loads(answer)["predictions"]

    return ask


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_it_lives_and_tells_its_version(server):
    url, _ = server
    assert [answered(f"{url}/{path}")[0] for path in ("ping", "health", "version")] == [200, 200, 200]
    assert answered(f"{url}/version")[1].decode() == mlflow.__version__


@pytest.mark.parametrize(
    "form",
    [
        lambda texts: {"inputs": texts},
        lambda texts: {"instances": texts},
        lambda texts: {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        lambda texts: {"dataframe_records": [{"image": text} for text in texts]},
    ],
    ids=["inputs", "instances", "split", "records"],
)
def test_a_batch_is_read_as_by_the_recogniser(ask, bundle, png, form):
    labels = [f"{n:02d}" for n in range(6)]
    rows = ask(form([as_text(png(label)) for label in labels]))
    expected = list(Recognizer.load(bundle).predict((label, png(label)) for label in labels))
    assert [row["text"] for row in rows] == [one.text for one in expected]
    assert [row["error"] for row in rows] == [""] * 6
    assert set(rows[0]) == {"text", "confidence", "characters", "error"}
    np.testing.assert_allclose([row["confidence"] for row in rows], [one.confidence for one in expected], rtol=1e-4)
    assert [len(row["characters"]) for row in rows] == [len(row["text"]) for row in rows]


def test_a_bad_image_is_an_error_in_its_own_row(ask, png, encode, store):
    from PIL import Image

    good = as_text(png("17"))
    (store / "image.png").write_bytes(png("17"))
    (store / "abcd").write_bytes(png("17"))  # a name that is base64 too; the server runs in this folder
    wide = encode(Image.new("L", (MAX_PIXELS + 1, 1)))
    large = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)), "BMP") + bytes(MAX_BYTES)
    bad = {
        "": "empty_file: ",
        as_text(b"text"): "not_an_image: ",
        as_text(png("17")[:60]): "truncated: ",
        as_text(wide): "decompression_bomb: 601x1 is over checks.max_pixels 600",
        as_text(large): f"bytes are over checks.max_bytes {MAX_BYTES}",
        "image.png": "'image.png' is not base64",
        str(store / "image.png"): "is not base64",
        "abcd": "not_an_image: ",
        "http://127.0.0.1:9/image.png": "is not base64",
        None: "expected bytes, base64 text",  # of pandas 3 a NaN
        5: "got int",
    }
    for image, error in bad.items():
        first, middle, last = ask({"inputs": [good, image, good]})
        assert error in middle["error"], image
        assert (middle["text"], middle["characters"], middle["confidence"]) == ("", [], 0.0)
        assert first == last
        assert first["error"] == ""


def test_rows_past_the_limit_are_errors(ask, png):
    rows = ask({"inputs": [as_text(png("17"))] * (MAX_ROWS + 2)})
    assert [row["error"] for row in rows[:MAX_ROWS]] == [""] * MAX_ROWS
    assert {row["error"] for row in rows[MAX_ROWS:]} == {
        "too_many_rows: 10 in one request, and max_rows is 8; send it in parts"
    }


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b"{}", b'{"images": []}', b'{"inputs": {"a": ["b"]}}'])
def test_what_is_no_request_is_refused_and_the_server_lives(server, body):
    assert answered(f"{server[0]}/invocations", body)[0] == 400
    assert answered(f"{server[0]}/invocations", body, "text/html")[0] == 415
    assert answered(f"{server[0]}/ping")[0] == 200


def test_a_request_that_would_take_all_memory_is_refused(server):
    """MLflow gives each row of `instances` the size of the longest: here 50 GB."""
    rows = [{"image": "A" * 500_000}] + [{"image": ""}] * 25_000
    assert answered(f"{server[0]}/invocations", json.dumps({"instances": rows}).encode())[0] == 400
    assert answered(f"{server[0]}/ping")[0] == 200


def test_the_server_has_no_tensorflow(server):
    pids = [child.pid for child in psutil.Process(server[1].pid).children(recursive=True)]
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in pids]
    assert any("onnxruntime" in text for text in maps)
    assert not any(name in text for text in maps for name in ("tensorflow", "pyspark"))


def test_the_documented_commands(server, ask, png, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    (tmp_path / "image.png").write_bytes(png("17"))
    script = re.search(r"<!-- curl -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    told = [line for line in str(serve.__doc__).splitlines() if line.startswith(("printf", "curl"))]
    assert told == script.splitlines()[: len(told)]
    lines = ['curl() { command curl --silent "$@"; echo; }', *script.replace("http://127.0.0.1:8000", server[0]).splitlines()]
    done = subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=tmp_path, check=True, capture_output=True, text=True)
    *answers, version = [line for line in done.stdout.splitlines() if line]
    expected = ask({"inputs": [as_text(png("17"))]})
    assert [json.loads(answer)["predictions"] for answer in answers] == [expected, expected]
    assert version == mlflow.__version__


# --- what is not served


class Started(BaseException):
    """In place of the server, with its command."""


def started(monkeypatch, *args: object) -> list[str]:
    def instead(file: str, command: list[str]) -> None:
        raise Started(command)

    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_PYFUNC_INFERENCE_CONFIG",
        "PATH",
        "PYTHONPATH",
        "UVICORN_LOOP",
        *entry.ALLOCATOR,
    ):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # as it was after the test
    monkeypatch.setattr(sys, "argv", ["serve", *map(str, args)])
    monkeypatch.setattr(os, "execv", instead)
    with pytest.raises(Started) as caught:
        serve.main()
    return caught.value.args[0]


@pytest.fixture
def refusal(told, store, monkeypatch):
    """The line with which jobs.serve ends."""

    def refusal(*args: object) -> str:
        monkeypatch.setattr(sys, "argv", ["serve", *map(str, args)])
        monkeypatch.setattr(os, "execv", lambda *command: pytest.fail("it was started"))
        return told(serve.main)

    return refusal


def test_a_port_that_is_taken_is_told(refusal):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"--host 127.0.0.1 --port {port}: cannot be listened on" in refusal("--port", port)
    assert "--port 99999: cannot be listened on" in refusal("--port", 99999)


def test_a_number_that_cannot_be_is_told(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["serve", "--threads", "-1"])
    with pytest.raises(SettingsError, match="threads=-1"):
        serve.main()


def test_a_model_of_before_is_not_served(refusal, downloaded, tmp_path):
    shutil.copytree(downloaded, tmp_path / "old")
    place = tmp_path / "old" / "data" / "bundle" / BUNDLE
    place.write_text(json.dumps(json.loads(place.read_text()) | {"format": 1}))
    assert "older version, whose code opens files that a request names" in refusal("--model", tmp_path / "old", "--port", 1024)


def test_a_bundle_alone_is_not_served(refusal, bundle):
    assert "without MLflow's files" in refusal("--model", bundle, "--port", 1024)


def test_an_unknown_model_is_told(refusal, registered):
    assert "has no such version" in refusal("--model", "models:/served@nobody", "--port", 1024)
    assert "no such model" in refusal("--model", "models:/served/99", "--port", 1024)


def test_a_folder_whose_code_was_changed_is_not_served(refusal, downloaded, tmp_path):
    shutil.copytree(downloaded, tmp_path / "changed")
    (tmp_path / "changed/code/model/decode.py").write_text("print('something else')")
    assert "decode.py: missing or damaged (checksum)" in refusal("--model", tmp_path / "changed", "--port", 1024)


def test_what_is_served_is_one_version(registered, store, monkeypatch, capsys):
    """Also where the alias moves on while it starts."""
    command = started(monkeypatch, "--model", registered, "--port", 1024, "--max-memory", 0)
    assert command[command.index("--model-uri") + 1] == "models:/served/1"
    assert capsys.readouterr().out == "http://127.0.0.1:1024/invocations will read with models:/served/1; stop with Ctrl+C\n"


@pytest.mark.parametrize(("hard", "limit"), [(resource.RLIM_INFINITY, 4 * readiness.GIB), (readiness.GIB, readiness.GIB)])
def test_the_smaller_limit_of_memory_holds(monkeypatch, hard, limit):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (hard, hard))
    set_to = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: set_to.append(limits))
    readiness.limit_memory(4)
    assert set_to == [(limit, limit)]


def test_a_limit_of_memory_that_cannot_be_set_is_told():
    with pytest.raises(SettingsError, match=f"--max-memory {2**40}: cannot be set"):
        readiness.limit_memory(2**40)


# --- downloaded


def test_a_downloaded_folder_has_what_it_needs(downloaded):
    names = {path.relative_to(downloaded).as_posix() for path in downloaded.rglob("*") if path.is_file()}
    code = {f"code/{package}/{module}.py" for package, modules in CODE.items() for module in modules}
    rest = {"README.md", "predict.py", "requirements.txt", "SHA256SUMS", "data/bundle/bundle.json", "data/bundle/network.onnx"}
    assert code | rest | {"data/bundle/network.keras", "MLmodel"} <= names
    needed = [line.partition("==")[0] for line in (downloaded / "requirements.txt").read_text().splitlines()]
    assert needed == ["onnxruntime", "numpy", "pillow", "pydantic", "pyyaml"]
    assert "mlflow==" in (downloaded / "python_env.yaml").read_text()
    assert "| all | 12 | 0.7500 | 0.0625 |" in (downloaded / "README.md").read_text()
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=downloaded, check=True, capture_output=True)


PYFUNC = """
import json, sys
from pathlib import Path
import mlflow
import pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
image = Path(sys.argv[2])
images = [image.read_bytes(), image, str(image)]
print(json.dumps([model.predict(images)["text"].tolist(), model.predict(pd.DataFrame({"image": images}))["text"].tolist()]))
print([name for name in ("tensorflow", "keras") if name in sys.modules])
"""


def test_the_pyfunc_imports_no_tensorflow(downloaded, bundle, png, tmp_path):
    (tmp_path / "17.png").write_bytes(png("17"))
    command = [sys.executable, "-I", "-c", PYFUNC, str(downloaded), str(tmp_path / "17.png")]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (expected,) = Recognizer.load(bundle).predict([("", png("17"))])
    rows, imported = done.stdout.splitlines()[-2:]
    assert json.loads(rows) == [[expected.text, expected.text, ""]] * 2
    assert imported == "[]"


def test_limits_are_mlflows_model_config(downloaded, png):
    model = mlflow.pyfunc.load_model(str(downloaded), model_config={"max_rows": 1, "max_pixels": 10, "threads": 1})
    table = model.predict(pd.DataFrame({"image": [png("17"), png("17")]}))
    assert "over checks.max_pixels 10" in table["error"][0]
    assert "max_rows is 1" in table["error"][1]


@pytest.fixture
def damaged(registered, store, damage):
    """Damages a file of the registered model; it is whole again after the test."""
    mended = []

    def damaged(name: str) -> None:
        (file,) = (store / "artifacts").rglob(name)
        mended.append((file, file.read_bytes()))
        damage(file)

    yield damaged
    for file, data in mended:
        file.write_bytes(data)


@pytest.mark.parametrize("name", ["data/bundle/network.onnx", "data/bundle/bundle.json", "code/model/decode.py", "predict.py"])
def test_a_damaged_model_is_not_downloaded(damaged, registered, told, tmp_path, name):
    damaged(name)
    for fetch in (lambda: tracking.download(registered, tmp_path / "out"), lambda: tracking.bundle_of(registered).__enter__()):
        assert f"{name}: missing or damaged (checksum); download the model again" in told(fetch)
    assert not (tmp_path / "out").exists()


def test_the_job_tells_of_damage_in_one_line(damaged, registered, tmp_path):
    damaged("network.keras")
    done = job("download", "--model", registered, "--output", tmp_path / "out")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "network.keras: missing or damaged" in line


def test_mlflows_own_download_is_the_same_folder(registered, downloaded, store, tmp_path):
    command = [sys.executable, "-m", "mlflow", "artifacts", "download", "-u", registered, "-d", str(tmp_path / "out")]
    subprocess.run(command, env=environment(), check=True, capture_output=True)
    sums = [(folder / "SHA256SUMS").read_text() for folder in (downloaded, tmp_path / "out")]
    assert sums[0] == sums[1]
    (tmp_path / "image.png").write_bytes(b"")
    command = [sys.executable, "-I", str(tmp_path / "out" / "predict.py"), str(tmp_path / "image.png")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "empty_file" in done.stdout
