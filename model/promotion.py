"""A registered version judged against the champion, on rows that both have read, and what becomes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model import gates, tracking
from model.config import TrackingSettings
from model.evaluate import Evaluation, comparable, evaluate
from model.gates import Candidate, Limits, Verdict
from model.provenance import dataset_of
from model.recognizer import Recognizer
from pipelines.manifest import Dataset, open_dataset

if TYPE_CHECKING:
    from model.tracking.registry import ModelVersion

SPLIT = "test"
Load = Callable[[Path], Recognizer]  # how the recogniser in a bundle's folder is read


def candidate(name: str, recognizer: Recognizer, evaluation: Evaluation) -> Candidate:
    """What the gates want to know of a model that was judged."""
    times = evaluation.details.statistics.times if evaluation.details else None
    ms = times.percentile_ms(50) if times else evaluation.ms_per_image
    return Candidate(name, recognizer.charset.alphabet, evaluation.edits, evaluation.scores.characters, ms)


def verdict(
    settings: TrackingSettings,
    new: Candidate,
    version: "ModelVersion | None",
    dataset: Dataset,
    load: Load = Recognizer.load,
) -> Verdict:
    """Whether `new`, which has read the dataset's test split, becomes champion in place of `version`, which reads it too."""
    if settings.promote != "better":
        return Verdict(settings.promote == "always", f"tracking.promote is {settings.promote}")
    limits = Limits(settings.max_ms_per_image, settings.max_slowdown)
    if version is None:
        return gates.first(new, limits)
    who = f"the champion, version {version.version}"
    with tracking.bundle_of(tracking.uri_of(version)) as folder:
        champion = load(folder)
        if not comparable(champion, dataset):
            how = "force with --set tracking.promote=always, or jobs.promote --force"
            return Verdict(False, f"{who}, was made for other preprocessing; {how}")
        return gates.judge(new, candidate(who, champion, evaluate(champion, dataset, SPLIT)), limits)


def place(
    version: "ModelVersion", settings: TrackingSettings, recognizer: Recognizer, evaluation: Evaluation, dataset: Dataset
) -> tracking.Registered:
    """Gives a new version the alias that it has earned.

    One that was judged before a kill is judged again only where another became champion before it did.
    """
    known = tracking.settle_again(version)
    return known or _settle(version, settings, candidate(f"version {version.version}", recognizer, evaluation), dataset)


def promote(
    uri: str, settings: TrackingSettings, dataset: str | None = None, load: Load = Recognizer.load
) -> tracking.Registered:
    """Judges a registered version on `dataset` (None: that of its run), and gives it the alias that it has earned.

    The champion stays what it is. Raises DataError where the version or the dataset is not there.
    """
    version = tracking.version_of(uri)
    champion = tracking.champion_version(version.name)
    if champion is not None and champion.version == version.version:
        return _as_before(version)
    if settings.promote == "always":
        return tracking.settle(version, tracking.CHAMPION, "forced by hand")
    data = open_dataset(dataset) if dataset else dataset_of(version.run_id, uri)
    with tracking.bundle_of(tracking.uri_of(version)) as folder:
        recognizer = load(folder)
        new = candidate(f"version {version.version}", recognizer, evaluate(recognizer, data, SPLIT))
    return _settle(version, settings, new, data, load)


def _settle(
    version: "ModelVersion", settings: TrackingSettings, new: Candidate, dataset: Dataset, load: Load = Recognizer.load
) -> tracking.Registered:
    """Judges a version, and once more whenever another became champion meanwhile, and gives it the alias that it has earned."""
    while True:
        champion = tracking.champion_version(version.name)
        if champion is not None and champion.version == version.version:
            return _as_before(version)  # by hand, meanwhile
        found = verdict(settings, new, champion, dataset, load)
        failed = tracking.NO_ALIAS if settings.promote == "never" else tracking.CHALLENGER
        against = str(champion.version) if champion else ""
        settled = tracking.settle_against(against, version, tracking.CHAMPION if found.passed else failed, found.reason)
        if settled is not None:
            return settled


def _as_before(version: "ModelVersion") -> tracking.Registered:
    return tracking.Registered(tracking.uri_of(version), str(version.version), tracking.CHAMPION, "it was before")
