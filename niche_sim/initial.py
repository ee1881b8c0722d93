"""The start of a niche: room for its tables, its tissue, its resident cells, its tumour cells."""

from typing import Any

import numpy as np

from niche_sim.draws import uniform
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    CYCLING,
    DORMANT,
    DTC,
    FREE_DRUG,
    MACROPHAGE,
    N_SEEDED,
    OPG,
    OSTEOBLAST,
    OSTEOCLAST,
    PRECURSOR,
    RANKL,
    S_PLACES,
    S_SEED_CELLS,
    S_STROMA,
)
from niche_sim.lattice import World, count_cubes
from niche_sim.processes import diffusion, macrophages, secretion
from niche_sim.processes.remodelling import nominal_footprint
from niche_sim.signals import free_rankl
from niche_sim.state import State, add_cell, allocate_state, is_free, lay_scene, remove_cell
from niche_sim.surface import has_quiescent_lining, measure_surface

MOST_CELLS = 250_000
LOG_ROWS = 65_536
MOST_AGE_STEPS = 2**30  # of bone; far older than anyone, and it fits into a voxel
BMU_YEARS = 1.5  # years of births that the table of BMUs holds, six times over


def size_tables(world: World, rates: Any, bone: np.ndarray, activation: float) -> dict[str, int]:
    """Return the capacities of the tables for a patch, its rates and its highest activation frequency (1/h)."""
    r = rates.remodelling
    across = max(1, round(r.bmu_width / r.osteoclast_territory))
    depth = r.claim_depth + r.claim_height
    claim = nominal_footprint(world, r.bmu_width) * depth / world.volume_um3
    faces = sum(int((bone != np.roll(bone, 1, axis=axis)).sum()) for axis in range(3))
    births = activation * faces * world.face_um2 / nominal_footprint(world, r.bmu_width) * 8766.0
    return {
        "cells": min(world.n, MOST_CELLS), "bmus": 64 + int(6 * BMU_YEARS * births * (1 + r.rankl_response)),
        "sectors": across * across, "claim": 32 + int(2.0 * claim), "log": LOG_ROWS,
    }  # fmt: skip


@kernel
def _scatter(state, rates, world, key, step):
    """Fill stroma, held places and the resting numbers of macrophages and precursors."""
    s = rates.suitability
    m = rates.macrophages.density * count_cubes(world) if rates.switches.macrophages else 0.0
    p = rates.osteoclasts.precursor_density * count_cubes(world) if rates.switches.osteoclasts else 0.0
    for v in range(world.n):
        voxels = state.voxels
        stroma = voxels.perivascular[v] == 1 or uniform(key, v, 0, S_STROMA) < s.stroma_share
        voxels.stroma[v] = 1.0 if stroma else 0.0
        # A uniform spread about the mean share, inside [0, 1].
        spread = min(s.held_share, 1.0 - s.held_share)
        voxels.held[v] = s.held_share + spread * (2.0 * uniform(key, v, 0, S_PLACES) - 1.0)
        voxels.suitability[v] = 1.0 - voxels.is_bone[v]
        u = uniform(key, v, 0, S_SEED_CELLS)
        if not is_free(voxels, v) or u >= m + p:
            continue
        kind = MACROPHAGE if u < m else PRECURSOR
        row = add_cell(state, step, kind, v, np.uint64(v + 1), np.uint64(0), 0)
        if row >= 0 and kind == MACROPHAGE:
            state.cells.polarisation[row] = rates.macrophages.polarisation_start


@inner
def _mean_at_surface(state, world):
    """Return the means of RANKL and OPG at quiescent surface (nmol/L)."""
    rankl, opg, count = 0.0, 0.0, 0
    for v in range(world.n):
        if state.voxels.is_bone[v] == 0 and has_quiescent_lining(state, world, v):
            rankl += state.fields.concentration[RANKL, v]
            opg += state.fields.concentration[OPG, v]
            count += 1
    return rankl / max(count, 1), opg / max(count, 1)


@kernel
def _settle(state, rates, world, host, tick):
    if rates.switches.macrophages:
        macrophages.spread_support(state, rates, world)
    if rates.switches.secretion:
        secretion.run(state, rates, world, host, tick)
    if rates.switches.diffusion:
        diffusion.run(state, rates, world, host, tick)
    rankl, opg = _mean_at_surface(state, world)
    state.reference[0], state.reference[1] = rankl / host.rankl_factor, opg / host.opg_factor


@kernel
def _date_bone(state, world, key, step, mean_steps):
    """Give every bone voxel the step at which it was laid, before `step`, by an exponential law: steady turnover."""
    for v in range(world.n):
        if state.voxels.is_bone[v] == 1:
            age = -mean_steps * np.log(uniform(key, v, 2, S_SEED_CELLS))
            state.voxels.laid[v] = step - np.int64(min(age, MOST_AGE_STEPS))


