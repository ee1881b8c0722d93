"""Skeletal events: the hazard, its negative binomial counts, and draws that a lower hazard only delays."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.draws import run_key
from niche_sim.skeletal_events import draw_events, draw_frailty, find_free, find_hazard, find_median, read_skeletal_events

YEAR = 8766.0


@pytest.fixture(scope="module")
def human():
    return read_skeletal_events(ns.load_parameters("human"))


def test_the_hazard_is_that_of_a_usual_patient_at_the_references(human):
    usual = find_hazard(human.lesions_reference, human.ntx_reference, human)
    assert usual == pytest.approx(3.7 / YEAR)
    assert find_hazard(0, human.ntx_reference, human) == 0.0
    flat = human._replace(lesions_exponent=0.0)
    assert find_hazard([0, 1], human.ntx_reference, flat) == pytest.approx([0.0, 3.7 / YEAR])
    more = find_hazard([1, 2, 4], [1e-4, 1e-4, 2e-4], human._replace(lesions_exponent=0.5, ntx_exponent=1.0))
    assert more[1] / more[0] == pytest.approx(np.sqrt(2.0)) and more[2] / more[1] == pytest.approx(2.0 * np.sqrt(2.0))


def test_the_frailty_is_that_of_the_events_published(human):
    """64 % of 3.7 a year within 24 months; without frailty all of them."""
    assert 1.0 - find_free(2 * YEAR, human.rate, human) == pytest.approx(0.64, abs=0.005)
    assert find_free(1e6, human.rate, human._replace(frailty_cv=0.0)) == pytest.approx(np.exp(-1e6 * human.rate))
    for cv in (0.0, 1.0, 2.0):
        same = human._replace(frailty_cv=cv)
        assert find_free(find_median(human.rate, same), human.rate, same) == pytest.approx(0.5)


def test_events_are_negative_binomial(human):
    modest = human._replace(frailty_cv=1.0)  # so that the standard error of a variance is known well enough
    counts = np.array([len(draw_events([0.0, YEAR], [3.7 / YEAR], run_key(6, p), modest)) for p in range(20_000)])
    assert counts.mean() == pytest.approx(3.7, abs=4.2 * np.sqrt(3.7 + 3.7**2) / np.sqrt(20_000))
    assert counts.var() == pytest.approx(3.7 + 3.7**2, rel=0.1)
    free = float(find_free(YEAR, 3.7 / YEAR, modest))
    assert np.mean(counts == 0) == pytest.approx(free, abs=4.2 * np.sqrt(free * (1 - free) / 20_000))


def test_events_fall_where_the_hazard_is(human):
    key = next(run_key(1, p) for p in range(100) if draw_frailty(run_key(1, p), human) > 1.0)
    edges = [0.0, 1000.0, 2000.0, 3000.0]
    times = draw_events(edges, [0.0, 0.01, 0.0], key, human)
    assert len(times) and np.all((times >= 1000.0) & (times <= 2000.0)) and np.all(np.diff(times) > 0)
    late = draw_events(edges, [0.0, 0.005, 0.0], key, human)
    assert len(late) <= len(times) and np.all(late >= times[: len(late)])
    assert np.allclose(late - 1000.0, 2.0 * (times[: len(late)] - 1000.0))
    assert len(draw_events([0.0], [], key, human)) == 0
