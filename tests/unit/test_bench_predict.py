"""The arithmetic of bench-predict: texts as the dataset has them, bars, rows; and its programs."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.measure import run
from benchmarks.predict import OURS, PEERS, Rows, bars, cells, fitted, least, measure
from benchmarks.predict_peers.reading import report
from benchmarks.rounds import NotRunError

ROOT = Path(__file__).parents[2]
TEXTS = [  # text, alphabet, the text in it
    ("aB3", "abc123", "ab3"),
    ("aB3", "ABC123", "AB3"),
    ("aB3", "abcABC123", "aB3"),
    ("a 1-2b", "0123456789", "12"),
    ("", "abc", ""),
]


@pytest.mark.parametrize(("text", "alphabet", "expected"), TEXTS)
def test_texts_are_fitted_to_the_alphabet(text, alphabet, expected):
    assert fitted(text, alphabet) == expected


def row(system: str, exact: float | None, ms: float = 0.0) -> dict:
    known = {} if exact is None else {"rows": 9, "exact_match": exact, "cer": 0.1, "ms_per_image": ms}
    return {"dataset": "text5", "system": system, "failure": "why" if exact is None else None} | known


def test_bars_are_the_best_package_and_the_fastest_one():
    found = bars([row(OURS, 0.99, 3.0), row("ddddocr", 0.97, 30.0), row("rapidocr", 0.7, 6.0), row("other", None)])
    assert {name: (one["value"], one["holds"]) for name, one in found.items()} == {
        "text5_ahead": (0.02, True),
        "text5_time_share": (0.5, True),
    }
    tied = bars([row(OURS, 0.97, 6.0), row("ddddocr", 0.97, 6.0)])
    assert [(one["value"], one["holds"]) for one in tied.values()] == [(0.0, False), (1.0, False)]
    behind = bars([row(OURS, 0.96, 7.0), row("ddddocr", 0.97, 30.0), row("rapidocr", 0.7, 6.0)])
    assert [one["holds"] for one in behind.values()] == [False, False]
    for rows in ([row(OURS, None), row("ddddocr", 0.9, 1.0)], [row(OURS, 0.9, 1.0), row("ddddocr", None)]):
        assert [one["holds"] for one in bars(rows).values()] == [None, None]


def test_rows_tell_of_readers_that_did_not_run():
    assert cells(row("ddddocr", None))["exact match"] == "not run"
    assert cells(row("ddddocr", 0.5, 3.456)) == {
        "dataset": "text5",
        "system": "ddddocr",
        "rows": "9",
        "exact match": "0.5000",
        "CER": "0.1000",
        "ms/image": "3.46",
    }


def test_the_smallest_bound_counts():
    assert [least(), least(None), least(None, 5), least(3, 5)] == [None, None, 5, 3]


def test_a_reader_reports_texts_and_the_time_of_an_image(tmp_path, monkeypatch):
    """In a process of its own the program would have one core; here it keeps them."""
    monkeypatch.delattr("os.sched_setaffinity", raising=False)
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        path.write_bytes(bytes([n]))
    (tmp_path / "rows.json").write_text(json.dumps([str(path) for path in paths]))
    options = {"input": tmp_path / "rows.json", "alphabet": "ab", "model": "m"}
    monkeypatch.setattr(sys, "argv", ["reader", *(w for k, v in options.items() for w in (f"--{k}", str(v)))])
    said = io.StringIO()
    with redirect_stdout(said):
        report(lambda args: lambda image: f"{args.alphabet}{args.model}{image[0]}")
    found = json.loads(said.getvalue())
    assert found["texts"] == ["abm0", "abm1", "abm2"]
    assert found["ms_per_image"] > 0


def test_a_reader_that_fails_is_named_with_its_reason(tmp_path):
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(NotRunError, match="no bundle.json of a recogniser"):
        measure(PEERS[0]._replace(program="ours", model=str(tmp_path)), Rows(tmp_path / "rows.json", [], "ab"))


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS[:3], ids=lambda peer: peer.name)
def test_each_package_reads_without_a_network(peer, tmp_path):
    python = ROOT / ".venv-bench/bin/python"
    if not python.exists() or run([str(python), "-c", f"import {peer.program}"], ROOT, {}).code:
        pytest.skip(f"{peer.program} is in .venv-bench, which make bench-predict builds")
    Image.new("RGB", (160, 60), "white").save(tmp_path / "white.png")
    (tmp_path / "rows.json").write_text(json.dumps([str(tmp_path / "white.png")]))
    found = measure(peer, Rows(tmp_path / "rows.json", ["12"], "0123456789"))
    assert found["rows"] == 1
    assert found["ms_per_image"] > 0


def test_the_benchmark_tells_of_itself():
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.predict", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--minutes" in told.stdout
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.predict", "--data", "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert "no text5-200x50.zip, digits4-240x80.zip in nowhere" in told.stderr
