"""Settings of training. YAML files in conf/train/ hold the same keys."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, model_validator
from typing_extensions import Self

from pipelines.settings import Settings


def _ascending(factors: tuple[float, float]) -> tuple[float, float]:
    if factors[0] > factors[1]:
        raise ValueError(f"from {factors[0]:g} to {factors[1]:g}: the lower factor comes first")
    return factors


Share = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(ge=0, le=10)]
Factors = Annotated[tuple[Factor, Factor], AfterValidator(_ascending)]


class CrnnSettings(Settings):
    """Ours. `widths` are the channels of the convolution stages; `depth` sequence layers of `units` follow.

    The first stage, the `stem`, is a full convolution and a second one: full before its pooling, or separable in place of it.
    The others have a residual block of `convolutions`, the last one `last_blocks`.

    `head: positions` reads one character at each of `positions` places (None: as many as the longest label has), `joint`
    also trains CTC's, whose loss counts `ctc_weight` times.
    """

    name: Literal["crnn"] = "crnn"
    widths: tuple[PositiveInt, ...] = Field(default=(16, 64, 128), min_length=2, max_length=6)
    stem: Literal["full", "separable"] = "full"
    convolutions: Literal["full", "separable"] = "separable"
    last_blocks: int = Field(default=1, ge=1)
    sequence: Literal["conv", "lstm"] = "conv"
    units: int = Field(default=128, ge=2)
    depth: int = Field(default=2, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    head: Literal["ctc", "positions", "joint"] = "ctc"
    positions: int | None = Field(default=None, ge=1)
    ctc_weight: float = Field(default=0.5, gt=0, allow_inf_nan=False)


class MultiheadSettings(Settings):
    """Pairs of convolution and pooling, flattened; for each of `positions` a dense layer of `units` and a softmax.

    Batch normalisation after the `last` convolution or after `each`; `dropout` before the dense layers, `unit_dropout` after.
    """

    name: Literal["multihead"] = "multihead"
    widths: tuple[PositiveInt, ...] = Field(default=(32, 64, 128), min_length=1, max_length=6)
    batch_norm: Literal["none", "last", "each"] = "none"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    units: int = Field(default=128, ge=2)
    unit_dropout: float = Field(default=0.0, ge=0, lt=1)
    head: Literal["positions"] = "positions"
    positions: int | None = Field(default=None, ge=1)


class LetterCnnSettings(Settings):
    """Single characters: pairs of convolution and pooling, flattened, `dropout`, a softmax."""

    name: Literal["letter_cnn"] = "letter_cnn"
    widths: tuple[PositiveInt, ...] = Field(default=(32, 64), min_length=1, max_length=6)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    head: Literal["positions"] = "positions"


class DeepMultiheadSettings(Settings):
    """Blocks of two convolutions, a last one, an average over the image; for each of `positions` dense layers and a softmax.

    Of each block `widths` has the channels, `sizes` the sides of the kernels and `dropouts` what is dropped after it; `last`
    and `dropout` are the last convolution's. `units` and `unit_dropouts` are those of the dense layers.
    """

    name: Literal["deep_multihead"] = "deep_multihead"
    widths: tuple[PositiveInt, ...] = Field(default=(64, 128, 256, 512), min_length=1, max_length=6)
    sizes: tuple[PositiveInt, ...] = (7, 5, 3, 3)
    dropouts: tuple[Share, ...] = (0.2, 0.25, 0.3, 0.35)
    last: int = Field(default=512, ge=2)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    units: tuple[PositiveInt, ...] = (512, 256)
    unit_dropouts: tuple[Share, ...] = (0.4, 0.3)
    head: Literal["positions"] = "positions"
    positions: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        blocks, dense = len(self.widths), len(self.units)
        if (len(self.sizes), len(self.dropouts), len(self.unit_dropouts)) != (blocks, blocks, dense):
            raise ValueError(
                f"sizes and dropouts need {blocks} values, one for each of widths; unit_dropouts {dense}, as units"
            )
        return self


class CrnnCtcSettings(Settings):
    """Pairs of convolution and pooling, a dense layer of `units` on each time step, BiLSTMs of `lstm` units each way, CTC."""

    name: Literal["crnn_ctc"] = "crnn_ctc"
    widths: tuple[PositiveInt, ...] = Field(default=(32, 64), min_length=1, max_length=4)
    units: int = Field(default=64, ge=2)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    lstm: tuple[PositiveInt, ...] = Field(default=(128, 64), min_length=1, max_length=4)
    lstm_dropout: float = Field(default=0.25, ge=0, lt=1)
    head: Literal["ctc"] = "ctc"


NetworkSettings = CrnnSettings | MultiheadSettings | LetterCnnSettings | DeepMultiheadSettings | CrnnCtcSettings


def _with_name(values: Any) -> Any:
    """Settings of a network that do not name it are those of ours."""
    return {"name": "crnn"} | values if isinstance(values, dict) else values


class AugmentSettings(Settings):
    """Random changes to training images, drawn for each image; 0, and 1 to 1 of what is a factor, switches one off.

    Drawn evenly from plus to minus the given size: `rotate` and `shear` in degrees, `zoom` relative, `shift` in shares of
    the side, `elastic` in shares of the height (a smooth field of shifts), `brightness` in shares of the range of pixels.
    Drawn evenly from the first to the second: the factors `contrast` (about each channel's mean) and `saturation` (of RGB).
    `blur` is the sigma in pixels of the blurred image that is mixed in with a share of 0 to 1; `noise` the standard deviation
    of Gaussian noise, in shares of the range; `cutout` the largest sides, in shares of the image's, of a rectangle that is
    filled with the image's mean. (The network crnn normalises each image's brightness and contrast itself.)
    """

    rotate: float = Field(default=2.0, ge=0, le=45)
    shear: float = Field(default=3.0, ge=0, le=45)
    zoom: float = Field(default=0.04, ge=0, lt=1)
    shift: float = Field(default=0.02, ge=0, lt=1)
    elastic: float = Field(default=0.0, ge=0, lt=1)
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: Factors = (1.0, 1.0)
    saturation: Factors = (1.0, 1.0)
    blur: float = Field(default=0.0, ge=0, le=10)
    noise: float = Field(default=0.0, ge=0, le=1)
    cutout: float = Field(default=0.0, ge=0, le=1)


class OptimiserSettings(Settings):
    """The training itself. `warmup` is the share of steps in which the rate rises, `final` what the cosine leaves of it.

    `momentum` is SGD's, `beta_2` Adam's; weights decay with adamw and sgd. The plateau schedule multiplies the rate by
    `plateau_factor` after `plateau_patience` epochs without a better validation, down to a rate of `plateau_floor`. What is
    better, `monitor` says: the exact match (then the character errors, then the loss) or the loss of the val split; by more
    than `min_delta`, where that is set. With the cosine schedule the last epoch is kept of those that only chance may set
    apart from the best. Training starts from the weights of the model `init_from`, a folder or a URI such as
    models:/glyphmill@champion, as far as they fit. A device's part of a batch is worked through in `accumulate` pieces.
    `ema` is the momentum of averaged weights, 0.999 or so, that are judged and shipped instead of the last ones. Batch
    normalisation takes its statistics for that from `statistics_batches` of images that are not changed at random (0: from
    those of training), at most an eighth of an epoch, or for averaged weights all of it. `precision: auto` is float32 on CPUs
    and a mixed one on GPUs that have it. Inside an epoch a checkpoint is written every `checkpoint_minutes`, and every
    `checkpoint_steps` batches. After `minutes` of training and validation it stops, within an epoch too; warm-up and cosine
    then follow the time instead of the steps.
    """

    epochs: int = Field(default=40, ge=1)
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    batch_size: int = Field(default=16, ge=1)
    optimizer: Literal["adamw", "adam", "sgd", "adadelta"] = "adamw"
    learning_rate: float = Field(default=3e-3, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.99, ge=0, lt=1)
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    final: float = Field(default=0.01, ge=0, le=1)
    plateau_patience: int = Field(default=4, ge=1)
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    plateau_floor: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.05, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    accumulate: int = Field(default=1, ge=1, le=64)
    ema: float | None = Field(default=None, gt=0, lt=1)
    statistics_batches: int = Field(default=50, ge=0)
    patience: int = Field(default=15, ge=1, description="epochs without a better validation before it stops early")
    monitor: Literal["exact_match", "loss"] = "exact_match"
    min_delta: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    init_from: str | None = Field(default=None, min_length=1)
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
    `reader: petastorm` reads the same shards through petastorm.make_reader. Rows with one of the characters `oversample`
    (0O, say, which are hard to tell apart) are trained on `oversample_times` as often as the others; an epoch has as many rows
    as before, so of the others it has fewer.
    """

    window: int = Field(default=8192, ge=1)
    prefetch: int = Field(default=4, ge=1)
    threads: int = Field(default=2, ge=1, le=64)
    reader: Literal["arrow", "petastorm"] = "arrow"
    cache: str = Field(default="~/.cache/glyphmill", min_length=1)
    cache_gib: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    oversample: str = ""
    oversample_times: float = Field(default=6.0, ge=1, le=1000)


