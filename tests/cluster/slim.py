"""debian:bookworm-slim, made by debootstrap: what Debian's own image of that name holds."""

import shutil
import subprocess
from pathlib import Path

from tests.cluster.processes import FailedError

SUITE = "bookworm"
# Debian's slim images leave these out, now and at every later installation
EXCLUDES = "".join(f"path-exclude /usr/share/{name}/*\n" for name in ("doc", "info", "locale", "man"))
COPYRIGHT = "path-include /usr/share/doc/*/copyright\n"
OF_THE_HOST = ("etc/hostname", "etc/resolv.conf")
EMPTIED = ("usr/share/info", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")


def base_folder(folder: Path, mirror: str, log: Path) -> Path:
    """The root of the base, made once and kept in `folder`."""
    made = folder / "base"
    if made.is_dir():
        return made
    making = folder / "base.making"
    shutil.rmtree(making, ignore_errors=True)
    with log.open("w", encoding="utf-8") as file:
        command = ["debootstrap", "--variant=minbase", SUITE, str(making), mirror]
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise FailedError(f"debootstrap of {mirror} failed with exit code {done.returncode}; its log: {log}")
    _slim(making)
    making.rename(made)
    return made


def _slim(root: Path) -> None:
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(EXCLUDES + COPYRIGHT, encoding="utf-8")
    for name in OF_THE_HOST:
        (root / name).unlink(missing_ok=True)
    for name in EMPTIED:
        shutil.rmtree(root / name)
        (root / name).mkdir()
    for file in (root / "usr/share/doc").rglob("*"):
        if not file.is_dir() and file.name != "copyright":
            file.unlink()
