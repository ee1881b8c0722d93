"""Geometry and state of the bone surface, shared by the processes that work on it."""

import math

from niche_sim.kernel import inner, kernel
from niche_sim.kinds import FORMING, OCCUPIED, PTHRP, RECRUITING, RESORBING, REVERSAL
from niche_sim.lattice import displace
from niche_sim.signals import free_rankl, hill, saturate

# What `count_faces` counts: all faces between bone and marrow, and those of three kinds.
ALL_FACES, ERODED_FACES, OSTEOCLAST_FACES, OSTEOID_FACES = range(4)


@kernel
def measure_surface(state, world):
    """Return the true bone surface of the niche (um2): staircase faces times the Crofton factor."""
    faces = 0
    for v in range(world.n):
        faces += int(state.voxels.exposed[v])
    return faces * world.face_um2 * world.surface_factor


@inner
def surface_normal(state, world, v):
    """Return the unit normal (z, y, x) from bone to marrow at `v`, from the bone within 50 um; zeros if undefined."""
    z, y, x = 0.0, 0.0, 0.0
    for k in range(world.around.shape[0]):
        dz, dy, dx = world.around[k, 0], world.around[k, 1], world.around[k, 2]
        w = displace(world, v, dz, dy, dx)
        if w >= 0 and state.voxels.is_bone[w] == 1:
            z, y, x = z - dz, y - dy, x - dx
    length = math.sqrt(z * z + y * y + x * x)
    if length < 1e-9:
        return 0.0, 0.0, 0.0
    return z / length, y / length, x / length


@inner
def is_near_side(state, world, slot, v, face, w):
    """Tell whether the face of `v` towards open voxel `w` belongs to the side that the BMU works from."""
    if state.voxels.owner[w] == slot:
        return True
    # Faces come in pairs (back, forward) along y, x in 2-D and z, y, x in 3-D.
    axis = face // 2 + (3 - world.ndim)
    sign = -1.0 if face % 2 == 0 else 1.0
    return sign * state.normal[slot, axis] > 0.25


@inner
def has_quiescent_lining(state, world, v):
    """Tell whether marrow voxel `v` touches bone that no BMU holds: a lined, resting surface."""
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and state.voxels.is_bone[w] == 1 and state.voxels.owner[w] < 0:
            return True
    return False


@inner
def _touches_phase(state, world, v, first, last):
    """Tell whether a BMU in a phase from `first` to `last` holds voxel `v` or one beside it, bone or eroded."""
    for face in range(-1, 2 * world.ndim):
        w = v if face < 0 else world.neighbours[v, face]
        owner = state.voxels.owner[w] if w >= 0 else -1
        if owner >= 0 and first <= state.bmus.phase[owner] <= last:
            return True
    return False


@inner
def touches_bmu(state, world, v):
    """Tell whether marrow voxel `v` lies in or beside bone whose lining a BMU has opened and not yet refilled.

    Bone that it has eroded counts as well: a cell over a pit has lost the lining under it, though it touches no bone.
    """
    return _touches_phase(state, world, v, RECRUITING, REVERSAL)


@inner
def touches_pit(state, world, v):
    """Tell whether marrow voxel `v` lies in or beside what a BMU holds while osteoclasts resorb there."""
    return _touches_phase(state, world, v, RESORBING, RESORBING)


@inner
def coat_density(state, world, drug, v):
    """Return the drug density (fmol/um2 of true surface) of the densest bone face that marrow voxel `v` touches."""
    densest = 0.0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and state.voxels.exposed[w] > 0:
            area = state.voxels.exposed[w] * world.face_um2 * world.surface_factor
            densest = max(densest, state.drug[drug, w] / area)
    return densest


@inner
def rebind_nearby(state, rates, world, d, v, freed):
    """Bind a share of the drug let go at `v` (`freed`, fmol) to exposed mineral within 50 um; the rest goes to blood."""
    faces = 0
    for k in range(world.around.shape[0]):
        w = displace(world, v, world.around[k, 0], world.around[k, 1], world.around[k, 2])
        if w >= 0 and w != v:
            faces += int(state.voxels.exposed[w])
    bound = rates.bone_drug.rebinding * freed if faces > 0 else 0.0
    state.body[d, 0] += freed - bound
    for k in range(world.around.shape[0]):
        w = displace(world, v, world.around[k, 0], world.around[k, 1], world.around[k, 2])
        if bound > 0.0 and w >= 0 and w != v and state.voxels.exposed[w] > 0:
            state.drug[d, w] += bound * state.voxels.exposed[w] / faces


