"""Settings of training. YAML files in conf/train/ hold the same keys."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipelines.settings import Settings


class NetworkSettings(Settings):
    """The network. `widths` are the channels of the convolution stages; `depth` sequence layers of `units` follow."""

    name: Literal["crnn"] = "crnn"
    widths: tuple[PositiveInt, ...] = Field(default=(24, 48, 72), min_length=2, max_length=6)
    sequence: Literal["conv", "lstm"] = "conv"
    units: int = Field(default=128, ge=2)
    depth: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class AugmentSettings(Settings):
    """Random changes to training images, each drawn evenly from plus to minus the given size; 0 switches one off.

    Degrees for `rotate` and `shear`, shares of the side for `shift`, relative for `zoom`. (The network normalises each
    image's brightness and contrast itself.)
    """

    rotate: float = Field(default=4.0, ge=0, le=45)
    shear: float = Field(default=6.0, ge=0, le=45)
    zoom: float = Field(default=0.08, ge=0, lt=1)
    shift: float = Field(default=0.04, ge=0, lt=1)


class OptimiserSettings(Settings):
    """The training itself. `warmup` and `final` are the share of steps before, and of the learning rate after, the cosine."""

    epochs: int = Field(default=40, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    final: float = Field(default=0.01, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    patience: int = Field(default=15, ge=1, description="epochs without a better validation before it stops early")
    seed: int = Field(default=0, ge=0, lt=2**31)


class LoaderSettings(Settings):
    """`window` rows are held and shuffled together; `prefetch` batches are kept ready."""

    window: int = Field(default=8192, ge=1)
    prefetch: int = Field(default=4, ge=1)


class DeviceSettings(Settings):
    """Where to train. None: all visible GPUs, else one CPU; a number of `cpus` makes that many logical CPU devices."""

    cpus: int | None = Field(default=None, ge=1, le=64)


class TrackingSettings(Settings):
    """What MLflow is told. `promote`: who becomes champion - the better one on the test split, always, or never the new one."""

    experiment: str = Field(default="glyphmill", min_length=1)
    run_name: str | None = None
    registered_model: str = Field(default="glyphmill", pattern="^[^/:]+$")
    promote: Literal["better", "always", "never"] = "better"


class TrainSettings(Settings):
    """All that decides how a recogniser is trained."""

    network: NetworkSettings = NetworkSettings()
    augment: AugmentSettings = AugmentSettings()
    train: OptimiserSettings = OptimiserSettings()
    loader: LoaderSettings = LoaderSettings()
    devices: DeviceSettings = DeviceSettings()
    tracking: TrackingSettings = TrackingSettings()