class DeviceSettings(Settings):
    """Where to train. None: all visible GPUs, else one CPU; a number of `cpus` makes that many logical CPU devices.

    Each worker of a cluster waits `wait` seconds for the others to come.
    """

    cpus: int | None = Field(default=None, ge=1, le=64)
    wait: float = Field(default=300.0, gt=0, le=86400)


class TrackingSettings(Settings):
    """What MLflow is told. `promote`: who becomes champion - the better one on the test split, always, or never the new one.

    Better is by more than the noise, with all characters of the champion's alphabet, and not too slow: in at most
    `max_ms_per_image` milliseconds for an image, and at most `max_slowdown` times the champion's (null: no limit), read in
    batches on the machine that trains. `parent` is the id of the run that this one is shown under, a sweep's.
    """

    experiment: str = Field(default="glyphmill", min_length=1)
    run_name: str | None = None
    registered_model: str = Field(default="glyphmill", pattern="^[^/:]+$")
    promote: Literal["better", "always", "never"] = "better"
    max_ms_per_image: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_slowdown: float | None = Field(default=2.0, ge=1, allow_inf_nan=False)
    parent: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")


class TrainSettings(Settings):
    """All that decides how a recogniser is trained."""

    network: Annotated[NetworkSettings, Field(discriminator="name"), BeforeValidator(_with_name)] = CrnnSettings()
    augment: AugmentSettings = AugmentSettings()
    train: OptimiserSettings = OptimiserSettings()
    loader: LoaderSettings = LoaderSettings()
    devices: DeviceSettings = DeviceSettings()
    tracking: TrackingSettings = TrackingSettings()
