"""A registered model as a folder that predicts by itself, without this repository; checksums are looked at first.

python -m jobs.download --model models:/glyphmill@champion --output model_out
python model_out/predict.py images/          # with what model_out/requirements.txt names, TensorFlow not among it
"""

from pathlib import Path

from jobs import entry


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI", help="models:/glyphmill@champion or models:/glyphmill/3")
    parser.add_argument("--output", required=True, metavar="DIR", help="new or empty folder")
    args = parser.parse_args()

    from model.tracking import download

    folder = download(args.model, Path(args.output))
    print(f"{args.model} is in {folder}; try: python {folder / 'predict.py'} IMAGE_OR_FOLDER")


if __name__ == "__main__":
    entry.run(main)
