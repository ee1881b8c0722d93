"""Osteoblasts: called by what resorption released, they refill the cavity of their own BMU, then leave.

Recruitment at an unserved place of the cavity: rate x s / (s + K), s the matrix factor released by that BMU. A place is
a voxel with debt and a filled bed beside it; it gains v dt / dx sqrt(beds), v = 0.63 um/d (iliac mineral apposition),
once an osteoblast is within reach and the seam is older than the mineralisation lag. Recruitment and life of osteoblasts
are multiplied by x, the macrophages of the marrow over their number at rest: osteal macrophages lie on osteoblasts and
keep them there, and without them bone is lost (Cho et al. 2014, PNAS 111:1545). Formation stops at cavity x bone
balance. New bone stores growth factor afresh and buries what drug lies under it. Cycling tumour cells nearby kill
osteoblasts and keep new ones from being recruited (Phadke et al. 2006).
"""

import math
from typing import NamedTuple

import numpy as np

from niche_sim.draws import child_identity, uniform
from niche_sim.kernel import inner
from niche_sim.kinds import (
    CYCLING,
    DIE_BASELINE,
    DIE_TUMOUR,
    DTC,
    FORMING,
    FULL,
    HALF,
    MACROPHAGE,
    MINERAL_FORMED,
    MINERALISING_FACES,
    OSTEOBLAST,
    S_OSTEOBLAST,
    S_OSTEOBLAST_IDENT,
)
from niche_sim.lattice import displace
from niche_sim.signals import saturate
from niche_sim.state import add_cell, count_marrow, is_free, measure_fullness, move_cell, remove_cell, update_tissue

READS = (
    "voxels.owner", "voxels.sinusoid", "voxels.perivascular", "bmus.removed", "bmus.lost", "bmus.signal", "bmus.since",
    "bmus.claims", "bmus.phase", "claimed", "host.bone_balance",
)  # fmt: skip
WRITES = (
    "living", "cells", "load", "hazard", "voxels.stored", "voxels.mineral", "voxels.debt", "voxels.laid",
    "voxels.served", "voxels.occupant", "voxels.is_bone", "voxels.contact", "voxels.exposed", "fields.changed",
    "bmus.filled", "bmus.idle", "tally",
)  # fmt: skip


class Rates(NamedTuple):
    """Rates of osteoblasts; units in UNITS."""

    recruitment_rate: float
    signal_half: float
    apposition_rate: float
    mineralisation_lag: float
    lifespan: float
    tumour_death: float
    tumour_half: float


UNITS = {
    "recruitment_rate": "1/h", "signal_half": "1", "apposition_rate": "um/h", "mineralisation_lag": "h",
    "lifespan": "h", "tumour_death": "1/h", "tumour_half": "1",
}  # fmt: skip

LEAST_DRIVE = 0.01  # without any macrophage osteoblasts still live a hundredth of their time


@inner
def _count_beds(state, world, v, slot):
    """Count face neighbours of `v` that are filled bone: outside this claim, or without debt."""
    voxels = state.voxels
    beds = 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and voxels.is_bone[w] == 1 and (voxels.owner[w] != slot or voxels.debt[w] == 0):
            beds += 1
    return beds


@inner
def mark_served(state, rates, world, tick):
    """Stamp the voxels that an osteoblast of the right BMU reaches: attended, and whether the seam mineralises."""
    cells = state.cells
    for row in range(state.living[0]):
        if cells.kind[row] != OSTEOBLAST:
            continue
        slot = cells.bmu[row]
        if slot < 0:
            continue
        # The lag is the seam's, not the cell's: who joins an old seam lays onto mineralising matrix.
        mature = (tick.step - state.bmus.since[slot]) * tick.hours >= rates.osteoblasts.mineralisation_lag
        for k in range(world.reach.shape[0]):
            w = displace(world, cells.voxel[row], world.reach[k, 0], world.reach[k, 1], world.reach[k, 2])
            if w >= 0 and state.voxels.owner[w] == slot:
                # An even stamp means attended, an odd one attended where the seam mineralises.
                stamp = 2 * tick.step + (1 if mature else 0)
                state.voxels.served[w] = max(state.voxels.served[w], stamp)


@inner
def make_room(state, world, v):
    """Move the cell in `v` to a free face neighbour so that bone can close over; return whether `v` is empty."""
    row = state.voxels.occupant[v]
    if row < 0:
        return True
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and is_free(state.voxels, w):
            move_cell(state, row, w)
            return True
    if state.cells.kind[row] == OSTEOBLAST:
        remove_cell(state, row)  # walled in: it becomes an osteocyte
        return True
    return False


@inner
def find_osteal_drive(state, rates, world):
    """Return macrophages over their number at rest, never 0; 1 where they are no part of the model."""
    on = rates.switches
    if not (on.osteal_support and on.macrophages):
        return 1.0
    # Of the whole patch: a macrophage wanders past many seams while one of them is filled.
    marrow = count_marrow(state, world)
    return max(measure_fullness(state, world, MACROPHAGE, rates.macrophages.density, marrow), LEAST_DRIVE)


