"""The field solver against direct solutions, its error bound, its ledger and its law of non-negativity."""

import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from niche_sim.fields import CHECK_EVERY, find_omega, solve_steady
from niche_sim.lattice import build_world
from niche_sim.redblack import folded_shape


def solve_directly(secretion, uptake, is_bone, world, coupling, wall, decay):
    n = len(secretion)
    matrix = lil_matrix((n, n))
    for v in range(n):
        if is_bone[v] and wall == 0:
            matrix[v, v] = 1.0
            continue
        matrix[v, v] = decay + uptake[v]
        for w in world.neighbours[v]:
            if w >= 0:
                g = wall if is_bone[w] or is_bone[v] else coupling
                if not (is_bone[w] and wall == 0):
                    matrix[v, v] += g
                    matrix[v, w] -= g
    right = np.where(is_bone.astype(bool) & (wall == 0), 0.0, secretion)
    return spsolve(matrix.tocsr(), right)


def make_case(shape, periodic, seed):
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    is_bone = (rng.random(n) < 0.25).astype(np.uint8)
    secretion = rng.random(n) * (rng.random(n) < 0.1) * (is_bone == 0)
    uptake = rng.random(n) * 5.0 * (is_bone == 0)
    return is_bone, secretion, uptake, build_world(shape, 20.0, periodic)


def make_scratch(world):
    return np.empty(folded_shape(world.nz, world.ny, world.nx))


def solve(case, start, tolerance=1e-10, permeability=0.0, diffusion=46800.0, decay=21.0, most=20_000):
    is_bone, secretion, uptake, world = case
    c = start.copy()
    sweeps, error = solve_steady(
        c, secretion, uptake, is_bone, world, diffusion, decay, permeability, tolerance, most, make_scratch(world)
    )
    return c, sweeps, error


@pytest.mark.parametrize("shape", [(1, 20, 24), (1, 15, 21), (8, 6, 10), (5, 7, 9)])
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("permeability", [0.0, 0.1])
def test_agrees_with_direct_solution_within_its_bound(shape, periodic, permeability):
    case = make_case(shape, periodic, 3)
    exact = solve_directly(case[1], case[2], case[0], case[3], 117.0, 117.0 * permeability, 21.0)
    for tolerance in (1e-3, 1e-10):
        c, sweeps, error = solve(case, np.zeros(len(exact)), tolerance, permeability)
        assert sweeps > 0
        assert np.abs(c - exact).max() <= error + 1e-14
        assert error <= tolerance * c.max()


def test_uniform_source_gives_the_well_mixed_level():
    world = build_world((1, 10, 10), 20.0, True)
    case = (np.zeros(100, np.uint8), np.full(100, 42.0), np.full(100, 4.0), world)
    c, _, _ = solve(case, np.zeros(100))
    assert np.allclose(c, 42.0 / 25.0, rtol=1e-9)


def test_is_never_negative_even_when_stopped_early():
    case = make_case((1, 30, 30), True, 5)
    c, sweeps, _ = solve(case, np.random.default_rng(1).random(900) * 100, 1e-12, most=6)
    assert sweeps == -1
    assert (c >= 0).all()


def test_no_source_gives_zero():
    is_bone, secretion, uptake, world = make_case((1, 12, 12), False, 7)
    for start in (np.zeros(144), np.full(144, 3.0), np.full(144, 1e-310)):
        c, sweeps, error = solve((is_bone, secretion * 0, uptake, world), start)
        assert (c == 0).all()
        assert (sweeps, error) == (0, 0.0)


def test_warm_start_takes_fewer_sweeps():
    case = make_case((1, 40, 40), True, 9)
    c, cold, _ = solve(case, np.zeros(1600), 1e-4)
    case[1][np.flatnonzero(case[1])[0]] *= 1.1
    _, warm, _ = solve(case, c, 1e-4)
    assert warm < cold


@pytest.mark.parametrize("start", [0.0, 50.0])
@pytest.mark.parametrize("permeability", [0.0, 0.1])
def test_the_ledger_closes_at_any_tolerance(start, permeability):
    """From below something is missing and added; from above there is too much, and the top is not driven below zero."""
    case = make_case((1, 30, 30), True, 11)
    is_bone, secretion, uptake, _ = case
    secretion[: len(secretion) // 2] = 0.0  # half of the patch is nearly empty
    for tolerance in (1e-1, 1e-3, 1e-12):
        c, _, error = solve(case, np.full(900, start), tolerance, permeability)
        assert secretion.sum() == pytest.approx((21.0 * c + uptake * c).sum(), rel=1e-12)
        assert secretion.sum() > 0 and (c >= 0).all() and error <= tolerance * c.max() * (1 + 1e-9)
        exact = solve_directly(secretion, uptake, is_bone, case[3], 117.0, 117.0 * permeability, 21.0)
        assert np.abs(c - exact).max() <= error + 1e-14


def test_order_in_space_is_two():
    """-D c'' + k c = s with c = 1 + cos(2 pi x / L) on a ring: halving the voxel divides the error by four."""
    errors = []
    for cells in (16, 32, 64):
        dx = 640.0 / cells
        x = (np.arange(cells) + 0.5) * dx
        wave = 2 * np.pi / 640.0
        exact = 1 + np.cos(wave * x)
        secretion = 21.0 + (21.0 + 46800.0 * wave**2) * np.cos(wave * x)
        # A source may be negative in this test only; the solution is not.
        c = np.zeros(cells * 2)
        world = build_world((1, 2, cells), dx, True)
        solve_steady(
            c, np.tile(secretion, 2), np.zeros(2 * cells), np.zeros(2 * cells, np.uint8), world, 46800.0, 21.0,
            0.0, 1e-11, 100_000, make_scratch(world),
        )  # fmt: skip
        errors.append(np.abs(c[:cells] - exact).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 2.0) < 0.1)


