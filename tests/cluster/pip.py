"""This machine's settings of pip, for the builds alone: a secret with the settings, and the folders that they name as volumes."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

TAKEN = ("cert", "default-timeout", "extra-index-url", "find-links", "index-url", "proxy", "retries", "timeout", "trusted-host")
CERTIFICATE = "/run/glyphmill-pip.pem"  # where a build finds the certificates that this machine trusts


class Pip(NamedTuple):
    """What a build gets: options of buildah, and `private`, which no image may hold."""

    secret: tuple[str, ...]
    volumes: tuple[str, ...]
    private: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    @contextmanager
    def of_this_machine(cls, folder: Path) -> "Iterator[Pip]":
        """The settings in a file beside the storage, which only its owner can read and which is gone afterwards."""
        found = settings(
            subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
        )
        mounts = volumes(found)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix="pip-", suffix=".conf") as file:  # mode 600
            file.write(configuration(found))
            file.flush()
            environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
            secret = ("--secret", f"id=pip,src={file.name}")
            words = tuple(word for host, inside in mounts.items() for word in ("--volume", f"{host}:{inside}:ro"))
            private = (
                *mounts.values(),
                *(word for name in ("index-url", "extra-index-url") for word in found.get(name, "").split()),
            )
            yield cls(secret, words, private, environment)


def settings(listed: str) -> dict[str, str]:
    """What `pip config list` prints, by name; the environment counts more than files, which pip lists after it."""
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        name = key.removeprefix(":env:.").removeprefix("global.").removeprefix("install.")
        if name in TAKEN:
            found[name] = value.strip().strip("'\"").replace("\\n", " ").strip()
    return found


def volumes(found: Mapping[str, str]) -> dict[str, str]:
    """The files and folders of this machine that the settings name, and where a build finds each."""
    mounts = {found["cert"]: CERTIFICATE} if "cert" in found else {}
    for name in ("find-links", "extra-index-url", "index-url"):
        for word in found.get(name, "").split():
            if word.startswith(("/", "file://")):
                path = Path(unquote(urlsplit(word).path))
                path = path if name == "find-links" else path.parent  # an index links to files beside it
                mounts[str(path)] = str(path)
    return mounts


def configuration(found: Mapping[str, str]) -> str:
    """The text of a pip.conf."""
    inside = dict(found) | ({"cert": CERTIFICATE} if "cert" in found else {})
    return "[global]\n" + "".join(f"{name} = {' '.join(value.split())}\n" for name, value in sorted(inside.items()))
