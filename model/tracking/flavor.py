"""A bundle as an MLflow model."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, Schema

from model import export
from model.serving import ServingSettings


class Flavor:
    """Saves a bundle as an MLflow pyfunc model whose loader is the code shipped with it: nothing is pickled.

    Its input is one column of anything without a name, so that a request's images reach the model as they are: as text or
    bytes MLflow would make an array of them with the longest one's size for each, and refuse all for one that is neither.
    """

    @staticmethod
    def save_model(path: str, mlflow_model: Model, bundle_folder: Path, bundle: Mapping[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[^ ]*An input example was not provided")  # it tells of a signature to guess
            mlflow.pyfunc.save_model(
                path,
                loader_module=export.LOADER,
                data_path=str(bundle_folder),
                code_paths=export.write_code(Path(scratch)),
                pip_requirements=export.requirements(bundle),
                model_config=ServingSettings().model_dump(),
                signature=ModelSignature(Schema([ColSpec(AnyType())])),
                mlflow_model=mlflow_model,
            )
        export.complete(Path(path), bundle)
