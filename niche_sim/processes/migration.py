"""Migration: hops to free neighbours, biased by what each kind of cell follows.

Hops are made at the rate speed / voxel edge. The direction is drawn with weights exp(taxis x relative change of the
signal); a barred direction is a hop not made. Tumour cells follow CXCL12, precursors free RANKL, macrophages corpses. A
tick is cut into rounds of equal length, each with claims, so that no cell moves because of its row. Of a round a cell
hops with probability rate x length, at most a half: a walk in discrete time, whose mean square displacement is 2 d D t at
any tick. Dormant cells, osteoclasts and osteoblasts stay.
"""

import math
from typing import NamedTuple

import numpy as np

from niche_sim.draws import rank, uniform_pair
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    CXCL12,
    DORMANT,
    DTC,
    OPG,
    OSTEOBLAST,
    OSTEOCLAST,
    PRECURSOR,
    RANKL,
    S_MOVE,
    S_MOVE_RANK,
)
from niche_sim.signals import free_rankl
from niche_sim.state import is_free, move_cell

READS = (
    "living", "cells.ident", "cells.kind", "cells.mode", "voxels.corpse", "voxels.is_bone", "voxels.sinusoid",
    "fields.concentration",
)  # fmt: skip
WRITES = ("cells.voxel", "wish", "voxels.claim", "voxels.claimer", "voxels.occupant")


class Rates(NamedTuple):
    """Speeds and taxis; units in UNITS."""

    tumour_speed: float
    precursor_speed: float
    macrophage_speed: float
    tumour_taxis: float
    precursor_taxis: float
    macrophage_taxis: float


UNITS = {
    "tumour_speed": "um/h", "precursor_speed": "um/h", "macrophage_speed": "um/h", "tumour_taxis": "1",
    "precursor_taxis": "1", "macrophage_taxis": "1",
}  # fmt: skip

MOST_ROUNDS = 64
MOST_HOPS = 0.5  # of a cell in a round; at 1 a walk would stay on one colour of the chessboard


@inner
def _signal(state, rates, kind, v):
    c = state.fields.concentration
    if kind == DTC:
        return c[CXCL12, v]
    if kind == PRECURSOR:
        return free_rankl(c[RANKL, v], c[OPG, v], rates.secretion.opg_half, 0.0)
    return 1.0 if state.voxels.corpse[v] > 0.0 else 0.0


@kernel
def _speed(m, kind, mode):
    if kind == OSTEOCLAST or kind == OSTEOBLAST or (kind == DTC and mode == DORMANT):
        return 0.0
    if kind == DTC:
        return m.tumour_speed
    return m.precursor_speed if kind == PRECURSOR else m.macrophage_speed


@kernel
def _taxis(m, kind):
    if kind == DTC:
        return m.tumour_taxis
    return m.precursor_taxis if kind == PRECURSOR else m.macrophage_taxis


@inner
def _weight(state, rates, kind, here, w, taxis):
    there = _signal(state, rates, kind, w)
    total = here + there
    return math.exp(taxis * (there - here) / total) if total > 0.0 else 1.0


@inner
def choose_target(state, rates, world, kind, v, u):
    """Return the free face neighbour that a cell of `kind` at `v` hops to by draw `u`, or -1 where the way is barred.

    A barred face keeps its share: were it dealt out among the free ones, cells would gather where the room is.
    """
    taxis = _taxis(rates.migration, kind)
    here = _signal(state, rates, kind, v)
    total = 0.0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        total += _weight(state, rates, kind, here, w, taxis) if w >= 0 and is_free(state.voxels, w) else 1.0
    mark = u * total
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        free = w >= 0 and is_free(state.voxels, w)
        mark -= _weight(state, rates, kind, here, w, taxis) if free else 1.0
        if mark < 0.0:
            return w if free else -1
    return -1


@kernel
def count_rounds(speed, hours, voxel_um):
    """Return the rounds of a tick: a cell of `speed` (um/h) makes at most MOST_HOPS hops a round, in mean."""
    return min(max(int(math.ceil(speed * hours / voxel_um / MOST_HOPS)), 1), MOST_ROUNDS)


@inner
def _hop_round(state, rates, world, tick, number, rounds):
    cells, voxels, wish = state.cells, state.voxels, state.wish
    stream = S_MOVE + 256 * number
    for row in range(state.living[0]):
        wish[row] = -1
        speed = _speed(rates.migration, cells.kind[row], cells.mode[row])
        if speed <= 0.0:
            continue
        u, which = uniform_pair(tick.key, cells.ident[row], tick.step, stream)
        if u >= speed / world.voxel_um * tick.hours / rounds:
            continue
        w = choose_target(state, rates, world, cells.kind[row], cells.voxel[row], which)
        if w < 0:
            continue
        wish[row] = w
        order = rank(tick.key, cells.ident[row], tick.step, S_MOVE_RANK + 256 * number)
        if voxels.claimer[w] < 0 or order > voxels.claim[w]:
            voxels.claim[w], voxels.claimer[w] = order, row
    for row in range(state.living[0]):
        w = wish[row]
        if w >= 0 and voxels.claimer[w] == row:
            voxels.claimer[w], voxels.claim[w] = -1, np.uint64(0)
            move_cell(state, row, w)


@inner
def run(state, rates, world, host, tick):
    """Move cells in as many rounds as the fastest needs to make at most half a hop a round."""
    m = rates.migration
    fastest = max(m.tumour_speed, max(m.precursor_speed, m.macrophage_speed))
    rounds = count_rounds(fastest, tick.hours, world.voxel_um)
    for number in range(rounds):
        _hop_round(state, rates, world, tick, number, rounds)
