"""A model judged on a split of a dataset.

python -m jobs.evaluate --model models:/glyphmill@champion --dataset data/shards --split test
"""

import json
from pathlib import Path

from jobs import entry
from pipelines.manifest import open_dataset


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--split", default="test", help="train, val or test (default)")
    parser.add_argument("--json", metavar="FILE", help="write all numbers and the wrong rows to this file")
    args = parser.parse_args()
    dataset = open_dataset(args.dataset)
    dataset.manifest.shards_of(args.split)

    from model.tracking import bundle_of

    with bundle_of(args.model) as folder:
        entry.load_tensorflow()
        from model.evaluate import evaluate
        from model.recognizer import Recognizer

        evaluation = evaluate(Recognizer.load(folder), dataset, args.split)
    scores = evaluation.scores
    print(f"exact match           {scores.exact_match:.4f} ({scores.exact} of {scores.rows})")
    print(f"character error rate  {scores.cer:.4f} ({scores.edits} edits in {scores.characters} characters)")
    print(f"time                  {evaluation.ms_per_image:.2f} ms an image")
    for wrong in evaluation.wrong[:10]:
        print(f"wrong                 {wrong.path}: read {wrong.text!r} ({wrong.confidence:.2f}), label {wrong.label!r}")
    if args.json:
        summary = evaluation.summary() | {"wrong": [wrong._asdict() for wrong in evaluation.wrong]}
        Path(args.json).write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    entry.run(main)
