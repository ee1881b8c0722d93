"""Migration: hops to free neighbours, biased by what each kind of cell follows.

Hops are made at the rate speed / voxel edge. The direction is drawn with weights exp(taxis x relative change of the
signal); a barred direction is a hop not made. Tumour cells follow CXCL12, precursors free RANKL, macrophages corpses. A
tick is cut into rounds of equal length. In a round a cell tries to hop with probability rate x length, at most a half: a
walk in discrete time, whose mean square displacement is 2 d D t at any tick. Those who try go one after the other by a
random rank, never by their row: each try is as likely as the one that undoes it, so that a crowd without taxis stays
exactly uniform, as it would not if they all claimed at once. Dormant cells, osteoclasts and osteoblasts stay.
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
    MOST_HOPS,
    MOST_ROUNDS,
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
WRITES = ("cells.voxel", "wish", "voxels.claim", "voxels.occupant")


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
def _sink(state, root, end):
    """Let the entry of the heap `wish[:end]` at `root` sink below all with a higher rank; ranks lie in the cells' voxels."""
    cells, claim, wish = state.cells, state.voxels.claim, state.wish
    row = wish[root]
    rank_of_row = claim[cells.voxel[row]]
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and claim[cells.voxel[wish[child + 1]]] > claim[cells.voxel[wish[child]]]:
            child += 1
        if claim[cells.voxel[wish[child]]] <= rank_of_row:
            break
        wish[root] = wish[child]
        root = child
    wish[root] = row


@inner
def _sort_by_rank(state, count):
    """Put the rows in `wish[:count]` in order of rank (heapsort: in place, no worst case)."""
    wish = state.wish
    for root in range(count // 2 - 1, -1, -1):
        _sink(state, root, count)
    for end in range(count - 1, 0, -1):
        wish[0], wish[end] = wish[end], wish[0]
        _sink(state, 0, end)


@inner
def _hop_round(state, rates, world, tick, number, rounds):
    cells, voxels, wish = state.cells, state.voxels, state.wish
    stream = S_MOVE + 256 * number
    count = 0
    for row in range(state.living[0]):
        speed = _speed(rates.migration, cells.kind[row], cells.mode[row])
        if speed <= 0.0:
            continue
        u, _ = uniform_pair(tick.key, cells.ident[row], tick.step, stream)
        if u < speed / world.voxel_um * tick.hours / rounds:
            voxels.claim[cells.voxel[row]] = rank(tick.key, cells.ident[row], tick.step, S_MOVE_RANK + 256 * number)
            wish[count] = row
            count += 1
    _sort_by_rank(state, count)
    for i in range(count):
        voxels.claim[cells.voxel[wish[i]]] = np.uint64(0)
    for i in range(count):
        row = wish[i]
        _, which = uniform_pair(tick.key, cells.ident[row], tick.step, stream)
        w = choose_target(state, rates, world, cells.kind[row], cells.voxel[row], which)
        if w >= 0:
            move_cell(state, row, w)


@inner
def run(state, rates, world, host, tick):
    """Move cells in as many rounds as the fastest needs to try at most half a hop a round."""
    m = rates.migration
    fastest = max(m.tumour_speed, max(m.precursor_speed, m.macrophage_speed))
    rounds = count_rounds(fastest, tick.hours, world.voxel_um)
    for number in range(rounds):
        _hop_round(state, rates, world, tick, number, rounds)
