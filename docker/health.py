"""Ends with 0 where a server on this machine answers: python health.py PORT [PATH]."""

import sys
import urllib.request

SECONDS = 4

port, path = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "/"
urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS).close()  # nosec B310
