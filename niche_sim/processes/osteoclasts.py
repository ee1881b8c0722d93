"""Osteoclasts: precursors fuse at a vacant sector of a BMU, the osteoclast erodes its sector, and dies.

Fusion: at least `precursors_per_osteoclast` precursors within capture of the site fuse with hazard
rate x RANKL occupancy. Erosion: a claimed voxel loses v dt / dx sqrt(free near-side faces). Life: a clock drawn at
fusion from a bounded normal law (14 +- 2.33 d, 7 to 21 d), and hazards: lack of free RANKL, high TGF-beta, swallowed
drug k_max A^n / (A^n + K^n) with A the drug swallowed per territory. Liposomes kill precursors and osteoclasts, phagocytes
of the same lineage as macrophages. What erosion frees: matrix growth factors into
the pit; drug into the osteoclast until it dies, of the rest some binds again to exposed mineral nearby and the other goes
to blood.
Where the bone left under the pit is thin, its strain holds erosion back.
"""

import math
from typing import NamedTuple

import numpy as np

from niche_sim.draws import child_identity, normal, uniform
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    DIE_AGE,
    DIE_BASELINE,
    DIE_DRUG,
    DIE_STARVATION,
    DIE_TGF_BETA,
    FREE,
    FULL,
    LOG_FUSION,
    MINERAL_REMOVED,
    N_FUSIONS,
    OCCUPIED,
    OPG,
    OSTEOCLAST,
    PRECURSOR,
    RANKL,
    S_FUSION,
    S_LIFESPAN,
    S_OSTEOCLAST_IDENT,
    TGF_BETA,
    VACANT,
)
from niche_sim.lattice import displace
from niche_sim.places import log_cell
from niche_sim.signals import free_rankl, hill, saturate
from niche_sim.state import add_cell, is_free, move_cell, remove_cell, update_tissue
from niche_sim.surface import find_territory, is_near_side, rebind_nearby

READS = (
    "voxels.owner", "voxels.sector", "voxels.sinusoid", "voxels.perivascular", "voxels.suitability", "fields.concentration",
    "bmus.ident", "bmus.claims", "bmus.phase", "normal", "claimed", "host.rankl_block", "host.osteoclast_lineage",
)  # fmt: skip
WRITES = (
    "living", "cells", "load", "hazard", "voxels.stored", "voxels.mineral", "voxels.debt", "voxels.occupant",
    "voxels.is_bone", "voxels.contact", "voxels.exposed", "drug", "reserve", "fields.changed", "bmus.removed",
    "bmus.signal", "site", "duty", "eroder", "tally", "drug_ledger", "body", "log", "log_count",
)  # fmt: skip


class Rates(NamedTuple):
    """Rates of osteoclasts and their precursors; units in UNITS."""

    precursor_density: float
    precursor_residence: float
    precursors_per_osteoclast: float
    capture_radius: float
    fusion_rate: float
    rankl_half: float
    erosion_rate: float
    strain_inhibition: float
    strain_thickness: float
    lifespan: float
    lifespan_spread: float
    lifespan_shortest: float
    lifespan_longest: float
    starvation_death: float
    tgf_beta_death: float
    tgf_beta_half: float


UNITS = {
    "precursor_density": "1", "precursor_residence": "h", "precursors_per_osteoclast": "1", "capture_radius": "um",
    "fusion_rate": "1/h", "rankl_half": "nmol/L", "erosion_rate": "um/h",
    "strain_inhibition": "1", "strain_thickness": "um", "lifespan": "h", "lifespan_spread": "h",
    "lifespan_shortest": "h", "lifespan_longest": "h", "starvation_death": "1/h", "tgf_beta_death": "1/h",
    "tgf_beta_half": "nmol/L",
}  # fmt: skip


@kernel
def draw_lifespan(rates, key, ident, step):
    """Return hours of life: a normal law cut to its bounds by clipping, addressed by the identity."""
    r = rates.osteoclasts
    hours = r.lifespan + r.lifespan_spread * normal(key, ident, step, S_LIFESPAN)
    return min(max(hours, r.lifespan_shortest), r.lifespan_longest)


@inner
def _count_precursors(state, rates, world, site):
    count = 0
    for k in range(world.around.shape[0]):
        if _distance(world, k) > rates.osteoclasts.capture_radius:
            break
        w = displace(world, site, world.around[k, 0], world.around[k, 1], world.around[k, 2])
        if w >= 0 and state.voxels.occupant[w] >= 0 and state.cells.kind[state.voxels.occupant[w]] == PRECURSOR:
            count += 1
    return count


