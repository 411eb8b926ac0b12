"""Where a model comes from: the dataset of the run that made it."""

from model import tracking
from pipelines.errors import DataError
from pipelines.manifest import Dataset
from pipelines.versions import all_versions


def dataset_of(run_id: str | None, uri: str) -> Dataset:
    """The dataset version that the run of the model `uri` was trained on, as MLflow notes place and fingerprint.

    Raises DataError where no run is known, or it is not there any more.
    """
    if not run_id:
        raise DataError(f"{uri}: no run is known of it; name a dataset with --dataset")
    place, fingerprint = tracking.data_of(run_id)
    try:
        found = [dataset for dataset in all_versions(place) if dataset.manifest.fingerprint == fingerprint]
    except DataError as error:
        raise DataError(f"the dataset of run {run_id} is not where it was: {error}; or name another with --dataset") from None
    if not found:
        raise DataError(f"{place}: no version of it is the dataset {fingerprint[:12]} of the run; name one with --dataset")
    return found[-1]
