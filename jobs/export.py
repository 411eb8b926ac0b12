"""A model in a format that needs a small runtime only, checked on real rows before it is written; examples/ read each.

python -m jobs.export --model models:/glyphmill@champion --format onnx --output model.onnx
python -m jobs.export --model models:/glyphmill@champion --format litert --int8 --output model.tflite
python -m jobs.export --model model_out --format savedmodel --output saved --dataset data/shards
"""

from pathlib import Path

from jobs import entry
from model.recognizer import Recognizer, positive
from pipelines.manifest import open_dataset

FORMATS = ("onnx", "litert", "savedmodel")
ROWS = 2000


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--output", required=True, metavar="PATH", type=Path, help="file, or with savedmodel a new folder")
    parser.add_argument("--int8", action="store_true", help="in 8 bits, with ranges from the train split (onnx, litert)")
    parser.add_argument("--dataset", metavar="DIR_OR_URI", help="real rows (default: the dataset that the model's run notes)")
    parser.add_argument("--rows", type=positive, default=ROWS, metavar="N", help=f"at most, of test (default {ROWS})")
    args = parser.parse_args()

    from model import tracking

    tracking.connect()
    run_id = tracking.run_of(args.model)
    with tracking.bundle_of(args.model) as folder:
        entry.load_tensorflow()
        from model.exports.write import export
        from model.provenance import dataset_of

        dataset = open_dataset(args.dataset) if args.dataset else dataset_of(run_id, args.model)
        recognizer = Recognizer.load(folder, runtime="tensorflow", threads=1)  # times are told of one thread
        exported = export(recognizer, dataset, args.format, args.output, int8=args.int8, rows=args.rows)
    print(*exported.told(), sep="\n")
    if run_id:
        tracking.log_to_run(run_id, exported.metrics(), {f"export_{exported.name}": exported.quantisation})
        print(f"logged to    MLflow run {run_id}")


if __name__ == "__main__":
    entry.run(main)
