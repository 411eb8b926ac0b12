"""Optimisers and learning rates of the settings."""

from collections.abc import Callable

import keras
import tensorflow as tf

from model.config import OptimiserSettings

UNDECAYED = ["bias", "beta", "gamma"]  # biases and norms (Loshchilov & Hutter 2019)


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at a step: linear warm-up, then a cosine or a constant, times a variable that the trainer lowers."""

    def __init__(
        self, settings: OptimiserSettings, steps: int, factor: keras.Variable | None, spent: keras.Variable | None = None
    ) -> None:
        """`steps` is how many there are in all. Where `spent` is given, it tells the share of them that counts as done."""
        super().__init__()
        self._steps, self._spent = steps, spent
        warmup = round(settings.warmup * steps)
        self._settings, self._factor = settings, factor
        self._curve = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else settings.learning_rate,
            decay_steps=max(1, steps - warmup),
            alpha=settings.final if settings.schedule == "cosine" else 1.0,
            warmup_target=settings.learning_rate if warmup else None,
            warmup_steps=warmup,
        )

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        rate = self._curve(step if self._spent is None else tf.convert_to_tensor(self._spent.value) * self._steps)
        return rate if self._factor is None else rate * tf.convert_to_tensor(self._factor.value)

    def get_config(self) -> dict[str, object]:
        return {"settings": self._settings.model_dump(), "curve": self._curve.get_config()}


def make_optimizer(
    settings: OptimiserSettings,
    steps: int,
    *,
    factor: keras.Variable | None = None,
    spent: keras.Variable | None = None,
    loss_scaling: bool = False,
) -> keras.optimizers.Optimizer:
    """The optimiser for `steps` steps in all; the scheduled rate is multiplied by `factor` (see also Rate for `spent`).

    With `loss_scaling` for float16, whose gradients vanish otherwise (Micikevicius et al. 2018, arXiv 1710.03740).
    """
    rate = Rate(settings, steps, factor, spent)
    optimizer = OPTIMIZERS[settings.optimizer](rate, settings)
    if optimizer.weight_decay is not None:
        optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
    return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scaling else optimizer


def _sgd(rate: Rate, settings: OptimiserSettings) -> keras.optimizers.Optimizer:
    momentum, decay = settings.momentum, settings.weight_decay
    return keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0, weight_decay=decay)


OPTIMIZERS: dict[str, Callable[[Rate, OptimiserSettings], keras.optimizers.Optimizer]] = {
    "adamw": lambda rate, settings: keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, beta_2=settings.beta_2),
    "adam": lambda rate, settings: keras.optimizers.Adam(rate, beta_2=settings.beta_2),
    "sgd": _sgd,
    "adadelta": lambda rate, settings: keras.optimizers.Adadelta(rate),
}
