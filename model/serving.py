"""A bundle as MLflow's pyfunc: in a program, and behind `mlflow models serve`. Goes with the bundle."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from model.recognizer import Prediction, Recognizer
from pipelines.settings import Settings, build


class ServingSettings(Settings):
    """What a loaded model allows: MLflow's `model_config`, with which it is logged and which a server is started with.

    An image of more than `max_pixels` or `max_bytes`, or past row `max_rows` of a request, is an error in its row. Of
    `max_rows` and `threads` (of each request) 0 means any number, and all cores.
    """

    runtime: Literal["auto", "onnx", "tensorflow"] = "auto"
    threads: int = Field(default=0, ge=0)
    max_rows: int = Field(default=0, ge=0)
    max_pixels: int = Field(default=16_000_000, ge=1)
    max_bytes: int = Field(default=16_000_000, ge=1)


class PyfuncModel:
    """What MLflow's pyfunc serves: images in, a table of text, confidence, characters and error out."""

    def __init__(self, recognizer: Recognizer, settings: ServingSettings = ServingSettings()) -> None:  # noqa: B008 - frozen
        self.recognizer = recognizer.refusing(settings.max_pixels, settings.max_bytes)
        self.max_rows = settings.max_rows

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """A pandas DataFrame with a row for each image.

        `model_input` is a DataFrame whose first column holds images, or a list or array of them; an image is bytes,
        base64 text, an array (H, W) or (H, W, C) uint8, or a `pathlib.Path`. A text is never the name of a file.
        """
        import pandas as pd

        images = model_input.iloc[:, 0].tolist() if isinstance(model_input, pd.DataFrame) else model_input
        found = list(self._predictions(images))
        return pd.DataFrame(
            {
                "text": [one.text for one in found],
                "confidence": [one.confidence for one in found],
                "characters": [list(one.characters) for one in found],
                "error": [one.error for one in found],
            }
        )

    def _predictions(self, images: Sequence[Any]) -> Iterator[Prediction]:
        most = self.max_rows or len(images)
        yield from self.recognizer.predict((str(i), image) for i, image in enumerate(images[:most]))
        told = f"too_many_rows: {len(images)} in one request, and max_rows is {most}; send it in parts"
        yield from (Prediction(str(i), error=told) for i in range(most, len(images)))


def _load_pyfunc(data_path: str, model_config: Mapping[str, Any] | None = None) -> PyfuncModel:
    """MLflow calls this to load the model (`loader_module` in the MLmodel file). Raises SettingsError and DataError."""
    settings = build(ServingSettings, dict(model_config or {}), "model_config")
    return PyfuncModel(Recognizer.load(data_path, settings.runtime, settings.threads or None), settings)
