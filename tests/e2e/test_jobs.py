"""The commands as a person runs them: images, shards, a model, its readings; and what each says of bad input."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from pipelines.config import IngestSettings
from pipelines.errors import DataError
from pipelines.ingest import ingest
from pipelines.manifest import open_dataset
from pipelines.settings import read

REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.tf, pytest.mark.slow]

IMAGES, FLAWS = 150, 8  # of the flaws two each are empty, cut short, no image, and a duplicate
SMALL = ["--set", "network.widths=[8, 16]", "--set", "network.units=32", "--set", "network.depth=1"]
# What Spark's Java says before Spark's own settings are read (`make setup` silences it), and progress
NOISE = re.compile(
    r"\d\d/\d\d/\d\d \d\d:\d\d:\d\d |WARNING: |Setting default log level|To adjust logging level|Using Spark's default|[a-z ]+: [\d,]+(/[\d,]+)? (images|files)"
)


def command(job: str, *args: object) -> list[str]:
    """How a job is started: `spark-submit ingest`, `python ingest` (as a file), or `train` (as a module)."""
    how, _, name = job.rpartition(" ")
    starts = {
        "spark-submit": [BIN / how, "--master", "local[2]", "--driver-memory", "1g", REPOSITORY / "jobs" / f"{name}.py"],
        "python": [BIN / how, REPOSITORY / "jobs" / f"{name}.py"],
        "": [BIN / "python", "-m", f"jobs.{name}"],
    }
    return [str(part) for part in (*starts[how], *args)]


def run(folder: Path, job: str, *args: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess:
    """Runs a job in `folder`; the default MLflow store is then in it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PYTHONPATH"))}
    inherited |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYSPARK_PYTHON": sys.executable}
    inherited |= {"SPARK_LOCAL_IP": "127.0.0.1"} | environment
    if " " not in job:
        inherited["PYTHONPATH"] = str(REPOSITORY)
    return subprocess.run(
        command(job, *args),
        cwd=folder,
        env=inherited,
        input=stdin,
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )


def good(folder: Path, job: str, *args: object, **options: str) -> str:
    """What a job that must succeed writes to standard output."""
    done = run(folder, job, *args, **options)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    return done.stdout


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not NOISE.match(line)]


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 32), np.uint8)).save(path)


# --- the whole way