@inner
def find_body_rankl(state, rates, host, blocked):
    """Return the free RANKL of the body, at resting surface, over that with replete oestradiol; 1 if nothing secretes it."""
    rankl, opg, half = state.reference[0], state.reference[1], rates.secretion.opg_half
    if rankl <= 0.0:
        return 1.0
    now = free_rankl(rankl * host.rankl_factor, opg * host.opg_factor, half, blocked)
    return now / free_rankl(rankl, opg, half, 0.0)


@inner
def occupy_pthrp(state, rates, v):
    """Return the share of receptors for PTHrP of lining cells at `v` that are occupied; 0 with `vicious_cycle` off."""
    if not rates.switches.vicious_cycle:
        return 0.0
    return saturate(state.fields.concentration[PTHRP, v], rates.secretion.pthrp_half)


@inner
def prime_tumour(state, rates, host, v):
    """Return how far RANKL primes a tumour cell at `v` for factors, B^m / (B^m + K^m), B = body x (1 + gain occupancy).

    Breast cancer cells carry RANK, and RANKL acts on them (Jones et al. 2006, doi:10.1038/nature04524). Body is the free
    RANKL of the body relative to replete oestradiol, gain and occupancy what PTHrP of tumour cells adds around `v`. With
    `rankl_on_tumour` off B is 1.
    """
    r, b = rates.dormancy, 1.0
    if rates.switches.rankl_on_tumour:
        b = find_body_rankl(state, rates, host, host.rankl_block)
        b *= 1.0 + rates.secretion.pthrp_on_rankl * occupy_pthrp(state, rates, v)
    return hill(b, r.rankl_half, r.rankl_exponent)


@inner
def find_territory(rates, world):
    """Return the area of the front of one osteoclast, um2."""
    territory = rates.remodelling.osteoclast_territory
    return territory * (world.thickness_um if world.ndim == 2 else territory)


@inner
def _is_eroded(state, slot):
    """Tell whether the surface of a BMU lies bare: resorbing, in reversal, or forming before its first mineral."""
    phase = state.bmus.phase[slot]
    return RECRUITING < phase < FORMING or (phase == FORMING and state.bmus.filled[slot] == 0)


@inner
def _is_place(voxels, v, slot):
    """Tell whether voxel `v` is a place that the BMU in `slot` has still to fill."""
    return voxels.owner[v] == slot and voxels.debt[v] > 0


@inner
def _count_open(state, world, slot, v):
    """Count the marrow faces of bone voxel `v` on the side that its BMU works from."""
    count = 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and state.voxels.is_bone[w] == 0 and is_near_side(state, world, slot, v, face, w):
            count += 1
    return count


@inner
def _count_front(voxels, world, slot, v):
    """Count the faces of place `v` towards finished bone: the front from which it is being filled."""
    count = 0
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        if w >= 0 and voxels.is_bone[w] == 1 and not _is_place(voxels, w, slot):
            count += 1
    return count


@kernel
def count_faces(state, world, counts):
    """Count bone faces by what goes on there, into `counts` (int64, 4), in the order of ALL_FACES and its followers.

    Eroded: on the claim of a BMU whose surface lies bare. Osteoclast: in a sector in which an osteoclast is at work, on
    the side that it works from. Osteoid: between finished bone and a place still to be filled, once the BMU has laid its
    first mineral.
    """
    voxels, bmus = state.voxels, state.bmus
    counts[:] = 0
    for v in range(world.n):
        counts[ALL_FACES] += voxels.exposed[v]
        slot = voxels.owner[v]
        if slot < 0:
            continue
        if _is_eroded(state, slot):
            counts[ERODED_FACES] += voxels.exposed[v]
        if voxels.exposed[v] > 0 and state.duty[slot, voxels.sector[v]] == OCCUPIED:
            counts[OSTEOCLAST_FACES] += _count_open(state, world, slot, v)
        if bmus.phase[slot] == FORMING and bmus.filled[slot] > 0 and _is_place(voxels, v, slot):
            counts[OSTEOID_FACES] += _count_front(voxels, world, slot, v)
