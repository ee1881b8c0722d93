"""Remodelling: births of BMUs on quiescent surface, their claims on bone, and the course of their phases.

A birth rate per area of bone surface is activation frequency / footprint, so that opened area per year and area is the
activation frequency whatever the voxel (Recker et al. 2004, doi:10.1359/JBMR.040710); the footprint is the running mean
of what recent births really opened. The hazard is proportional to the body's free RANKL, that at resting surface
relative to replete oestradiol; the local one multiplies it by a saturating response (1 + r) x / (x + r), x relative to
the body's, so that a working BMU does not light the whole surface. A BMU claims the bone under a disc of its width,
exclusively; osteoclasts erode only what it claimed, and it refills its own ledger of places. What it removed where it cut
its trabecula through, wider than osteoblasts bridge, is written off: a perforation does not heal.
"""

import math
from typing import NamedTuple

import numpy as np

from niche_sim.draws import child_identity, uniform
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import (
    BMU_ABORTED,
    BMU_COMPLETED,
    BMU_UNUSED,
    DONE,
    FAULT_BMUS_FULL,
    FORMING,
    FREE,
    KIND_BMU,
    LOG_BMU_END,
    LOG_BMU_START,
    N_BMU_COMPLETED,
    N_BMU_PERFORATED,
    N_BMU_REFUSED,
    N_BMU_STARTED,
    NEVER,
    NO_SECTOR,
    OCCUPIED,
    OPG,
    RANKL,
    RECRUITING,
    RESORBING,
    REVERSAL,
    S_BMU_IDENT,
    S_BMU_START,
    VACANT,
)
from niche_sim.lattice import displace
from niche_sim.signals import free_rankl
from niche_sim.state import file_bmu, log_event
from niche_sim.surface import find_body_rankl, is_near_side, surface_normal
from niche_sim.topology import is_cut_through, is_emptied

READS = (
    "voxels.mineral", "voxels.is_bone", "voxels.exposed", "fields.concentration", "reference", "host.activation",
    "host.rankl_factor", "host.opg_factor",
)  # fmt: skip
WRITES = (
    "voxels.last_bmu", "voxels.debt", "voxels.owner", "voxels.sector", "normal", "site", "duty", "claimed", "bmus",
    "entered", "tally", "opened", "log", "log_count", "finished", "finished_count", "voxels.claim",
)  # fmt: skip


class Rates(NamedTuple):
    """Rates of remodelling; units in UNITS."""

    bmu_width: float
    claim_depth: float
    claim_height: float
    osteoclast_territory: float
    rankl_response: float
    recruitment_limit: float
    reversal_time: float
    formation_limit: float
    idle_limit: float


UNITS = {
    "bmu_width": "um", "claim_depth": "um", "claim_height": "um", "osteoclast_territory": "um",
    "rankl_response": "1", "recruitment_limit": "h", "reversal_time": "h", "formation_limit": "h",
    "idle_limit": "h",
}  # fmt: skip

FOOTPRINT_MEMORY = 40.0  # births over which the mean footprint forgets, since bone changes its shape
FOOTPRINT_PRIOR = 20.0  # births that the nominal footprint counts for before any was measured


@kernel
def activation_response(relative, half):
    """Return the multiplier of the birth hazard at free RANKL `relative` to reference; 1 at 1, at most 1 + half."""
    return (1.0 + half) * relative / (relative + half)


@kernel
def nominal_footprint(world, width):
    """Return the surface (um2) under a flat BMU: width times section depth in 2-D, a disc in 3-D."""
    return width * world.thickness_um if world.ndim == 2 else 0.25 * math.pi * width * width


@inner
def _surface_rankl(state, rates, world, host, v):
    total, count = 0.0, 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and state.voxels.is_bone[w] == 0:
            count += 1
            total += free_rankl(
                state.fields.concentration[RANKL, w], state.fields.concentration[OPG, w],
                rates.secretion.opg_half, host.rankl_block,
            )  # fmt: skip
    return total / count


