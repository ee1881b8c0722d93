"""What is said of the tumours of a cohort together: by arm and visit, with ratios to an arm and bootstrap intervals.

Patients, each with all her tumours, are drawn anew in each sample: tumours of one patient share her bone and are not
independent.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from niche_sim.bootstrap import average, resample

HOURS_PER_YEAR = 8766.0


class Quantity(NamedTuple):
    """One line of the summary: the mean of a column of the visits, or the ratio of two means, times a factor."""

    column: str
    unit: str
    over: str | None = None
    factor: float = 1.0


QUANTITIES = {
    "dtc_density": Quantity("dtc_density", "1/1e6 MNC"),
    "dtc_positive": Quantity("dtc_positive_share", "1"),
    "dtc_positive_two_sides": Quantity("dtc_positive_two_sides_share", "1"),
    "dtc_persistence": Quantity("dtc_persistent_share", "1", "dtc_baseline_share"),
    "dtc_persistence_two_sides": Quantity("dtc_persistent_two_sides_share", "1", "dtc_baseline_two_sides_share"),
    "bone_metastasis": Quantity("bone_metastasis_share", "1"),
    "outside_metastasis": Quantity("outside_metastasis_share", "1"),
    "any_metastasis": Quantity("any_metastasis_share", "1"),
    "bone_detected": Quantity("bone_detected", "count"),
    "outside_detected": Quantity("outside_detected", "count"),
    "bone_detected_per_metastatic": Quantity("bone_detected", "count", "bone_metastasis_share"),
    "bone_growing": Quantity("bone_growing", "count"),
    "outside_growing": Quantity("outside_growing", "count"),
    "bone_dormant": Quantity("bone_dormant", "count"),
    "outside_dormant": Quantity("outside_dormant", "count"),
    "ctc_cells": Quantity("ctc_cells", "count"),
    "skeletal_events": Quantity("skeletal_events", "count"),
    "skeletal_event_rate": Quantity("skeletal_events", "1/yr", "bone_metastasis_h", HOURS_PER_YEAR),
}


def summarise_tumours(visits: pd.DataFrame, reference: str, key: object) -> pd.DataFrame:
    """Return each quantity by arm and visit: mean over patients with its interval, and the ratio to an arm with its own.

    Parameters
    ----------
    visits : DataFrame
        Means over the tumours of each patient: patient, arm, time_h and the columns of QUANTITIES.
    reference : str
        Arm that others are compared with.
    key : uint64
        Of the bootstrap; intervals are the middle 95 % of its samples of patients, NaN for a single patient.
    """
    patients = visits["patient"].nunique()
    counts = resample(key, patients)
    rows = []
    for name, quantity in QUANTITIES.items():
        means = {arm: _find_means(held, quantity, counts) for arm, held in visits.groupby("arm", sort=False)}
        for arm, (times_h, found) in means.items():
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = found / means[reference][1]
            (low, high), (ratio_low, ratio_high) = (_find_interval(values) for values in (found, ratio))
            rows.append(pd.DataFrame({
                "arm": arm, "time_h": times_h, "quantity": name, "unit": quantity.unit, "patients": patients,
                "mean": found[0], "low": low, "high": high,
                "ratio": ratio[0], "ratio_low": ratio_low, "ratio_high": ratio_high,
            }))  # fmt: skip
    table = pd.concat(rows, ignore_index=True).replace([np.inf, -np.inf], np.nan)
    if patients == 1:
        table[["low", "high", "ratio_low", "ratio_high"]] = np.nan
    return table[table["mean"].notna()].reset_index(drop=True)


def _find_means(held: pd.DataFrame, quantity: Quantity, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the visits, and the quantity at each in every sample of patients, shape (samples, visits)."""
    wide = held.pivot(index="patient", columns="time_h", values=quantity.column)
    found = average(counts, wide.to_numpy())
    if quantity.over is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            below = held.pivot(index="patient", columns="time_h", values=quantity.over).to_numpy()
            found = quantity.factor * found / average(counts, below)
    return wide.columns.to_numpy(float), found


def _find_interval(samples: np.ndarray) -> np.ndarray:
    """Return the middle 95 % of the samples of each visit; NaN where any sample has no number."""
    finite = np.where(np.isfinite(samples[1:]), samples[1:], np.nan)
    return np.percentile(finite, (2.5, 97.5), axis=0)
