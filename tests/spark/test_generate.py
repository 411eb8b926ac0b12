"""Made data on Spark: the same bytes however many tasks draw them, and as one process draws them."""

import pytest

from pipelines.drawing import DrawingSettings, draw, plan
from pipelines.errors import DataError
from pipelines.spark import generate as on_spark

pytestmark = pytest.mark.spark
SETTINGS = DrawingSettings(count=12, size="60x32", seed=3, flaws=4)


def files_below(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("task_files", [500, 8, 3])
def test_the_bytes_do_not_depend_on_the_number_of_tasks(spark, tmp_path, monkeypatch, task_files):
    monkeypatch.setattr(on_spark, "TASK_FILES", task_files)
    assert on_spark.generate(spark, str(tmp_path / "images"), SETTINGS) == 16
    assert files_below(tmp_path / "images") == {drawing.path: draw(SETTINGS, drawing) for drawing in plan(SETTINGS)}


def test_flat(spark, tmp_path):
    settings = SETTINGS.model_copy(update={"flat": True})
    on_spark.generate(spark, str(tmp_path / "images"), settings)
    assert len(files_below(tmp_path / "images")) == 16
    assert all(path.is_file() for path in (tmp_path / "images").iterdir())


def test_a_folder_that_holds_something_is_refused_and_left_alone(spark, tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"precious")
    with pytest.raises(DataError, match="--output names a new or empty folder"):
        on_spark.generate(spark, str(tmp_path), SETTINGS)
    assert files_below(tmp_path) == {"mine.txt": b"precious"}


def test_a_file_in_the_way_is_told_in_one_line(spark, tmp_path):
    (tmp_path / "images").write_bytes(b"precious")
    with pytest.raises(DataError):
        on_spark.generate(spark, str(tmp_path / "images"), SETTINGS)


def test_a_task_that_cannot_write_is_told_in_one_line(spark, tmp_path, monkeypatch):
    def full(settings, drawing):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(on_spark, "draw", full)
    with pytest.raises(DataError, match="No space left on device") as caught:
        on_spark.generate(spark, str(tmp_path / "images"), SETTINGS)
    assert "\n" not in str(caught.value)
