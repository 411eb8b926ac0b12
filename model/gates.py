"""Who becomes champion: better on the same rows by more than the noise, not too slow, and with the same alphabet. Pure."""

from typing import NamedTuple

import numpy as np

SAMPLES, SEED = 10_000, 0  # of the bootstrap
NOISE = 0.025  # a gain that chance gives more often is none; two scores are asked, so 5% in all


class Limits(NamedTuple):
    """The most milliseconds for an image, and the most times the champion's; None is no limit."""

    ms_per_image: float | None = None
    slowdown: float | None = None


NO_LIMITS = Limits()


class Candidate(NamedTuple):
    """A model on a test split: `edits` (N,) has the character errors of each row, of labels of `characters` in all.

    `ms_per_image` is the median of an image in batches, which a busy moment of the machine does not move.
    """

    name: str
    alphabet: str
    edits: np.ndarray
    characters: int
    ms_per_image: float

    @property
    def exact_match(self) -> float:
        return float(np.mean(self.edits == 0)) if len(self.edits) else 0.0

    @property
    def cer(self) -> float:
        return float(self.edits.sum(dtype=np.int64)) / self.characters if self.characters else 0.0


class Gain(NamedTuple):
    """The mean gain of a row, where it lies with 95% confidence, and how often chance alone gives as much (one-sided)."""

    mean: float
    low: float
    high: float
    chance: float

    @property
    def real(self) -> bool:
        """More than the noise."""
        return self.mean > 0 and self.chance <= NOISE


class Verdict(NamedTuple):
    """Whether a challenger becomes champion, and why."""

    passed: bool
    reason: str


def gain(differences: np.ndarray, samples: int = SAMPLES, seed: int = SEED) -> Gain:
    """What rows gained, (N,) integers, tested by the paired bootstrap of Berg-Kirkpatrick et al. 2012 (D12-1091).

    `chance` is the share of samples of rows that gain at least twice as much as these rows do: samples lie around the
    gain that was seen, and without a real one they would lie around 0. It is no less than the sign test's least value,
    which stands for the few rows that a bootstrap cannot judge. Rows of one kind are drawn together, by a multinomial: time
    and memory do not grow with rows.
    """
    rows = len(differences)
    if not rows:
        return Gain(0.0, 0.0, 0.0, 1.0)
    kinds, counts = np.unique(differences.astype(np.int64), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(rows, counts / rows, samples) @ kinds
    seen = int(kinds @ counts)
    low, high = np.percentile(drawn, [2.5, 97.5]) / rows
    least = 0.5 ** int(counts[kinds != 0].sum())
    return Gain(seen / rows, float(low), float(high), max(least, float(np.mean(drawn >= 2 * seen))))


def exact_gain(new: Candidate, champion: Candidate) -> Gain:
    """The gain in exact match."""
    return gain((new.edits == 0).astype(np.int8) - (champion.edits == 0).astype(np.int8))


def edits_gain(new: Candidate, champion: Candidate) -> Gain:
    """The gain in character errors for each row."""
    return gain(champion.edits.astype(np.int64) - new.edits.astype(np.int64))


def first(new: Candidate, limits: Limits = NO_LIMITS) -> Verdict:
    """On a model where there is no champion."""
    slow = _slow(new, None, limits)
    return Verdict(False, f"there was no champion, but {slow}") if slow else Verdict(True, "there was no champion")


def judge(new: Candidate, champion: Candidate, limits: Limits = NO_LIMITS) -> Verdict:
    """On a challenger and the champion, which read the same rows. The reason has the numbers that decided."""
    if missing := "".join(c for c in champion.alphabet if c not in new.alphabet):
        return Verdict(False, f"does not read {missing!r}, which {champion.name} does")
    better, reason = _better(new, champion)
    slow = _slow(new, champion, limits)
    return Verdict(False, f"{slow}, though {reason}") if better and slow else Verdict(better, reason)


def _better(new: Candidate, champion: Candidate) -> Verdict:
    """By exact match; where that is within the noise, by character errors, which make good no loss of exact match."""
    figures = (
        f"exact match {new.exact_match:.4f} (CER {new.cer:.4f}) against {champion.exact_match:.4f} ({champion.cer:.4f})"
        f" of {champion.name}, on the same {len(new.edits)} rows"
    )
    exact, loss = exact_gain(new, champion), exact_gain(champion, new)
    points = f"{100 * exact.mean:+.2f} points, 95% interval {100 * exact.low:+.2f} to {100 * exact.high:+.2f}"
    if loss.real:
        return Verdict(False, f"worse: {figures}: {points}, {_chance(loss)}")
    told = f"{points}, {_chance(exact)}"
    if exact.real:
        return Verdict(True, f"better: {figures}: {told}")
    characters = edits_gain(new, champion)
    fewer = f"{0.0 - characters.mean:+.4f} character errors a row, {_chance(characters)}"
    if characters.real:
        return Verdict(True, f"better: {figures}: {told}; {fewer}")
    return Verdict(False, f"not better by more than the noise: {figures}: {told}; {fewer}")


def _chance(gain: Gain) -> str:
    return f"p = {gain.chance:.3f}" if gain.chance >= 0.001 else "p < 0.001"


def _slow(new: Candidate, champion: Candidate | None, limits: Limits) -> str:
    """Why the model is too slow; empty where it is not."""
    if limits.ms_per_image is not None and new.ms_per_image > limits.ms_per_image:
        return (
            f"too slow: {new.ms_per_image:.2f} ms for an image,"
            f" at most {limits.ms_per_image:g} are wanted (tracking.max_ms_per_image)"
        )
    if champion is None or limits.slowdown is None or new.ms_per_image <= limits.slowdown * champion.ms_per_image:
        return ""
    return (
        f"too slow: {new.ms_per_image:.2f} ms for an image, more than {limits.slowdown:g} times"
        f" the {champion.ms_per_image:.2f} of {champion.name} (tracking.max_slowdown)"
    )