@inner
def _fill(state, rates, world, host, tick, slot, v, beds):
    """Lay mineral into voxel `v`; waits just below half where a cell has no room to leave."""
    voxels, bmus = state.voxels, state.bmus
    gain = np.int64(rates.osteoblasts.apposition_rate * tick.hours / world.voxel_um * math.sqrt(beds) * FULL)
    target = np.int64(host.bone_balance * (bmus.removed[slot] - bmus.lost[slot]))
    gain = min(gain, np.int64(voxels.debt[v]), target - bmus.filled[slot])
    closes = voxels.mineral[v] < HALF and voxels.mineral[v] + gain >= HALF
    if gain <= 0 or (closes and not make_room(state, world, v)):
        return
    voxels.mineral[v] += gain
    voxels.debt[v] -= gain
    voxels.stored[v] += gain / FULL
    voxels.laid[v] = tick.step
    bmus.filled[slot] += gain
    state.tally[MINERAL_FORMED] += gain
    state.tally[MINERALISING_FACES] += beds
    update_tissue(state, world, v)


@inner
def _find_stand(state, world, v):
    """Return where an osteoblast that serves `v` can stand: `v` itself or a free face neighbour, else -1."""
    if is_free(state.voxels, v):
        return v
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and is_free(state.voxels, w):
            return w
    return -1


@inner
def find_suppression(state, rates, world, v):
    """Return what cycling tumour cells leave of recruitment at `v`: K / (K + s), s their share of voxels within 50 um."""
    if not rates.switches.osteoblast_loss:
        return 1.0
    cells, around, held = state.cells, 0, 0
    for k in range(world.around.shape[0]):
        w = displace(world, v, world.around[k, 0], world.around[k, 1], world.around[k, 2])
        if w >= 0:
            around += 1
            row = state.voxels.occupant[w]
            held += 1 if row >= 0 and cells.kind[row] == DTC and cells.mode[row] == CYCLING else 0
    return rates.osteoblasts.tumour_half / (rates.osteoblasts.tumour_half + held / max(around, 1))


@inner
def _recruit(state, rates, world, tick, slot, v, drive):
    bmus, r = state.bmus, rates.osteoblasts
    hazard = r.recruitment_rate * saturate(bmus.signal[slot], r.signal_half)
    hazard *= drive * find_suppression(state, rates, world, v)
    if uniform(tick.key, v, tick.step, S_OSTEOBLAST) >= -math.expm1(-hazard * tick.hours):
        return
    place = _find_stand(state, world, v)
    if place < 0:
        return
    ident = child_identity(tick.key, v, tick.step, S_OSTEOBLAST_IDENT)
    row = add_cell(state, tick.step, OSTEOBLAST, place, ident, np.uint64(0), 0)
    if row >= 0:
        state.cells.bmu[row] = slot


@inner
def _form(state, rates, world, host, tick, slot, drive):
    voxels, bmus = state.voxels, state.bmus
    places = 0
    for k in range(bmus.claims[slot]):
        v = state.claimed[slot, k]
        if voxels.debt[v] <= 0:
            continue
        beds = _count_beds(state, world, v, slot)
        if beds == 0:
            continue
        places += 1
        stamp = voxels.served[v] - 2 * tick.step
        # Bone laid before it was full and since covered goes on mineralising without a cell.
        covered = voxels.is_bone[v] == 1 and voxels.exposed[v] == 0
        if stamp == 1 or covered:
            _fill(state, rates, world, host, tick, slot, v, beds)
        elif stamp < 0:
            _recruit(state, rates, world, tick, slot, v, drive)
    bmus.idle[slot] = 0 if places > 0 else bmus.idle[slot] + 1


@inner
def _has_work(state, rates, world, row):
    """Tell whether an osteoblast still has debt of its own BMU within reach."""
    slot = state.cells.bmu[row]
    if slot < 0 or state.bmus.phase[slot] != FORMING:
        return False
    for k in range(world.reach.shape[0]):
        w = displace(world, state.cells.voxel[row], world.reach[k, 0], world.reach[k, 1], world.reach[k, 2])
        if w >= 0 and state.voxels.owner[w] == slot and state.voxels.debt[w] > 0:
            return True
    return False


@inner
def _dismiss(state, rates, world):
    """Let osteoblasts without work become lining cells or osteocytes: they leave the table."""
    row = 0
    while row < state.living[0]:
        if state.cells.kind[row] == OSTEOBLAST and not _has_work(state, rates, world, row):
            remove_cell(state, row)
        else:
            row += 1


@inner
def set_hazards(state, rates, world, drive):
    """Write the death hazards of osteoblasts: life span times `drive`, and cycling tumour cells within reach."""
    cells, r = state.cells, rates.osteoblasts
    for row in range(state.living[0]):
        if cells.kind[row] != OSTEOBLAST:
            continue
        tumour = 0
        for k in range(world.reach.shape[0]):
            w = displace(world, cells.voxel[row], world.reach[k, 0], world.reach[k, 1], world.reach[k, 2])
            if w >= 0 and state.voxels.occupant[w] >= 0:
                other = state.voxels.occupant[w]
                tumour += 1 if cells.kind[other] == DTC and cells.mode[other] == CYCLING else 0
        state.hazard[row, DIE_BASELINE] = 1.0 / (r.lifespan * drive)
        if rates.switches.osteoblast_loss:
            state.hazard[row, DIE_TUMOUR] = r.tumour_death * tumour


@inner
def run(state, rates, world, host, tick):
    """Stamp served places, fill and recruit in every forming BMU, dismiss the idle, set hazards."""
    mark_served(state, rates, world, tick)
    drive = find_osteal_drive(state, rates, world)
    for slot in range(state.bmus.phase.shape[0]):
        if state.bmus.phase[slot] == FORMING:
            _form(state, rates, world, host, tick, slot, drive)
    _dismiss(state, rates, world)
    set_hazards(state, rates, world, drive)
