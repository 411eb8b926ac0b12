"""An S3 server (moto's) that can be full: python store.py HOST PORT FILE. While FILE is there, it refuses whatever needs room.

The answer is MinIO's of a full disk: status 507 and the code XMinioStorageFull. Reading and deleting go on.
"""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

ANSWER = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold.</Message></Error>"""


class Store:
    """moto's application behind the question whether there is room."""

    def __init__(self, full: Path) -> None:
        self._full, self._moto = full, DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        stores = environ["REQUEST_METHOD"] in ("PUT", "POST") and "delete" not in environ.get("QUERY_STRING", "").split("=")[0]
        if stores and self._full.exists():
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(
                "507 Insufficient Storage", [("Content-Type", "application/xml"), ("Content-Length", str(len(ANSWER)))]
            )
            return [ANSWER]
        return self._moto(environ, start_response)


if __name__ == "__main__":
    host, port, full = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    run_simple(host, int(port), Store(Path(full)), threaded=True)
