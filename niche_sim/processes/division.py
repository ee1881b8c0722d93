"""Division: a cycling tumour cell divides at a rate that rises with IGF-1 and released TGF-beta, if it has room.

hazard = [basal + (max - basal) F] (1 - cytostasis) (1 - g + g u), F = P x^n / (1 + x^n), x = TGF-beta / K1 + IGF-1 / K2,
P how far RANKL primes the cell (`prime_tumour`); a bone-adapted cell has F + independence (1 - F). u is the density of
supportive macrophages within whose reach the cell is, over that at rest: depletion slows tumours in bone (Soki et al. 2015,
Oncotarget 6:35782). A daughter turns resistant to chemotherapy, or bone-adapted, with a probability each. Metastases double
in some 1.7 months (Coumans et al. 2013): about the mean of what comes out before and after the menopause. The daughter takes
a free face neighbour; two daughters that want one voxel are settled by random rank.
"""

from typing import NamedTuple

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import ADAPTED, CYCLING, DIVIDE, DTC, IGF1, TGF_BETA
from niche_sim.signals import hill
from niche_sim.state import is_free
from niche_sim.surface import coat_density, prime_tumour

READS = (
    "living", "cells.voxel", "cells.kind", "cells.mode", "cells.trait", "voxels.occupant", "voxels.is_bone",
    "voxels.sinusoid", "voxels.exposed", "voxels.support", "drug", "fields.concentration", "reference", "host.rankl_factor",
    "host.opg_factor", "host.rankl_block",
)  # fmt: skip
WRITES = ("hazard",)


class Rates(NamedTuple):
    """Rates of division; units in UNITS."""

    basal_rate: float
    maximum_rate: float
    igf1_half: float
    tgf_beta_half: float
    factor_exponent: float
    adapted_independence: float
    adaptation_probability: float
    resistance_probability: float


UNITS = {
    "basal_rate": "1/h", "maximum_rate": "1/h", "igf1_half": "nmol/L", "tgf_beta_half": "nmol/L",
    "factor_exponent": "1",    "adapted_independence": "1", "adaptation_probability": "1", "resistance_probability": "1",
}  # fmt: skip


@kernel
def division_hazard(d, igf1, tgf_beta, primed, trait):
    """Return the division hazard (1/h) of a cell with traits, primed (0 to 1), at local IGF-1 and TGF-beta (nmol/L)."""
    fed = primed * hill(tgf_beta / d.tgf_beta_half + igf1 / d.igf1_half, 1.0, d.factor_exponent)
    if trait & ADAPTED:
        fed += d.adapted_independence * (1.0 - fed)
    return d.basal_rate + (d.maximum_rate - d.basal_rate) * fed


@inner
def cytostasis(state, rates, world, v):
    """Return the share of division that drug on touching bone lets through, 1 without drug."""
    kept = 1.0
    if rates.switches.drug_tumour:
        e = rates.drugs
        for d in range(state.drug.shape[0]):
            density = coat_density(state, world, d, v)
            kept *= 1.0 - e.tumour_cytostasis[d] * hill(density, e.tumour_half_load[d], 1.0)
    return kept


@inner
def has_room(state, world, v):
    """Tell whether a face neighbour of `v` is free."""
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and is_free(state.voxels, w):
            return True
    return False


@inner
def find_macrophage_drive(state, rates, v):
    """Return 1 - g + g u: 1 in the mean of resting marrow, and where macrophages are no part of the model."""
    on, m = rates.switches, rates.macrophages
    if not (on.tumour_support and on.macrophages):
        return 1.0
    rest = m.density * m.polarisation_start
    return 1.0 - m.growth_share + (m.growth_share * state.voxels.support[v] / rest if rest > 0.0 else 0.0)


@inner
def find_hazard(state, rates, world, host, v, trait):
    """Return the division hazard (1/h) of a cycling cell with traits and room in marrow voxel `v`.

    With `growth_factors` off it is fed by what marrow secretes everywhere, secretion / decay, not by what resorption
    releases.
    """
    igf1, tgf_beta = state.fields.concentration[IGF1, v], state.fields.concentration[TGF_BETA, v]
    if not rates.switches.growth_factors:
        igf1 = rates.secretion.igf1_basal / rates.diffusion.decay[IGF1]
        tgf_beta = rates.secretion.tgf_beta_basal / rates.diffusion.decay[TGF_BETA]
    primed = prime_tumour(state, rates, host, v)
    drive = find_macrophage_drive(state, rates, v) * cytostasis(state, rates, world, v)
    return division_hazard(rates.division, igf1, tgf_beta, primed, trait) * drive


@inner
def run(state, rates, world, host, tick):
    """Write the division hazard of every cycling tumour cell that has room."""
    cells = state.cells
    for row in range(state.living[0]):
        if cells.kind[row] != DTC or cells.mode[row] != CYCLING:
            continue
        v = cells.voxel[row]
        if has_room(state, world, v):
            state.hazard[row, DIVIDE] = find_hazard(state, rates, world, host, v, cells.trait[row])
