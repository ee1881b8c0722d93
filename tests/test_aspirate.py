"""The aspirate: negative binomial counts, their limits, and draws that follow the closed forms.

Bands of drawn shares are 4.2 standard errors (one false alarm in 37,000 each).
"""

import numpy as np
import pytest
from scipy import stats

import niche_sim as ns
from niche_sim.aspirate import (
    compare_sides,
    compare_times,
    draw_count,
    draw_density,
    draw_site,
    find_counts,
    find_examined,
    find_moments,
    find_negative,
    find_positivity,
    invert_poisson,
    list_aliquots,
    list_densities,
    read_aspirate,
)
from niche_sim.draws import draw_uniforms, run_key, uniform


@pytest.fixture(scope="module")
def human():
    return read_aspirate(ns.load_parameters("human"))


def of_density(aspirate, density, **changes):
    """Return an aspirate of which every patient has one density."""
    return aspirate._replace(density_median=density, density_cv=0.0, **changes)


@pytest.mark.parametrize("density", [0.01, 0.5, 30.0])
@pytest.mark.parametrize("site_cv", [0.3, 0.7, 1.4])
def test_counts_of_one_density_are_negative_binomial(human, density, site_cv):
    aspirate = of_density(human, density, site_cv=site_cv, false_positives=0.0)
    shape, mean = 1.0 / site_cv**2, 2.0 * aspirate.sensitivity * density
    counts = np.arange(3000)
    found = find_counts(2.0, aspirate, 2999)
    assert found == pytest.approx(stats.nbinom.pmf(counts, shape, shape / (shape + mean)), rel=1e-9, abs=1e-15)
    expected = find_moments(density, 2.0, aspirate)
    assert (found @ counts, found @ counts**2 - (found @ counts) ** 2) == pytest.approx(expected, rel=1e-6)
    assert expected[1] == pytest.approx(mean + mean**2 / shape)
    assert find_negative(density, [2.0], aspirate) == pytest.approx(found[0])


def test_without_spread_between_places_counts_are_poisson(human):
    aspirate = of_density(human, 0.8, site_cv=0.0)
    mean = 2.0 * (0.8 * aspirate.sensitivity + aspirate.false_positives)
    assert find_counts(2.0, aspirate, 20) == pytest.approx(stats.poisson.pmf(np.arange(21), mean))
    nearly = aspirate._replace(site_cv=1e-4)
    assert find_counts(2.0, nearly, 20) == pytest.approx(find_counts(2.0, aspirate, 20), rel=1e-5)
    assert find_negative(0.8, [2.0, 2.0], aspirate) == pytest.approx(np.exp(-2.0 * mean))
    assert find_moments(0.8, 2.0, aspirate) == pytest.approx((mean, mean))


def test_positivity_rises_with_volume_with_places_and_with_density(human):
    curve = [find_positivity([millions], human) for millions in (0.01, 0.5, 1.0, 2.0, 4.0, 100.0)]
    assert np.all(np.diff(curve) > 0)
    assert find_positivity([1.0, 1.0], human) > find_positivity([2.0], human)
    shares = [find_positivity([2.0], human, share) for share in (0.0, 0.1, 0.5, 1.0)]
    assert np.all(np.diff(shares) > 0)
    assert shares[0] == pytest.approx(-np.expm1(-2.0 * human.false_positives))  # marrow without any cell
    alone = human._replace(site_cv=0.0)
    assert find_positivity([1.0, 1.0], alone) == pytest.approx(find_positivity([2.0], alone))


def test_an_aspirate_gives_at_most_one_aliquot(human):
    assert find_examined(100.0 * human.volume_per_million, human) == human.examined / 1e6
    assert find_examined(0.5 * human.volume_per_million, human) == pytest.approx(0.5)


def test_quadrature_is_the_log_normal_law(human):
    densities, weights = list_densities(human)
    exact = human.density_median * np.sqrt(1.0 + human.density_cv**2)
    assert weights @ densities == pytest.approx(exact)
    levels = (np.arange(200_000) + 0.5) / 200_000
    width = np.sqrt(np.log1p(human.density_cv**2))
    fine = human.density_median * np.exp(width * stats.norm.ppf(levels))
    assert find_positivity([2.0], human) == pytest.approx(1.0 - find_negative(fine, [2.0], human).mean(), abs=1e-6)


