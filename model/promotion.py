"""A registered version judged against the champion, on rows that both have read, and what becomes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model import gates, tracking
from model.config import TrackingSettings
from model.evaluate import Evaluation, comparable, evaluate
from model.gates import Candidate, Limits, Verdict
from model.recognizer import Recognizer
from pipelines.errors import DataError
from pipelines.manifest import Dataset, open_dataset
from pipelines.versions import all_versions

if TYPE_CHECKING:
    from model.tracking.registry import ModelVersion

SPLIT = "test"
Load = Callable[[Path], Recognizer]  # how the recogniser in a bundle's folder is read


def candidate(name: str, recognizer: Recognizer, evaluation: Evaluation) -> Candidate:
    """What the gates want to know of a model that was judged."""
    times = evaluation.details.statistics.times if evaluation.details else None
    ms = times.percentile_ms(50) if times else evaluation.ms_per_image
    return Candidate(name, recognizer.charset.alphabet, evaluation.edits, evaluation.scores.characters, ms)


def verdict(settings: TrackingSettings, new: Candidate, dataset: Dataset, load: Load = Recognizer.load) -> Verdict:
    """Whether `new`, which has read the dataset's test split, becomes champion; for that the present one reads it too."""
    if settings.promote != "better":
        return Verdict(settings.promote == "always", f"tracking.promote is {settings.promote}")
    limits = Limits(settings.max_ms_per_image, settings.max_slowdown)
    version = tracking.champion_version(settings.registered_model)
    if version is None:
        return gates.first(new, limits)
    who = f"the champion, version {version.version}"
    with tracking.bundle_of(f"models:/{version.name}/{version.version}") as folder:
        champion = load(folder)
        if not comparable(champion, dataset):
            how = "force with --set tracking.promote=always, or jobs.promote --force"
            return Verdict(False, f"{who}, was made for other preprocessing; {how}")
        return gates.judge(new, candidate(who, champion, evaluate(champion, dataset, SPLIT)), limits)


def place(
    version: "ModelVersion", settings: TrackingSettings, recognizer: Recognizer, evaluation: Evaluation, dataset: Dataset
) -> tracking.Registered:
    """Gives a new version the alias that it has earned; one that was judged before a kill is not judged again."""
    known = tracking.verdict_on(version)
    if known is not None:
        return tracking.settle(version, *known)
    return _settle(version, verdict(settings, candidate(f"version {version.version}", recognizer, evaluation), dataset))


def promote(
    uri: str, settings: TrackingSettings, dataset: str | None = None, load: Load = Recognizer.load
) -> tracking.Registered:
    """Judges a registered version on `dataset` (None: that of its run), and gives it the alias that it has earned.

    The champion stays what it is. Raises DataError where the version or the dataset is not there.
    """
    version = tracking.version_of(uri)
    champion = tracking.champion_version(version.name)
    if champion is not None and champion.version == version.version:
        return tracking.Registered(uri, str(version.version), tracking.CHAMPION, "it was before")
    settings = settings.model_copy(update={"registered_model": version.name})
    if settings.promote == "always":
        return tracking.settle(version, tracking.CHAMPION, "forced by hand")
    data = open_dataset(dataset) if dataset else _data_of(version.run_id, uri)
    with tracking.bundle_of(f"models:/{version.name}/{version.version}") as folder:
        recognizer = load(folder)
        new = candidate(f"version {version.version}", recognizer, evaluate(recognizer, data, SPLIT))
    return _settle(version, verdict(settings, new, data, load))


def _settle(version: "ModelVersion", found: Verdict) -> tracking.Registered:
    return tracking.settle(version, tracking.CHAMPION if found.passed else tracking.CHALLENGER, found.reason)


def _data_of(run_id: str | None, uri: str) -> Dataset:
    """The dataset version that a run was trained on."""
    if not run_id:
        raise DataError(f"{uri}: no run is known of it; name a dataset with --dataset")
    place, fingerprint = tracking.data_of(run_id)
    found = [dataset for dataset in all_versions(place) if dataset.manifest.fingerprint == fingerprint]
    if not found:
        raise DataError(f"{place}: no version of it is the dataset {fingerprint[:12]} of the run; name one with --dataset")
    return found[-1]