def test_compiled_and_plain_code_agree_to_the_last_bit():
    case = make_case((1, 8, 8), True, 13)
    c, sweeps, _ = solve(case, np.zeros(64), 1e-6)
    plain = np.zeros(64)
    is_bone, secretion, uptake, world = case
    n, _ = solve_steady.py_func(
        plain, secretion, uptake, is_bone, world, 46800.0, 21.0, 0.0, 1e-6, 20_000, make_scratch(world)
    )
    assert n == sweeps
    assert (plain == c).all()


def list_around(c, periodic):
    """Return the neighbours of every voxel in the order in which the solver adds them: x, y, z."""
    axes = [axis for axis in (2, 1, 0) if axis > 0 or c.shape[0] > 1]
    widths = [(1, 1) if axis in axes else (0, 0) for axis in range(3)]
    padded = np.pad(c, widths, "wrap" if periodic else "constant")
    inside = tuple(slice(before, before + n) for n, (before, _) in zip(c.shape, widths))
    return [np.roll(padded, shift, axis)[inside] for axis in axes for shift in (1, -1)]


def sweep_plainly(case, start, sweeps, coupling=117.0, decay=21.0):
    """Sweep the whole lattice, one colour after the other; return values and error bound."""
    world = case[3]
    shape = (world.nz, world.ny, world.nx)
    is_bone, secretion, uptake = (part.reshape(shape) for part in case[:3])
    marrow, c = is_bone == 0, np.where(is_bone, 0.0, start.reshape(shape))
    sink = decay + uptake
    diagonal = sink.copy()
    for is_open in list_around(marrow.astype(float), world.periodic):
        diagonal += np.where(is_open > 0, coupling, 0.0)
    source, conductance, omega = secretion / diagonal, coupling / diagonal, find_omega(coupling, decay, 2 * world.ndim)
    for half in range(2 * sweeps):
        total = sum(list_around(c, world.periodic))
        relaxed = np.maximum(c + omega * (source + conductance * total - c), 0.0)
        c = np.where(marrow & (np.indices(shape).sum(axis=0) % 2 == half % 2), relaxed, c)
    around = list_around(c, world.periodic)
    total = sum(around[:4]) + sum(around[4:])
    error = abs(source + conductance * total - c) * (diagonal / sink)
    return c.ravel(), error[marrow].max()


RINGS = [(1, 2, 4), (1, 6, 8), (1, 30, 10), (1, 52, 6), (1, 102, 12), (1, 120, 6), (2, 4, 6), (6, 2, 10), (30, 4, 6)]
BOXES = [(1, 1, 9), (1, 7, 9), (1, 53, 4), (1, 121, 5), (2, 3, 3), (5, 7, 9), (31, 3, 5)]


@pytest.mark.parametrize(("shape", "periodic"), [(s, True) for s in RINGS] + [(s, False) for s in RINGS + BOXES])
@pytest.mark.parametrize("passes", [1, 3])
def test_a_front_of_sweeps_gives_the_bits_of_one_sweep_after_the_other(shape, periodic, passes):
    """Asked for the impossible, the solver sweeps until it may no longer and leaves what the sweeps left."""
    case = make_case(shape, periodic, 15)
    case[1][case[0] == 0] += 0.1
    start = np.random.default_rng(2).random(int(np.prod(shape)))
    c, sweeps, error = solve(case, start, tolerance=0.0, most=CHECK_EVERY * (passes - 1))
    expected, bound = sweep_plainly(case, start, CHECK_EVERY * passes)
    assert sweeps == -1 and (c > 0).any()
    assert np.array_equal(c, expected)
    assert error == bound


def test_known_walls_need_no_second_look():
    """The next field of a tick finds the bone in what was folded for the one before it."""
    is_bone, secretion, uptake, world = make_case((1, 12, 10), True, 17)
    folded, nothing = make_scratch(world), np.zeros_like(is_bone)
    settings = (46800.0, 21.0, 0.0, 1e-6, 20_000, folded)
    first, looked, known = np.zeros(120), np.zeros(120), np.zeros(120)
    solve_steady(looked, 2.0 * secretion, 0.5 * uptake, is_bone, world, *settings)
    solve_steady(first, secretion, uptake, is_bone, world, *settings)
    solve_steady(known, 2.0 * secretion, 0.5 * uptake, nothing, world, *settings, True)
    assert np.array_equal(known, looked) and (looked > 0).any()
    assert (known[is_bone == 1] == 0).all()