@inner
def _distance(world, k):
    z, y, x = world.around[k, 0], world.around[k, 1], world.around[k, 2]
    return world.voxel_um * math.sqrt(z * z + y * y + x * x)


@inner
def _consume_precursors(state, rates, world, site, wanted):
    """Remove the `wanted` nearest precursors; return the voxel of the nearest, where the osteoclast forms."""
    taken, place = 0, -1
    for k in range(world.around.shape[0]):
        if taken == wanted or _distance(world, k) > rates.osteoclasts.capture_radius:
            break
        w = displace(world, site, world.around[k, 0], world.around[k, 1], world.around[k, 2])
        if w < 0 or state.voxels.occupant[w] < 0:
            continue
        row = state.voxels.occupant[w]
        if state.cells.kind[row] == PRECURSOR:
            place = w if taken == 0 else place
            remove_cell(state, row)
            taken += 1
    return place


@inner
def _fuse(state, rates, world, host, tick, slot, sector):
    bmus, r = state.bmus, rates.osteoclasts
    site = state.site[slot, sector]
    if state.voxels.is_bone[site] == 1:
        return
    wanted = int(r.precursors_per_osteoclast)
    if _count_precursors(state, rates, world, site) < wanted:
        return
    fields = state.fields.concentration
    free = free_rankl(fields[RANKL, site], fields[OPG, site], rates.secretion.opg_half, host.rankl_block)
    hazard = r.fusion_rate * saturate(free, r.rankl_half)
    address = bmus.ident[slot] + np.uint64(sector)
    if uniform(tick.key, address, tick.step, S_FUSION) >= -math.expm1(-hazard * tick.hours):
        return
    place = _consume_precursors(state, rates, world, site, wanted)
    place = site if is_free(state.voxels, site) else place
    ident = child_identity(tick.key, address, tick.step, S_OSTEOCLAST_IDENT)
    row = add_cell(state, tick.step, OSTEOCLAST, place, ident, np.uint64(0), 0)
    if row < 0:
        return
    state.cells.nuclei[row], state.cells.bmu[row], state.cells.sector[row] = wanted, slot, sector
    state.cells.clock[row] = draw_lifespan(rates, tick.key, ident, tick.step)
    state.duty[slot, sector] = OCCUPIED
    state.tally[N_FUSIONS] += 1
    log_cell(state, world, tick.step, LOG_FUSION, 0, row, bmus.ident[slot])


@inner
def _release(state, rates, world, v, pit, row, removed):
    """Let out what `removed` quanta of voxel `v` held: growth factors into voxel `pit`, drug into osteoclast `row`."""
    voxels, s = state.voxels, rates.secretion
    before = voxels.mineral[v] + removed
    share = removed / before
    factor = voxels.stored[v] * share
    voxels.stored[v] -= factor
    moles = factor * world.volume_um3 * 1e-9
    state.reserve[0, pit] += moles * s.tgf_beta_content * s.tgf_beta_active
    state.reserve[1, pit] += moles * s.igf1_content * s.igf1_active
    state.bmus.signal[state.cells.bmu[row]] += factor
    area = find_territory(rates, world)
    eroded_um = removed / FULL * world.voxel_um
    for d in range(state.drug.shape[0]):
        eaten = state.drug[d, v]
        if voxels.mineral[v] > 0:
            eaten *= -math.expm1(-eroded_um / rates.bone_drug.swallow_depth)
        if eaten <= 0.0:
            continue
        swallowed = eaten * rates.bone_drug.swallowed_fraction
        state.drug[d, v] -= eaten
        state.load[row, d] += swallowed / area
        state.drug_ledger[d, 1] += swallowed
        rebind_nearby(state, rates, world, d, v, eaten - swallowed)


@inner
def is_strained(state, rates, world, slot, v):
    """Tell whether the bone left under voxel `v` is so thin that its strain is felt: far-side marrow is near."""
    nz, ny, nx = state.normal[slot, 0], state.normal[slot, 1], state.normal[slot, 2]
    for k in range(1, world.around.shape[0]):
        distance = _distance(world, k)
        if distance > rates.osteoclasts.strain_thickness:
            return False
        dz, dy, dx = world.around[k, 0], world.around[k, 1], world.around[k, 2]
        if (dz * nz + dy * ny + dx * nx) * world.voxel_um > -0.7 * distance:
            continue
        w = displace(world, v, dz, dy, dx)
        if w >= 0 and state.voxels.is_bone[w] == 0 and state.voxels.owner[w] != slot:
            return True
    return False


