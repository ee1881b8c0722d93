"""Arrival: tumour cells lodge, precursors and macrophages enter, all at perivascular voxels, by one draw a voxel.

A circulating tumour cell lodges with a hazard proportional to the suitability of the voxel; the supply is a background
plus what this niche shed itself, which leaves blood with a half-life of hours (Meng et al. 2004) and by lodging. Precursors
enter at density / residence times marrow volume, so that untouched their number rests at their density. So do macrophages;
with a share x of them, 1 at rest, monocytes come by (1 - x) (1 / refill - 1 / residence) faster: dx/dt = (1 - x) / refill,
so that a depleted marrow is full again within weeks (Jordan et al. 2003, Blood 101:594).
"""

import math
from typing import NamedTuple

import numpy as np

from niche_sim.draws import child_identity, uniform_pair
from niche_sim.kernel import inner
from niche_sim.kinds import (
    CELLS_ENTERED,
    CYCLING,
    DTC,
    LOG_ARRIVAL,
    MACROPHAGE,
    N_ARRIVALS,
    PRECURSOR,
    S_ARRIVAL,
    S_ARRIVAL_IDENT,
)
from niche_sim.lattice import count_cubes
from niche_sim.places import log_cell
from niche_sim.state import add_cell, is_free, measure_fullness

READS = (
    "voxels.suitability", "voxels.is_bone", "voxels.sinusoid", "voxels.perivascular", "voxels.contact", "voxels.owner",
    "fields.concentration", "bmus.phase",
)  # fmt: skip
WRITES = ("living", "cells", "load", "hazard", "voxels.occupant", "tally", "blood", "log", "log_count")


class Rates(NamedTuple):
    """Supply from blood; units in UNITS."""

    tumour_supply: float
    lodging_rate: float
    ctc_half_life: float
    reseeding_share: float


UNITS = {"tumour_supply": "1/h", "lodging_rate": "1/h", "ctc_half_life": "h", "reseeding_share": "1"}


@inner
def _survey(state, world):
    """Count marrow and its perivascular voxels (entrances), and sum the suitability of the entrances that are free."""
    voxels, marrow, entrances, suitability = state.voxels, 0, 0, 0.0
    for v in range(world.n):
        marrow += 1 - int(voxels.is_bone[v])
        entrances += int(voxels.perivascular[v])
        if voxels.perivascular[v] == 1 and is_free(voxels, v):
            suitability += voxels.suitability[v]
    return marrow, entrances, suitability


@inner
def supply_rate(m, fullness):
    """Return macrophages that enter per resting macrophage (1/h), `fullness` of them being there; never negative."""
    return max(1.0 / m.residence + (1.0 - fullness) * (1.0 / m.refill_time - 1.0 / m.residence), 0.0)


@inner
def _enter(state, rates, world, tick, v, kind):
    ident = child_identity(tick.key, v, tick.step, S_ARRIVAL_IDENT)
    # An arriving tumour cell founds a lesion of its own, named by its identity.
    clone = np.int64(ident >> np.uint64(2)) if kind == DTC else 0
    row = add_cell(state, tick.step, kind, v, ident, np.uint64(0), clone)
    if row < 0:
        return
    state.tally[CELLS_ENTERED] += 1
    if kind == MACROPHAGE:
        state.cells.polarisation[row] = rates.macrophages.polarisation_start
    if kind == DTC:
        state.cells.mode[row] = CYCLING
        state.tally[N_ARRIVALS] += 1
        log_cell(state, world, tick.step, LOG_ARRIVAL, 0, row, np.uint64(0))


@inner
def run(state, rates, world, host, tick):
    """Let cells enter at free perivascular voxels: one competing draw a voxel for the three kinds."""
    a, on = rates.arrival, rates.switches
    marrow, entrances, suitability = _survey(state, world)
    if entrances == 0:
        return
    share = marrow * count_cubes(world) / entrances
    precursors = share * rates.osteoclasts.precursor_density / rates.osteoclasts.precursor_residence
    m = rates.macrophages
    macrophages = share * m.density * supply_rate(m, measure_fullness(state, world, MACROPHAGE, m.density, marrow))
    lodged = a.lodging_rate * suitability / entrances if on.arrival and tick.step >= 0 else 0.0
    leaving = (math.log(2.0) / a.ctc_half_life + lodged) * tick.hours
    # What circulates turns over within a tick: its mean over the tick is what lodges.
    circulating = state.blood[0] * -math.expm1(-leaving) / leaving
    supply = a.tumour_supply / entrances + a.lodging_rate * circulating / entrances
    for v in range(world.n):
        if state.voxels.perivascular[v] == 0 or not is_free(state.voxels, v):
            continue
        h_precursor = precursors if on.osteoclasts else 0.0
        h_macrophage = macrophages if on.macrophages else 0.0
        h_tumour = supply * state.voxels.suitability[v] if on.arrival and tick.step >= 0 else 0.0
        total = h_precursor + h_macrophage + h_tumour
        u, which = uniform_pair(tick.key, v, tick.step, S_ARRIVAL)
        if u >= -math.expm1(-total * tick.hours):
            continue
        if which * total < h_precursor:
            _enter(state, rates, world, tick, v, PRECURSOR)
        elif which * total < h_precursor + h_macrophage:
            _enter(state, rates, world, tick, v, MACROPHAGE)
        else:
            _enter(state, rates, world, tick, v, DTC)
    state.blood[0] *= math.exp(-leaving)
