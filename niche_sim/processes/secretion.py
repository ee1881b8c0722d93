"""Secretion: who releases and who takes up each diffusing factor, as sources of the steady-state fields.

RANKL from lining cells, far more at a BMU that recruits; OPG from lining cells and osteoblasts; tumour PTHrP raises the
first and lowers the second (the vicious cycle). TGF-beta and IGF-1 leave the pit over an after-release time, on a small
basal secretion of marrow; IGF-1 is also made by supportive macrophages, spread over their reach (they are a source of
it in marrow: Opperman et al. 2019, Neoplasia 21:777). CXCL12 from stroma, osteoblasts and vessels. Cycling tumour cells
take factors up, vessels wash them out. A field is marked to be solved only if a source of it changed.
"""

import math
from typing import NamedTuple

from niche_sim.kernel import inner
from niche_sim.kinds import (
    ADAPTED,
    CXCL12,
    CYCLING,
    DTC,
    FREE,
    FREE_DRUG,
    IGF1,
    OCCUPIED,
    OPG,
    OSTEOBLAST,
    PTHRP,
    RANKL,
    TGF_BETA,
    VACANT,
)
from niche_sim.lattice import SECTION_UM
from niche_sim.signals import DAY_H, begins_day, saturate
from niche_sim.surface import occupy_pthrp

READS = (
    "cells.kind", "cells.mode", "cells.trait", "voxels.stroma", "voxels.occupant", "voxels.is_bone", "voxels.perivascular",
    "voxels.contact", "voxels.support", "fields.concentration", "bmus.phase", "site", "duty", "host.rankl_factor",
    "host.opg_factor",
)  # fmt: skip
WRITES = ("reserve", "release", "fields.secretion", "fields.uptake", "fields.gathered", "fields.changed")


class Rates(NamedTuple):
    """Strengths of sources and sinks; units in UNITS."""

    tgf_beta_content: float
    tgf_beta_active: float
    igf1_content: float
    igf1_active: float
    after_release: float
    tgf_beta_basal: float
    igf1_basal: float
    igf1_macrophage: float
    rankl_lining: float
    rankl_site: float
    opg_lining: float
    opg_osteoblast: float
    opg_half: float
    pthrp_basal: float
    pthrp_gain: float
    pthrp_adapted: float
    pthrp_half: float
    pthrp_on_rankl: float
    pthrp_on_opg: float
    cxcl12_stroma: float
    cxcl12_osteoblast: float
    tumour_uptake: float
    vessel_washout: float


UNITS = {
    "tgf_beta_content": "nmol/L", "tgf_beta_active": "1", "igf1_content": "nmol/L", "igf1_active": "1",
    "after_release": "h", "tgf_beta_basal": "nmol/L/h", "igf1_basal": "nmol/L/h", "igf1_macrophage": "fmol/h",
    "rankl_lining": "fmol/um2/h", "rankl_site": "fmol/h", "opg_lining": "fmol/um2/h", "opg_osteoblast": "fmol/h",
    "opg_half": "nmol/L", "pthrp_basal": "fmol/h", "pthrp_gain": "1", "pthrp_half": "nmol/L", "pthrp_on_rankl": "1",
    "pthrp_on_opg": "1", "cxcl12_stroma": "nmol/L/h", "cxcl12_osteoblast": "fmol/h", "tumour_uptake": "1/h",
    "vessel_washout": "1/h", "pthrp_adapted": "1",
}  # fmt: skip

TO_NMOL_PER_L = 1e9  # 1 fmol/um3 is 1e9 nmol/L
CUBE_UM3 = SECTION_UM**3  # densities of cells are per such cube


@inner
def _set(state, field, v, secretion, uptake):
    fields = state.fields
    if fields.secretion[field, v] != secretion or fields.uptake[field, v] != uptake:
        fields.secretion[field, v] = secretion
        fields.uptake[field, v] = uptake
        fields.changed[field] = 1


