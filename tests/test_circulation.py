"""Circulating cells: a pool in balance with its sources, sinks that compete, and the lesions it founds.

Bands of drawn means are 4.2 standard errors (one false alarm in 37,000 each).
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import niche_sim as ns
from niche_sim.circulation import MOST_SEEDED, draw_seeds, find_founding, find_pool, read_circulation
from niche_sim.draws import run_key

KEYS = np.array([run_key(11, patient) for patient in range(20_000)])
EDGES = np.linspace(0.0, 87660.0, 31)


@pytest.fixture(scope="module")
def human():
    return read_circulation(ns.load_parameters("human"))


def test_the_pool_is_where_its_equation_comes_to_rest(human):
    source, suitability = 700.0, 0.17
    rate = np.log(2.0) / human.half_life
    lost = rate * (human.bone_share * suitability / human.suitability_reference + 1.0 - human.bone_share)
    rest = solve_ivp(lambda t, c: source - lost * c, (0.0, 60.0), [0.0], rtol=1e-10, atol=1e-8).y[0, -1]
    pool = find_pool(source, suitability, human)
    assert pool.cells == pytest.approx(rest, rel=1e-6)
    assert pool.to_bone + pool.to_outside + pool.dying == pytest.approx(source)


def test_at_the_reference_cells_leave_with_the_half_life_by_the_stated_shares(human):
    pool = find_pool(100.0, human.suitability_reference, human)
    assert pool.cells == pytest.approx(100.0 * human.half_life / np.log(2.0))
    assert (pool.to_bone, pool.to_outside) == pytest.approx((100.0 * human.bone_share, 100.0 * human.outside_share))
    assert find_founding(pool, human).sum() == pytest.approx(100.0 * human.efficiency)


def test_poor_marrow_leaves_cells_to_the_other_organs(human):
    good, poor, none = (find_pool(100.0, s, human) for s in (human.suitability_reference, 0.1, 0.0))
    assert poor.to_bone < good.to_bone and poor.to_outside > good.to_outside and none.to_bone == 0.0
    assert none.to_outside / good.to_outside == pytest.approx(1.0 / (1.0 - human.bone_share))
    bone, outside = find_founding(none, human)
    assert bone == 0.0 and outside > find_founding(good, human)[1]
    nowhere = human._replace(bone_share=0.0, outside_share=0.0)
    assert not find_founding(find_pool(100.0, 0.3, nowhere), nowhere).any()


def test_seeds_are_a_poisson_process_of_the_given_rate():
    rate = np.tile(np.where(np.arange(30) < 10, 4e-5, 0.0), (len(KEYS), 1))
    row, order, time_h = draw_seeds(KEYS, "bone", EDGES, rate)
    counts = np.bincount(row, minlength=len(KEYS))
    mean = 4e-5 * EDGES[10]
    assert counts.mean() == pytest.approx(mean, abs=4.2 * np.sqrt(mean / len(KEYS)))
    assert counts.var() == pytest.approx(mean, abs=4.2 * np.sqrt((2.0 * mean**2 + mean) / len(KEYS)))
    assert time_h.max() <= EDGES[10] and np.mean(time_h) == pytest.approx(EDGES[10] / 2.0, rel=0.02)
    assert np.array_equal(np.sort(order[row == row[0]]), np.arange(counts[row[0]]))


def test_less_shedding_delays_the_same_lesions():
    rate = np.random.default_rng(1).random((500, 30)) * 1e-4
    many, few = (draw_seeds(KEYS[:500], "outside", EDGES, share * rate) for share in (1.0, 0.6))
    times = {(row, order): time for row, order, time in zip(*many)}
    assert 0 < len(few[0]) < len(many[0])
    assert all(time > times[row, order] for row, order, time in zip(*few))


def test_seeds_have_an_end_and_may_be_none():
    row, order, _ = draw_seeds(KEYS[:3], "bone", EDGES, np.full((3, 30), 1.0))
    assert len(row) == 3 * MOST_SEEDED and order.max() == MOST_SEEDED - 1
    assert [len(part) for part in draw_seeds(KEYS[:3], "bone", EDGES, np.zeros((3, 30)))] == [0, 0, 0]
