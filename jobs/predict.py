"""The text in images, as CSV or JSON lines; a bad file is a row with an error. Or new images, drawn and read.

python -m jobs.predict --model models:/glyphmill@champion images/ more.png
find images -name '*.png' | python -m jobs.predict --model model_out --format jsonl -
python -m jobs.predict --model model_out --limit 20 --save-debug stages images/   # what preprocessing makes of them
python -m jobs.predict --model models:/glyphmill@champion --draw 24                # the playground
"""

import argparse
import secrets
import sys
from functools import partial
from pathlib import Path

from jobs import entry
from model.recognizer import Recognizer, add_arguments, positive, predict_files, predictions_of
from pipelines.errors import SettingsError


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    add_arguments(parser, paths="*")
    parser.add_argument(
        "--draw",
        type=positive,
        metavar="N",
        help="in place of files: draw N new images as the model was trained on, read and show them",
    )
    parser.add_argument("--grid", metavar="FILE", default="drawn.png", help="with --draw: the pictures (default drawn.png)")
    parser.add_argument("--seed", type=int, metavar="S", help="with --draw: the same images again (default: others each time)")
    args = parser.parse_args()
    if bool(args.paths) == bool(args.draw):
        raise SettingsError("name files or folders to read, or --draw N to read new images; not both")

    from model.tracking import bundle_of

    with bundle_of(args.model) as folder:
        recognizer = entry.load_recognizer(folder, args.runtime)
        if args.draw:
            draw(recognizer, args)
        elif failed := predict_files(recognizer, args):
            print(f"{failed} of the files could not be read; see the column error", file=sys.stderr)


def draw(recognizer: Recognizer, args: argparse.Namespace) -> None:
    """The playground: a table on standard output, and pictures in a file."""
    from model import playground

    seed = secrets.randbits(31) if args.seed is None else args.seed
    settings = playground.settings_for(recognizer.bundle, args.draw, seed)
    width = max(settings.length[1], len("label"))
    played = playground.play(settings, partial(predictions_of, recognizer, args))
    print(f"{'label':{width}}  {'text':{width}}  judged  confidence")
    drawn = []
    for one in played:
        print(playground.row(one, width))
        drawn.append(one)
    Path(args.grid).write_bytes(playground.grid(drawn, settings))
    print(f"{playground.told(drawn, settings)}; pictures in {args.grid}")


if __name__ == "__main__":
    entry.run(main)
