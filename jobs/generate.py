"""Made data: draws labelled text images on all executors; the label is in the file name.

spark-submit jobs/generate.py --output images --count 2000
spark-submit jobs/generate.py --output images --count 2000 --alphabet 0123456789 --length 4-5 --size 160x60 --flaws 20
"""

import sys
from pathlib import Path

if not __package__:  # run as a file, as spark-submit does: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry
from pipelines.drawing import FLAWS, DrawingSettings
from pipelines.settings import build


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--output", required=True, metavar="DIR_OR_URI", help="new or empty folder for the images")
    parser.add_argument("--count", required=True, type=int, help="images to draw")
    parser.add_argument("--alphabet", help="characters of the labels (default: 0-9 and a-z)")
    parser.add_argument("--length", metavar="N-M", help="shortest and longest label (default 4-6)")
    parser.add_argument("--size", metavar="WxH", help="width and height in pixels (default 200x100)")
    parser.add_argument("--seed", type=int, help="the same seed draws the same bytes (default 0)")
    parser.add_argument("--flat", action="store_true", help="one folder instead of one for each thousand images")
    parser.add_argument("--flaws", type=int, help=f"flawed files to add, in turn {', '.join(FLAWS)} (default 0)")
    args = parser.parse_args()
    values = {key: value for key, value in vars(args).items() if value is not None and key != "output"}
    settings = build(DrawingSettings, values, "generate")

    from pipelines.spark.generate import generate
    from pipelines.spark.session import spark_session

    print(f"{generate(spark_session('glyphmill-generate'), args.output, settings)} files written to {args.output}")


if __name__ == "__main__":
    entry.run(main)
