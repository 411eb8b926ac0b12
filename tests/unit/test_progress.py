"""Progress: plain lines where no terminal is, at most one every few seconds."""

import re
import threading
import time

import pytest

from pipelines import progress
from pipelines.progress import Progress, polled

LINE = r"draw: ([\d,]+)/2,000 images, [\d,]+/s, [\d,]+ s left"


@pytest.fixture
def every_line(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)


def test_lines_go_to_standard_error(every_line, capsys):
    with Progress("draw", 2000) as bar:
        bar.advance(10)
        bar.advance(1490, "loss 0.5")
        bar.update_to(2000)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [re.match(LINE, line)[1] for line in lines] == ["10", "1,500", "2,000"]
    assert lines[1].endswith(" s left, loss 0.5")
    assert ", 0 s left" in lines[2]


def test_nothing_done_has_no_rate(every_line, capsys):
    with Progress("read", 5, "files") as bar:
        bar.update_to(0)
    assert capsys.readouterr().err == "read: 0/5 files\n"


def test_short_work_says_nothing(capsys):
    with Progress("draw", 2000) as bar:
        for _ in range(2000):
            bar.advance()
    assert capsys.readouterr() == ("", "")


def test_polled_shows_while_the_block_runs_and_once_more_at_its_end():
    shown, seen = [], threading.Event()
    with polled(lambda: (shown.append(time.monotonic()), seen.set()), seconds=0.01):
        assert seen.wait(5)
        end = time.monotonic()
    assert shown[-1] >= end
    count = len(shown)
    time.sleep(0.05)
    assert len(shown) == count


def test_polled_ends_with_the_error_of_its_block():
    before = threading.active_count()
    with pytest.raises(KeyError), polled(lambda: None, seconds=0.01):
        raise KeyError
    assert threading.active_count() == before
