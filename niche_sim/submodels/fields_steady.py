"""The steady state of one field, with a bound on its largest error.

`sweeps` is the model's own solver (`niche_sim.fields`: projected over-relaxation, red before black where the lattice
allows it). `direct` factorises the matrix, `gradients` is the method of conjugate gradients; both are refined with
residuals in extended precision, so that nothing but the last rounding is left where the machine has it.

Bound of the last two: the matrix A is an M-matrix, hence |A^-1 r| <= max|r| A^-1 1; any w with A w >= m > 0 has
A^-1 1 <= w / m. So max |error| <= max|r| max(w) / min(A w), whatever solved for c and w. It needs no decay.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from niche_sim.errors import InputError
from niche_sim.fields import find_omega, solve_steady
from niche_sim.lattice import World
from niche_sim.redblack import folded_shape
from niche_sim.submodels.fields_lattice import Grid, sum_amount

ROUNDING = 2.0**-53
MOST_REFINEMENTS = 8
MOST_UPDATES = 3e9  # most updates of a voxel by sweeps before `auto` takes another method
Solver = Callable[[np.ndarray], np.ndarray]


class Steady(NamedTuple):
    """A steady field (nmol/L, shape (n,)), how it was found, its sweeps or iterations, and its error bound (nmol/L)."""

    concentration: np.ndarray
    method: str
    sweeps: int
    bound: float


# ---------------------------------------------------------------- the model's own sweeps


def build_world(grid: Grid) -> World:
    """Return the lattice as the model's solver wants it: 1-D is a 2-D lattice of one row."""
    nz, ny, nx = grid.shape if grid.closed or grid.periodic else (1, 1, grid.n)
    neighbours = grid.neighbours[:, -4:] if grid.shape[0] == 1 else grid.neighbours
    if neighbours.shape[1] < 4:
        rows = np.full((grid.n, 2), -1, np.int32)
        neighbours = np.concatenate([rows, neighbours], axis=1)
    ndim, nowhere = neighbours.shape[1] // 2, np.zeros((0, 3), np.int32)
    area = grid.voxel_um**2
    # Where some axes close and others do not there is no chessboard: as one periodic row, the solver goes in order.
    return World(
        nz, ny, nx, grid.n, ndim, grid.voxel_um, grid.voxel_um, not grid.closed, area, grid.volume_um3, 1.0,
        np.ascontiguousarray(neighbours), nowhere, nowhere,
    )  # fmt: skip


def can_sweep(grid: Grid, secretion: np.ndarray, decay: float) -> str:
    """Return why the model's solver cannot be used, or an empty text."""
    if grid.is_sealed.all():
        return "all is wall"
    if (secretion + grid.face_gain < 0.0).any():
        return "a source is negative"
    if (decay + grid.uptake + grid.face_loss)[~grid.is_sealed].min(initial=np.inf) <= 0.0:
        return "there is neither decay nor uptake somewhere"
    return ""


def _split_sink(grid: Grid, decay: float) -> tuple[float, np.ndarray]:
    """Return the sink that all voxels share and the rest (1/h): the same equation, and the better relaxation factor."""
    rest = grid.uptake + grid.face_loss
    least = float(rest[~grid.is_sealed].min(initial=np.inf))
    if least > 0.0 and math.isfinite(least):
        return decay + least, np.where(grid.is_sealed, 0.0, rest - least)
    return decay, rest