@inner
def measure_crowding(state, world):
    """Return total over quiescent bone faces: activation frequency counts on all surface, births need resting one."""
    everything, resting = 0, 0
    for v in range(world.n):
        everything += int(state.voxels.exposed[v])
        resting += int(state.voxels.exposed[v]) if state.voxels.owner[v] < 0 else 0
    return everything / max(resting, 1)


@inner
def birth_hazard(state, rates, world, host, v):
    """Return the hazard (1/h) that a BMU starts at bone voxel `v`, but for crowding; 0 where a BMU already works."""
    voxels = state.voxels
    if voxels.exposed[v] == 0 or voxels.owner[v] >= 0:
        return 0.0
    nominal = nominal_footprint(world, rates.remodelling.bmu_width)
    footprint = (state.opened[0] + FOOTPRINT_PRIOR * nominal) / (state.opened[1] + FOOTPRINT_PRIOR)
    hazard = host.activation * voxels.exposed[v] * world.face_um2 * world.surface_factor / footprint
    if state.reference[0] > 0.0:
        body = find_body_rankl(state, rates, host, 0.0)
        resting = free_rankl(state.reference[0], state.reference[1], rates.secretion.opg_half, 0.0) * body
        relative = _surface_rankl(state, rates, world, host, v) / resting
        hazard *= body * activation_response(relative, rates.remodelling.rankl_response)
    return hazard


@kernel
def _tangents(nz, ny, nx, ndim):
    """Return two unit vectors across the normal; in 2-D the first lies in the plane."""
    if ndim == 2:
        return 0.0, nx, -ny, 1.0, 0.0, 0.0
    az, ay, ax = (0.0, 0.0, 1.0) if abs(nx) < 0.8 else (0.0, 1.0, 0.0)
    tz, ty, tx = ny * ax - nx * ay, nx * az - nz * ax, nz * ay - ny * az
    length = math.sqrt(tz * tz + ty * ty + tx * tx)
    tz, ty, tx = tz / length, ty / length, tx / length
    return tz, ty, tx, ny * tx - nx * ty, nx * tz - nz * tx, nz * ty - ny * tz


@inner
def _claim(state, rates, world, slot, origin):
    """Claim unowned bone under the disc of the BMU at `origin`; return the surface it opens (um2)."""
    voxels, bmus = state.voxels, state.bmus
    r = rates.remodelling
    nz, ny, nx = state.normal[slot, 0], state.normal[slot, 1], state.normal[slot, 2]
    az, ay, ax, bz, by, bx = _tangents(nz, ny, nx, world.ndim)
    half = 0.5 * r.bmu_width
    across = max(1, int(round(r.bmu_width / r.osteoclast_territory)))
    reach = int(math.sqrt(half * half + r.claim_depth * r.claim_depth) / world.voxel_um) + 1
    deep = 0 if world.ndim == 2 else reach
    size, faces = 0, 0
    for dz in range(-deep, deep + 1):
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                h = (dz * nz + dy * ny + dx * nx) * world.voxel_um
                u = (dz * az + dy * ay + dx * ax) * world.voxel_um
                s = (dz * bz + dy * by + dx * bx) * world.voxel_um
                lateral = math.sqrt(u * u + s * s)
                if lateral > half or h > r.claim_height:
                    continue
                if -h > r.claim_depth * math.sqrt(1.0 - (lateral / half) ** 2):
                    continue
                w = displace(world, origin, dz, dy, dx)
                if w < 0 or voxels.mineral[w] == 0 or voxels.owner[w] >= 0 or size >= state.claimed.shape[1]:
                    continue
                i = min(int((u + half) / r.bmu_width * across), across - 1)
                j = min(int((s + half) / r.bmu_width * across), across - 1)
                voxels.owner[w], voxels.sector[w] = slot, i * across + j
                voxels.debt[w], voxels.last_bmu[w] = 0, bmus.ident[slot]
                state.claimed[slot, size] = w
                size += 1
    bmus.claims[slot] = size
    for k in range(size):
        v = state.claimed[slot, k]
        for face in range(2 * world.ndim):
            w = world.neighbours[v, face]
            if w >= 0 and voxels.is_bone[w] == 0 and is_near_side(state, world, slot, v, face, w):
                faces += 1
                if state.duty[slot, voxels.sector[v]] == NO_SECTOR:
                    state.duty[slot, voxels.sector[v]] = VACANT
                    state.site[slot, voxels.sector[v]] = w
    return faces * world.face_um2 * world.surface_factor


