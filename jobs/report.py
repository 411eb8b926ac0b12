"""Figures and one HTML page about a dataset.

python -m jobs.report --dataset data/shards
"""

from jobs import entry
from pipelines.manifest import open_dataset
from pipelines.report import write_report
from pipelines.storage import locate


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--dataset", required=True, metavar="DIR_OR_URI", help="dataset folder, or DIR@3 for version 3")
    parser.add_argument("--output", metavar="DIR_OR_URI", help="where to write (default: report/ in the dataset)")
    args = parser.parse_args()
    dataset = open_dataset(args.dataset)
    folder = locate(args.output) if args.output else dataset.location.join("report")
    print(write_report(dataset, folder).uri)


if __name__ == "__main__":
    entry.run(main)