def test_two_results_of_one_density_are_independent_and_of_many_are_not(human):
    pair = compare_times([2.0], of_density(human, 0.4), (1.0, 1.0))
    assert pair.both == pytest.approx(pair.first * pair.second)
    assert pair.agreement == pytest.approx(pair.first**2 + (1.0 - pair.first) ** 2)
    sides, times = compare_sides(2.0, human), compare_times([2.0], human, (1.0, 1.0))
    assert tuple(times) == pytest.approx(tuple(sides))  # two punctures, at two places or at two times
    assert sides.both > 1.5 * sides.first * sides.second
    assert sides.either == pytest.approx(find_positivity([2.0, 2.0], human))


def test_draws_follow_the_closed_forms(human):
    keys = np.array([run_key(5, patient) for patient in range(20_000)])
    densities = np.array([draw_density(key, human) for key in keys])
    counts = np.stack([draw_count(densities, keys, place, 3, 2.0, human) for place in ("left", "right")], axis=1)
    exact = compare_sides(2.0, human)
    shares = {"one": (counts[:, 0] > 0, exact.first), "both": ((counts > 0).all(axis=1), exact.both)}
    law = find_counts(2.0, human, 2)
    shares |= {"single": (counts[:, 0] == 1, law[1]), "two": (counts[:, 1] == 2, law[2])}
    for name, (drawn, share) in shares.items():
        assert abs(drawn.mean() - share) < 4.2 * np.sqrt(share * (1.0 - share) / len(drawn)), name


def test_many_draws_are_the_same_as_one_by_one(human):
    keys = np.array([run_key(5, patient) for patient in range(40)])
    densities = np.geomspace(1e-3, 3e3, 40)
    steps = np.array([-3, 0, 7])
    many = draw_count(densities[:, None], keys[:, None], "left", steps, 2.0, human)
    for row, (key, density) in enumerate(zip(keys, densities)):
        assert [draw_count(density, key, "left", step, 2.0, human) for step in steps] == many[row].tolist()
        level = np.array([uniform(key, 5, step, 2) for step in steps])
        assert np.array_equal(draw_uniforms(key, 5, steps, 2), level)
        mean = 1.6 * density
        assert np.array_equal(invert_poisson(level, mean), stats.poisson.ppf(level, mean))


def test_places_scatter_as_stated(human):
    sites = draw_site(run_key(2), "left", np.arange(20_000), human)
    assert sites.mean() == pytest.approx(1.0, abs=4.2 * human.site_cv / np.sqrt(20_000))
    assert sites.std() == pytest.approx(human.site_cv, rel=0.05)
    assert draw_site(run_key(2), "left", 0, human._replace(site_cv=0.0)) == 1.0


def test_draws_have_an_address_and_less_density_never_gives_more_cells(human):
    for patient in range(200):
        key = run_key(8, patient)
        density = draw_density(key, human)
        counts = [draw_count(share * density, key, "left", 1, 2.0, human) for share in (1.0, 0.5, 0.1, 0.0)]
        assert counts == sorted(counts, reverse=True)
        assert counts[0] == draw_count(density, key, "left", 1, 2.0, human)
    key = run_key(8, 1)
    many = [
        draw_count(5.0, key, place, np.arange(50), 2.0, human, aliquot=n)
        for place, n in (("left", 1), ("right", 1), ("left", 2))
    ]  # fmt: skip
    assert len({tuple(row) for row in many}) == 3


def test_the_shipped_numbers_lie_in_the_bands_they_were_fitted_to(human):
    curve = [find_positivity(places, human) for places in list_aliquots(2.0)]
    assert 0.26 < curve[0] < 0.32
    assert curve == pytest.approx([0.345, 0.474, 0.536], abs=0.10)
    sides = compare_sides(2.0, human)
    assert 15 < 46 * sides.both / sides.either < 28