@kernel
def _find_slot(bmus):
    for slot in range(bmus.phase.shape[0]):
        if bmus.phase[slot] == FREE:
            return slot
    return -1


@inner
def _enter(state, slot, phase, step):
    state.bmus.phase[slot] = phase
    state.bmus.since[slot] = step
    state.entered[slot, phase] = step


@inner
def start_bmu(state, rates, world, tick, v):
    """Start a BMU at bone voxel `v`; a start with no room for a footprint is counted as refused."""
    bmus = state.bmus
    slot = _find_slot(bmus)
    if slot < 0:
        state.fault[0], state.fault[1], state.fault[2] = FAULT_BMUS_FULL, tick.step, v
        return
    nz, ny, nx = surface_normal(state, world, v)
    if nz == 0.0 and ny == 0.0 and nx == 0.0:
        state.tally[N_BMU_REFUSED] += 1
        return
    state.normal[slot, 0], state.normal[slot, 1], state.normal[slot, 2] = nz, ny, nx
    bmus.ident[slot] = child_identity(tick.key, v, tick.step, S_BMU_IDENT)
    bmus.origin[slot] = v
    bmus.removed[slot], bmus.lost[slot], bmus.filled[slot], bmus.signal[slot], bmus.idle[slot] = 0, 0, 0, 0.0, 0
    for s in range(state.duty.shape[1]):
        state.duty[slot, s] = NO_SECTOR
    bmus.perforated[slot] = 0
    for phase in range(state.entered.shape[1]):
        state.entered[slot, phase] = NEVER
    _enter(state, slot, RECRUITING, tick.step)
    bmus.footprint[slot] = _claim(state, rates, world, slot, v)
    kept = 1.0 - 1.0 / FOOTPRINT_MEMORY
    state.opened[0], state.opened[1] = kept * state.opened[0] + bmus.footprint[slot], kept * state.opened[1] + 1.0
    state.tally[N_BMU_STARTED] += 1
    log_event(state, tick.step, LOG_BMU_START, 0, KIND_BMU, bmus.ident[slot], 0, 0, v)


@inner
def end_bmu(state, tick, slot, outcome):
    """Release every voxel of a BMU and record how it ended."""
    bmus = state.bmus
    for k in range(bmus.claims[slot]):
        v = state.claimed[slot, k]
        state.voxels.owner[v], state.voxels.sector[v], state.voxels.debt[v] = -1, -1, 0
    bmus.phase[slot] = FREE
    state.tally[N_BMU_COMPLETED + outcome] += 1
    log_event(state, tick.step, LOG_BMU_END, outcome, KIND_BMU, bmus.ident[slot], 0, 0, bmus.origin[slot])
    file_bmu(state, tick.step, slot, outcome)


@inner
def has_floor(state, rates, world, slot, v):
    """Tell whether bone lies under the emptied voxel `v` of a cavity; marrow that the BMU did not open is a far side."""
    nz, ny, nx = state.normal[slot, 0], state.normal[slot, 1], state.normal[slot, 2]
    r = rates.remodelling
    half_steps = int(2.0 * (r.claim_depth + r.claim_height) / world.voxel_um) + 2
    for k in range(1, half_steps + 1):
        deep = -0.5 * k
        w = displace(world, v, int(round(deep * nz)), int(round(deep * ny)), int(round(deep * nx)))
        if w < 0 or state.voxels.is_bone[w] == 1:
            return True
        if state.voxels.owner[w] != slot:
            return False
    return True


