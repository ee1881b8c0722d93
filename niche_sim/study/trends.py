"""How a response follows a factor while all others vary: at both ends of its range, and along it."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from niche_sim.study.estimates import average_replicates, estimate_rows

FEW_VALUES = 8  # a factor with so few distinct values is shown at each of them
END_SHARE = 0.2  # of the points: the low and the high end of any other factor
BINS = 8


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which points lie at the low and which at the high end of a factor."""
    if len(np.unique(values)) <= FEW_VALUES:
        return values == values.min(), values == values.max()
    low, high = np.quantile(values, [END_SHARE, 1.0 - END_SHARE])
    return values <= low, values >= high


_END_COLUMNS = (
    "value_low", "value_high", "response_low", "response_high", "response_low_half", "response_high_half", "swing",
    "swing_low", "swing_high", "points",
)  # fmt: skip


def compare_ends(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Return the response at the low and at the high end of each factor, all other factors as the design has them.

    The end of a factor with at most eight values is its lowest or highest value, that of another the fifth of the points
    with its lowest or highest values.

    Returns
    -------
    DataFrame
        A row a factor: value_low and value_high (means of the factor there), response_low and response_high with half the
        width of their intervals, swing (high less low) with Welch's interval, and the points at both ends.
    """
    mean = average_replicates(y)
    rows: list[dict[str, Any]] = []
    for values in x.T:
        there = np.isfinite(values) & np.isfinite(mean)
        row = dict.fromkeys(_END_COLUMNS, np.nan) | {"points": 0}
        if len(np.unique(values[there])) > 1:
            low, high = _ends(values[there])
            below, above = mean[there][low], mean[there][high]
            ends = pd.concat([estimate_rows(below[None, :]), estimate_rows(above[None, :])])
            swing, limits = _compare_means(below, above)
            row = dict(zip(_END_COLUMNS, (
                values[there][low].mean(), values[there][high].mean(), *ends["mean"], *(ends["high"] - ends["mean"]),
                swing, *limits, len(below) + len(above),
            )))  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def _compare_means(first: np.ndarray, second: np.ndarray) -> tuple[float, tuple[float, float]]:
    difference = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return difference, (np.nan, np.nan)
    parts = [values.var(ddof=1) / len(values) for values in (first, second)]
    if sum(parts) == 0:
        return difference, (difference, difference)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second)))
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(sum(parts)))
    return difference, (difference - half, difference + half)


def trace_response(values: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Return the course of the response along one factor, averaged over all others as the design has them.

    Returns
    -------
    DataFrame
        A row a value of a factor with at most eight, else a row an eighth of the points by their value: value, mean, low and
        high (interval of the mean over points), points.
    """
    mean = average_replicates(y)
    there = np.isfinite(values) & np.isfinite(mean)
    held, response = values[there], mean[there]
    if len(np.unique(held)) <= FEW_VALUES:
        groups = [held == value for value in np.unique(held)]
    else:
        place = np.minimum((BINS * (stats.rankdata(held) - 1) / len(held)).astype(int), BINS - 1)
        groups = [place == number for number in np.unique(place)]
    rows = []
    for group in groups:
        estimate = estimate_rows(response[group][None, :]).iloc[0]
        rows.append({"value": held[group].mean(), **estimate[["mean", "low", "high"]], "points": int(group.sum())})
    return pd.DataFrame(rows, columns=["value", "mean", "low", "high", "points"])
