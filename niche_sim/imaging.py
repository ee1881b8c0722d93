"""Imaging: a lesion that has left the lattice grows until a scan shows it.

Growth is Gompertz's, dN/dt = a N ln(K / N) with the capacity K, so that from N0 cells

    N(t) = K (N0 / K)^exp(-a t),   t(N) = ln(ln(K / N0) / ln(K / N)) / a,   a = ln 2 / (T ln(K / n)),

T the doubling time at the small size n. T is log-normal between lesions, drawn at (key of the patient; lesion and name, 0).
A lesion is detectable from the cells of a sphere of the detectable diameter on, and detected by the first scan from then on
that does not miss it, drawn at (lesion and name, number of the scan): arms share all draws.
"""

import math
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd

from niche_sim.draws import normal, uniform
from niche_sim.kinds import S_SCATTER

_UM3_PER_L = 1e15
COLUMNS = ("patient", "lesion", "time_h", "cells")


class Imaging(NamedTuple):
    """The group `imaging` of a parameter set, in inside units."""

    doubling_time: float  # h
    doubling_cv: float
    doubling_cells: float
    capacity: float  # cells
    detectable_diameter: float  # um
    cell_volume: float  # L
    tumour_share: float
    scan_interval: float  # h
    scan_sensitivity: float
    reference_growth: float  # 1/h, net, at which a lesion grows by its doubling time


def read_imaging(parameters: Any) -> Imaging:
    """Return the group `imaging` of a parameter set."""
    group = parameters.group("imaging")
    return Imaging(**{name: float(group[name]) for name in Imaging._fields})


def find_detectable(imaging: Imaging) -> float:
    """Return the cells of a lesion of the detectable diameter."""
    sphere = math.pi / 6.0 * imaging.detectable_diameter**3
    return sphere * imaging.tumour_share / (imaging.cell_volume * _UM3_PER_L)


def find_rate(doubling_h: Any, imaging: Imaging) -> np.ndarray:
    """Return Gompertz's rate a (1/h) of lesions that double within `doubling_h` at the small size."""
    return math.log(2.0) / (np.asarray(doubling_h, dtype=float) * math.log(imaging.capacity / imaging.doubling_cells))


def grow(cells: Any, time_h: Any, rate: Any, imaging: Imaging) -> np.ndarray:
    """Return the cells of a lesion `time_h` after it had `cells`."""
    start = np.log(np.asarray(cells, dtype=float) / imaging.capacity)
    return imaging.capacity * np.exp(start * np.exp(-np.asarray(rate) * np.asarray(time_h, dtype=float)))


def find_wait(cells: Any, reached: Any, rate: Any, imaging: Imaging) -> np.ndarray:
    """Return the time (h) from `cells` to `reached`: 0 if it is there already, infinite if above the capacity."""
    start = np.log(imaging.capacity / np.asarray(cells, dtype=float))
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.log(imaging.capacity / np.asarray(reached, dtype=float))
        wait = np.where(left > 0, np.log(start / left), np.inf) / rate
    return np.where(np.asarray(cells) >= reached, 0.0, np.maximum(wait, 0.0))


def draw_doubling(key: Any, lesion: int, imaging: Imaging) -> float:
    """Return the doubling time (h) at the small size of one lesion; its mean over lesions is the stated one."""
    width = math.sqrt(math.log1p(imaging.doubling_cv**2))
    drawn = normal(key, _address("doubling", lesion), 0, S_SCATTER)
    return imaging.doubling_time * math.exp(width * drawn - 0.5 * width**2)


def find_scan(detectable_h: float, key: Any, lesion: int, imaging: Imaging, last_h: float = math.inf) -> float:
    """Return when (h) a lesion is detected that is detectable from `detectable_h` on; scans are every interval from time 0.

    NaN if no scan up to `last_h` shows it.
    """
    if not math.isfinite(detectable_h):
        return math.nan
    scan = max(0, math.ceil(detectable_h / imaging.scan_interval))
    while scan * imaging.scan_interval <= last_h:
        if uniform(key, _address("scan", lesion), scan, S_SCATTER) < imaging.scan_sensitivity:
            return scan * imaging.scan_interval
        scan += 1
    return math.nan


def _address(name: str, lesion: int) -> np.uint64:
    return np.uint64(int(lesion) << 32 | crc32(f"imaging.{name}".encode()))


def detect(lesions: pd.DataFrame, keys: dict[int, Any], imaging: Imaging, last_h: float = math.inf) -> pd.DataFrame:
    """Return the lesions with doubling_h, detectable_h and detected_h.

    Parameters
    ----------
    lesions : DataFrame
        Columns patient, lesion, time_h (when it left the lattice, or was last seen on it) and cells (at that time).
    keys : dict of int to uint64
        Key of each patient.
    imaging : Imaging
    last_h : float
        End of follow-up; what no scan has shown by then has NaN.
    """
    table = lesions[list(COLUMNS)].reset_index(drop=True)
    doubling = [draw_doubling(keys[p], n, imaging) for p, n in zip(table["patient"], table["lesion"])]
    wait = find_wait(table["cells"], find_detectable(imaging), find_rate(doubling, imaging), imaging)
    table["doubling_h"], table["detectable_h"] = doubling, table["time_h"] + wait
    table["detected_h"] = [
        find_scan(at, keys[p], n, imaging, last_h)
        for p, n, at in zip(table["patient"], table["lesion"], table["detectable_h"])
    ]
    return table


def count_lesions(detected: pd.DataFrame, patients: list[int], at_h: float) -> pd.Series:
    """Return how many lesions of each patient are detected by `at_h`."""
    found = detected.loc[detected["detected_h"] <= at_h, "patient"].value_counts()
    return found.reindex(patients, fill_value=0).rename("lesions")