@inner
def is_near_bone(state, world, v):
    """Tell whether bone stands within an osteoblast's reach of voxel `v`: a slit twice as wide is bridged."""
    for k in range(world.reach.shape[0]):
        w = displace(world, v, world.reach[k, 0], world.reach[k, 1], world.reach[k, 2])
        if w >= 0 and state.voxels.is_bone[w] == 1:
            return True
    return False


@inner
def is_hole(state, rates, world, slot):
    """Tell whether the cavity of a BMU cuts its trabecula through, wider than osteoblasts can bridge."""
    for k in range(state.bmus.claims[slot]):
        v = state.claimed[slot, k]
        if is_emptied(state, slot, v) and not is_near_bone(state, world, v) and not has_floor(state, rates, world, slot, v):
            return is_cut_through(state, world, slot)
    return False


@inner
def give_up_hole(state, rates, world, slot):
    """Write off what was removed where no bone lies under the cavity: osteoblasts lay bone on bone, never over a hole."""
    state.bmus.perforated[slot] = 1
    state.tally[N_BMU_PERFORATED] += 1
    for k in range(state.bmus.claims[slot]):
        v = state.claimed[slot, k]
        if is_emptied(state, slot, v) and not has_floor(state, rates, world, slot, v):
            state.bmus.lost[slot] += state.voxels.debt[v]
            state.voxels.debt[v] = 0


@inner
def _count_duty(state, slot, duty):
    count = 0
    for s in range(state.duty.shape[1]):
        if state.duty[slot, s] == duty:
            count += 1
    return count


@inner
def _advance_phase(state, rates, world, host, tick, slot):
    bmus, r = state.bmus, rates.remodelling
    hours = (tick.step - bmus.since[slot]) * tick.hours
    phase = bmus.phase[slot]
    if phase == RECRUITING and _count_duty(state, slot, OCCUPIED) > 0:
        _enter(state, slot, RESORBING, tick.step)
    elif phase == RECRUITING and hours > r.recruitment_limit:
        end_bmu(state, tick, slot, BMU_UNUSED)
    elif phase == RESORBING:
        if hours > r.recruitment_limit:
            for s in range(state.duty.shape[1]):
                if state.duty[slot, s] == VACANT:
                    state.duty[slot, s] = DONE
        if _count_duty(state, slot, OCCUPIED) == 0 and _count_duty(state, slot, VACANT) == 0:
            if is_hole(state, rates, world, slot):
                give_up_hole(state, rates, world, slot)
            _enter(state, slot, REVERSAL, tick.step)
    elif phase == REVERSAL and hours > r.reversal_time:
        _enter(state, slot, FORMING, tick.step)
    elif phase == FORMING:
        if bmus.filled[slot] >= np.int64(host.bone_balance * (bmus.removed[slot] - bmus.lost[slot])):
            end_bmu(state, tick, slot, BMU_COMPLETED)
        elif bmus.idle[slot] * tick.hours > r.idle_limit or hours > r.formation_limit:
            end_bmu(state, tick, slot, BMU_ABORTED)


@inner
def _start_bmus(state, rates, world, host, tick):
    crowding = measure_crowding(state, world)
    for v in range(world.n):
        hazard = birth_hazard(state, rates, world, host, v) * crowding
        # -expm1(-h dt) <= h dt: no logarithm is needed for the many voxels whose draw is far above it.
        if hazard > 0.0:
            draw = uniform(tick.key, v, tick.step, S_BMU_START)
            if draw < hazard * tick.hours and draw < -math.expm1(-hazard * tick.hours):
                start_bmu(state, rates, world, tick, v)


@inner
def run(state, rates, world, host, tick):
    """Advance the phases of living BMUs, then start new ones."""
    for slot in range(state.bmus.phase.shape[0]):
        if state.bmus.phase[slot] != FREE:
            _advance_phase(state, rates, world, host, tick, slot)
    _start_bmus(state, rates, world, host, tick)
