"""Circulating tumour cells (CTCs): what lesions shed, where it goes, and the lesions that it founds.

Cells enter blood at a rate s and leave it by three competing sinks, of which the first depends on how good a home marrow is:

    dC/dt = s - k C (b S / S0 + o + 1 - b - o),   k = ln 2 / half-life,

b and o the shares that lodge in bone and outside it at the reference suitability S0, the others die. Blood turns over in
hours, so that the pool is in balance with its sources at every moment: C = s / sum of sinks, exact where s is constant.
Poorer marrow so leaves more cells to the other organs. One in `efficiency` of all cells that leave blood at the reference
founds a competent lesion, and of those that lodge one in efficiency / (b + o), in bone or outside it.

The n-th lesion seeded in a site comes when the integral of the rate there passes the n-th sum of unit exponential gaps,
drawn at (key of the patient; site, n): a lower rate only delays the same lesions.
"""

import math
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from niche_sim.draws import draw_uniforms
from niche_sim.kinds import S_SCATTER

MOST_SEEDED = 64  # lesions of one patient in one site that are followed


class Circulation(NamedTuple):
    """The groups `circulation` and `arrival.ctc_half_life` of a parameter set, in inside units."""

    shedding: float  # 1/h, per cell of a growing lesion
    background: float  # cells/h
    bone_share: float
    outside_share: float
    efficiency: float
    suitability_reference: float
    growing_share: float
    half_life: float  # h


class Pool(NamedTuple):
    """Cells in blood, and what leaves it in a unit of time (1/h)."""

    cells: np.ndarray
    to_bone: np.ndarray
    to_outside: np.ndarray
    dying: np.ndarray


def read_circulation(parameters: Any) -> Circulation:
    """Return the numbers of a parameter set."""
    group = parameters.group("circulation") | {"half_life": parameters.value("arrival.ctc_half_life")}
    return Circulation(**{name: float(group[name]) for name in Circulation._fields})


def find_pool(source: Any, suitability: Any, blood: Circulation) -> Pool:
    """Return the pool in balance with its sources.

    Parameters
    ----------
    source : array
        Cells that enter blood, 1/h.
    suitability : array
        Mean suitability of marrow.
    blood : Circulation
    """
    rate = math.log(2.0) / blood.half_life
    to_bone = rate * blood.bone_share * np.asarray(suitability, dtype=float) / blood.suitability_reference
    to_outside = rate * blood.outside_share
    dying = rate * (1.0 - blood.bone_share - blood.outside_share)
    cells = np.asarray(source, dtype=float) / (to_bone + to_outside + dying)
    return Pool(cells, cells * to_bone, cells * to_outside, cells * dying)


def find_founding(pool: Pool, blood: Circulation) -> np.ndarray:
    """Return the rates (1/h) at which competent lesions are founded in and outside bone, shape (2, ...)."""
    lodging = blood.bone_share + blood.outside_share
    if lodging == 0.0:
        return np.zeros((2, *np.shape(pool.cells)))
    return np.stack([pool.to_bone, pool.to_outside]) * blood.efficiency / lodging


def draw_seeds(keys: Any, site: str, times_h: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the lesions seeded in one site: row of the patient, number of the lesion from 0 on, time (h).

    Parameters
    ----------
    keys : array of uint64, shape (patients,)
    site : str
    times_h : array, shape (n + 1,)
    rate : array, shape (patients, n)
        1/h in each interval.
    """
    keys = np.asarray(keys, dtype=np.uint64)
    passed = np.concatenate([np.zeros((len(keys), 1)), np.cumsum(rate * np.diff(times_h), axis=1)], axis=1)
    address = np.uint64(crc32(f"circulation.seed.{site}".encode()))
    level, rows = np.zeros(len(keys)), np.arange(len(keys))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for number in range(MOST_SEEDED):
        level[rows] -= np.log(draw_uniforms(keys[rows], address, number, S_SCATTER))
        rows = rows[level[rows] <= passed[rows, -1]]
        if not len(rows):
            break
        right = (passed[rows] < level[rows, None]).sum(axis=1)
        part = (level[rows] - passed[rows, right - 1]) / (passed[rows, right] - passed[rows, right - 1])
        time_h = times_h[right - 1] + part * (times_h[right] - times_h[right - 1])
        found.append((rows, np.full(len(rows), number), time_h))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    row, order, time_h = (np.concatenate(part) for part in zip(*found))
    return row, order, time_h