@pytest.fixture(scope="module")
def work(tmp_path_factory, outcome) -> Path:
    """The working directory of the whole way. The bad commands run beside it, on the core that it leaves idle."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def images(work) -> Path:
    args = ["--count", IMAGES, "--alphabet", "0123456789", "--length", "3-4", "--size", "60x30", "--flaws", FLAWS]
    told = good(work, "spark-submit generate", "--output", "images", *args)
    assert lines_of(told) == [f"{IMAGES + FLAWS} files written to images"]
    return work / "images"


@pytest.fixture(scope="module")
def ingested(work, images) -> str:
    return good(
        work,
        "spark-submit ingest",
        "--input",
        "images",
        "--output",
        "shards",
        "--set",
        "image.width=64",
        "--set",
        "image.height=32",
    )


@pytest.fixture(scope="module")
def trained(work, ingested) -> str:
    return good(work, "train", "--dataset", "shards", *SMALL, "--set", "train.epochs=2")


@pytest.fixture(scope="module")
def downloaded(work, trained) -> Path:
    told = good(work, "download", "--model", "models:/glyphmill@champion", "--output", "model_out")
    assert told == "models:/glyphmill@champion is in model_out; try: python model_out/predict.py IMAGE_OR_FOLDER\n"
    return work / "model_out"


@pytest.fixture(scope="module")
def samples(images) -> Path:
    """A folder of three images and two files that are none, one of them with a name that is not UTF-8."""
    folder = images.parent / "samples"
    folder.mkdir()
    for path in sorted((images / "00000").iterdir())[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "zz bad.png").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/zz\xff.png")).write_bytes(b"some text")
    return folder


def test_every_file_is_accounted_for(work, ingested):
    count = open_dataset(str(work / "shards")).manifest.accounting
    assert (count.listed, count.written, count.rejected, count.duplicates) == (158, 150, 6, 2)
    assert count.reasons == {"empty_file": 2, "truncated": 2, "not_an_image": 2, "duplicate": 2}
    assert "158 listed = 150 written + 6 rejected + 2 duplicates" in ingested.splitlines()


def test_training_registers_a_first_champion(work, trained):
    rows = open_dataset(str(work / "shards")).manifest.splits["test"]
    assert re.search(
        rf"^test split   exact match [01]\.\d{{4}}, character error rate \d\.\d{{4}}, {rows} images$", trained, re.M
    )
    assert "registered   models:/glyphmill/1 as champion (there was no champion)" in trained


@pytest.mark.parametrize(
    "artifact",
    [
        "figures/loss.png",
        "figures/scores.png",
        "evaluation/index.html",
        "evaluation/test.json",
        "evaluation/test_errors.jsonl",
        "dataset/index.html",
        "dataset/manifest.json",
        "data/bundle/bundle.json",
        "data/bundle/network.keras",
        "predict.py",
    ],
)
def test_a_run_keeps(work, trained, artifact):
    assert len(list((work / "mlruns" / "artifacts").rglob(artifact))) == 1


def test_checkpoints_are_kept(work, trained):
    assert {path.name for path in (work / "mlruns" / "checkpoints").glob("*/*.npz")} >= {"last.npz"}


def test_evaluation_says_what_training_said(work, trained):
    told = good(
        work,
        "evaluate",
        "--model",
        "models:/glyphmill@champion",
        "--dataset",
        "shards",
        "--json",
        "scores.json",
        "--output",
        "judged",
    )
    scores = json.loads((work / "scores.json").read_text())
    assert f"exact match {scores['exact_match']:.4f}, character error rate {scores['cer']:.4f}" in trained
    assert scores["rows"] == sum(part["rows"] for part in scores["by_length"].values())
    assert len(scores["wrong"]) == scores["rows"] - round(scores["exact_match"] * scores["rows"])
    assert told.startswith(f"exact match           {scores['exact_match']:.4f} (")


def test_predictions_of_files_folders_and_a_list_as_csv(work, downloaded, samples):
    one, two, three = sorted(path.name for path in samples.iterdir() if not path.name.startswith("zz"))
    args = ["--model", "model_out", f"samples/{two}", "samples", "-", "missing.png"]
    done = run(work, "predict", *args, stdin=f"samples/{three}\n\nsamples/zz bad.png\n")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "4 of the files could not be read; see the column error"
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"] for row in rows[:4]] == [f"samples/{name}" for name in (two, one, two, three)]
    assert [row["path"] for row in rows[6:]] == [f"samples/{three}", "samples/zz bad.png", "missing.png"]
    assert [row["error"].partition(":")[0] for row in rows] == [
        "",
        "",
        "",
        "",
        "empty_file",
        "not_an_image",
        "",
        "empty_file",
        "unreadable",
    ]
    assert rows[0] == rows[2]
    assert all(0 <= float(row["confidence"]) <= 1 for row in rows if not row["error"])
    assert all(row["text"] == "" and float(row["confidence"]) == 0 for row in rows if row["error"])


def test_predictions_as_json_lines(work, trained, samples):
    names = sorted(path.name for path in samples.iterdir() if not path.name.startswith("zz"))
    told = good(work, "predict", "--model", "models:/glyphmill/1", "--format", "jsonl", *(samples / name for name in names))
    rows = [json.loads(line) for line in told.splitlines()]
    assert [row["path"] for row in rows] == [str(samples / name) for name in names]
    assert all(set(row) == {"path", "text", "confidence", "characters", "error"} for row in rows)
    assert all(len(row["characters"]) == len(row["text"]) for row in rows)


def test_the_download_predicts_by_itself(downloaded, samples, tmp_path):
    name = min(path.name for path in samples.iterdir())
    done = subprocess.run(
        [sys.executable, "-I", downloaded / "predict.py", samples / name, "missing.png"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [bool(row["error"]) for row in rows] == [False, True]


# --- bad input


class Bad(NamedTuple):
    """A command, its exit code, and what its one line says. `{files}` is a folder of all kinds of bad input."""

    job: str
    args: str
    exit_code: int
    said: tuple[str, ...]
    environment: Mapping[str, str] = MappingProxyType({})


INGEST = "--output out --input"
NO_SERVER = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
BAD = {
    "missing input": Bad("python ingest", f"{INGEST} {{files}}/nowhere", 1, ("{files}/nowhere: no such folder", "--input")),
    "input is a file": Bad("python ingest", f"{INGEST} {{files}}/pattern.yaml", 1, ("pattern.yaml: a file, not a folder",)),
    "empty input": Bad("python ingest", f"{INGEST} {{files}}/empty", 1, ("{files}/empty: the folder holds no file", "--input")),
    "no image": Bad("python ingest", f"{INGEST} {{files}}/texts", 1, ("none of its 2 files can be used", "2 not_an_image")),
    "no match": Bad("python ingest", f"{INGEST} {{files}}/images --config {{files}}/pattern.yaml", 1, ("2 no_label", "label.pattern")),
    "conflict": Bad("spark-submit ingest", f"{INGEST} {{files}}/conflict", 1, ("2 conflicting_label", "abc and xyz")),
    "output in use": Bad("python ingest", "--output {files}/texts --input {files}/images", 1, ("{files}/texts: holds something else", "--output")),
    "output of others": Bad("python ingest", "--output {files}/shards --input {files}/images", 1, ("{files}/shards: holds version 1", "--output")),
    "ingest key": Bad("spark-submit ingest", f"{INGEST} {{files}}/images --set image.widht=200", 2, ("unknown key image.widht", "known here: mode, height, width")),
    "ingest key in file": Bad("python ingest", f"{INGEST} {{files}}/images --config {{files}}/key.yaml", 2, ("key.yaml: unknown key labels", "label, checks")),
    "ingest value": Bad("python ingest", f"{INGEST} {{files}}/images --set split.train=0.9", 2, ("split: train, val and test add up to 1.2",)),
    "ingest value in file": Bad("python ingest", f"{INGEST} {{files}}/images --config {{files}}/value.yaml", 2, ("value.yaml: image.width=0",)),
    "no settings file": Bad("python ingest", f"{INGEST} {{files}}/images --config {{files}}/no.yaml", 2, ("no.yaml: no such settings file", "conf/")),
    "generate value": Bad("python generate", "--output out --count 5 --length 9-3", 2, ("length", "such as 4-6")),
    "train without manifest": Bad("train", "--dataset {files}/texts", 1, ("{files}/texts: no manifest in this folder", "jobs/ingest.py")),
    "train key": Bad("train", "--dataset {files}/shards --set train.epoch=3", 2, ("unknown key train.epoch", "known here: epochs")),
    "train value": Bad("train", "--dataset {files}/shards --config {files}/rate.yaml", 2, ("rate.yaml: train.learning_rate=-1",)),
    "label too long": Bad("train", "--dataset {files}/shards", 1, ("{files}/shards: labels of up to 6", "need 8 time steps", "give 4", "image.width")),
    "no server": Bad("train", "--dataset {files}/short", 1, ("http://127.0.0.1:9: the MLflow server does not answer", "MLFLOW_TRACKING_URI"), NO_SERVER),
    "unknown model": Bad("download", "--model models:/glyphmill@nobody --output out", 1, ("models:/glyphmill@nobody: no such model", "registered models here: none")),
    "evaluate without manifest": Bad("evaluate", "--model x --dataset {files}/empty", 1, ("{files}/empty: no manifest in this folder", "jobs/ingest.py")),
    "no such model folder": Bad("predict", "--model no/such/folder image.png", 1, ("no/such/folder: no such folder", "models:/glyphmill@champion")),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory, loop) -> Path:
    """All kinds of bad input, and two datasets: labels of six characters in four time steps (`shards`), and of two (`short`)."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "empty").mkdir()
    (folder / "texts").mkdir()
    (folder / "texts" / "a.png").write_text("no image")
    (folder / "texts" / "b.txt").write_text("no image either")
    write_image(folder / "images" / "one.png", 1)
    write_image(folder / "images" / "two.png", 2)
    write_image(folder / "conflict" / "abc.png", 3)
    write_image(folder / "conflict" / "xyz.png", 3)
    (folder / "pattern.yaml").write_text("label: {pattern: '(?P<label>[0-9]{9})_'}\n")
    (folder / "key.yaml").write_text("labels: {case: lower}\n")
    (folder / "value.yaml").write_text("image: {width: 0}\n")
    (folder / "rate.yaml").write_text("train: {learning_rate: -1}\n")
    for name, label in (("shards", "abc{:03d}"), ("short", "{:02d}")):
        for n in range(40):
            write_image(folder / f"of {name}" / f"{label.format(n)}.png", n)
        settings = read(IngestSettings, None, ["image.width=16", "image.height=8", "split.by=label"])
        ingest(str(folder / f"of {name}"), str(folder / name), settings, loop)
    return folder


