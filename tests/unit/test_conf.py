"""Every shipped YAML loads, and opens with the command that uses it."""

from pathlib import Path

import pytest

from pipelines.config import IngestSettings
from pipelines.settings import read

CONF = Path(__file__).parents[2] / "conf"


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(CONF)) for path in (CONF / folder).rglob("*.yaml"))


@pytest.mark.parametrize("name", files("ingest"))
def test_ingest_settings_load(name):
    assert isinstance(read(IngestSettings, CONF / name), IngestSettings)


@pytest.mark.parametrize("name", files("train"))
def test_train_settings_load(name):
    from model.config import TrainSettings

    assert isinstance(read(TrainSettings, CONF / name), TrainSettings)


@pytest.mark.parametrize("name", files("ingest") + files("train"))
def test_a_file_opens_with_its_command(name):
    lines = (CONF / name).read_text(encoding="utf-8").splitlines()
    comment = lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    assert any(command in line for line in comment for command in ("jobs/", "jobs.", "make ")), f"{name} names no command"


def test_no_file_stands_where_no_reader_looks():
    assert {name.split("/")[0] for name in files(".")} <= {"ingest", "train", "charset", "spark"}
