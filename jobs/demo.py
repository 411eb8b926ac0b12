"""The whole way on made data: draw, ingest, train, register, evaluate, download, predict.

python -m jobs.demo --output demo
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from jobs import entry
from jobs.stages import clear, conf, draw_and_ingest, stage
from pipelines.manifest import open_dataset

PARTS = ("images", "shards", "mlruns", "model", "evaluation.json", "summary.json")


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--output", default="demo", metavar="DIR", help="folder of the demo (default demo); an old demo in it goes"
    )
    folder = Path(parser.parse_args().output).absolute()
    images, shards, store, model = (folder / name for name in PARTS[:4])
    clear(folder, PARTS)
    began = time.monotonic()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{store}/mlflow.db"
    uri, judged = "models:/glyphmill@champion", folder / "evaluation.json"
    seconds = draw_and_ingest(str(images), str(shards), "--flaws", "40")
    seconds["train"] = stage("train", "--dataset", str(shards), "--config", conf("train/demo.yaml"))
    seconds["evaluate"] = stage("evaluate", "--model", uri, "--dataset", str(shards), "--split", "test", "--json", str(judged))
    seconds["download"] = stage("download", "--model", uri, "--output", str(model))

    manifest, scores = open_dataset(str(shards)).manifest, json.loads(judged.read_text())
    summary = {name: getattr(manifest.accounting, name) for name in ("listed", "written", "rejected", "duplicates")}
    summary |= {"exact_match": scores["exact_match"], "cer": scores["cer"], "model_uri": uri, "download_dir": str(model)}
    table = {**summary, **{f"seconds {name}": round(value, 1) for name, value in seconds.items()}}
    rows = pq.read_table(shards / manifest.shards_of("test")[0].path, columns=["path", "label"]).slice(0, 5).to_pylist()
    command = [sys.executable, str(model / "predict.py"), "--format", "jsonl", *(str(images / row["path"]) for row in rows)]
    read = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder).stdout
    summary["seconds"] = table["seconds in all"] = round(time.monotonic() - began, 1)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))

    print(
        "\n"
        + "\n".join(
            f"{name:18} {value:.4f}" if isinstance(value, float) else f"{name:18} {value}" for name, value in table.items()
        )
    )
    for row, line in zip(rows, read.splitlines(), strict=True):
        found = json.loads(line)
        print(f"{'read':18} {found['text']:8} label {row['label']:8} confidence {found['confidence']:.3f}")
    print(f"{'compare runs':18} MLFLOW_TRACKING_URI={os.environ['MLFLOW_TRACKING_URI']} make ui")


if __name__ == "__main__":
    entry.run(main)