@inner
def _release_matrix_factors(state, rates, world, tick, v, sink):
    """Let the reserve of voxel `v` go over the after-release time, on top of basal secretion.

    The rate is set once a day: it then lasts for four ticks in which these two fields need no new solution.
    """
    s = rates.secretion
    new_day = begins_day(tick.step, tick.hours)
    for k in range(2):
        reserve = state.reserve[k, v]
        if new_day:
            # Under a ten-thousandth of a pit's content all goes at once: an exponential has no other end.
            share = -math.expm1(-DAY_H / s.after_release) if reserve > 1e-8 else 1.0
            state.release[k, v] = reserve * share / DAY_H
        amount = min(state.release[k, v] * tick.hours, reserve)
        state.reserve[k, v] -= amount
        basal = s.tgf_beta_basal
        if k == 1:
            basal = s.igf1_basal + TO_NMOL_PER_L / CUBE_UM3 * s.igf1_macrophage * state.voxels.support[v]
        rate = TO_NMOL_PER_L / world.volume_um3 * state.release[k, v]
        _set(state, TGF_BETA if k == 0 else IGF1, v, basal + rate, sink)


@inner
def _set_voxel(state, rates, world, host, tick, v):
    s, voxels = rates.secretion, state.voxels
    per_cell = TO_NMOL_PER_L / world.volume_um3
    area = voxels.contact[v] * world.face_um2 * world.surface_factor
    occupancy = occupy_pthrp(state, rates, v)
    row = voxels.occupant[v]
    kind = state.cells.kind[row] if row >= 0 else -1
    cycling = kind == DTC and state.cells.mode[row] == CYCLING
    sink = s.tumour_uptake if cycling else 0.0
    _release_matrix_factors(state, rates, world, tick, v, sink)
    rankl = s.rankl_lining * area * (1.0 + s.pthrp_on_rankl * occupancy) * host.rankl_factor
    opg = s.opg_lining * area + (s.opg_osteoblast if kind == OSTEOBLAST else 0.0)
    opg *= (1.0 - s.pthrp_on_opg * occupancy) * host.opg_factor
    pthrp = 0.0
    if cycling:
        driven = saturate(state.fields.concentration[TGF_BETA, v], rates.division.tgf_beta_half)
        pthrp = s.pthrp_basal * (1.0 + s.pthrp_gain * driven)
        if state.cells.trait[row] & ADAPTED:
            pthrp *= s.pthrp_adapted
    cxcl12 = s.cxcl12_stroma * voxels.stroma[v] + (s.cxcl12_osteoblast * per_cell if kind == OSTEOBLAST else 0.0)
    # rankl_site is added by _light_sites after this pass, into the scratch that this pass starts.
    state.fields.gathered[v] = rankl * per_cell
    _set(state, OPG, v, opg * per_cell, 0.0)
    _set(state, PTHRP, v, pthrp * per_cell, 0.0)
    _set(state, CXCL12, v, cxcl12, 0.0)
    if state.fields.uptake[FREE_DRUG, v] != s.vessel_washout * voxels.perivascular[v]:
        state.fields.uptake[FREE_DRUG, v] = s.vessel_washout * voxels.perivascular[v]
        state.fields.changed[FREE_DRUG] = 1


@inner
def _light_sites(state, rates, world, host):
    """Add the RANKL of the lining around every working sector: what precursors climb and osteoclasts live on."""
    bmus = state.bmus
    rate = rates.secretion.rankl_site * host.rankl_factor * TO_NMOL_PER_L / world.volume_um3
    for slot in range(bmus.phase.shape[0]):
        if bmus.phase[slot] == FREE:
            continue
        for sector in range(state.duty.shape[1]):
            v = state.site[slot, sector]
            duty = state.duty[slot, sector]
            if (duty == VACANT or duty == OCCUPIED) and state.voxels.is_bone[v] == 0:
                state.fields.gathered[v] += rate


@inner
def run(state, rates, world, host, tick):
    """Write secretion and uptake of every marrow voxel and mark the fields that changed."""
    for v in range(world.n):
        state.fields.gathered[v] = 0.0
        if state.voxels.is_bone[v] == 0:
            _set_voxel(state, rates, world, host, tick, v)
        else:
            for field in range(state.fields.secretion.shape[0]):
                state.fields.secretion[field, v] = 0.0
                state.fields.uptake[field, v] = 0.0
    _light_sites(state, rates, world, host)
    for v in range(world.n):
        if state.voxels.is_bone[v] == 0:
            _set(state, RANKL, v, state.fields.gathered[v], 0.0)
