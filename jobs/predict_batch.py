"""The text in all images of a folder, however many: Parquet with a row for each file, also for a bad one.

spark-submit jobs/predict_batch.py --model models:/glyphmill@champion --input images/ --output read
spark-submit jobs/predict_batch.py --model model_out --input s3://bucket/images --output s3://bucket/read --set batch=128
python -m jobs.predict_batch --model model_out --input images/ --output read --runner local

The same command again goes on with what is missing, also with another batch or threads;
read/_summary.json, written last, says that all is there.
"""

import sys
from functools import partial
from pathlib import Path

if not __package__:  # run as a file, as spark-submit does: sys.path[0] is jobs/, not the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from jobs import entry
from model.batch import model_of, open_reader
from model.recognizer import positive
from pipelines.batch import BatchSettings, Crew, predict_folder, summary_line
from pipelines.settings import read
from pipelines.storage import locate


def main() -> None:
    parser = entry.parser(__doc__)
    parser.add_argument("--model", required=True, metavar="URI_OR_DIR", help="MLflow URI, downloaded folder or bundle")
    parser.add_argument("--input", required=True, metavar="DIR_OR_URI", help="folder of images, searched with its sub-folders")
    parser.add_argument("--output", required=True, metavar="DIR_OR_URI", help="new or empty folder, or one to go on with")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as batch=128")
    parser.add_argument("--limit", type=positive, metavar="N", help="N files only, spread evenly over all")
    entry.add_runner(parser)
    args = parser.parse_args()
    entry.check_runner(args)
    settings = read(BatchSettings, None, args.set)

    from model.tracking import bundle_of

    with bundle_of(args.model) as folder:
        model, settings = model_of(folder, args.model, settings)
        crew = partial(_crew, args.runner, args.workers, folder, f"glyphmill-{model.fingerprint}", settings)
        done = predict_folder(args.input, args.output, model, settings, crew, limit=args.limit)
    if done.unchanged:
        print(f"nothing to do: {locate(args.output).shown} already holds what this model reads in these images")
    print(summary_line(done.summary))


def _crew(runner: str, workers: int | None, folder: Path, name: str, settings: BatchSettings) -> Crew:
    reader = partial(open_reader, settings=settings, load=entry.load_recognizer)
    if runner == "local":
        from pipelines.pool import PoolRunner

        return Crew(PoolRunner(workers), partial(reader, partial(str, folder.resolve())))
    with entry.needing_spark():
        from pipelines.spark.predict import spark_crew
    return spark_crew(reader, folder, name, Path(__file__).resolve().parents[1], ("model", "jobs"))


if __name__ == "__main__":
    entry.run(main)
