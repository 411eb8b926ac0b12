"""Rows whose label a model contradicts, the most certain contradictions first, for a person to look at.

python -m jobs.doctor --dataset data/shards --model models:/glyphmill@champion
python -m jobs.doctor --dataset data/shards --model model_out --split train --output doctor --top 500
spark-submit jobs/ingest.py --input images/ --output data/cleaned --exclude doctor/exclude.txt    # once it has been edited
"""

from pathlib import Path

from jobs import entry
from pipelines.errors import SettingsError
from pipelines.manifest import open_dataset


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    parser.add_argument("--split", default="all", help="train, val, test or all (default)")
    parser.add_argument(
        "--output", default="doctor", metavar="DIR", type=Path, help="folder for table, page and list (default doctor)"
    )
    parser.add_argument("--top", type=int, default=200, metavar="N", help="rows to show (default 200); all have a score")
    parser.add_argument(
        "--write-exclude", type=int, default=0, metavar="N", help="exclude the first N rows without a look (default 0)"
    )
    args = parser.parse_args()
    if args.top < 1 or args.write_exclude < 0 or args.write_exclude > args.top:
        raise SettingsError(
            f"--top {args.top} --write-exclude {args.write_exclude}: at least 1 row to show, and no more excluded"
        )
    dataset = open_dataset(args.dataset)
    if args.split != "all":
        dataset.manifest.shards_of(args.split)

    from model.tracking import bundle_of

    with bundle_of(args.model) as bundle:
        recognizer = entry.load_recognizer(bundle)
        from model.doctor import examine
        from model.doctor_report import EXCLUDE, PAGE, SCORES, ScoreTable, new_folder, told, write_diagnosis

        folder = new_folder(args.output)
        with ScoreTable.opened(folder / SCORES) as table:
            diagnosis = examine(recognizer, dataset, args.split, args.top, table)
    source = f"{dataset.location.shown}, version {dataset.manifest.version}, split {args.split}, read by {args.model}"
    write_diagnosis(folder, diagnosis, source, args.write_exclude)
    print(f"{diagnosis.rows} rows: " + ", ".join(f"{count} {kind}" for kind, count in diagnosis.kinds.items()))
    for suspect in diagnosis.suspects[:10]:
        found = suspect.finding
        print(f"suspect      {found.path}: label {found.label!r}, read {found.text!r} ({told(found)})")
    print(f"look at      {folder / PAGE}")
    print(f"then edit    {folder / EXCLUDE}, and ingest again with --exclude {folder / EXCLUDE}")


if __name__ == "__main__":
    entry.run(main)
