"""Diffusion: each field whose sources or walls changed is brought to its steady state again.

D lap(c) - (decay + uptake) c + secretion = 0 with no flux into bone. Factors relax in minutes (a decay of 0.35 per minute
for TGF-beta), cells act in hours, so the fields follow their sources at once.
"""

from typing import NamedTuple

import numpy as np

from niche_sim.fields import find_invalid, solve_steady
from niche_sim.kernel import inner
from niche_sim.kinds import FAULT_FIELD, FAULT_NOT_FINITE, N_FIELDS

READS = ("voxels.is_bone", "fields.secretion", "fields.uptake")
WRITES = ("fields.concentration", "fields.folded", "fields.changed", "fields.solves", "fault")


class Rates(NamedTuple):
    """Transport of each field in the order of FIELD_NAMES, and the solver's settings."""

    diffusion: np.ndarray  # um2/h, shape (fields,)
    decay: np.ndarray  # 1/h, shape (fields,)
    bone_permeability: float
    tolerance: float


MOST_SWEEPS = 20_000


@inner
def run(state, rates, world, host, tick):
    """Solve every changed field, warm-started."""
    fields, r = state.fields, rates.diffusion
    walls_known = False
    for f in range(N_FIELDS):
        if fields.changed[f] == 0:
            continue
        invalid = find_invalid(fields.concentration[f], fields.secretion[f], fields.uptake[f])
        if invalid >= 0:
            state.fault[0], state.fault[1], state.fault[2], state.fault[3] = FAULT_NOT_FINITE, tick.step, invalid, f
            return
        sweeps, _ = solve_steady(
            fields.concentration[f], fields.secretion[f], fields.uptake[f], state.voxels.is_bone, world,
            r.diffusion[f], r.decay[f], r.bone_permeability, r.tolerance, MOST_SWEEPS, fields.folded, walls_known,
        )  # fmt: skip
        if sweeps < 0:
            state.fault[0], state.fault[1], state.fault[3] = FAULT_FIELD, tick.step, f
            return
        walls_known = walls_known or sweeps > 0
        fields.changed[f] = 0
        fields.solves[f, 0] += 1
        fields.solves[f, 1] += sweeps
