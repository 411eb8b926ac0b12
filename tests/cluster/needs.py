"""What this machine must have for each part, and Debian's packages of it."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

PACKAGES = {
    "buildah": "buildah",
    "crun": "crun",
    "debootstrap": "debootstrap",
    "initdb": "postgresql",
    "ip": "iproute2",
    "ps": "procps",
    "setpriv": "util-linux",
}
OF_PART = {
    "images": ("buildah", "crun", "debootstrap"),
    "road": ("initdb", "ip", "ps", "setpriv"),
    "chaos": ("initdb", "ip", "ps", "setpriv"),
}


class MissingError(Exception):
    """Something that a person has to install or allow; the message is one line with the remedy."""


def extend_path() -> None:
    """Puts Debian's folders of tools for root, and of PostgreSQL's newest, at the end of the PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: int(place.parent.name), reverse=True)
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, places)])


def check(parts: Iterable[str]) -> None:
    """Raises MissingError where a part needs what is not here."""
    wanted = {tool for part in parts for tool in OF_PART[part]}
    missing = sorted({PACKAGES[tool] for tool in wanted if shutil.which(tool) is None})
    if missing:
        raise MissingError(
            f"{', '.join(missing)}: not on this machine; apt-get install --no-install-recommends {' '.join(missing)}"
        )
    if "images" in parts and os.geteuid() != 0:
        raise MissingError("images are built as root, for chroot and debootstrap; run it as root, or take ARGS='road chaos'")
