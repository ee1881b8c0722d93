"""Skeletal-related events: fracture, radiation or surgery of bone, cord compression, of a patient with bone metastases.

The hazard of a patient is

    h(t) = rate z (L(t) / L0)^p (NTX(t) / NTX0)^q,  0 without a detected lesion,

L her detected lesions, NTX her marker of resorption, L0 and NTX0 those of a usual patient, z her frailty: gamma of mean 1
and coefficient of variation c between patients. So the events of usual patients in a time t are negative binomial, and

    P(no event by t) = (1 + c^2 rate t)^(-1 / c^2).

Events are where the integral of the hazard passes the sums of unit exponential gaps. Frailty and gaps are drawn at (key of
the patient; name, number of the event): what lowers the hazard only delays the same events.
"""

import math
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from scipy.special import gammaincinv

from niche_sim.draws import uniform
from niche_sim.kinds import S_SCATTER


class SkeletalEvents(NamedTuple):
    """The group `skeletal_events` of a parameter set, in inside units."""

    rate: float  # 1/h
    frailty_cv: float
    lesions_reference: float
    lesions_exponent: float
    ntx_reference: float
    ntx_exponent: float


def read_skeletal_events(parameters: Any) -> SkeletalEvents:
    """Return the group `skeletal_events` of a parameter set."""
    group = parameters.group("skeletal_events")
    return SkeletalEvents(**{name: float(group[name]) for name in SkeletalEvents._fields})


def find_hazard(lesions: Any, ntx: Any, events: SkeletalEvents) -> np.ndarray:
    """Return the hazard (1/h) of a patient of frailty 1.

    Parameters
    ----------
    lesions : array
        Detected lesions.
    ntx : array
        NTX as a ratio, as the reference in the parameter set (nmol/mmol times 1e-6).
    events : SkeletalEvents
    """
    count = np.asarray(lesions, dtype=float)
    extent = np.where(count > 0, (count / events.lesions_reference) ** events.lesions_exponent, 0.0)
    return events.rate * extent * (np.asarray(ntx, dtype=float) / events.ntx_reference) ** events.ntx_exponent


def find_free(time_h: Any, hazard: float, events: SkeletalEvents) -> np.ndarray:
    """Return the share of patients of a constant hazard (1/h, at frailty 1) without an event by `time_h`."""
    passed, square = hazard * np.asarray(time_h, dtype=float), events.frailty_cv**2
    return np.exp(-(np.log1p(square * passed) / square if square > 0 else passed))


def find_median(hazard: float, events: SkeletalEvents) -> float:
    """Return when (h) half of the patients of a constant hazard have had an event."""
    square = events.frailty_cv**2
    passed = math.expm1(square * math.log(2.0)) / square if square > 0 else math.log(2.0)
    return passed / hazard if hazard > 0 else math.inf


def draw_frailty(key: Any, events: SkeletalEvents) -> float:
    """Return the frailty of the patient of a key."""
    if events.frailty_cv == 0.0:
        return 1.0
    shape = 1.0 / events.frailty_cv**2
    return float(gammaincinv(shape, uniform(key, _address("frailty"), 0, S_SCATTER)) / shape)


def draw_events(times_h: Any, hazard: Any, key: Any, events: SkeletalEvents) -> np.ndarray:
    """Return the times (h) of the events of a patient.

    Parameters
    ----------
    times_h : array, shape (n + 1,)
        Ends of intervals, rising.
    hazard : array, shape (n,)
        1/h in each interval, at frailty 1.
    key : uint64
        Key of the patient.
    events : SkeletalEvents
    """
    edges = np.asarray(times_h, dtype=float)
    passed = np.concatenate([[0.0], np.cumsum(np.asarray(hazard, dtype=float) * np.diff(edges))]) * draw_frailty(key, events)
    reached: list[float] = []
    level = _draw_gap(key, 0)
    while level < passed[-1]:
        reached.append(level)
        level += _draw_gap(key, len(reached))
    # Where nothing passes two edges are equal, and an event would be at either: it is at the end of the interval before.
    right = np.searchsorted(passed, reached, side="left")
    part = (np.array(reached) - passed[right - 1]) / (passed[right] - passed[right - 1])
    return edges[right - 1] + part * (edges[right] - edges[right - 1])


def _draw_gap(key: Any, number: int) -> float:
    return -math.log(uniform(key, _address("gap"), number, S_SCATTER))


def _address(name: str) -> np.uint64:
    return np.uint64(crc32(f"skeletal_events.{name}".encode()))
