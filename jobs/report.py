"""Figures and one HTML page about a dataset.

python -m jobs.report --dataset data/shards
python -m jobs.report --dataset data/shards@2 --against data/shards@1    # and what changed between the two
"""

from jobs import entry
from pipelines.drift import drift_lines
from pipelines.manifest import open_dataset
from pipelines.report import drift_of, write_report
from pipelines.storage import locate


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--output", metavar="DIR_OR_URI", help="where to write (default: report/ in the dataset)")
    parser.add_argument("--against", metavar="DIR_OR_URI", help="another version or dataset: also tell the drift from it")
    args = parser.parse_args()
    dataset = open_dataset(args.dataset)
    against = open_dataset(args.against) if args.against else None
    folder = locate(args.output) if args.output else dataset.location.join("report")
    page = write_report(dataset, folder, against)
    if against:
        print(*drift_lines(drift_of(dataset, against)), sep="\n")
    print(page.shown)


if __name__ == "__main__":
    entry.run(main)
