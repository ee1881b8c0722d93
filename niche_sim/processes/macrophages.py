"""Macrophages: polarised by TGF-beta toward support, by swallowed drug away from it; they engulf and they die of drug.

dp/dt = k_on TGF / (TGF + K) (1 - p) - (k_off + k_drug(L)) p, p the polarisation (0 inflammatory, 1 supportive), k_drug a
Hill function of the load L, which rises by endocytosis of free drug and falls by digestion. Death: 1 / residence + k_max
L^n / (L^n + K^n) + liposomes + ablation: liposomes are swallowed whole, so that the drug in them acts (free clodronate
hardly enters a cell); ablation is genetic (MAFIA) and 0 unless set. A tumour cell beside a macrophage is engulfed with
hazard rate x (1 - p), unless `death` is off; corpses beside it are cleared. Once a day the p of each macrophage is spread
evenly over the marrow within its reach, some 250 um across (Francis and Palsson 1997, PNAS 94:12258): the density of
supportive macrophages, which feeds suitability and the source of IGF-1. Macrophage and bone effects are separable (Soki
et al. 2015, doi:10.18632/oncotarget.6042).
"""

import math
from typing import NamedTuple

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import DIE_BASELINE, DIE_DRUG, DIE_PHAGOCYTOSIS, DTC, FREE_DRUG, MACROPHAGE, TGF_BETA
from niche_sim.lattice import count_cubes, displace, wrap
from niche_sim.signals import begins_day, hill, saturate

READS = (
    "living", "cells.voxel", "cells.kind", "voxels.occupant", "voxels.is_bone", "fields.concentration", "shared",
    "host.plasma", "host.phagocytes",
)  # fmt: skip
WRITES = ("cells.polarisation", "load", "hazard", "voxels.corpse", "voxels.support")


class Rates(NamedTuple):
    """Rates of macrophages; units in UNITS."""

    density: float
    residence: float
    refill_time: float
    polarisation_start: float
    polarise_rate: float
    relax_rate: float
    tgf_beta_half: float
    engulf_rate: float
    clear_rate: float
    corpse_time: float
    drug_memory: float
    support_reach: float
    support_half: float
    growth_share: float
    ablation_rate: float


UNITS = {
    "density": "1", "residence": "h", "refill_time": "h", "polarisation_start": "1", "polarise_rate": "1/h",
    "relax_rate": "1/h", "tgf_beta_half": "nmol/L", "engulf_rate": "1/h", "clear_rate": "1/h", "corpse_time": "h",
    "drug_memory": "h", "support_reach": "um", "support_half": "1", "growth_share": "1", "ablation_rate": "1/h",
}  # fmt: skip


@kernel
def drug_response(effects, load):
    """Return the summed response (1/h) of a macrophage to the drugs it holds, `load` (drugs,) nmol/L."""
    total = 0.0
    for d in range(load.shape[0]):
        half, exponent = effects.macrophage_half_concentration[d], effects.macrophage_hill[d]
        total += effects.macrophage_kmax[d] * hill(load[d], half, exponent)
    return total


@inner
def _swallow(state, rates, host, tick, row, v):
    """Let the inner concentration approach what the cell sees times its uptake factor, over the digestion time."""
    e = rates.drugs
    for d in range(state.load.shape[1]):
        seen = host.plasma[d] + state.fields.concentration[FREE_DRUG, v] * state.shared[d]
        target = seen * e.macrophage_uptake[d]
        state.load[row, d] += (target - state.load[row, d]) * -math.expm1(
            -tick.hours / rates.macrophages.drug_memory
        )


@inner
def _polarise(state, rates, tick, row, v, drug):
    m = rates.macrophages
    on = m.polarise_rate * saturate(state.fields.concentration[TGF_BETA, v], m.tgf_beta_half)
    off = m.relax_rate + drug
    if on + off > 0.0:
        aim = on / (on + off)
        state.cells.polarisation[row] += (aim - state.cells.polarisation[row]) * -math.expm1(-(on + off) * tick.hours)


@inner
def _act_around(state, rates, world, tick, row, v):
    """Clear corpses and threaten tumour cells within one reach."""
    m = rates.macrophages
    p = state.cells.polarisation[row]
    for k in range(world.reach.shape[0]):
        w = displace(world, v, world.reach[k, 0], world.reach[k, 1], world.reach[k, 2])
        if w < 0:
            continue
        state.voxels.corpse[w] *= math.exp(-m.clear_rate * tick.hours)
        other = state.voxels.occupant[w]
        if other >= 0 and state.cells.kind[other] == DTC and rates.switches.death and rates.switches.phagocytosis:
            state.hazard[other, DIE_PHAGOCYTOSIS] += m.engulf_rate * (1.0 - p)


@inner
def _spread(state, world, v, reach, amount):
    """Add `amount` to the support of every marrow voxel within `reach` (um) of `v`; return how many these are."""
    r = int(reach / world.voxel_um)
    thick = r if world.ndim == 3 else 0
    most = (reach / world.voxel_um) ** 2 + 1e-9
    x0, y0, z0 = v % world.nx, (v // world.nx) % world.ny, v // (world.nx * world.ny)
    count = 0
    for dz in range(-thick, thick + 1):
        z = wrap(z0 + dz, world.nz, world.periodic)
        for dy in range(-r, r + 1):
            y = wrap(y0 + dy, world.ny, world.periodic)
            if z < 0 or y < 0 or dz * dz + dy * dy > most:
                continue
            width = int(math.sqrt(most - dz * dz - dy * dy))
            for dx in range(-width, width + 1):
                x = wrap(x0 + dx, world.nx, world.periodic)
                w = (z * world.ny + y) * world.nx + x
                if x >= 0 and state.voxels.is_bone[w] == 0:
                    state.voxels.support[w] += amount
                    count += 1
    return count


@inner
def spread_support(state, rates, world):
    """Write the map of support: each macrophage spreads its polarisation over the marrow in reach, per 20 um cube."""
    cells, reach = state.cells, rates.macrophages.support_reach
    for v in range(world.n):
        state.voxels.support[v] = 0.0
    for row in range(state.living[0]):
        if cells.kind[row] == MACROPHAGE:
            marrow = _spread(state, world, cells.voxel[row], reach, 0.0)
            _spread(state, world, cells.voxel[row], reach, cells.polarisation[row] / (marrow * count_cubes(world)))


@inner
def run(state, rates, world, host, tick):
    """Update polarisation and load, mark support, clear corpses, set hazards."""
    cells, m = state.cells, rates.macrophages
    for v in range(world.n):
        state.voxels.corpse[v] = max(state.voxels.corpse[v] - tick.hours, 0.0)
    for row in range(state.living[0]):
        if cells.kind[row] != MACROPHAGE:
            continue
        v = cells.voxel[row]
        drug, liposomes = 0.0, 0.0
        if rates.switches.drug_macrophage:
            _swallow(state, rates, host, tick, row, v)
            drug, liposomes = drug_response(rates.drugs, state.load[row]), host.phagocytes
        _polarise(state, rates, tick, row, v, drug)
        _act_around(state, rates, world, tick, row, v)
        state.hazard[row, DIE_BASELINE] = 1.0 / m.residence
        state.hazard[row, DIE_DRUG] = drug + liposomes + m.ablation_rate
    if begins_day(tick.step + 1, tick.hours):  # ready for the secretion of the next tick
        spread_support(state, rates, world)
