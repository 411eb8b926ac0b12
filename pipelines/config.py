"""Settings of the data jobs. YAML files in conf/ingest/ hold the same keys."""

from pipelines.images import ImageChecks
from pipelines.labels import LabelRule
from pipelines.preprocess import PreprocessSpec
from pipelines.settings import Settings
from pipelines.shards import ShardSettings
from pipelines.split import SplitRule


class IngestSettings(Settings):
    """All that decides what a dataset holds."""

    label: LabelRule = LabelRule()
    checks: ImageChecks = ImageChecks()
    image: PreprocessSpec = PreprocessSpec()
    split: SplitRule = SplitRule()
    shards: ShardSettings = ShardSettings()
