"""Steady state of a diffusing, decaying factor around bone, never negative, to a stated error bound.

Cell-centred finite volumes on the lattice, one equation a marrow voxel:

    sum_faces g (c_w - c_v) - (decay + uptake_v) c_v + secretion_v = 0,   g = D / dx^2

with no flux into bone (or a share of g through it) and none across a closed boundary. Solved by projected successive
over-relaxation, c_v <- max(0, c_v + omega r_v / a_v), red before black where the lattice has a chessboard and bone lets
nothing through, else in the order of voxels. The matrix is a symmetric positive definite M-matrix, so the exact
solution is never negative, the projection is idle at it, and the iteration converges for 0 < omega < 2 (Cryer 1971).

Error bound: with e the error and r the residual, A e = r; at the voxel of the largest |e| the off-diagonal terms cannot
exceed the diagonal ones but for the sink, hence (decay + uptake) |e| <= |r| there and max |e| <= max |r| / sink.

The ledger is closed last. Summed over the lattice transport cancels, so the sinks must take what the sources give; what
the sweeps left out of that is at most sum sink |e|. A constant is added everywhere, or cut off the top down to 0, and
neither is larger than max |e|: sweeps to half the tolerance and a closed ledger keep the whole within it.
"""

import math

import numpy as np

from niche_sim import redblack, wavefront
from niche_sim.kernel import inner, kernel

CHECK_EVERY = 6  # sweeps between two measurements of the bound
IN_BONE = -1.0  # no concentration: what voxels hold that bone walls off, between the sweeps and the closed ledger


@kernel
def find_omega(coupling, decay, sides):
    """Return the over-relaxation factor that is best for the Jacobi radius bound sides g / (sides g + decay)."""
    radius = sides * coupling / (sides * coupling + decay)
    return 2.0 / (1.0 + math.sqrt(1.0 - radius * radius))


@kernel
def _face_coupling(is_bone, v, w, coupling, wall):
    """Return the coupling through the face between voxels `v` and `w`; 0 beyond a closed boundary (w < 0)."""
    if w < 0:
        return 0.0
    return wall if is_bone[v] == 1 or is_bone[w] == 1 else coupling


@inner
def _residual(c, secretion, uptake, is_bone, world, coupling, wall, decay, v):
    """Return residual and diagonal of voxel `v`."""
    inflow, diagonal = 0.0, decay + uptake[v]
    for face in range(2 * world.ndim):
        w = world.neighbours[v, face]
        g = _face_coupling(is_bone, v, w, coupling, wall)
        diagonal += g
        inflow += g * c[w] if g > 0.0 else 0.0
    return secretion[v] + inflow - diagonal * c[v], diagonal


@inner
def _sweep_in_order(c, secretion, uptake, is_bone, world, coupling, wall, decay, omega):
    for v in range(world.n):
        residual, diagonal = _residual(c, secretion, uptake, is_bone, world, coupling, wall, decay, v)
        c[v] = max(0.0, c[v] + omega * residual / diagonal)


@inner
def _measure_in_order(c, secretion, uptake, is_bone, world, coupling, wall, decay):
    worst, top = 0.0, 0.0
    for v in range(world.n):
        residual, _ = _residual(c, secretion, uptake, is_bone, world, coupling, wall, decay, v)
        worst = max(worst, abs(residual) / (decay + uptake[v]))
        top = max(top, c[v])
    return worst, top


@inner
def _solve_in_order(c, secretion, uptake, is_bone, world, coupling, wall, decay, tolerance, most_sweeps):
    omega = find_omega(coupling, decay, 2 * world.ndim)
    sweeps, worst = 0, np.inf
    while sweeps <= most_sweeps:
        worst, top = _measure_in_order(c, secretion, uptake, is_bone, world, coupling, wall, decay)
        if worst <= tolerance * top:
            return sweeps, worst
        for _ in range(CHECK_EVERY):
            _sweep_in_order(c, secretion, uptake, is_bone, world, coupling, wall, decay, omega)
        sweeps += CHECK_EVERY
    return -1, worst


@inner
def _solve_red_black(
    c, secretion, uptake, is_bone, walls_known, world, coupling, decay, tolerance, most_sweeps, folded
):  # fmt: skip
    redblack.fold(c, secretion, uptake, is_bone, walls_known, world, coupling, decay, folded)
    omega = find_omega(coupling, decay, 2 * world.ndim)
    sweeps = 0
    worst, top = wavefront.sweep(folded, world, omega, 0)
    while worst > tolerance * top and sweeps <= most_sweeps:
        worst, top = wavefront.sweep(folded, world, omega, CHECK_EVERY)
        sweeps += CHECK_EVERY
    done = sweeps <= most_sweeps
    redblack.unfold(folded, world, c, IN_BONE if done else 0.0)
    return sweeps if done else -1, worst


