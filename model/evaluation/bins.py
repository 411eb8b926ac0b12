"""Probabilities -> bins that are fine where networks put most of theirs: at both ends."""

import numpy as np

# In units of the logit, log(p / (1 - p)): float32 knows nothing below exp(-104) and nothing nearer to 1 than exp(-16.6).
LOWEST, MIDDLE, HIGHEST = -104.0, -8.0, 18.0
COARSE, FINE = 4, 16  # bins for each unit, below and above MIDDLE
LOW = round((MIDDLE - LOWEST) * COARSE)
BINS = LOW + round((HIGHEST - MIDDLE) * FINE)
_LOGITS = np.concatenate([np.linspace(LOWEST, MIDDLE, LOW, endpoint=False), np.linspace(MIDDLE, HIGHEST, BINS - LOW + 1)])
EDGES = 1 / (1 + np.exp(-_LOGITS))  # of the bins, as probabilities


def bins_of(probabilities: np.ndarray) -> np.ndarray:
    """The bin of each probability, int64, in 0 to BINS - 1, in ascending order."""
    clipped = np.clip(np.asarray(probabilities, np.float64), EDGES[0], EDGES[-1])
    logits = np.log(clipped) - np.log1p(-clipped)
    found = np.where(logits < MIDDLE, (logits - LOWEST) * COARSE, LOW + (logits - MIDDLE) * FINE)
    return np.clip(found.astype(np.int64), 0, BINS - 1)
