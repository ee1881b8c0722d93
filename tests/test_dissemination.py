"""Dissemination: how many lesions, where; counts are negative binomial, the shipped numbers meet what they were fitted to.

Bands of drawn means are 4.2 standard errors (one false alarm in 37,000 each).
"""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.aspirate import find_negative, list_densities, read_aspirate
from niche_sim.dissemination import (
    draw_frailties,
    draw_lesions,
    find_free,
    find_left,
    find_lesions,
    find_mean_density,
    read_dissemination,
)
from niche_sim.draws import run_key

N = 40_000
KEYS = np.array([run_key(3, patient) for patient in range(N)])


@pytest.fixture(scope="module")
def human():
    parameters = ns.load_parameters("human")
    return read_dissemination(parameters), read_aspirate(parameters)


def test_at_the_mean_density_a_stated_share_of_all_cells_is_competent(human):
    spread, aspirate = human
    usual = find_mean_density(aspirate)
    densities, weights = list_densities(aspirate)
    assert weights @ densities == pytest.approx(usual, rel=1e-6)
    assert find_lesions(usual, spread, aspirate) == pytest.approx(
        spread.competent_share * spread.marrow_cells * usual * 1e-6
    )
    flat, straight = (spread._replace(count_exponent=exponent) for exponent in (0.0, 1.0))
    assert find_lesions([0.01, 5.0], flat, aspirate) == pytest.approx(2 * [float(find_lesions(usual, spread, aspirate))])
    assert find_lesions(3.0 * usual, straight, aspirate) == pytest.approx(3.0 * find_lesions(usual, straight, aspirate))


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0])
def test_counts_are_negative_binomial_and_both_sites_share_the_frailty(human, cv):
    spread, aspirate = human[0]._replace(lesions_cv=cv, competent_share=2e-6), human[1]
    counts = draw_lesions(np.full(N, 1.0), KEYS, spread, aspirate)
    bone = float(find_lesions(1.0, spread, aspirate))
    for site, mean in enumerate((bone, spread.outside_ratio * bone)):
        variance = mean + (cv * mean) ** 2
        drawn = counts[:, site]
        assert drawn.mean() == pytest.approx(mean, abs=4.2 * np.sqrt(variance / N))
        fourth = np.mean((drawn - drawn.mean()) ** 4)
        assert drawn.var() == pytest.approx(variance, abs=4.2 * np.sqrt((fourth - variance**2) / N))
        free = float(find_free(mean, 1.0, spread))
        assert np.mean(drawn == 0) == pytest.approx(free, abs=4.2 * np.sqrt(free * (1.0 - free) / N))
    together = np.cov(counts.T)[0, 1]
    expected = spread.outside_ratio * (cv * bone) ** 2
    deviations = (counts - counts.mean(axis=0)).prod(axis=1)
    assert together == pytest.approx(expected, abs=4.2 * deviations.std() / np.sqrt(N))


def test_frailty_has_mean_one_and_the_stated_spread(human):
    drawn = draw_frailties(KEYS, human[0])
    assert drawn.mean() == pytest.approx(1.0, abs=4.2 * human[0].lesions_cv / np.sqrt(N))
    assert drawn.std() == pytest.approx(human[0].lesions_cv, rel=0.05)


def test_fewer_cells_only_take_lesions_away(human):
    spread, aspirate = human
    many, few = (draw_lesions(np.full(2000, density), KEYS[:2000], spread, aspirate) for density in (2.0, 0.5))
    assert np.all(few <= many) and few.sum() < many.sum()
    assert np.array_equal(many[7], draw_lesions(np.array([2.0]), KEYS[7:8], spread, aspirate)[0])


def test_what_is_left_is_the_exponential_of_the_hazard_passed(human):
    spread = human[0]._replace(fragility=10.0)
    left = find_left([0.0, 2.0, 5.0], [0.01, 0.0], [0.0, 0.1], spread)
    assert left == pytest.approx([1.0, np.exp(-0.2), np.exp(-0.5)])


def test_the_shipped_numbers_lie_in_the_band_they_were_fitted_to(human):
    """Rates of relapse of patients with and without cells in 2e6 MNC, 1.9 to 2.8, at the fitted chance of a lesion."""
    spread, aspirate = human
    densities, weights = list_densities(aspirate)
    negative = find_negative(densities, [2.0], aspirate)
    lesions = (1.0 + spread.outside_ratio) * find_lesions(densities, spread, aspirate)
    free = find_free(lesions, 0.149 * 5.2 / 4.0, spread)
    rates = [-np.log((weights * part) @ free / (weights @ part)) for part in (1.0 - negative, negative)]
    assert 1.9 < rates[0] / rates[1] < 2.8
