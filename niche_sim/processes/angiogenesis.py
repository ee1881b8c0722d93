"""Angiogenic dormancy: a lesion that crowds its place is held in balance by death until vessels sprout into it.

A cycling cell in marrow of which within 50 um a share s is tumour cells dies of lack of oxygen with hazard (its hazard of
division) x min(1, s / crowding), unless `death` is off: the lesion stays as it is. With hazard sprout_rate x
min(1, s / crowding) a cell brings vessels to its whole lesion, and the balance ends for good. Off unless
`angiogenic_dormancy` is switched on.
"""

import math
from typing import NamedTuple

from niche_sim.draws import uniform
from niche_sim.kernel import inner
from niche_sim.kinds import CYCLING, DIE_HYPOXIA, DIVIDE, DTC, LOG_SPROUT, N_SPROUTS, S_SPROUT, VASCULAR
from niche_sim.lattice import displace
from niche_sim.places import log_cell

READS = (
    "living", "cells.ident", "cells.voxel", "cells.kind", "cells.mode", "cells.clone", "cells.parent", "voxels.occupant",
    "voxels.is_bone", "voxels.owner", "voxels.contact", "voxels.perivascular", "voxels.suitability", "bmus.phase",
    "fields.concentration",
)  # fmt: skip
WRITES = ("hazard", "cells.trait", "wish", "tally", "log", "log_count")


class Rates(NamedTuple):
    """Rates of angiogenesis; units in UNITS."""

    crowding: float
    sprout_rate: float


UNITS = {"crowding": "1", "sprout_rate": "1/h"}


@inner
def find_crowding(state, world, v):
    """Return the share of marrow within 50 um of voxel `v` that tumour cells hold."""
    marrow, held = 0, 0
    for k in range(world.around.shape[0]):
        w = displace(world, v, world.around[k, 0], world.around[k, 1], world.around[k, 2])
        if w < 0 or state.voxels.is_bone[w] == 1:
            continue
        marrow += 1
        row = state.voxels.occupant[w]
        held += 1 if row >= 0 and state.cells.kind[row] == DTC else 0
    return held / marrow if marrow > 0 else 0.0


@inner
def _vascularise(state, world, tick, row):
    """Give the whole lesion of a cell vessels, unless another of its cells just did."""
    cells = state.cells
    if cells.trait[row] & VASCULAR:
        return
    state.tally[N_SPROUTS] += 1
    log_cell(state, world, tick.step, LOG_SPROUT, 0, row, cells.parent[row])
    for other in range(state.living[0]):
        if cells.kind[other] == DTC and cells.clone[other] == cells.clone[row]:
            cells.trait[other] |= VASCULAR


@inner
def run(state, rates, world, host, tick):
    """Write the hazard of lack of oxygen of cycling cells, then let vessels come to the lesions that called them."""
    cells, a = state.cells, rates.angiogenesis
    called = 0
    for row in range(state.living[0]):
        if cells.kind[row] != DTC or cells.mode[row] != CYCLING or cells.trait[row] & VASCULAR:
            continue
        need = min(1.0, find_crowding(state, world, cells.voxel[row]) / a.crowding)
        if rates.switches.death:
            state.hazard[row, DIE_HYPOXIA] = state.hazard[row, DIVIDE] * need
        u = uniform(tick.key, cells.ident[row], tick.step, S_SPROUT)
        if u < -math.expm1(-a.sprout_rate * need * tick.hours):
            state.wish[called] = row
            called += 1
    for i in range(called):
        _vascularise(state, world, tick, state.wish[i])
