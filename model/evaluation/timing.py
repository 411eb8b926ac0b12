"""Times of an image in a histogram: the median and the 95th percentile of any number of them."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

STEPS = 100  # bins for each factor of e: a percentile is right to 1%


@dataclass(frozen=True)
class Times:
    """How many images took about so long; `nanoseconds` is the exact sum."""

    images_at: Mapping[int, int] = field(default_factory=dict)
    nanoseconds: int = 0

    @classmethod
    def of(cls, seconds: float, images: int) -> "Times":
        """Of images that took `seconds` together."""
        nanoseconds = max(1, round(1e9 * seconds))
        return cls({round(STEPS * math.log(nanoseconds / images)): images}, nanoseconds)

    def __add__(self, other: "Times") -> "Times":
        return Times(Counter(self.images_at) + Counter(other.images_at), self.nanoseconds + other.nanoseconds)

    @property
    def images(self) -> int:
        return sum(self.images_at.values())

    @property
    def mean_ms(self) -> float:
        return self.nanoseconds / 1e6 / self.images if self.images else 0.0

    def percentile_ms(self, percent: float) -> float:
        """Milliseconds within which this share of the images was read."""
        due, seen = percent / 100 * self.images, 0
        for step in sorted(self.images_at):
            seen += self.images_at[step]
            if seen >= due:
                return math.exp(step / STEPS) / 1e6
        return 0.0
