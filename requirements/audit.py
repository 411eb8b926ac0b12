"""What is known to be unsafe in locked packages (pip-audit), and what looks unsafe in the code (bandit); `make audit` calls it.

    .venv-audit/bin/python requirements/audit.py requirements/default.txt [...]

Exits with 1 where either finds something. What pip-audit could not look up is counted and told with its reason.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

CODE = ("pipelines", "jobs", "model", "conf", "docker", "examples", "benchmarks", "requirements")
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    found = [packages(Path(lock)) for lock in sys.argv[1:]]
    sys.exit(any([*found, code()]))


def packages(lock: Path) -> bool:
    """Tells what pip-audit knows of a lock file; whether that is anything."""
    options = ("--format", "json", "--disable-pip", "--require-hashes", "--requirement", str(lock))
    done = _run("pip_audit", "--progress-spinner", "off", *options)
    if not done.stdout:
        print(f"pip-audit could not look at {lock}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
        return False
    rows = json.loads(done.stdout)["dependencies"]
    known = [(row, fault) for row in rows for fault in row.get("vulns", ())]
    skipped = [row["skip_reason"].replace(row["name"], "NAME").partition(" (")[0] for row in rows if "skip_reason" in row]
    looked_up = f"{len(rows) - len(skipped)} of {len(rows)} packages looked up"
    print(f"pip-audit: {lock}: {looked_up}, {len(known)} known vulnerabilities")
    for row, fault in known:
        print(f"  {row['name']} {row['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none yet'}")
    for reason, count in Counter(skipped).items():
        print(f"  {count} not looked up: {reason}")
    return bool(known)


def code() -> bool:
    """Tells what bandit finds of medium and high severity; whether that is anything."""
    found = _run("bandit", "--quiet", "-ll", "--recursive", *CODE, shown=True).returncode != 0
    print(f"bandit: {', '.join(CODE)}: {'look at the above' if found else 'nothing of medium or high severity'}")
    return found


def _run(module: str, *arguments: str, shown: bool = False) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=not shown, text=True)


if __name__ == "__main__":
    main()