def find_residence(state: State, world: World, rates: Any, host: Any) -> float:
    """Return the mean age (h) of bone at the patient's turnover: volume / (activation x cavity depth x surface).

    The depth is erosion rate x life span of an osteoclast; the activation is that of the first tick.
    """
    half, (rankl, opg) = rates.secretion.opg_half, state.reference
    body = free_rankl(rankl * host.rankl_factor, opg * host.opg_factor, half, 0.0) / free_rankl(rankl, opg, half, 0.0)
    depth = rates.osteoclasts.erosion_rate * rates.osteoclasts.lifespan
    volume = int(state.voxels.is_bone.sum()) * world.volume_um3
    eroded = host.activation * body * depth * measure_surface(state, world)
    return volume / eroded if eroded > 0.0 else np.inf


def build_state(world: World, scene: Any, rates: Any, host: Any, tick: Any, drugs: int, activation: float) -> State:
    """Return the niche at the start of the spin-up: tissue, residents, fields at rest, no tumour cell.

    Parameters
    ----------
    world : World
    scene : Scene
        Boolean masks `bone` and `sinusoid` of shape (nz, ny, nx).
    rates : schedule.Rates
    host : schedule.Host
        The patient at the first tick; her RANKL and OPG factors are divided out of the reference.
    tick : schedule.Tick
        The tick before the first: its key addresses the draws.
    drugs : int
        Number of drugs that any arm uses, at least 1.
    activation : float
        The highest activation frequency to make room for, 1/h.
    """
    state = allocate_state(world, drugs=drugs, **size_tables(world, rates, scene.bone, activation))
    lay_scene(state, world, scene.bone, scene.sinusoid)
    _scatter(state, rates, world, tick.key, tick.step + 1)
    _settle(state, rates, world, host, tick)
    residence = find_residence(state, world, rates, host) if state.reference[0] > 0.0 else np.inf
    _date_bone(state, world, tick.key, tick.step, min(residence / tick.hours, float(MOST_AGE_STEPS)))
    return state


# The cells that a process keeps; without it the patch is without them, as if it had been off from the start.
_KEPT_BY = {"osteoclasts": (PRECURSOR, OSTEOCLAST), "osteoblasts": (OSTEOBLAST,), "macrophages": (MACROPHAGE,)}


def clear_switched_off(state: State, switches: Any) -> None:
    """Take away what only a process that is off would keep up: its cells, its sources, its fields; in place.

    Done at every pause of the kernel, so a second time must change nothing.
    """
    for name, kinds in _KEPT_BY.items():
        if not getattr(switches, name):
            rows = np.flatnonzero(np.isin(state.cells.kind[: state.living[0]], kinds))
            for row in rows[::-1]:  # from the last: removing a row moves the last one into its place
                remove_cell(state, int(row))
    if not switches.macrophages:
        state.voxels.support[:] = 0.0
    fields = state.fields
    if not switches.bone_drug and fields.secretion[FREE_DRUG].any():
        fields.secretion[FREE_DRUG] = 0.0
        fields.changed[FREE_DRUG] = 1
    own = np.arange(len(fields.changed)) != FREE_DRUG
    if not switches.secretion and (fields.secretion[own].any() or fields.uptake.any()):
        fields.secretion[own], fields.uptake[:], state.release[:] = 0.0, 0.0, 0.0
        fields.changed[:] = 1
    if not switches.diffusion:
        fields.concentration[:] = 0.0
        fields.changed[:] = 1


@kernel
def _score_places(state, world, key, scores):
    """Write -log(u) / suitability for every free lined or perivascular voxel: the smallest are a weighted sample."""
    for v in range(world.n):
        scores[v] = np.inf
        home = state.voxels.perivascular[v] == 1 or has_quiescent_lining(state, world, v)
        if is_free(state.voxels, v) and home and state.voxels.suitability[v] > 0.0:
            scores[v] = -np.log(uniform(key, v, 1, S_SEED_CELLS)) / state.voxels.suitability[v]


def seed_tumour(state: State, world: World, key: int, dormant: int, cycling: int) -> int:
    """Place tumour cells on lined bone and beside vessels, weighted by suitability; return how many found a place.

    Efraimidis and Spirakis (2006): the k smallest exponential scores are a weighted sample without replacement.
    """
    scores = np.empty(world.n)
    _score_places(state, world, key, scores)
    order = np.argsort(scores, kind="stable")
    places = order[: dormant + cycling][np.isfinite(scores[order[: dormant + cycling]])]
    for number, voxel in enumerate(places):
        ident = np.uint64(world.n + 1 + number)
        row = add_cell(state, 0, DTC, np.int64(voxel), ident, np.uint64(0), number + 1)
        state.cells["mode"][row] = DORMANT if number < dormant else CYCLING
    state.tally[N_SEEDED] = len(places)
    return len(places)


