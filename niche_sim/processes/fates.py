"""Fates: one competing-risk draw a cell and tick over the summed hazards, then the events, in an order of claims.

P(any event) = 1 - exp(-sum h dt); which one with probability h_i / sum h. Drawing death first and division second would
bias both. A daughter goes to a free neighbour chosen at random; contested voxels go to the higher rank. With `tumour_fates`
off tumour cells are sentinels: their hazards are measured where they lie, and nothing happens to them.
"""

import math

import numpy as np

from niche_sim.draws import child_identity, rank, uniform, uniform_pair
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    ADAPTED,
    CELLS_LEFT,
    CELLS_LOST,
    CYCLING,
    DIE_DRUG,
    DIVIDE,
    DORMANT,
    DTC,
    EGRESS,
    LOG_BIRTH,
    LOG_DEATH,
    LOG_EGRESS,
    LOG_MUTATION,
    LOG_SLEEP,
    LOG_WAKE,
    N_BIRTHS,
    N_DEATHS,
    N_DEATHS_FIRST,
    N_EGRESS,
    N_MUTATIONS,
    N_OSTEOCLAST_DRUG,
    N_OSTEOCLAST_OTHER,
    N_OUTCOMES,
    N_SLEEPS,
    N_WAKES_FIRST,
    NOTHING,
    OSTEOCLAST,
    PRECURSOR,
    RESISTANT,
    S_DAUGHTER_IDENT,
    S_DAUGHTER_PLACE,
    S_DAUGHTER_RANK,
    S_FATE,
    S_MUTATION,
    SLEEP,
    WAKE_SPONTANEOUS,
    WAKE_SPROUTING,
)
from niche_sim.places import log_cell
from niche_sim.state import add_cell, is_free, remove_cell
from niche_sim.surface import find_territory, rebind_nearby

READS = (
    "voxels.is_bone", "voxels.sinusoid", "voxels.exposed", "voxels.contact", "voxels.perivascular", "voxels.owner",
    "voxels.suitability", "fields.concentration", "bmus.phase",
)  # fmt: skip
WRITES = (
    "living", "cells", "load", "hazard", "wish", "voxels.corpse", "voxels.claim", "voxels.claimer",
    "voxels.occupant", "duty", "tally", "blood", "drug", "drug_ledger", "body", "log", "log_count",
)  # fmt: skip


@kernel
def choose_outcome(hazards, hours, u, which):
    """Return the index of the event that happens within `hours`, or NOTHING.

    Parameters
    ----------
    hazards : ndarray of float64, shape (outcomes,), 1/h
    hours : float
    u, which : float
        Two uniform draws: whether anything happens, and what.
    """
    total = 0.0
    for k in range(hazards.shape[0]):
        total += hazards[k]
    if total <= 0.0 or u >= -math.expm1(-total * hours):
        return NOTHING
    mark = which * total
    for k in range(hazards.shape[0]):
        mark -= hazards[k]
        if mark < 0.0 and hazards[k] > 0.0:
            return k
    last = NOTHING
    for k in range(hazards.shape[0]):
        last = k if hazards[k] > 0.0 else last
    return last


@inner
def clear_hazards(state):
    """Set every hazard of living rows to 0 before the processes write theirs."""
    for row in range(state.living[0]):
        for k in range(N_OUTCOMES):
            state.hazard[row, k] = 0.0


@inner
def pick_free_neighbour(state, world, v, u):
    """Return a free face neighbour of `v`, each equally likely by draw `u`, or -1."""
    count = 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        count += 1 if w >= 0 and is_free(state.voxels, w) else 0
    wanted = int(u * count)
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and is_free(state.voxels, w):
            if wanted == 0:
                return w
            wanted -= 1
    return -1


@inner
def claim_voxel(state, row, w, order):
    """Claim voxel `w` for cell `row` unless a higher rank holds it."""
    if state.voxels.claimer[w] < 0 or order > state.voxels.claim[w]:
        state.voxels.claim[w], state.voxels.claimer[w] = order, row


@inner
def _draw(state, rates, tick):
    cells = state.cells
    for row in range(state.living[0]):
        if cells.kind[row] == DTC and not rates.switches.tumour_fates:
            cells.outcome[row] = NOTHING
            continue
        u, which = uniform_pair(tick.key, cells.ident[row], tick.step, S_FATE)
        cells.outcome[row] = choose_outcome(state.hazard[row], tick.hours, u, which)


@inner
def _mutate(state, rates, world, tick, row):
    """Let a newborn turn resistant to chemotherapy, or bone-adapted."""
    cells, d = state.cells, rates.division
    u, other = uniform_pair(tick.key, cells.ident[row], tick.step, S_MUTATION)
    gained = (RESISTANT if u < d.resistance_probability else 0) | (ADAPTED if other < d.adaptation_probability else 0)
    gained &= ~cells.trait[row]
    if gained:
        cells.trait[row] |= gained
        state.tally[N_MUTATIONS] += 1
        log_cell(state, world, tick.step, LOG_MUTATION, gained, row, cells.parent[row])


