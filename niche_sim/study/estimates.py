"""Means, errors and intervals of responses, arrays of points by replicates in which a run that is not there is NaN."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

RESAMPLES = 1000
CHUNK = 100  # samples of the bootstrap at a time, for flat memory


def average_replicates(y: np.ndarray) -> np.ndarray:
    """Return the mean over the replicates that are there, NaN where none is; shape (points,)."""
    there = np.isfinite(y)
    number = there.sum(axis=1)
    total = np.where(there, y, 0.0).sum(axis=1)
    return np.divide(total, number, out=np.full(len(y), np.nan), where=number > 0)


def square_error(d: np.ndarray) -> np.ndarray:
    """Return the squared standard error of the mean over replicates, NaN with fewer than two; shape (points,)."""
    there = np.isfinite(d)
    number = there.sum(axis=1)
    least = np.where(there, d, np.inf).min(axis=1, initial=np.inf)
    over = d - np.where(number > 0, least, 0.0)[:, None]  # so that equal values have no error at all, not one of rounding
    squares = np.nansum((over - average_replicates(over)[:, None]) ** 2, axis=1)
    return np.divide(squares, number * (number - 1.0), out=np.full(len(d), np.nan), where=number > 1)


def mean_there(values: np.ndarray) -> float:
    there = np.isfinite(values)
    return float(values[there].mean()) if there.any() else np.nan


def resample(number: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each unit is in each sample of the bootstrap, in chunks of shape (CHUNK, number)."""
    draw, rows = np.random.default_rng(seed), number * np.arange(CHUNK)[:, None]
    for _ in range(RESAMPLES // CHUNK):
        drawn = draw.integers(0, number, (CHUNK, number)) + rows
        yield np.bincount(drawn.ravel(), minlength=CHUNK * number).reshape(CHUNK, number).astype(float)


def find_interval(samples: list[np.ndarray], used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 2.5 % and 97.5 % quantiles over samples, NaN for what fewer than three values stand for."""
    held = np.where(used >= 3, np.concatenate(samples), np.nan)
    with np.errstate(all="ignore"):
        low, high = np.quantile(held, [0.025, 0.975], axis=0)
    return low, high


def estimate_rows(values: np.ndarray) -> pd.DataFrame:
    """Return mean, standard deviation and interval (Student's t) of what is there in each row; `values`, how many that is.

    Parameters
    ----------
    values : ndarray, shape (rows, columns)
        NaN where there is none.
    """
    number = np.isfinite(values).sum(axis=1)
    mean = average_replicates(values)
    error = np.sqrt(square_error(values))
    half = stats.t.ppf(0.975, np.maximum(number - 1, 1)) * error
    return pd.DataFrame({
        "values": number, "mean": mean, "sd": error * np.sqrt(number), "low": mean - half, "high": mean + half,
    })  # fmt: skip
