"""The order of events in one tick, and the compiled kernel that runs a whole recording interval.

This page is the model's timetable: ODD.md lists the body of `step` verbatim and a test holds the two together.
"""

from typing import NamedTuple

import numpy as np

from niche_sim import risk
from niche_sim.drugs import DrugEffects
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import FAULT_NONE
from niche_sim.processes import (
    angiogenesis,
    arrival,
    bone_drug,
    death,
    diffusion,
    division,
    dormancy,
    dosing,
    egress,
    endocrine,
    fates,
    macrophages,
    migration,
    osteoblasts,
    osteoclasts,
    remodelling,
    secretion,
    suitability,
)

PROCESSES = {
    "dosing": dosing, "bone_drug": bone_drug, "secretion": secretion, "diffusion": diffusion,
    "remodelling": remodelling, "osteoclasts": osteoclasts, "osteoblasts": osteoblasts, "macrophages": macrophages,
    "suitability": suitability, "arrival": arrival, "dormancy": dormancy, "division": division,
    "endocrine": endocrine,
    "angiogenesis": angiogenesis, "migration": migration, "death": death, "egress": egress,
}  # fmt: skip


class Tick(NamedTuple):
    """One tick: its number (negative before the start), its length and the key of the run."""

    step: int
    hours: float
    key: int


class Host(NamedTuple):
    """What the patient's body does to the niche in one tick."""

    uptake: np.ndarray  # fmol/um2 of bone surface, shape (drugs,)
    plasma: np.ndarray  # nmol/L, shape (drugs,)
    gamma_delta: float  # activity of gamma-delta T cells, 0 to 1
    rankl_block: float  # share of RANKL neutralised, 0 to 1
    chemotherapy: float  # kill hazard of a fully exposed cycling cell, 1/h
    activation: float  # activation frequency while oestradiol is replete, 1/h
    bone_balance: float  # bone refilled per bone removed
    rankl_factor: float  # endocrine multiplier of RANKL secretion
    opg_factor: float  # endocrine multiplier of OPG secretion
    hormone_growth: float  # share of division that endocrine therapy leaves
    hormone_waking: float  # share of waking that endocrine therapy leaves
    phagocytes: float  # kill hazard of macrophages by liposomes that they swallow, 1/h
    osteoclast_lineage: float  # the same of osteoclasts and their precursors, 1/h
    circulation: np.ndarray  # one tick of drug that came back to blood, shape (drugs, tissues + 3, tissues + 1)


class Switches(NamedTuple):
    """Which processes and effects are on."""

    dosing: bool = True
    bone_drug: bool = True
    secretion: bool = True
    diffusion: bool = True
    remodelling: bool = True
    osteoclasts: bool = True
    osteoblasts: bool = True
    macrophages: bool = True
    suitability: bool = True
    arrival: bool = True
    dormancy: bool = True
    division: bool = True
    migration: bool = True
    death: bool = True
    egress: bool = True
    drug_osteoclast: bool = True
    drug_macrophage: bool = True
    drug_tumour: bool = True
    drug_adhesion: bool = True
    drug_gamma_delta: bool = True
    chemotherapy: bool = True
    vicious_cycle: bool = True
    mutation: bool = True
    angiogenic_dormancy: bool = False
    immune_dormancy: bool = False
    suitability_contact: bool = True
    suitability_cxcl12: bool = True
    suitability_nourishment: bool = True
    suitability_places: bool = True
    suitability_macrophages: bool = True
    wake_spontaneous: bool = True
    wake_factors: bool = True
    wake_lining: bool = True
    wake_sprouting: bool = True
    growth_factors: bool = True
    rankl_on_tumour: bool = True
    phagocytosis: bool = True
    osteoblast_loss: bool = True
    tumour_fates: bool = True
    quiescent_shelter: bool = True
    vessel_shelter: bool = True
    endocrine_therapy: bool = True
    osteal_support: bool = True
    tumour_support: bool = True


class Rates(NamedTuple):
    """Every number that the kernels use: one group a process, the drugs, the switches."""

    secretion: secretion.Rates
    diffusion: diffusion.Rates
    remodelling: remodelling.Rates
    osteoclasts: osteoclasts.Rates
    osteoblasts: osteoblasts.Rates
    macrophages: macrophages.Rates
    suitability: suitability.Rates
    arrival: arrival.Rates
    dormancy: dormancy.Rates
    division: division.Rates
    angiogenesis: angiogenesis.Rates
    migration: migration.Rates
    death: death.Rates
    egress: egress.Rates
    bone_drug: bone_drug.Rates
    drugs: DrugEffects
    switches: Switches


@inner
def step(state, rates, world, host, tick):
    """Run one tick."""
    on = rates.switches
    fates.clear_hazards(state)
    dosing.run(state, rates, world, host, tick)
    if on.bone_drug:
        bone_drug.run(state, rates, world, host, tick)
    if on.remodelling:
        remodelling.run(state, rates, world, host, tick)
    if on.osteoclasts:
        osteoclasts.run(state, rates, world, host, tick)
    if on.osteoblasts:
        osteoblasts.run(state, rates, world, host, tick)
    if on.secretion:
        secretion.run(state, rates, world, host, tick)
    if on.diffusion:
        diffusion.run(state, rates, world, host, tick)
    if on.macrophages:
        macrophages.run(state, rates, world, host, tick)
    suitability.run(state, rates, world, host, tick)
    if on.dormancy:
        dormancy.run(state, rates, world, host, tick)
    if on.division:
        division.run(state, rates, world, host, tick)
    if on.endocrine_therapy:
        endocrine.run(state, rates, world, host, tick)
    if on.angiogenic_dormancy:
        angiogenesis.run(state, rates, world, host, tick)
    if on.death:
        death.run(state, rates, world, host, tick)
    if on.egress:
        egress.run(state, rates, world, host, tick)
    risk.count_cells(state, rates, tick)
    risk.survey_growth(state, rates, world, host, tick)
    fates.run(state, rates, world, host, tick)
    arrival.run(state, rates, world, host, tick)
    if on.migration:
        migration.run(state, rates, world, host, tick)


@kernel
def advance(state, rates, world, forcing, hours, key, first_step, start, steps):
    """Run `steps` ticks from step `first_step + start`; stop early at a fault. Returns the ticks done.

    Parameters
    ----------
    state : State
        Changed in place.
    rates : Rates
    world : World
    forcing : Forcing
        Rows are ticks from `first_step` on.
    hours : float
        Length of a tick.
    key : uint64
        Key of the run.
    first_step, start, steps : int
    """
    for i in range(start, start + steps):
        host = Host(
            forcing.uptake[i], forcing.plasma[i], forcing.gamma_delta[i], forcing.rankl_block[i],
            forcing.chemotherapy[i], forcing.activation[i], forcing.bone_balance[i], forcing.rankl_factor[i],
            forcing.opg_factor[i], forcing.hormone_growth[i], forcing.hormone_waking[i], forcing.phagocytes[i],
            forcing.osteoclast_lineage[i], forcing.circulation[i],
        )  # fmt: skip
        step(state, rates, world, host, Tick(first_step + i, hours, key))
        if state.fault[0] != FAULT_NONE:
            return i - start
    return steps