@inner
def _divide(state, rates, world, tick):
    """Place the daughters of this tick: claim first, then commit the winners in order of rows at the start."""
    cells, voxels = state.cells, state.voxels
    mothers = state.living[0]
    wish = state.wish
    for row in range(mothers):
        wish[row] = -1
        if cells.outcome[row] == DIVIDE:
            u = uniform(tick.key, cells.ident[row], tick.step, S_DAUGHTER_PLACE)
            wish[row] = pick_free_neighbour(state, world, cells.voxel[row], u)
            if wish[row] >= 0:
                claim_voxel(state, row, wish[row], rank(tick.key, cells.ident[row], tick.step, S_DAUGHTER_RANK))
    for row in range(mothers):
        w = wish[row]
        if w >= 0 and voxels.claimer[w] == row:
            ident = child_identity(tick.key, cells.ident[row], tick.step, S_DAUGHTER_IDENT)
            born = add_cell(state, tick.step, DTC, w, ident, cells.ident[row], cells.clone[row])
            if born < 0:
                return
            cells.mode[born], cells.trait[born] = CYCLING, cells.trait[row]
            state.tally[N_BIRTHS] += 1
            log_cell(state, world, tick.step, LOG_BIRTH, 0, born, cells.ident[row])
            if rates.switches.mutation:
                _mutate(state, rates, world, tick, born)
    for row in range(mothers):
        if wish[row] >= 0:
            voxels.claimer[wish[row]], voxels.claim[wish[row]] = -1, np.uint64(0)


@inner
def _record_death(state, world, tick, row):
    cells = state.cells
    cause, kind = cells.outcome[row], cells.kind[row]
    if kind == PRECURSOR:
        state.tally[CELLS_LOST] += 1  # thousands return to blood: counted, not logged
        return
    log_cell(state, world, tick.step, LOG_DEATH, cause, row, cells.parent[row])
    if kind == DTC:
        state.tally[N_DEATHS_FIRST + cause] += 1
    if kind == OSTEOCLAST:
        state.tally[N_OSTEOCLAST_DRUG if cause == DIE_DRUG else N_OSTEOCLAST_OTHER] += 1


@inner
def _switch_mode(state, world, tick, row):
    cells = state.cells
    outcome = cells.outcome[row]
    if WAKE_SPONTANEOUS <= outcome <= WAKE_SPROUTING:
        cells.mode[row] = CYCLING
        state.tally[N_WAKES_FIRST + outcome - WAKE_SPONTANEOUS] += 1
        event = LOG_WAKE
    elif outcome == SLEEP:
        cells.mode[row] = DORMANT
        state.tally[N_SLEEPS] += 1
        event = LOG_SLEEP
    else:
        return
    log_cell(state, world, tick.step, event, outcome, row, cells.parent[row])


@inner
def _empty(state, rates, world, row):
    """Let go the drug that a dead osteoclast had swallowed: some binds again nearby, the rest goes to blood."""
    for d in range(state.load.shape[1]):
        held = state.load[row, d] * find_territory(rates, world)
        if held > 0.0:
            state.drug_ledger[d, 1] -= held
            rebind_nearby(state, rates, world, d, state.cells.voxel[row], held)


@inner
def _leave(state, rates, world, tick, row):
    """Remove a cell that dies or leaves; return whether row must be looked at again (another cell moved there)."""
    cells = state.cells
    outcome = cells.outcome[row]
    if outcome == EGRESS:
        state.tally[N_EGRESS] += 1
        state.tally[CELLS_LEFT] += 1
        state.blood[0] += rates.arrival.reseeding_share
        log_cell(state, world, tick.step, LOG_EGRESS, 0, row, cells.parent[row])
    elif 0 <= outcome < N_DEATHS:
        _record_death(state, world, tick, row)
        if cells.kind[row] == OSTEOCLAST:
            _empty(state, rates, world, row)
        if cells.kind[row] != PRECURSOR:
            state.voxels.corpse[cells.voxel[row]] = rates.macrophages.corpse_time
    else:
        return False
    remove_cell(state, row)
    return True


@inner
def run(state, rates, world, host, tick):
    """Draw, divide, switch modes, then remove what died or left."""
    _draw(state, rates, tick)
    _divide(state, rates, world, tick)
    for row in range(state.living[0]):
        _switch_mode(state, world, tick, row)
    row = 0
    while row < state.living[0]:
        if not _leave(state, rates, world, tick, row):
            row += 1