@pytest.fixture(scope="module")
def outcome(files, tmp_path_factory) -> Callable[[str], tuple[Path, subprocess.CompletedProcess]]:
    """The folder and the end of a bad command. All run from the start, one or two at a time."""
    with ThreadPoolExecutor(2) as pool:
        folders = {name: tmp_path_factory.mktemp("bad") for name in BAD}
        futures = {
            name: pool.submit(run, folders[name], bad.job, *bad.args.format(files=files).split(), **bad.environment)
            for name, bad in BAD.items()
        }
        yield lambda name: (folders[name], futures[name].result())
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_in_one_line(outcome, files, name):
    bad = BAD[name]
    folder, done = outcome(name)
    submitted = bad.job.startswith("spark-submit")
    # spark-submit hands on what Python writes to standard error as its own standard output
    told = lines_of(done.stdout + done.stderr if submitted else done.stderr)
    assert done.returncode == bad.exit_code, told
    assert len(told) == 1, "\n".join(told)
    assert told[0].startswith("error: ")
    assert [said for said in (text.format(files=files) for text in bad.said) if said not in told[0]] == [], told[0]
    assert submitted or done.stdout == ""
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in left if path.suffix in (".parquet", ".png") or path.name in ("MLmodel", "bundle.json")] == []
    assert not (folder / "out").exists() or not any((folder / "out").rglob("*.json"))


def test_what_stood_in_the_output_stands_there_still(outcome, files):
    for name in ("output in use", "output of others"):
        outcome(name)
    assert sorted(path.name for path in (files / "texts").iterdir()) == ["a.png", "b.txt"]
    assert open_dataset(str(files / "shards")).manifest.accounting.written == 40


def test_an_ingest_that_failed_leaves_no_dataset(outcome):
    folder, _ = outcome("conflict")
    with pytest.raises(DataError, match="no such dataset folder|no manifest in this folder"):
        open_dataset(str(folder / "out"))
