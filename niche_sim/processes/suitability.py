"""Niche suitability: how good a home each marrow voxel is, from 0 to 1.

S = prod_i (1 - w_i + w_i x_i): contact (resting endosteum, less by drug coat, or a stable vessel), CXCL12, nourishment
(IGF-1 and released TGF-beta), places not held by haematopoietic stem cells (Shiozawa et al. 2011, doi:10.1172/JCI43414),
macrophage support. Every x_i is in [0, 1]; a term that is switched off has w_i = 0.
"""

from typing import NamedTuple

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import CXCL12, IGF1, TGF_BETA
from niche_sim.signals import saturate
from niche_sim.surface import coat_density, has_quiescent_lining

READS = (
    "voxels.held", "voxels.support", "voxels.owner", "voxels.is_bone", "voxels.sinusoid", "voxels.perivascular",
    "voxels.contact", "voxels.exposed", "drug", "fields.concentration",
)  # fmt: skip
WRITES = ("voxels.suitability",)


class Rates(NamedTuple):
    """Weights and half-saturations of suitability; units in UNITS."""

    contact_weight: float
    cxcl12_weight: float
    nourishment_weight: float
    places_weight: float
    macrophages_weight: float
    cxcl12_half: float
    igf1_half: float
    tgf_beta_half: float
    far_contact: float
    held_share: float
    stroma_share: float


UNITS = {
    "contact_weight": "1", "cxcl12_weight": "1", "nourishment_weight": "1", "places_weight": "1",
    "macrophages_weight": "1", "cxcl12_half": "nmol/L", "igf1_half": "nmol/L", "tgf_beta_half": "nmol/L",
    "far_contact": "1", "held_share": "1", "stroma_share": "1",
}  # fmt: skip


@kernel
def combine(weight, quality):
    """Return 1 - weight + weight * quality: a term of the product, 1 when its weight is 0."""
    return 1.0 - weight + weight * quality


@inner
def adhesion(state, rates, world, v):
    """Return 1 on bare bone, less on drug-coated bone (van der Pluijm et al. 1996, J Clin Invest)."""
    kept = 1.0
    if rates.switches.drug_adhesion:
        e = rates.drugs
        for d in range(state.drug.shape[0]):
            density = coat_density(state, world, d, v)
            kept *= 1.0 - e.adhesion_loss[d] * min(density / e.full_coat[d], 1.0)
    return kept


@inner
def contact_quality(state, rates, world, v):
    """Return the better of resting endosteum (times adhesion) and vessel, or the far value."""
    quality = rates.suitability.far_contact
    if state.voxels.perivascular[v]:
        quality = 1.0
    elif state.voxels.contact[v] > 0 and has_quiescent_lining(state, world, v):
        quality = max(quality, adhesion(state, rates, world, v))
    return quality


@inner
def measure_suitability(state, rates, world, v):
    """Return the suitability of marrow voxel `v`, 0 to 1."""
    s, on = rates.suitability, rates.switches
    c = state.fields.concentration
    value = 1.0
    if on.suitability_contact:
        value *= combine(s.contact_weight, contact_quality(state, rates, world, v))
    if on.suitability_cxcl12:
        value *= combine(s.cxcl12_weight, saturate(c[CXCL12, v], s.cxcl12_half))
    if on.suitability_nourishment:
        food = 1.0 - (1.0 - saturate(c[IGF1, v], s.igf1_half)) * (1.0 - saturate(c[TGF_BETA, v], s.tgf_beta_half))
        value *= combine(s.nourishment_weight, food)
    if on.suitability_places:
        value *= combine(s.places_weight, 1.0 - state.voxels.held[v])
    if on.suitability_macrophages:
        value *= combine(s.macrophages_weight, state.voxels.support[v])
    return value


@inner
def run(state, rates, world, host, tick):
    """Write the suitability map; bone and the lumen of sinusoids are 0. Switched off, every other place is 1."""
    voxels = state.voxels
    on = rates.switches.suitability
    for v in range(world.n):
        voxels.suitability[v] = 0.0
        if voxels.is_bone[v] == 0 and voxels.sinusoid[v] == 0:
            voxels.suitability[v] = measure_suitability(state, rates, world, v) if on else 1.0