def sweep_to(grid: Grid, secretion: np.ndarray, diffusion: float, decay: float, permeability: float, tolerance: float,
             most: int) -> Steady:  # fmt: skip
    """Sweep until the bound is at most tolerance x the largest concentration, or does not fall any further."""
    world = build_world(grid)
    shared, rest = _split_sink(grid, decay)
    source = secretion + grid.face_gain
    c = np.where(grid.is_sealed, 0.0, source / (shared + rest))
    bone, folded = grid.is_wall.astype(np.uint8), np.empty(folded_shape(*grid.shape))
    chunk = max(60, 2 * sweeps_per_digit(grid, diffusion, shared))
    total, best, bound, stalled = 0, np.inf, np.inf, 0
    while total < most and stalled < 3:
        asked = min(chunk, most - total)
        sweeps, bound = solve_steady(c, source, rest, bone, world, diffusion, shared, permeability, tolerance, asked, folded)
        if sweeps >= 0:
            return Steady(c, "sweeps", total + sweeps, float(bound))
        total += 6 * (asked // 6 + 1)
        stalled = 0 if bound < 0.5 * best else stalled + 1
        best = min(best, bound)
    return Steady(c, "sweeps", total, float(bound))


def sweeps_per_digit(grid: Grid, diffusion: float, decay: float) -> int:
    """Return the sweeps that divide the error by ten, by theory."""
    coupling = diffusion / grid.voxel_um**2
    factor = find_omega(coupling, decay, 2 * max(2, grid.ndim)) - 1.0
    return math.ceil(math.log(10.0) / -math.log(factor)) if 0.0 < factor < 1.0 else (1 if factor <= 0.0 else 10**9)


# ---------------------------------------------------------------- linear algebra


def _assemble(grid: Grid, loss: np.ndarray) -> csr_matrix:
    """Return A; sealed voxels have 1 on the diagonal."""
    rows, faces = np.nonzero(grid.exchange > 0.0)
    values = grid.exchange[rows, faces]
    diagonal = np.where(grid.is_sealed, 1.0, loss + grid.exchange.sum(axis=1))
    links = csr_matrix((-values, (rows, grid.neighbours[rows, faces])), shape=(grid.n, grid.n))
    return csr_matrix(links + diags(diagonal))


def _check_sinks(matrix: csr_matrix, grid: Grid, loss: np.ndarray) -> None:
    count, label = connected_components(matrix, directed=False)
    drained = np.bincount(label, weights=np.where(grid.is_sealed, 1.0, loss), minlength=count)
    if (drained <= 0.0).any():
        v = int(np.flatnonzero(drained[label] <= 0.0)[0])
        place = ", ".join(f"{axis} {grid.places[i][v]}" for i, axis in enumerate("xyz"[: grid.ndim]))
        raise InputError(
            f"steady: around voxel {place} there is neither decay, uptake nor a fixed face, so no single steady state; "
            "give decay, or use time"
        )


def _flow(grid: Grid, loss: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return A c in the precision of `c`; differences first, so that little cancels."""
    total = np.where(grid.is_sealed, 1.0, loss) * c
    for face in range(grid.neighbours.shape[1]):
        total += grid.exchange[:, face] * (c - c[grid.neighbours[:, face]])
    return total


def _conjugate_gradients(matrix: csr_matrix, right: np.ndarray, tolerance: float, count: list[int]) -> np.ndarray:
    """Return the solution to a relative residual, preconditioned by the diagonal; sums in a fixed order."""
    scale = 1.0 / matrix.diagonal()
    peak = float(np.abs(right).max()) or 1.0  # squares of large sources would overflow
    c, r = np.zeros_like(right), right / peak
    z = scale * r
    p, rho = z.copy(), float(np.add.reduce(r * z))
    goal = tolerance**2 * rho
    for _ in range(20 * len(right) + 100):
        if rho <= goal or rho == 0.0:
            break
        q = matrix @ p
        alpha = rho / float(np.add.reduce(p * q))
        c += alpha * p
        r -= alpha * q
        z = scale * r
        rho, before = float(np.add.reduce(r * z)), rho
        p = z + (rho / before) * p
        count[0] += 1
    return c * peak


def _choose_solver(method: str, matrix: csr_matrix, count: list[int]) -> Solver:
    if method == "gradients":
        return lambda right: _conjugate_gradients(matrix, right, 1e-10, count)
    factors = splu(csc_matrix(matrix), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})

    def solve(right: np.ndarray) -> np.ndarray:
        count[0] += 1
        return factors.solve(right)

    return solve


def solve_linear(grid: Grid, secretion: np.ndarray, decay: float, method: str) -> Steady:
    """Return the steady state by linear algebra, refined to the last digits."""
    loss = np.where(grid.is_sealed, 1.0, decay + grid.uptake + grid.face_loss)
    source = np.where(grid.is_sealed, 0.0, secretion + grid.face_gain).astype(np.longdouble)
    matrix = _assemble(grid, loss)
    _check_sinks(matrix, grid, loss)
    count = [0]
    solver = _choose_solver(method, matrix, count)
    comparison = solver(np.ones(grid.n))
    least = float(_flow(grid, loss, comparison.astype(np.longdouble)).min())
    reach = float(comparison.max()) / least if least > 0.0 else np.inf
    c, best, bound = np.zeros(grid.n, np.longdouble), np.zeros(grid.n), np.inf
    for _ in range(MOST_REFINEMENTS):
        residual = source - _flow(grid, loss, c)
        worst = float(np.abs(residual).max()) * reach
        if worst >= 0.25 * bound and bound < np.inf:
            break
        best, bound = c.astype(np.float64), min(worst, bound)
        if worst <= ROUNDING * float(np.abs(best).max()):
            break
        c = c + solver(residual.astype(np.float64))
    # The bound holds for the field in extended precision; what is written is rounded once more.
    return Steady(best, method, count[0], bound + ROUNDING * float(np.abs(best).max()))


def solve_field(grid: Grid, secretion: np.ndarray, diffusion: float, decay: float, permeability: float, method: str,
                tolerance: float, most: int) -> Steady:  # fmt: skip
    """Return the steady state by the method asked for; `auto` sweeps where that is possible and quick enough.

    Raises
    ------
    InputError
        There is no single steady state, or the method cannot find it.
    """
    other = "gradients" if grid.ndim == 3 else "direct"
    reason = can_sweep(grid, secretion, decay)
    if method == "sweeps" and reason:
        raise InputError(f"steady.method: sweeps cannot be used here: {reason}; use auto")
    if method in ("direct", "gradients"):
        return solve_linear(grid, secretion, decay, method)
    if not reason:
        digits = -math.log10(tolerance) + 2.0
        needed = digits * sweeps_per_digit(grid, diffusion, _split_sink(grid, decay)[0])
        if method == "sweeps" or (needed <= most and needed * grid.n <= MOST_UPDATES):
            found = sweep_to(grid, secretion, diffusion, decay, permeability, tolerance, most)
            if method == "sweeps" or found.bound <= tolerance * found.concentration.max(initial=0.0):
                return found
    return solve_linear(grid, secretion, decay, other)


def balance(grid: Grid, secretion: np.ndarray, decay: float, c: np.ndarray) -> dict[str, float]:
    """Return the ledger of a steady field, fmol/h: secreted = decayed + taken up + crossed the boundary."""
    crossing = grid.face_loss * c - grid.face_gain
    secreted, decayed = sum_amount(grid, secretion), decay * sum_amount(grid, c)
    taken, crossed = sum_amount(grid, grid.uptake * c), sum_amount(grid, crossing)
    throughput = sum_amount(grid, np.abs(secretion)) + sum_amount(grid, np.maximum(0.0, -crossing))
    error = secreted - decayed - taken - crossed
    return {
        "secreted_fmol_per_h": secreted, "decayed_fmol_per_h": decayed, "taken_up_fmol_per_h": taken,
        "crossed_boundary_fmol_per_h": crossed, "closure_error_fmol_per_h": error,
        "throughput_fmol_per_h": throughput, "relative_closure_error": error / throughput if throughput > 0.0 else 0.0,
    }  # fmt: skip
