"""The whole way on made data: draw, ingest, train, register, evaluate, download, predict.

python -m jobs.demo --output demo
"""

import json
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from jobs import entry
from jobs.stages import clear, conf, draw_and_ingest, read_by_itself, stage
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
    version = yaml.safe_load((model / "registered_model_meta").read_text())["model_version"]
    summary = {name: getattr(manifest.accounting, name) for name in ("listed", "written", "rejected", "duplicates")}
    summary |= {name: round(scores[name], 4) for name in ("exact_match", "cer")}
    summary |= {"model_uri": f"models:/glyphmill/{version}", "download_dir": str(model)}
    rows = pq.read_table(shards / manifest.shards_of("test")[0].path, columns=["path", "label"]).slice(0, 5).to_pylist()
    readings = read_by_itself(model, [str(images / row["path"]) for row in rows])
    summary["seconds"] = round(time.monotonic() - began, 1)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))

    print()
    for name, value in {**summary, **{f"  {job}": round(value, 1) for job, value in seconds.items()}}.items():
        print(f"{name:14} {value}")
    for row, reading in zip(rows, readings, strict=True):
        print(f"{'read':14} {reading['text']:8} label {row['label']:8} confidence {reading['confidence']:.3f}")
    print("\nGo on with:")
    print(f"  export MLFLOW_TRACKING_URI={os.environ['MLFLOW_TRACKING_URI']}\n  make ui\n  make serve")
    print(f"  python -m jobs.predict --model {uri} {images / rows[0]['path']}")


if __name__ == "__main__":
    entry.run(main)
