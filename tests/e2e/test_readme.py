"""The commands of the README, run as they stand there (on fewer images), in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SMALLER = {"--count 2000": "--count 200", "make train": "make train SET='train.epochs=1'"}


def commands() -> str:
    blocks = re.findall(r"<!-- run -->\n```sh\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2, "the README has two blocks of commands marked <!-- run -->"
    script = "".join(blocks)
    for text, smaller in SMALLER.items():
        assert script.count(text) == 1, f"{text} is not in the README's commands; mend SMALLER"
        script = script.replace(text, smaller)
    return script


@pytest.mark.e2e
@pytest.mark.slow
def test_the_commands_run_in_order(tmp_path):
    environment = Path(sys.prefix)
    if environment.parent != REPOSITORY or not (environment / ".ready").exists():
        pytest.skip("the README's commands use the environment that make builds: run through make test")
    for name in subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, tmp_path / name)
    (tmp_path / environment.name).symlink_to(environment)
    settings = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        ["bash", "-euxc", commands()], cwd=tmp_path, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "200 listed = 200 written + 0 rejected + 0 duplicates" in done.stdout
    assert "registered   models:/glyphmill/1 as champion" in done.stdout
    tables = re.findall(r"path,text,confidence,error\n((?:\S*images/00000/\S+\n)+)", done.stdout)
    assert len(tables) == 2
    assert tables[0] == tables[1]
    assert tables[0].count("\n") == 200
    assert "200 read, 0 not" in done.stdout


def test_every_link_leads_to_a_file():
    for page in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (REPOSITORY / page).read_text()):
            assert (REPOSITORY / target).exists(), f"{page} links to {target}"


def test_every_module_has_a_line_in_the_architecture():
    page = (REPOSITORY / "ARCHITECTURE.md").read_text()
    modules = [p for side in ("pipelines", "model", "jobs") for p in (REPOSITORY / side).rglob("*.py") if p.stem != "__init__"]
    assert [p for p in modules if f"`{p.stem}`" not in page and f"/{p.stem}`" not in page] == []
