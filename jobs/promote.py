"""A registered version made champion by hand, where it is better than the present one; or the champion before put back.

python -m jobs.promote --model models:/glyphmill/3                       # judged on the test split of its run's dataset
python -m jobs.promote --model models:/glyphmill/3 --set tracking.max_slowdown=4
python -m jobs.promote --model models:/glyphmill/3 --force               # not judged
python -m jobs.promote --roll-back --name glyphmill

Leaves with 1 where the version does not become champion.
"""

import sys

from jobs import entry
from model.config import TrackingSettings
from pipelines.settings import read


def main() -> None:
    parser = entry.parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", metavar="URI", help="models:/glyphmill/3 or models:/glyphmill@challenger")
    which.add_argument("--roll-back", action="store_true", help="make the champion before the present one champion again")
    parser.add_argument("--name", metavar="MODEL", help="registered model of --roll-back (default glyphmill)")
    parser.add_argument("--force", action="store_true", help="whatever the comparison would say")
    parser.add_argument("--dataset", metavar="DIR_OR_URI", help="judge on this one's test split, not on that of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as tracking.max_slowdown=3")
    args = parser.parse_args()
    if args.roll_back and (args.force or args.dataset or args.set):
        parser.error("--roll-back judges nothing: it goes with --name alone")
    if args.model and args.name:
        parser.error("--name goes with --roll-back; --model has the name in it")
    limits = [text.removeprefix("tracking.") for text in args.set]  # as jobs.train has them, or short
    settings = read(TrackingSettings, None, [*limits, *(["promote=always"] if args.force else [])])
    if settings.promote == "never":
        parser.error("promote=never promotes nothing; leave it out")
    if args.roll_back:
        _roll_back(args.name or settings.registered_model)
        return
    from model.promotion import promote

    registered = promote(args.model, settings, args.dataset, entry.load_recognizer)
    print(f"{registered.uri} is {registered.alias}: {registered.reason}")
    sys.exit(registered.alias != "champion")


def _roll_back(name: str) -> None:
    from model.tracking import roll_back

    registered, before = roll_back(name)
    print(f"{registered.uri} is champion again; version {before} was")


if __name__ == "__main__":
    entry.run(main)
