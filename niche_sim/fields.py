"""Steady state of a diffusing, decaying factor around bone, never negative, to a stated error bound.

Cell-centred finite volumes on the lattice, one equation a marrow voxel:

    sum_faces g (c_w - c_v) - (decay + uptake_v) c_v + secretion_v = 0,   g = D / dx^2

with no flux into bone (or a share of g through it) and none across a closed boundary. Solved by projected successive
over-relaxation: c_v <- max(0, c_v + omega r_v / a_v). The matrix is a symmetric positive definite M-matrix, so the exact
solution is never negative, the projection is idle at it, and the iteration converges for 0 < omega < 2 (Cryer 1971).

Error bound: with e the error and r the residual, A e = r; at the voxel of the largest |e| the off-diagonal terms cannot
exceed the diagonal ones but for the sink, hence (decay + uptake) |e| <= |r| there and max |e| <= max |r| / sink.
"""

import math

import numpy as np

from niche_sim.kernel import kernel

CHECK_EVERY = 6  # sweeps between two measurements of the bound


@kernel
def find_omega(coupling, decay, sides):
    """Return the over-relaxation factor that is best for the Jacobi radius bound sides g / (sides g + decay)."""
    radius = sides * coupling / (sides * coupling + decay)
    return 2.0 / (1.0 + math.sqrt(1.0 - radius * radius))


@kernel
def _prepare(uptake, is_bone, neighbours, coupling, wall, decay, diagonal):
    """Write the diagonal of every voxel; infinite in impermeable bone, which thereby stays at 0."""
    for v in range(diagonal.shape[0]):
        total = decay + uptake[v]
        for face in range(neighbours.shape[1]):
            w = neighbours[v, face]
            # A face at a closed boundary counts as a mirror: it enters here and in _inflow, and cancels.
            blocked = w >= 0 and (is_bone[w] == 1 or is_bone[v] == 1)
            total += wall if blocked else coupling
        diagonal[v] = total if is_bone[v] == 0 or wall > 0.0 else np.inf


@kernel
def _inflow(concentration, is_bone, neighbours, coupling, wall, v):
    total = 0.0
    for face in range(neighbours.shape[1]):
        w = neighbours[v, face]
        w = w if w >= 0 else v
        if wall == 0.0:
            total += coupling * concentration[w]  # impermeable bone holds 0 and adds nothing
        else:
            blocked = w != v and (is_bone[w] == 1 or is_bone[v] == 1)
            total += (wall if blocked else coupling) * concentration[w]
    return total


@kernel
def _sweep_open(concentration, secretion, neighbours, coupling, omega, diagonal):
    """Relax every voxel once where bone lets nothing through: bone holds 0, so no face needs to be asked."""
    for v in range(concentration.shape[0]):
        total = 0.0
        for face in range(neighbours.shape[1]):
            w = neighbours[v, face]
            total += concentration[w if w >= 0 else v]
        relaxed = (secretion[v] + coupling * total) / diagonal[v]
        concentration[v] = max(0.0, concentration[v] + omega * (relaxed - concentration[v]))


@kernel
def _sweep_leaky(concentration, secretion, is_bone, neighbours, coupling, wall, omega, diagonal):
    for v in range(concentration.shape[0]):
        inflow = _inflow(concentration, is_bone, neighbours, coupling, wall, v)
        relaxed = (secretion[v] + inflow) / diagonal[v]
        concentration[v] = max(0.0, concentration[v] + omega * (relaxed - concentration[v]))


@kernel
def measure_error(concentration, secretion, uptake, is_bone, neighbours, coupling, wall, decay, diagonal):
    """Return the bound on the largest error and the largest concentration, nmol/L."""
    worst, top = 0.0, 0.0
    for v in range(concentration.shape[0]):
        if diagonal[v] == np.inf:
            continue
        inflow = _inflow(concentration, is_bone, neighbours, coupling, wall, v)
        residual = abs(secretion[v] + inflow - diagonal[v] * concentration[v])
        worst = max(worst, residual / (decay + uptake[v]))
        top = max(top, concentration[v])
    return worst, top


@kernel
def solve_steady(
    concentration, secretion, uptake, is_bone, neighbours, diffusion, decay, voxel_um, bone_permeability, tolerance,
    most_sweeps, diagonal,
):  # fmt: skip
    """Bring one field to its steady state, in place, from where it is.

    Parameters
    ----------
    concentration : ndarray of float64, shape (n,), nmol/L
        Start and result.
    secretion, uptake : ndarray of float64, shape (n,), nmol/L/h and 1/h
    is_bone : ndarray of uint8, shape (n,)
    neighbours : ndarray of int32, shape (n, 2 * ndim)
        Face neighbours, -1 beyond a closed boundary.
    diffusion, decay : float, um2/h and 1/h
    voxel_um : float
    bone_permeability : float
        Share of the diffusion coefficient through faces of bone; 0 for no flux.
    tolerance : float
        Largest error relative to the largest concentration.
    most_sweeps : int
    diagonal : ndarray of float64, shape (n,)
        Scratch.

    Returns
    -------
    sweeps : int
        -1 if the tolerance was not met.
    error : float
        Bound on the largest error, nmol/L.
    """
    coupling = diffusion / (voxel_um * voxel_um)
    wall = bone_permeability * coupling
    _prepare(uptake, is_bone, neighbours, coupling, wall, decay, diagonal)
    for v in range(concentration.shape[0]):
        if diagonal[v] == np.inf:
            concentration[v] = 0.0
    omega = find_omega(coupling, decay, neighbours.shape[1])
    sweeps, worst = 0, np.inf
    while sweeps <= most_sweeps:
        worst, top = measure_error(
            concentration, secretion, uptake, is_bone, neighbours, coupling, wall, decay, diagonal
        )
        if worst <= tolerance * top:
            return sweeps, worst
        for _ in range(CHECK_EVERY):
            if wall == 0.0:
                _sweep_open(concentration, secretion, neighbours, coupling, omega, diagonal)
            else:
                _sweep_leaky(concentration, secretion, is_bone, neighbours, coupling, wall, omega, diagonal)
        sweeps += CHECK_EVERY
    return -1, worst


@kernel
def field_ledger(concentration, secretion, uptake, decay, volume_um3):
    """Return fmol/h secreted, decayed and taken up; at steady state the first equals the sum of the others.

    Parameters
    ----------
    concentration, secretion, uptake : ndarray of float64, shape (n,), nmol/L, nmol/L/h, 1/h
    decay : float, 1/h
    volume_um3 : float
        Volume of a voxel; 1 nmol/L is 1e-9 fmol/um3.
    """
    secreted, decayed, taken = 0.0, 0.0, 0.0
    for v in range(concentration.shape[0]):
        secreted += secretion[v]
        decayed += decay * concentration[v]
        taken += uptake[v] * concentration[v]
    scale = volume_um3 * 1e-9
    return secreted * scale, decayed * scale, taken * scale
