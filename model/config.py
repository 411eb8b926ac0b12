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
    """The training itself. `warmup` is the share of steps in which the rate rises, `final` what the cosine leaves of it.

    `momentum` is SGD's; weights decay with adamw and sgd. The plateau schedule multiplies the rate by `plateau_factor` after
    `plateau_patience` epochs without a better validation. A device's part of a batch is worked through in `accumulate` pieces.
    `ema` is the momentum of the averaged weights that are judged and shipped, 0.999 or so; their batch normalisation takes its
    statistics from `ema_batches` training batches. `precision: auto` is float32 on CPUs and a mixed one on GPUs that have it.
    Inside an epoch a checkpoint is written every `checkpoint_minutes`, and every `checkpoint_steps` batches.
    """

    epochs: int = Field(default=40, ge=1)
    batch_size: int = Field(default=16, ge=1)
    optimizer: Literal["adamw", "adam", "sgd", "adadelta"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    final: float = Field(default=0.01, ge=0, le=1)
    plateau_patience: int = Field(default=4, ge=1)
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    accumulate: int = Field(default=1, ge=1, le=64)
    ema: float | None = Field(default=None, gt=0, lt=1)
    ema_batches: int = Field(default=50, ge=1)
    patience: int = Field(default=15, ge=1, description="epochs without a better validation before it stops early")
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    xla: bool = False
    determinism: bool = Field(default=False, description="the same weights to the bit from the same settings, somewhat slower")
    steps_per_call: int = Field(default=16, ge=1, description="batches that one call of the compiled function trains on")
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    checkpoint_steps: int | None = Field(default=None, ge=1)


class LoaderSettings(Settings):
    """`window` rows are held and shuffled together; `prefetch` batches are kept ready; `threads` read, and decode.

    Shards of remote datasets are kept in the folder `cache`, up to `cache_gib`; the least recently used go first.
    `reader: petastorm` reads the same shards through petastorm.make_reader.
    """

    window: int = Field(default=8192, ge=1)
    prefetch: int = Field(default=4, ge=1)
    threads: int = Field(default=2, ge=1, le=64)
    reader: Literal["arrow", "petastorm"] = "arrow"
    cache: str = Field(default="~/.cache/glyphmill", min_length=1)
    cache_gib: float = Field(default=20.0, gt=0, allow_inf_nan=False)


class DeviceSettings(Settings):
    """Where to train. None: all visible GPUs, else one CPU; a number of `cpus` makes that many logical CPU devices.

    Each worker of a cluster waits `wait` seconds for the others to come.
    """

    cpus: int | None = Field(default=None, ge=1, le=64)
    wait: float = Field(default=300.0, gt=0, le=86400)


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
