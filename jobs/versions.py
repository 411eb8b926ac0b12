"""The versions of a dataset: list, compare, verify, prune.

python -m jobs.versions list data/shards
python -m jobs.versions compare data/shards@1 data/shards@2
python -m jobs.versions verify data/shards
python -m jobs.versions prune data/shards --keep 2
"""

import sys
from pathlib import Path

if not __package__:  # run as a file: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry
from pipelines.errors import DataError
from pipelines.manifest import open_dataset
from pipelines.progress import Progress
from pipelines.versions import all_versions, compare, damaged, prune, version_line


def main() -> None:
    parser = entry.parser(__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, told, datasets in (
        ("list", "every version in a line", ["dataset"]),
        ("compare", "rows added, removed, moved, relabelled, changed", ["old", "new"]),
        ("verify", "check every file against its checksum", ["dataset"]),
        ("prune", "remove versions, and files that no other one names", ["dataset"]),
    ):
        action = actions.add_parser(name, help=told, description=told)
        for dataset in datasets:
            action.add_argument(dataset, metavar=dataset.upper(), help="dataset folder, or DIR@3 for version 3")
    which = actions.choices["prune"].add_mutually_exclusive_group(required=True)
    which.add_argument("--keep", type=int, metavar="N", help="keep the newest N versions")
    which.add_argument("--drop", type=int, nargs="+", metavar="V", help="remove these versions")
    args = parser.parse_args()
    if args.action == "list":
        print("\n".join(map(version_line, all_versions(args.dataset))))
    elif args.action == "compare":
        print("\n".join(f"{name:12} {n:,}" for name, n in compare(*map(open_dataset, (args.old, args.new)))._asdict().items()))
    elif args.action == "verify":
        _verify(args.dataset)
    else:
        there = [dataset.manifest.version for dataset in all_versions(args.dataset)]
        drop = args.drop if args.keep is None else there[: max(0, len(there) - args.keep)]
        print("\n".join([*(f"removed      {path}" for path in prune(args.dataset, drop)), f"{len(drop)} versions removed"]))


def _verify(uri: str) -> None:
    dataset = open_dataset(uri)
    manifest = dataset.manifest
    files = len(manifest.parts)
    bad = []
    with Progress("verify", files, "files") as progress:
        for part, wrong in damaged(dataset):
            progress.advance()
            if wrong:
                bad.append(f"{part.path}: {wrong}")
    if bad:
        told = "; ".join(bad[:20])
        raise DataError(
            f"{dataset.location.shown}: {len(bad)} of {files} files are damaged: {told}; ingest into a new --output"
        )
    print(f"{files} files of version {manifest.version} are whole")


if __name__ == "__main__":
    entry.run(main)
