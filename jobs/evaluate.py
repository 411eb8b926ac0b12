"""A model judged on a split of a dataset; --output also writes what tells why: a page, figures, numbers, a table of errors.

python -m jobs.evaluate --model models:/glyphmill@champion --dataset data/shards --split test --output evaluation
"""

import tempfile
from pathlib import Path

from jobs import entry
from model.runtimes import AUTO, FILE_OF
from pipelines.manifest import open_dataset


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--split", default="test", help="train, val or test (default)")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="write index.html, figures, SPLIT.json, SPLIT_errors.jsonl here"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers and the wrong rows to this file")
    parser.add_argument("--runtime", choices=[AUTO, *FILE_OF], default=AUTO, help="onnx where it can be (auto, the default)")
    args = parser.parse_args()
    dataset = open_dataset(args.dataset)
    dataset.manifest.shards_of(args.split)

    from model.tracking import bundle_of

    with bundle_of(args.model) as folder, tempfile.TemporaryDirectory() as scratch:
        recognizer = entry.load_recognizer(folder, args.runtime)
        from model.evaluate import evaluate
        from model.evaluation.findings import told
        from model.evaluation.numbers import write_json

        output = args.output or Path(scratch)
        output.mkdir(parents=True, exist_ok=True)
        errors = output / f"{args.split}_errors.jsonl"
        evaluation = evaluate(recognizer, dataset, args.split, errors)
        print(*told(evaluation), sep="\n")
        if args.json:
            write_json(args.json, evaluation, errors)
        if args.output:
            from model.evaluation.page import write_page

            print(f"page                  {write_page(evaluation, dataset, output, args.model)}")


if __name__ == "__main__":
    entry.run(main)
