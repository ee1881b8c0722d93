"""Drug on bone: desorption from exposed mineral, binding of what arrives, burial by new bone.

Exposed drug leaves with a half-life set by its affinity (first order, k_off), and on its way to blood it is the source of
the free-drug field; plasma then shares it between kidney and bone (`dosing`). The pool binds to exposed mineral in
proportion to face area times a weight: eroding >> quiescent > forming (Sato et al. 1991, J Clin Invest 88:2095). A voxel
without an exposed face keeps its drug: that is burial, and erosion is what frees it again.
"""

import math
from typing import NamedTuple

from niche_sim.kernel import inner
from niche_sim.kinds import FORMING, FREE_DRUG

READS = ("voxels.owner", "voxels.is_bone", "voxels.exposed", "bmus.phase")
WRITES = ("drug", "fields.secretion", "fields.changed", "drug_ledger", "body", "shared")


class Rates(NamedTuple):
    """What a surface and an osteoclast do with any bisphosphonate; units in UNITS."""

    weight_eroding: float
    weight_forming: float
    swallow_depth: float
    swallowed_fraction: float
    rebinding: float


UNITS = {
    "weight_eroding": "1", "weight_forming": "1", "swallow_depth": "um", "swallowed_fraction": "1", "rebinding": "1",
}  # fmt: skip


@inner
def find_weight(state, rates, v):
    """Return the binding weight of bone voxel `v` by the phase of the BMU that holds it; 1 is quiescent."""
    owner = state.voxels.owner[v]
    if owner < 0:
        return 1.0
    if state.bmus.phase[owner] == FORMING:
        return rates.bone_drug.weight_forming
    return rates.bone_drug.weight_eroding


@inner
def _emit(state, world, v, moles, hours):
    """Spread `moles` (fmol) leaving bone voxel `v` in a tick over its marrow neighbours as secretion."""
    rate = moles / state.voxels.exposed[v] / (world.volume_um3 * hours) * 1e9
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and state.voxels.is_bone[w] == 0:
            state.fields.secretion[FREE_DRUG, w] += rate


@inner
def desorb(state, rates, world, tick):
    """Let exposed drug go to blood; on its way it is the source of the free-drug field."""
    effects = rates.drugs
    voxels = state.voxels
    any_before = False
    for v in range(world.n):
        any_before = any_before or state.fields.secretion[FREE_DRUG, v] > 0.0
    if any_before:
        for v in range(world.n):
            state.fields.secretion[FREE_DRUG, v] = 0.0
        state.fields.changed[FREE_DRUG] = 1
    everything = 0.0
    for d in range(state.drug.shape[0]):
        leaving = 1.0 - math.exp(-effects.desorption[d] * tick.hours)
        freed = 0.0
        for v in range(world.n):
            if voxels.exposed[v] > 0 and state.drug[d, v] > 0.0:
                amount = state.drug[d, v] * leaving
                state.drug[d, v] -= amount
                freed += amount
                _emit(state, world, v, amount, tick.hours)
        state.body[d, 0] += freed
        state.shared[d] = freed
        everything += freed
    if everything > 0.0:
        state.fields.changed[FREE_DRUG] = 1
        for d in range(state.drug.shape[0]):
            state.shared[d] /= everything


@inner
def bind(state, rates, world):
    """Bind the pool of each drug to exposed mineral in proportion to faces times weight."""
    voxels = state.voxels
    for d in range(state.drug.shape[0]):
        pool = state.drug_ledger[d, 3]
        if pool <= 0.0:
            continue
        total = 0.0
        for v in range(world.n):
            if voxels.exposed[v] > 0:
                total += float(voxels.exposed[v]) * find_weight(state, rates, v)
        if total <= 0.0:
            continue
        bound = 0.0
        for v in range(world.n):
            if voxels.exposed[v] > 0:
                share = pool * voxels.exposed[v] * find_weight(state, rates, v) / total
                state.drug[d, v] += share
                bound += share
        # The rounding of the shares stays in the pool, so that nothing is lost.
        state.drug_ledger[d, 3] = max(pool - bound, 0.0)


@inner
def run(state, rates, world, host, tick):
    """Desorb, then bind."""
    desorb(state, rates, world, tick)
    bind(state, rates, world)
