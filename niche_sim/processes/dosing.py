"""Dosing: what the host's skeleton took up in this tick arrives at the bone of the niche.

The host's compartments (host.py) give the amount bound per area of skeleton, u (fmol/um2) in one tick. The niche
receives u A, A its own true bone surface, into a pool that `bone_drug` binds to exposed mineral.
"""

from niche_sim.kernel import inner
from niche_sim.surface import measure_surface

READS = ("voxels.exposed", "host.uptake")
WRITES = ("drug_ledger",)


@inner
def run(state, rates, world, host, tick):
    """Add the dose that reaches the bone in this tick to the pool of each drug."""
    total = 0.0
    for d in range(host.uptake.shape[0]):
        total += host.uptake[d]
    if total <= 0.0:
        return
    surface = measure_surface(state, world)
    for d in range(host.uptake.shape[0]):
        amount = host.uptake[d] * surface
        state.drug_ledger[d, 0] += amount
        state.drug_ledger[d, 3] += amount
