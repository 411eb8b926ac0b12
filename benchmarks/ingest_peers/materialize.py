"""petastorm's `materialize_dataset`, as its documentation writes a dataset: an RDD of rows, encoded by the schema's codecs."""

import os
from pathlib import Path

import numpy as np
from petastorm.codecs import NdarrayCodec, ScalarCodec
from petastorm.etl.dataset_metadata import materialize_dataset
from petastorm.unischema import Unischema, UnischemaField, dict_to_spark_row
from PIL import Image
from pyspark.sql.types import StringType

from benchmarks.ingest_peers.contender import HEIGHT, WIDTH, arguments, report, spark_session

ROWGROUP_MIB = 8  # about 1,000 images, as the ingest writes
SCHEMA = Unischema(
    "Row",
    [
        UnischemaField("path", np.str_, (), ScalarCodec(StringType()), False),
        UnischemaField("label", np.str_, (), ScalarCodec(StringType()), False),
        UnischemaField("image", np.uint8, (HEIGHT, WIDTH, 1), NdarrayCodec(), False),
    ],
)


def row(path: str) -> dict[str, object]:
    """The row of one file."""
    image = Image.open(path).convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    return {"path": path, "label": Path(path).stem, "image": np.asarray(image)[:, :, None]}


if __name__ == "__main__":
    args = arguments()
    spark = spark_session()

    def convert() -> None:
        with materialize_dataset(spark, f"file://{args.output}", SCHEMA, ROWGROUP_MIB):
            paths = spark.sparkContext.parallelize([entry.path for entry in os.scandir(args.input)])
            rows = paths.map(row).map(lambda values: dict_to_spark_row(SCHEMA, values))
            frame = spark.createDataFrame(rows, SCHEMA.as_spark_schema())
            frame.coalesce(10).write.mode("overwrite").parquet(f"file://{args.output}")

    report(convert)
    spark.stop()
