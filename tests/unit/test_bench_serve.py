"""The arithmetic of the benchmark of serving, and its client beside a server that errs."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.rounds import NotRunError
from benchmarks.serve import ALONE, WARMUP, Answers, alone, answers_pings, bars, cells, client, read, summary


@pytest.fixture
def port():
    """The port of a server that answers by what it is asked: a text, an error in the row, or a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, b"")

        def do_POST(self) -> None:
            (asked,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["inputs"]
            error = "truncated: x" if asked == "bad" else ""
            row = {"text": "" if error else asked, "confidence": 1.0, "characters": [], "error": error}
            self.answer(503 if asked == "away" else 200, json.dumps({"predictions": [row]}).encode())

        def answer(self, status: int, contents: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(contents)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def body(text: str) -> bytes:
    return json.dumps({"inputs": [text]}).encode()


def test_what_is_read(port):
    assert answers_pings(port)
    assert read(port, body("17")) == ("17", "")
    assert read(port, body("bad")) == ("", "truncated: x")
    assert read(port, body("away")) == ("", "HTTP status 503")


def test_a_server_that_is_not_there():
    assert not answers_pings(9)
    assert read(9, body("17"))[1].startswith("ConnectionRefusedError: ")


def test_a_client_counts_errors_and_other_texts(port):
    found = client(port, [body("1"), body("bad"), body("2")], ["1", "", "3"], time.monotonic() + 0.2, first=1)
    assert found.errors[:4] == ["truncated: x", "'2' in place of '3'"] * 2
    assert len(found.ms) > len(found.errors) > 0
    assert min(found.ms) > 0


def test_a_client_alone(port):
    found = alone(port, [body("1"), body("2")])
    assert found.texts[:3] == ["1", "2", "1"]
    assert (len(found.ms), len(found.texts)) == (ALONE, WARMUP + ALONE)
    with pytest.raises(NotRunError, match="truncated: x"):
        alone(port, [body("bad")])


SINGLE, EVERY = Answers([1.0, 2.0, 3.0]), Answers([float(n) for n in range(1, 101)], ["an error"])


def test_a_summary():
    row = summary(SINGLE, EVERY, 2.0, [100.0, 200.0, 210.0, 200.0, 205.0, 200.0, 210.0, 210.0])
    assert row == {
        "single_ms": 2.0,
        "single_ms_p95": pytest.approx(2.9),
        "ms": 50.5,
        "ms_p95": pytest.approx(95.05),
        "ms_p99": pytest.approx(99.01),
        "requests": 100,
        "per_second": 49.5,
        "errors": 1,
        "first_errors": ["an error"],
        "memory_mib": 210.0,
        "memory_growth": pytest.approx(210 / 205),
    }


def test_a_load_too_short_to_tell_of_memory():
    row = summary(SINGLE, EVERY, 2.0, [100.0])
    assert (row["memory_mib"], row["memory_growth"]) == (100.0, None)


def test_bars_and_cells():
    rows = [
        {"workers": 2, "threads": 1, "failure": None} | summary(SINGLE, SINGLE + SINGLE, 1.0, [100.0] * 8),
        {"workers": 1, "threads": 0, "failure": "no server"},
    ]
    found = bars(rows)
    assert {name: (one["value"], one["bar"], one["holds"]) for name, one in found.items()} == {
        "2x1_errors": (0, 0, True),
        "2x1_p95_over_single": (1.5, 5.0, True),
        "2x1_memory_growth": (1.0, 1.05, True),
        "1x0_errors": (None, 0, None),
        "1x0_p95_over_single": (None, 5.0, None),
        "1x0_memory_growth": (None, 1.05, None),
    }
    assert list(cells(rows[0]).values()) == ["2", "1", "2.0", "2.9", "2.0", "3.0", "3.0", "6", "0", "100", "1.000"]
