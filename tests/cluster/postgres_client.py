"""Python's client of PostgreSQL for MLflow's server: of requirements/mlflow.txt, as only that image has it."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.cluster.processes import FailedError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "psycopg2-binary"


def client_folder(folder: Path) -> Path:
    """A folder for PYTHONPATH that holds the client, installed once."""
    wanted = locked((ROOT / "requirements/mlflow.txt").read_text(encoding="utf-8"))
    made = folder / "postgres-client"
    stamp = made / "locked.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return made
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(wanted)
        file.flush()
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--upgrade"]
        done = subprocess.run([*pip, "--target", str(made), "-r", file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FailedError(f"{PACKAGE} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    stamp.write_text(wanted, encoding="utf-8")
    return made


def locked(text: str) -> str:
    """The entry of PACKAGE in a lock file, with its hashes."""
    found = re.search(rf"^{PACKAGE}==.*\n(?: +--hash=.*\n)+", text, re.MULTILINE)
    if found is None:
        raise FailedError(f"requirements/mlflow.txt does not name {PACKAGE}; run make lock")
    return found[0]
