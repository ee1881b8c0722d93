"""Markers: what a laboratory and a densitometer would find in the patient whose bone the niches stand for.

With resorption r and formation f in um3/d per um2 of the bone surface that the niches had at time 0 (a share of the
skeleton), and t the turnover of premenopausal bone,

    CTX = reference r / t,    NTX = reference r / t,    P1NP = reference f / t,
    calcium = set point + rise tanh(gain (r - f) / (t rise)),
    BMD trabecular = 100 M, M = (mineral x its degree of mineralisation) / (the same at time 0), as by computed tomography,
    BMD spine = 100 (1 + s (M - 1)), s the trabecular share of what an absorptiometer (DXA) sees from the front.

Bone mineralises in two steps, to the share p soon after it is laid and slowly to the full degree:
degree(age) = p (1 - exp(-age / primary)) + (1 - p) (1 - exp(-age / secondary)).

What is measured is the truth times the scatter of person and assay, log-normal for CTX, NTX and P1NP, normal for calcium and
BMD. The scatter of a marker is drawn at (key of the patient; name of the marker, step), so that arms share it.
"""

import math
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd

from niche_sim.draws import normal
from niche_sim.kinds import S_SCATTER

HOURS_PER_DAY = 24.0
_NORMAL = ("calcium", "bmd_spine", "bmd_trabecular")
# Of the inside unit in the unit above: ng/mL and ug/L in mg/L, mmol/L in nmol/L.
_PER_INSIDE = {"ctx": 1e3, "ntx": 1e6, "p1np": 1e3, "calcium": 1e-6}


class Markers(NamedTuple):
    """The group `markers` of a parameter set, in inside units."""

    reference_turnover: float  # um/h
    ctx_reference: float  # mg/L
    ntx_reference: float
    p1np_reference: float  # mg/L
    ntx_upper_limit: float
    calcium_set_point: float  # nmol/L
    calcium_gain: float  # nmol/L
    calcium_rise: float  # nmol/L
    primary_share: float
    primary_time: float  # h
    secondary_time: float  # h
    ctx_within_cv: float
    ctx_assay_cv: float
    ntx_within_cv: float
    ntx_assay_cv: float
    p1np_within_cv: float
    p1np_assay_cv: float
    calcium_within_cv: float
    calcium_assay_cv: float
    spine_trabecular_share: float
    bmd_spine_within_cv: float
    bmd_spine_assay_cv: float
    bmd_trabecular_within_cv: float
    bmd_trabecular_assay_cv: float


def read_markers(parameters: Any) -> Markers:
    """Return the group `markers` of a parameter set."""
    group = parameters.group("markers")
    return Markers(**{name: float(group[name]) for name in Markers._fields})


def find_degree(age_h: np.ndarray, markers: Markers) -> np.ndarray:
    """Return the degree of mineralisation, 0 to 1, of bone laid `age_h` hours ago."""
    share = markers.primary_share
    slow = (1.0 - share) * np.exp(-age_h / markers.secondary_time)
    return 1.0 - share * np.exp(-age_h / markers.primary_time) - slow


def find_truth(resorption: Any, formation: Any, content: Any, markers: Markers) -> dict[str, np.ndarray]:
    """Return every marker as it truly is, in its unit of `kinds.MARKER_UNITS`.

    Parameters
    ----------
    resorption, formation : array
        um3/d per um2 of bone surface at time 0.
    content : array
        Mineral of the bone relative to time 0.
    markers : Markers
    """
    resorbed = np.asarray(resorption, dtype=float) / HOURS_PER_DAY / markers.reference_turnover
    formed = np.asarray(formation, dtype=float) / HOURS_PER_DAY / markers.reference_turnover
    excess = np.tanh(markers.calcium_gain * (resorbed - formed) / markers.calcium_rise)
    inside = {
        "ctx": markers.ctx_reference * resorbed, "ntx": markers.ntx_reference * resorbed,
        "p1np": markers.p1np_reference * formed, "calcium": markers.calcium_set_point + markers.calcium_rise * excess,
    }  # fmt: skip
    found = {name: value * _PER_INSIDE[name] for name, value in inside.items()}
    trabecular = np.asarray(content, dtype=float)
    spine = 1.0 + markers.spine_trabecular_share * (trabecular - 1.0)
    return found | {"bmd_spine": 100.0 * spine, "bmd_trabecular": 100.0 * trabecular}


def draw_scatter(marker: str, steps: Any, key: Any, markers: Markers) -> np.ndarray:
    """Return the factor between truth and measurement of a marker at each step; `key` is that of the patient."""
    cvs = getattr(markers, f"{marker}_within_cv"), getattr(markers, f"{marker}_assay_cv")
    # The name itself is the address, so that another marker leaves the draws of this one alone.
    drawn = np.array([normal(key, np.uint64(crc32(marker.encode())), int(step), S_SCATTER) for step in steps])
    if marker in _NORMAL:
        return 1.0 + math.hypot(*cvs) * drawn
    return np.exp(math.sqrt(sum(math.log1p(cv**2) for cv in cvs)) * drawn)


def measure(signals: pd.DataFrame, key: Any, markers: Markers) -> pd.DataFrame:
    """Return the markers of one patient in one arm: columns step, time_h and, of each marker, NAME_true and NAME_measured.

    Parameters
    ----------
    signals : DataFrame
        Rows of the series in time, from time 0 on, summed over the niches of the patient: step, time_h,
        resorption_um3_per_d, formation_um3_per_d, bone_surface_um2, bone_mineral_content_um3.
    key : uint64
        Key of the patient.
    markers : Markers
    """
    surface, content = signals["bone_surface_um2"].iloc[0], signals["bone_mineral_content_um3"]
    # The first row closes no interval: it has bone, but no rates.
    resorption, formation = (
        signals[f"{name}_um3_per_d"].where(signals["step"] > 0) / surface for name in ("resorption", "formation")
    )
    table = {"step": signals["step"].to_numpy(), "time_h": signals["time_h"].to_numpy()}
    for name, truth in find_truth(resorption, formation, content / content.iloc[0], markers).items():
        table[f"{name}_true"] = truth
        table[f"{name}_measured"] = truth * draw_scatter(name, signals["step"], key, markers)
    return pd.DataFrame(table)