@inner
def _find_cut(c, uptake, decay, surplus, capacity):
    """Return t with sum sink min(c, t) = surplus, by Newton's method from below: the sum is concave in t."""
    cut = surplus / capacity
    for _ in range(100):
        taken, slope = 0.0, 0.0
        for v in range(c.shape[0]):
            if c[v] == IN_BONE:
                continue
            sink = decay + uptake[v]
            taken += sink * min(c[v], cut)
            slope += sink if c[v] > cut else 0.0
        if slope == 0.0 or surplus - taken <= 1e-14 * surplus:
            break
        cut += (surplus - taken) / slope
    return cut


@inner
def _close_ledger(c, secretion, uptake, decay):
    """Make the sinks take exactly what the sources give, and bone hold nothing; return the largest change."""
    missing, capacity = 0.0, 0.0
    for v in range(c.shape[0]):
        if c[v] == IN_BONE:
            continue
        sink = decay + uptake[v]
        missing += secretion[v] - sink * c[v]
        capacity += sink
    shift = missing / capacity
    if missing < 0.0:
        shift = -_find_cut(c, uptake, decay, -missing, capacity)
    for v in range(c.shape[0]):
        c[v] = 0.0 if c[v] == IN_BONE else max(0.0, c[v] + shift)
    return abs(shift)


@kernel
def _has_source(secretion):
    found = False
    for v in range(secretion.shape[0]):
        found = found or secretion[v] != 0.0
    return found


@kernel
def find_invalid(concentration, secretion, uptake):
    """Return the first voxel with a value that is not finite, or -1: a maximum would pass over it in silence."""
    for v in range(concentration.shape[0]):
        if not math.isfinite(concentration[v] + secretion[v] + uptake[v]):
            return v
    return -1


@kernel
def solve_steady(
    concentration, secretion, uptake, is_bone, world, diffusion, decay, bone_permeability, tolerance, most_sweeps, folded,
    walls_known=False,
):  # fmt: skip
    """Bring one field to its steady state, in place, from where it is.

    Parameters
    ----------
    concentration : ndarray of float64, shape (n,), nmol/L
        Start and result.
    secretion, uptake : ndarray of float64, shape (n,), nmol/L/h and 1/h
    is_bone : ndarray of uint8, shape (n,)
    world : World
    diffusion, decay : float, um2/h and 1/h
    bone_permeability : float
        Share of the diffusion coefficient through faces of bone; 0 for no flux.
    tolerance : float
        Largest error relative to the largest concentration.
    most_sweeps : int
    folded : ndarray of float64, shape redblack.folded_shape(nz, ny, nx)
        Scratch.
    walls_known : bool
        Whether `folded` was last used, for one sweep at least, with the same bone: then it is not looked up again.

    Returns
    -------
    sweeps : int
        -1 if the tolerance was not met.
    error : float
        Bound on the largest error, nmol/L.
    """
    coupling = diffusion / (world.voxel_um * world.voxel_um)
    if not _has_source(secretion):
        # Nothing is the exact solution; sweeps would halve what was there down to the smallest of numbers and stall.
        for v in range(world.n):
            concentration[v] = 0.0
        return 0, 0.0
    walled = bone_permeability == 0.0
    if walled and redblack.can_fold(world):
        sweeps, error = _solve_red_black(
            concentration, secretion, uptake, is_bone, walls_known, world, coupling, decay, 0.5 * tolerance, most_sweeps,
            folded,
        )  # fmt: skip
    else:
        for v in range(world.n):
            if walled and is_bone[v] == 1:
                concentration[v] = 0.0
        sweeps, error = _solve_in_order(
            concentration, secretion, uptake, is_bone, world, coupling, bone_permeability * coupling, decay,
            0.5 * tolerance, most_sweeps,
        )  # fmt: skip
        for v in range(world.n):
            if walled and is_bone[v] == 1 and sweeps >= 0:
                concentration[v] = IN_BONE
    if sweeps < 0:
        return sweeps, error
    return sweeps, error + _close_ledger(concentration, secretion, uptake, decay)