@inner
def _erode_voxel(state, rates, world, tick, slot, v, row):
    voxels = state.voxels
    free = 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and voxels.is_bone[w] == 0 and is_near_side(state, world, slot, v, face, w):
            free += 1
    if free == 0 and voxels.is_bone[v] == 1:
        return
    loss = rates.osteoclasts.erosion_rate * tick.hours / world.voxel_um * math.sqrt(max(free, 1))
    if is_strained(state, rates, world, slot, v):
        loss *= 1.0 - rates.osteoclasts.strain_inhibition
    removed = min(voxels.mineral[v], np.int64(loss * FULL))
    voxels.mineral[v] -= removed
    voxels.debt[v] += removed
    state.bmus.removed[slot] += removed
    state.tally[MINERAL_REMOVED] += removed
    _release(state, rates, world, v, state.cells.voxel[row], row, removed)
    was_bone = voxels.is_bone[v]
    update_tissue(state, world, v)
    if was_bone == 1 and is_free(voxels, v):
        move_cell(state, row, v)
        state.site[slot, voxels.sector[v]] = v


@inner
def erode(state, rates, world, tick):
    """Let every osteoclast erode its sector, in the order of BMUs and claimed voxels, not of rows."""
    rows = state.eroder
    for slot in range(rows.shape[0]):
        for sector in range(rows.shape[1]):
            rows[slot, sector] = -1
    for row in range(state.living[0]):
        if state.cells.kind[row] == OSTEOCLAST:
            rows[state.cells.bmu[row], state.cells.sector[row]] = row
    for slot in range(state.bmus.phase.shape[0]):
        if state.bmus.phase[slot] == FREE:
            continue
        for k in range(state.bmus.claims[slot]):
            v = state.claimed[slot, k]
            row = rows[slot, state.voxels.sector[v]]
            if row >= 0 and state.voxels.mineral[v] > 0:
                _erode_voxel(state, rates, world, tick, slot, v, row)


@kernel
def drug_hazard(rates, load):
    """Return the extra death hazard (1/h) of an osteoclast that swallowed `load` (drugs,), fmol/um2."""
    hazard = 0.0
    for d in range(load.shape[0]):
        e = rates.drugs
        hazard += e.osteoclast_kmax[d] * hill(load[d], e.osteoclast_half_load[d], e.osteoclast_hill[d])
    return hazard


@inner
def set_hazards(state, rates, host, tick):
    """Write the death hazards of osteoclasts and the loss of precursors into the hazard table."""
    cells, r = state.cells, rates.osteoclasts
    fields = state.fields.concentration
    for row in range(state.living[0]):
        v = cells.voxel[row]
        liposomes = host.osteoclast_lineage if rates.switches.drug_osteoclast else 0.0
        if cells.kind[row] == PRECURSOR:
            state.hazard[row, DIE_BASELINE] = 1.0 / r.precursor_residence
            state.hazard[row, DIE_DRUG] = liposomes
        elif cells.kind[row] == OSTEOCLAST:
            cells.clock[row] -= tick.hours
            free = free_rankl(fields[RANKL, v], fields[OPG, v], rates.secretion.opg_half, host.rankl_block)
            state.hazard[row, DIE_STARVATION] = r.starvation_death * (1.0 - saturate(free, r.rankl_half))
            state.hazard[row, DIE_TGF_BETA] = r.tgf_beta_death * saturate(fields[TGF_BETA, v], r.tgf_beta_half)
            if rates.switches.drug_osteoclast:
                state.hazard[row, DIE_DRUG] = drug_hazard(rates, state.load[row]) + liposomes
            if cells.clock[row] <= 0.0:
                # A clock that has run out is certain: a hazard so large that 1 - exp(-h dt) is 1.
                state.hazard[row, DIE_AGE] = 1e6


@inner
def run(state, rates, world, host, tick):
    """Fuse, erode, and set the hazards of this tick."""
    for slot in range(state.bmus.phase.shape[0]):
        if state.bmus.phase[slot] != FREE:
            for sector in range(state.duty.shape[1]):
                if state.duty[slot, sector] == VACANT:
                    _fuse(state, rates, world, host, tick, slot, sector)
    erode(state, rates, world, tick)
    set_hazards(state, rates, host, tick)
