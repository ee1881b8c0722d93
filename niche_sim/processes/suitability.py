"""Niche suitability: how good a home each marrow voxel is, from 0 to 1.

S = prod_i (1 - w_i + w_i x_i): contact (resting endosteum, less by drug coat, or a stable vessel), CXCL12, nourishment
(IGF-1 and released TGF-beta), places not held by haematopoietic stem cells (Shiozawa et al. 2011, doi:10.1172/JCI43414),
macrophage support m / (m + K), m the density of supportive macrophages within their reach. Every x_i is in [0, 1]; a
term that is switched off has w_i = 0.

What a term takes away is -ln(term): these losses add up to -ln S, so that each has a share of the whole. A term below
LEAST_TERM counts as LEAST_TERM, so that the loss of a place that a term makes no home at all stays finite.
"""

import math
from typing import NamedTuple

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import CXCL12, IGF1, NO_TERM, TGF_BETA
from niche_sim.signals import saturate
from niche_sim.surface import coat_density, has_quiescent_lining

READS = (
    "voxels.held", "voxels.support", "voxels.owner", "voxels.is_bone", "voxels.sinusoid", "voxels.perivascular",
    "voxels.contact", "voxels.exposed", "drug", "fields.concentration",
)  # fmt: skip
WRITES = ("voxels.suitability",)
LEAST_TERM = 1e-3  # no place is counted as worse by one term than this


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
def measure_food(state, s, v):
    """Return the nourishment by IGF-1 and by released TGF-beta, either of which is enough."""
    c = state.fields.concentration
    return 1.0 - (1.0 - saturate(c[IGF1, v], s.igf1_half)) * (1.0 - saturate(c[TGF_BETA, v], s.tgf_beta_half))


@inner
def measure_terms(state, rates, world, v):
    """Return the five terms of marrow voxel `v`, in the order of TERM_NAMES; what is switched off is 1."""
    s, on, voxels = rates.suitability, rates.switches, state.voxels
    contact = cxcl12 = nourishment = places = macrophages = 1.0
    if on.suitability and on.suitability_contact:
        contact = combine(s.contact_weight, contact_quality(state, rates, world, v))
    if on.suitability and on.suitability_cxcl12:
        cxcl12 = combine(s.cxcl12_weight, saturate(state.fields.concentration[CXCL12, v], s.cxcl12_half))
    if on.suitability and on.suitability_nourishment:
        nourishment = combine(s.nourishment_weight, measure_food(state, s, v))
    if on.suitability and on.suitability_places:
        places = combine(s.places_weight, 1.0 - voxels.held[v])
    if on.suitability and on.suitability_macrophages:
        macrophages = combine(s.macrophages_weight, saturate(voxels.support[v], rates.macrophages.support_half))
    return contact, cxcl12, nourishment, places, macrophages


@inner
def is_home(voxels, v):
    """Tell whether voxel `v` is marrow outside the lumen of sinusoids: only there is suitability measured."""
    return voxels.is_bone[v] == 0 and voxels.sinusoid[v] == 0


@inner
def run(state, rates, world, host, tick):
    """Write the suitability map; bone and the lumen of sinusoids are 0. Switched off, every other place is 1."""
    voxels = state.voxels
    for v in range(world.n):
        voxels.suitability[v] = 0.0
        if is_home(voxels, v):
            contact, cxcl12, nourishment, places, macrophages = measure_terms(state, rates, world, v)
            voxels.suitability[v] = contact * cxcl12 * nourishment * places * macrophages


@kernel
def find_loss(term):
    """Return what a term takes away, -ln(term); 0 at 1, and never infinite."""
    return -math.log(max(term, LEAST_TERM))


@kernel
def survey(state, rates, world, losses, limits):
    """Add up the losses of each niche by term, and find the term that limits each place.

    Parameters
    ----------
    state : State
        As it stands: drug that osteoclasts let go when they died in this tick counts already.
    rates : Rates
    world : World
    losses : float64 array, shape (niches, terms + 1)
        Changed in place: sums of -ln(term) in the order of NICHE_NAMES and TERM_NAMES, then the number of voxels.
        A voxel that touches both bone and a sinusoid counts in both niches.
    limits : int8 array, shape (n,)
        Changed in place: number of the term with the largest loss; NO_TERM where nothing is lost or nobody can live.
    """
    losses[:], limits[:] = 0.0, NO_TERM
    voxels = state.voxels
    for v in range(world.n):
        if not is_home(voxels, v):
            continue
        largest = 0.0
        inside = (True, voxels.contact[v] > 0, voxels.perivascular[v] == 1)
        for i, term in enumerate(measure_terms(state, rates, world, v)):
            loss = find_loss(term)
            if loss > largest:
                largest, limits[v] = loss, i
            for niche in range(len(inside)):
                losses[niche, i] += loss * inside[niche]
        for niche in range(len(inside)):
            losses[niche, -1] += inside[niche]
