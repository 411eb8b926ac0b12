"""What must hold before a model is served: the model itself, a free port, a limit on memory."""

import resource
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

from model.export import check_folder
from pipelines.errors import DataError, SettingsError

GIB = 2**30


def check(model: str, bundle: dict[str, Any]) -> None:
    """Raises DataError for what MLflow cannot serve, or should not: it runs the code in the folder."""
    if bundle["format"] < 2:
        raise DataError(f"{model}: of an older version, whose code opens files that a request names; train anew")
    if not Path(model).is_dir():
        return  # looked at when it was fetched
    if not (Path(model) / "MLmodel").is_file():
        raise DataError(f"{model}: a bundle without MLflow's files; serve a models:/ URI or a downloaded folder")
    check_folder(Path(model))


def limit_memory(most: int) -> None:
    """Keeps this process, and those that it starts, below `most` GiB, or a lower limit that it has. Raises SettingsError."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = most * GIB if hard == resource.RLIM_INFINITY else min(most * GIB, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(f"--max-memory {most}: cannot be set ({error}); take another, or 0 for any") from None


def check_port(host: str, port: int) -> None:
    """Raises DataError where something else listens there."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((address[0], port, *address[2:]))  # getaddrinfo takes any number for a port
    except (OSError, OverflowError) as error:
        raise DataError(f"--host {host} --port {port}: cannot be listened on ({error}); take another") from None
