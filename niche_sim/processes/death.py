"""Death of tumour cells, by cause: each a hazard of the one competing draw.

baseline; deprivation x (1 - suitability); chemotherapy on cycling cells, a small part of it on dormant ones, less beside
a vessel whatever the cycle (Carlson et al. 2019); drug by contact with laden surface, fully only where osteoclasts
free it, never from plasma (1000-fold too low); immune: surveillance plus gamma-delta T cells woken by nitrogen-containing
bisphosphonates, at any place. Immune dormancy holds cycling cells in check where little TGF-beta is active, which hides
them. Phagocytosis is written by macrophages, lack of oxygen by angiogenesis.
"""

from typing import NamedTuple

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    CYCLING,
    DIE_BASELINE,
    DIE_CHEMOTHERAPY,
    DIE_DEPRIVATION,
    DIE_DRUG,
    DIE_IMMUNE,
    DTC,
    RESISTANT,
    TGF_BETA,
)
from niche_sim.signals import hill, saturate
from niche_sim.surface import coat_density, touches_pit

READS = (
    "living", "cells.voxel", "cells.kind", "cells.mode", "cells.trait", "voxels.suitability", "voxels.owner",
    "voxels.perivascular", "voxels.exposed", "drug", "bmus.phase", "fields.concentration", "host.chemotherapy",
)  # fmt: skip
WRITES = ("hazard",)


class Rates(NamedTuple):
    """Rates of death of tumour cells; units in UNITS."""

    dormant_baseline: float
    cycling_baseline: float
    dormant_deprivation: float
    cycling_deprivation: float
    quiescent_chemotherapy_share: float
    vessel_protection: float
    surveillance: float
    gamma_delta_kill: float
    resting_contact_share: float
    resistant_share: float
    immune_control: float
    immune_half: float


UNITS = {
    "dormant_baseline": "1/h", "cycling_baseline": "1/h", "dormant_deprivation": "1/h", "cycling_deprivation": "1/h",
    "quiescent_chemotherapy_share": "1", "vessel_protection": "1", "surveillance": "1/h", "gamma_delta_kill": "1/h",
    "resting_contact_share": "1", "resistant_share": "1", "immune_control": "1/h", "immune_half": "nmol/L",
}  # fmt: skip


@kernel
def chemotherapy_hazard(d, exposure, cycling, vessel, trait):
    """Return the hazard (1/h) of a cell under full exposure `exposure` (1/h): k x cycle share x (1 - protection).

    `cycling` and `vessel` tell whether the cell has no shelter in its cycle, and whether it has one at a vessel.
    """
    share = 1.0 if cycling else d.quiescent_chemotherapy_share
    if trait & RESISTANT:
        share *= d.resistant_share
    return exposure * share * (1.0 - d.vessel_protection if vessel else 1.0)


@inner
def contact_hazard(state, rates, world, v):
    """Return the hazard (1/h) of a tumour cell from drug on the bone it touches: full while a pit is dug, else a share."""
    e = rates.drugs
    total = 0.0
    for d in range(state.drug.shape[0]):
        total += e.tumour_kmax[d] * hill(coat_density(state, world, d, v), e.tumour_half_load[d], 1.0)
    return total if touches_pit(state, world, v) else total * rates.death.resting_contact_share


@inner
def write_hazards(state, rates, world, host, v, mode, trait, hazard):
    """Write into `hazard` (outcomes,) what a tumour cell of a mode and traits dies of in marrow voxel `v`, 1/h."""
    d, on = rates.death, rates.switches
    cycling = mode == CYCLING
    need = d.cycling_deprivation if cycling else d.dormant_deprivation
    hazard[DIE_BASELINE] = d.cycling_baseline if cycling else d.dormant_baseline
    hazard[DIE_DEPRIVATION] = need * (1.0 - state.voxels.suitability[v]) if on.suitability else 0.0
    hazard[DIE_IMMUNE] = d.surveillance
    if on.drug_gamma_delta:
        hazard[DIE_IMMUNE] += d.gamma_delta_kill * host.gamma_delta
    if on.immune_dormancy and cycling:
        hidden = saturate(state.fields.concentration[TGF_BETA, v], d.immune_half)
        hazard[DIE_IMMUNE] += d.immune_control * (1.0 - hidden)
    hazard[DIE_CHEMOTHERAPY] = 0.0
    if on.chemotherapy:
        bare, vessel = cycling or not on.quiescent_shelter, on.vessel_shelter and state.voxels.perivascular[v] == 1
        hazard[DIE_CHEMOTHERAPY] = chemotherapy_hazard(d, host.chemotherapy, bare, vessel, trait)
    hazard[DIE_DRUG] = contact_hazard(state, rates, world, v) if on.drug_tumour else 0.0


@inner
def run(state, rates, world, host, tick):
    """Write the death hazards of every tumour cell."""
    cells = state.cells
    for row in range(state.living[0]):
        if cells.kind[row] == DTC:
            v, mode = cells.voxel[row], cells.mode[row]
            write_hazards(state, rates, world, host, v, mode, cells.trait[row], state.hazard[row])
