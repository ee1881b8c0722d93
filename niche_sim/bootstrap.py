"""The bootstrap over patients: each sample draws patients with all that is theirs, in every arm."""

from typing import Any

import numpy as np

from niche_sim.draws import uniform
from niche_sim.kinds import S_BOOTSTRAP

RESAMPLES = 1000


def resample(key: Any, patients: int) -> np.ndarray:
    """Return how often each patient is in each sample, shape (1 + RESAMPLES, patients): once in the first, else as drawn."""
    counts = np.ones((1 + RESAMPLES, patients))
    for sample in range(1, 1 + RESAMPLES):
        drawn = [int(patients * uniform(key, np.uint64(slot), sample, S_BOOTSTRAP)) for slot in range(patients)]
        counts[sample] = np.bincount(drawn, minlength=patients)
    return counts


def average(counts: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the mean of each column over the patients who have it, in each sample."""
    there = np.isfinite(held)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((counts @ np.where(there, held, 0.0)) / (counts @ there))
