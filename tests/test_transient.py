"""A field in time against the matrix exponential, Bessel functions and a plain numpy twin; positivity and conservation."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import ive
from scipy.stats import poisson

from niche_sim.lattice import build_neighbours
from niche_sim.transient import (
    MOST_MEAN,
    SCRATCH_ROWS,
    advance,
    advance_for,
    build_transport,
    measure_change,
    weigh_jumps,
)


def make_case(shape=(1, 6, 7), periodic=True, seed=1):
    rng = np.random.default_rng(seed)
    neighbours = build_neighbours(shape, periodic)
    wall = rng.random(len(neighbours)) < 0.2
    share = np.where(wall[:, None] | wall[neighbours], 0.1, 1.0)
    share[neighbours < 0] = 0.0
    loss = 2.0 + rng.random(len(neighbours)) * 5.0
    return build_transport(neighbours, 30.0 * share, loss), rng.random(len(loss)), rng.random(len(loss)) * 10.0


def build_matrix(transport):
    n = len(transport.loss)
    matrix = np.zeros((n, n))
    for v in range(n):
        matrix[v, v] -= transport.loss[v] + transport.exchange[v].sum()
        for w, g in zip(transport.neighbours[v], transport.exchange[v]):
            matrix[v, w] += g
    return matrix


def run(transport, start, secretion, hours):
    c, integral = start.copy(), np.zeros_like(start)
    jumps = advance_for(c, integral, secretion, transport, hours, np.empty((SCRATCH_ROWS, len(c))))
    return c, integral, jumps


def run_plainly(transport, start, secretion, weights, survivors):
    """The same sums with whole arrays: the twin of the kernel."""
    matrix = np.eye(len(start)) + build_matrix(transport) / transport.rate
    result, integral, now = np.zeros_like(start), np.zeros_like(start), start.copy()
    for weight, survivor in zip(weights, survivors):
        result += weight * now
        integral += survivor * now / transport.rate
        now = matrix @ now + secretion / transport.rate
    return result, integral


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("shape", [(1, 6, 7), (3, 4, 5)])
@pytest.mark.parametrize("hours", [1e-6, 0.03, 0.7])
def test_is_the_matrix_exponential(shape, periodic, hours):
    transport, start, secretion = make_case(shape, periodic)
    n = len(start)
    augmented = np.zeros((n + 1, n + 1))
    augmented[:n, :n], augmented[:n, n] = build_matrix(transport), secretion
    exact = (expm(augmented * hours) @ np.append(start, 1.0))[:n]
    c, _, _ = run(transport, start, secretion, hours)
    assert np.allclose(c, exact, rtol=1e-12, atol=1e-13)


def test_agrees_with_its_plain_twin_and_its_own_python():
    transport, start, secretion = make_case()
    weights, survivors = weigh_jumps(transport.rate * 0.05)
    results = []
    for function in (advance, advance.py_func):
        c, integral = start.copy(), np.zeros_like(start)
        function(c, integral, secretion, transport, weights, survivors, np.empty((SCRATCH_ROWS, len(c))))
        results.append((c, integral))
    twin = run_plainly(transport, start, secretion, weights, survivors)
    for compiled, own in zip(*results):
        assert np.allclose(compiled, own, rtol=1e-14)
    for compiled, plain in zip(results[0], twin):
        assert np.allclose(compiled, plain, rtol=1e-13)


@pytest.mark.parametrize("mean", [1e-12, 0.3, 5.0, 123.4, MOST_MEAN])
def test_weights_are_those_of_poisson(mean):
    weights, survivors = weigh_jumps(mean)
    k = np.arange(len(weights))
    assert np.allclose(weights, poisson.pmf(k, mean), rtol=1e-10, atol=1e-17)
    assert np.allclose(survivors, poisson.sf(k, mean), rtol=1e-9, atol=1e-17)
    assert survivors.sum() == pytest.approx(mean, rel=1e-13)
    assert weights.sum() == pytest.approx(1.0, abs=1e-15)


def test_a_point_spreads_by_bessel_functions():
    """On an endless line c_k = exp(-2 g t) I_k(2 g t); 201 voxels are endless to 1e-30 here."""
    neighbours = build_neighbours((1, 1, 201), True)
    exchange = np.full(neighbours.shape, 40.0)
    exchange[:, :2] = 0.0
    transport = build_transport(neighbours, exchange, np.zeros(201))
    start = np.zeros(201)
    start[100] = 1.0
    c, _, _ = run(transport, start, np.zeros(201), 0.5)
    assert np.allclose(c, ive(np.abs(np.arange(201) - 100), 40.0), rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("hours", [1e-3, 1.0, 300.0])
def test_is_never_negative_and_loses_nothing(hours):
    """Whatever the step: no sink, closed faces, a point and nothing elsewhere; 300 h is 20 passes of a thousand jumps."""
    transport, start, _ = make_case((1, 9, 8), False)
    transport = transport._replace(loss=np.zeros_like(transport.loss))
    start[:] = 0.0
    start[3] = 1.0
    c, integral, _ = run(transport, start, np.zeros_like(start), hours)
    assert (c >= 0.0).all()
    assert c.sum() == pytest.approx(1.0, abs=1e-12)
    assert integral.sum() == pytest.approx(hours, rel=1e-12)


def test_what_came_in_less_what_went_is_there():
    transport, start, secretion = make_case()
    c, integral, _ = run(transport, start, secretion, 0.4)
    gained = start.sum() + 0.4 * secretion.sum()
    assert c.sum() + (transport.loss * integral).sum() == pytest.approx(gained, rel=1e-13)


def test_does_not_depend_on_how_time_is_cut():
    transport, start, secretion = make_case()
    once, area, _ = run(transport, start, secretion, 0.2)
    c, integral = start, np.zeros_like(start)
    for _ in range(50):
        c, part, _ = run(transport, c, secretion, 0.004)
        integral += part
    assert np.allclose(c, once, rtol=1e-13)
    assert np.allclose(integral, area, rtol=1e-13)


def test_a_steady_field_is_held():
    transport, start, secretion = make_case()
    steady, _, _ = run(transport, start, secretion, 30.0)
    exact = np.linalg.solve(-build_matrix(transport), secretion)
    assert np.allclose(steady, exact, rtol=1e-11)
    c, integral, jumps = run(transport, steady, secretion, 1e6)
    assert jumps == 0
    assert (c == steady).all()
    assert np.allclose(integral, 1e6 * exact, rtol=1e-10)
    assert measure_change(c, secretion, transport)[0] < 1e-10


def test_nothing_moves_without_rates():
    transport = build_transport(np.full((5, 2), -1, np.int32), np.zeros((5, 2)), np.zeros(5))
    c, integral, _ = run(transport, np.arange(5.0), np.ones(5), 3.0)
    assert np.allclose(c, np.arange(5.0) + 3.0, rtol=1e-14)
    assert np.allclose(integral, 3.0 * np.arange(5.0) + 4.5, rtol=1e-12)
