"""The MLflow UI on the runs and models of the store in use.

python -m jobs.ui --port 5000
"""

import os
import sys

from jobs import entry


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--port", type=int, default=5000, help="port on this machine's loopback address (default 5000)")
    args = parser.parse_args()

    from model.tracking import connect

    uri = connect()
    if uri.startswith("http"):
        print(f"MLFLOW_TRACKING_URI is a server already: open {uri} in a browser")
        return
    print(f"open http://127.0.0.1:{args.port} in a browser; stop with Ctrl+C", flush=True)
    command = ["-m", "mlflow", "ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(args.port)]
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    entry.run(main)
