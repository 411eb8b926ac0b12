"""The text in images, as CSV or JSON lines; a bad file is a row with an error.

python -m jobs.predict --model models:/glyphmill@champion images/ more.png
find images -name '*.png' | python -m jobs.predict --model model_out --format jsonl -
"""

import sys

from jobs import entry
from model.recognizer import Recognizer, add_arguments, predict_files


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    add_arguments(parser)
    args = parser.parse_args()

    from model.tracking import bundle_of

    with bundle_of(args.model) as folder:
        entry.load_tensorflow()
        failed = predict_files(Recognizer.load(folder), args)
    if failed:
        print(f"{failed} of the files could not be read; see the column error", file=sys.stderr)


if __name__ == "__main__":
    entry.run(main)
