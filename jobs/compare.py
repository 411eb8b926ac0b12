"""Runs side by side: scores, speed, size, settings that differ, registered version; and which one to use.

python -m jobs.compare                                     # the newest ten of the experiment
python -m jobs.compare 3c4b9ec3 models:/glyphmill@champion
python -m jobs.compare --format csv > runs.csv
"""

from jobs import entry


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="id of a run, its beginning, or URI of the model that it made")
    parser.add_argument("--experiment", default="glyphmill", help="where the newest are looked for (default glyphmill)")
    parser.add_argument("--newest", type=int, default=10, metavar="N", help="how many, where no run is named (default 10)")
    parser.add_argument("--format", choices=["text", "csv", "json"], default="text", help="text (default), CSV or JSON")
    args = parser.parse_args()
    if args.newest < 1:
        parser.error("--newest is at least 1")

    from model import compare
    from model.tracking import find_runs

    rows = compare.rows_of(find_runs(args.runs, args.experiment, args.newest))
    forms = {"text": compare.text, "csv": compare.to_csv, "json": compare.to_json}
    print(forms[args.format](rows).rstrip("\n"))


if __name__ == "__main__":
    entry.run(main)
