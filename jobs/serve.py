"""A registered model behind HTTP: `mlflow models serve`, in this environment, with limits on what a request may hold.

python -m jobs.serve --model models:/glyphmill@champion
printf '{"inputs": ["%s"]}' "$(base64 -w0 image.png)" > request.json
curl http://127.0.0.1:8000/invocations -H 'Content-Type: application/json' --data @request.json

It answers {"predictions": [{"text", "confidence", "characters", "error"}, ...]}, a row for each image. An image is base64 text;
no text is taken for a path or an address. It listens on this machine only. With --host others reach it: put a proxy before it
that knows who may ask, and how large a request may be (MLflow's server takes any), such as nginx's client_max_body_size.
"""

import os
import sys
from pathlib import Path

from jobs import entry
from model.readiness import check, check_port, limit_memory
from model.recognizer import positive
from model.runtimes import ONNX
from model.serving import ServingSettings
from pipelines.pool import cores
from pipelines.settings import build

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {  # of a request, and of each image in it
    "max_rows": (256, "images of a request; those after them are errors"),
    "max_pixels": (16_000_000, "pixels of an image; the model's own checks.max_pixels holds too"),
    "max_bytes": (16_000_000, "bytes of an image file; the model's own checks.max_bytes holds too"),
}


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", default="models:/glyphmill@champion", metavar="URI_OR_DIR", help="default %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine only)")
    parser.add_argument("--port", type=positive, default=8000, help="default %(default)s")
    parser.add_argument("--workers", type=positive, default=min(cores(), 4), help="processes (default: one a core, at most 4)")
    parser.add_argument("--threads", type=int, default=1, help="cores that one request computes on (default 1; 0: all)")
    parser.add_argument("--timeout", type=positive, default=60, help="seconds that a request may take (default %(default)s)")
    for name, (value, told) in LIMITS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=positive, default=value, help=f"{told} (default {value})")
    parser.add_argument("--max-memory", type=int, default=4, help="GiB of each process, with onnxruntime (default 4; 0: any)")
    args = parser.parse_args()
    settings = build(ServingSettings, {"threads": args.threads} | {name: getattr(args, name) for name in LIMITS}, "options")
    check_port(args.host, args.port)

    from model.tracking import bundle_of, connect, pinned

    os.environ["MLFLOW_TRACKING_URI"] = connect()
    model = pinned(args.model)  # what is looked at here is what every worker serves, whoever gets the alias meanwhile
    with bundle_of(model) as folder:
        recognizer = entry.load_recognizer(folder)
    check(model, recognizer.bundle)
    if args.max_memory and recognizer.runtime == ONNX:  # TensorFlow reserves more than it uses
        limit_memory(args.max_memory)
    os.environ["MLFLOW_PYFUNC_INFERENCE_CONFIG"] = settings.model_dump_json()
    for name in entry.ALLOCATOR:  # make sets them for training; a server gives memory back
        os.environ.pop(name, None)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # where MLflow finds uvicorn
    os.environ.setdefault("UVICORN_LOOP", "jobs.turns:TurnsLoop")
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)  # where it finds jobs
    print(f"http://{args.host}:{args.port}/invocations will read with {model}; stop with Ctrl+C", flush=True)
    options = {"--model-uri": model, "--host": args.host, "--port": args.port, "--workers": args.workers}
    options |= {"--timeout": args.timeout, "--env-manager": "local"}
    words = [str(word) for option in options.items() for word in option]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "models", "serve", *words])


if __name__ == "__main__":
    entry.run(main)
