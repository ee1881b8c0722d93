"""Lesions: competing events in closed form, establishment, growth and detection, and what a lower hazard does.

Bands of drawn shares are 4.2 standard errors (one false alarm in 37,000 each).
"""

import numpy as np
import pandas as pd
import pytest

import niche_sim as ns
from niche_sim import imaging as scans
from niche_sim.draws import run_key
from niche_sim.lesions import (
    CAUSES,
    DETECTED,
    DIED,
    DORMANT,
    GROWING,
    LOST,
    NOT_ESTABLISHED,
    ROUTES,
    SHRUNK,
    Place,
    count_cells,
    detect_lesions,
    draw_growing,
    find_established,
    find_first,
    find_passage,
    follow,
)

YEAR = 8766.0
N = 20_000
KEYS = np.array([run_key(7, patient) for patient in range(N)])


@pytest.fixture(scope="module")
def human():
    return scans.read_imaging(ns.load_parameters("human"))


def list_lesions(count=N, growing=False, head=0.0, start_h=0.0):
    return pd.DataFrame({
        "key": KEYS[:count], "lesion": 0, "start_h": start_h, "growing": growing, "head": head,
    })  # fmt: skip


def make_place(wake, death, division=2e-3, loss=1e-3, years=10.0, intervals=40):
    """Return a place of constant hazards (1/h), or of those of each interval."""
    fill = np.ones(intervals)
    return Place(
        np.linspace(0.0, years * YEAR, intervals + 1), np.outer(wake, fill) if np.ndim(wake) < 2 else wake,
        np.outer(death, fill) if np.ndim(death) < 2 else death, division * fill, loss * fill,
    )  # fmt: skip


WAKE = np.array([2.0, 1.0, 0.5, 0.5]) * 1e-6
DEATH = np.array([3.0, 2.0, 1.0, 0.0, 1.0, 0.5, 0.5]) * 1e-6


def check_share(drawn, share):
    assert np.mean(drawn) == pytest.approx(share, abs=4.2 * np.sqrt(share * (1.0 - share) / np.size(drawn)) + 1e-12)


def test_names_are_those_of_the_series():
    assert ROUTES == ("spontaneous", "factors", "lining", "sprouting")
    assert CAUSES == ("baseline", "deprivation", "chemotherapy", "drug", "immune", "phagocytosis", "hypoxia")


def test_constant_hazards_give_exponential_survival_and_shares_in_proportion(human):
    found = follow(list_lesions(), make_place(WAKE, DEATH, loss=0.0), human)
    total = WAKE.sum() + DEATH.sum()
    left = np.fmin(found["woke_h"], found["died_h"].where(found["fate"] == DIED))
    for years in (0.3, 2.0, 9.9):
        check_share(~(left <= years * YEAR), np.exp(-total * years * YEAR))
    gone = found[left.notna()]
    for route, hazard in zip(ROUTES, WAKE):
        check_share(gone["route"] == route, hazard / total)
    for cause, hazard in zip(CAUSES, DEATH):
        check_share(gone["cause"] == cause, hazard / total)
    assert not (found["cause"] == "drug").any()
    assert (found["fate"] == DORMANT).sum() == left.isna().sum() > 0
    late = follow(list_lesions(start_h=9.0 * YEAR), make_place(WAKE, DEATH), human)
    check_share(late["fate"] == DORMANT, np.exp(-total * YEAR))


def test_passage_is_the_inverse_of_the_integral():
    times_h, hazard = np.array([0.0, 10.0, 20.0, 40.0]), np.array([0.1, 0.0, 0.05])
    starts, levels = np.array([0.0, 0.0, 5.0, 15.0, 0.0]), np.array([0.5, 1.0, 1.0, 0.25, 3.0])
    assert find_passage(starts, levels, times_h, hazard) == pytest.approx([5.0, 10.0, 30.0, 25.0, np.inf])


def test_a_mixed_population_is_reproduced_from_the_mean_hazard_of_its_survivors(human):
    """Two places, of which one wakes cells ten times as fast: survivors' mean hazards give the share of both that woke."""
    hazards, shares, edges = np.array([4e-6, 4e-5]), np.array([0.7, 0.3]), np.linspace(0.0, 10.0 * YEAR, 41)
    alive = shares[:, None] * np.exp(-np.outer(hazards, edges))
    # Events over cell-hours at risk in each interval, as the series of a niche has them.
    mean = -np.diff(alive.sum(axis=0)) / (-np.diff(alive, axis=1) / hazards[:, None]).sum(axis=0)
    place = make_place(np.stack([mean, *np.zeros((3, 40))]), np.zeros(7))
    found = follow(list_lesions(), place, human)
    for years in (1.0, 2.5, 10.0):
        check_share(found["woke_h"] <= years * YEAR, float(shares @ (1.0 - np.exp(-hazards * years * YEAR))))


def simulate_branching(division, loss, rng, runs=20_000, enough=200):
    """Return the share of birth-death processes from one cell that reach `enough` cells before none."""
    cells = np.ones(runs, int)
    while np.any(going := (cells > 0) & (cells < enough)):
        cells[going] += np.where(rng.random(going.sum()) < division / (division + loss), 1, -1)
    return np.mean(cells >= enough)


def test_establishment_is_that_of_a_branching_process(human):
    for division, loss in ((2e-3, 1e-3), (1e-3, 8e-4)):
        chance = float(find_established(division, loss))
        assert chance == 1.0 - loss / division
        simulated = simulate_branching(division, loss, np.random.default_rng(4))
        assert simulated == pytest.approx(chance, abs=4.2 * np.sqrt(chance * (1.0 - chance) / 20_000))
        found = follow(list_lesions(), make_place([1e-4, 0, 0, 0], np.zeros(7), division, loss), human)
        woke = found[found["woke_h"].notna()]
        check_share(woke["established"], chance)
        lost = woke[~woke["established"]]
        assert (lost["fate"] == LOST).all() and (lost["cause"] == NOT_ESTABLISHED).all()
        assert (lost["died_h"] == lost["woke_h"]).all()
    assert find_established([1e-3, 0.0, 1e-3], [2e-3, 0.0, 1e-3]).tolist() == [0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def varying():
    rng = np.random.default_rng(2)
    return rng.random((4, 40)) * 4e-6, rng.random((7, 40)) * 2e-6, rng.random((4, 40)), rng.random((7, 40))


def test_less_waking_delays_and_never_adds_it(human, varying):
    wake, death, less, _ = varying
    found, other = (follow(list_lesions(), make_place(held, death, loss=0.0), human) for held in (wake, wake * less))
    woke, again = found["woke_h"].notna(), other["woke_h"].notna()
    assert again.sum() < woke.sum() and not (again & ~woke).any()
    assert (other["woke_h"][again] >= found["woke_h"][again]).all()
    assert not (other["fate"].eq(DIED) & (other["died_h"] < found["died_h"].fillna(0.0))).any()


def test_less_death_delays_and_never_adds_it(human, varying):
    wake, death, _, less = varying
    found, other = (follow(list_lesions(), make_place(wake, held, loss=0.0), human) for held in (death, death * less))
    died, again = found["fate"] == DIED, other["fate"] == DIED
    assert again.sum() < died.sum() and not (again & ~died).any()
    assert (other["died_h"][again] >= found["died_h"][again]).all()
    woke = found["woke_h"].notna()
    assert (other["woke_h"][woke] == found["woke_h"][woke]).all()


def test_slower_growth_delays_and_never_adds_detection(human):
    fast, slow = (
        detect_lesions(follow(list_lesions(3000), make_place([1e-5, 0, 0, 0], np.zeros(7), b, d), human), human, 10 * YEAR)
        for b, d in ((1.5e-3, 3e-4), (1.4e-3, 4e-4))
    )  # fmt: skip
    seen, later = fast["detected_h"].notna(), slow["detected_h"].notna()
    assert 0 < later.sum() < seen.sum() and not (later & ~seen).any()
    assert (slow["detected_h"][later] >= fast["detected_h"][later]).all()


def test_at_the_reference_growth_detection_is_that_of_imaging(human):
    net = human.reference_growth
    place = make_place(np.zeros(4), np.zeros(7), 2.0 * net, net, years=30.0)
    lesions = list_lesions(500, growing=True).assign(start_h=np.linspace(0.0, 5.0 * YEAR, 500), lesion=9)
    found = detect_lesions(follow(lesions, place, human), human, 30.0 * YEAR)
    given = pd.DataFrame({"patient": np.arange(500), "lesion": 9, "time_h": lesions["start_h"], "cells": 1.0})
    expected = scans.detect(given, dict(enumerate(KEYS[:500])), human, 30.0 * YEAR)
    assert found["doubling_h"].to_numpy() == pytest.approx(expected["doubling_h"].to_numpy())
    reached = expected["detectable_h"] <= 30.0 * YEAR
    assert reached.sum() > 400
    assert found["detectable_h"][reached].to_numpy() == pytest.approx(expected["detectable_h"][reached].to_numpy())
    assert np.array_equal(found["detected_h"], expected["detected_h"], equal_nan=True)
    assert (found["fate"] == DETECTED).sum() == expected["detected_h"].notna().sum()
    # Twice the net growth takes half the time.
    double = follow(lesions, make_place(np.zeros(4), np.zeros(7), 3.0 * net, net, years=30.0), human)
    times = [frame["detectable_h"] - frame["start_h"] for frame in (found, double)]
    assert times[1][reached].to_numpy() == pytest.approx(0.5 * times[0][reached].to_numpy())
    # A lesion that is half of the way there takes half the time as well.
    half = follow(lesions.assign(head=0.5), place, human)["detectable_h"] - lesions["start_h"]
    assert half[reached].to_numpy() == pytest.approx(0.5 * times[0][reached].to_numpy())


def test_cells_follow_the_law_of_imaging_in_their_own_time(human):
    net = human.reference_growth
    place = make_place(np.zeros(4), np.zeros(7), 1.5 * net, net, years=12.0, intervals=12)
    followed = follow(list_lesions(5, growing=True, head=0.25, start_h=YEAR), place, human)
    cells, doubling = count_cells(followed, place, human), followed["doubling_h"].to_numpy()
    rate = scans.find_rate(doubling, human)
    way = 0.25 * scans.find_wait(1.0, scans.find_detectable(human), rate, human)
    assert not cells[:, 0].any()
    for interval in (1, 6, 11):
        passed = 0.5 * (interval + 0.5 - 1.0) * YEAR
        assert cells[:, interval] == pytest.approx(scans.grow(1.0, way + passed, rate, human))


def test_a_lesion_that_shrinks_below_one_cell_is_lost(human):
    net = human.reference_growth
    place = make_place(np.zeros(4), np.zeros(7), net, 2.0 * net, years=20.0)
    found = follow(list_lesions(200, growing=True, head=0.4), place, human)
    way = 0.4 * scans.find_wait(1.0, scans.find_detectable(human), scans.find_rate(found["doubling_h"], human), human)
    gone = way < 20.0 * YEAR
    assert gone.sum() > 150
    assert (found["fate"][gone] == LOST).all() and (found["cause"][gone] == SHRUNK).all()
    assert found["died_h"][gone].to_numpy() == pytest.approx(way[gone])
    assert (found["fate"][~gone] == GROWING).all()
    assert not count_cells(found[gone], place, human)[:, -1].any()


def test_a_lesion_that_is_detectable_first_is_not_lost_later(human):
    net, edges = human.reference_growth, np.array([0.0, 20.0, 60.0]) * YEAR
    place = Place(edges, np.zeros((4, 2)), np.zeros((7, 2)), np.array([2.0 * net, 0.0]), np.array([net, net]))
    found = follow(list_lesions(50, growing=True), place, human)
    seen = found["detectable_h"].notna()
    assert seen.sum() > 40 and (found["fate"][seen] == DETECTED).all() and found["died_h"][seen].isna().all()


def test_first_passage_of_a_clock_that_turns():
    times_h, clock = np.array([0.0, 1.0, 2.0, 3.0, 4.0]), np.array([0.0, 2.0, 1.0, 1.0, 3.0])
    starts, levels = np.array([0.0, 1.5, 0.0, 2.5, 0.0]), np.array([1.0, 1.75, 2.5, 1.5, 9.0])
    assert find_first(starts, levels, times_h, clock) == pytest.approx([0.5, 3.375, 3.75, 3.25, np.inf])


def test_a_stated_share_grows_from_the_start_and_the_rest_of_the_way_is_uniform():
    grows, head = draw_growing(KEYS, np.zeros(N, int), 0.2)
    check_share(grows, 0.2)
    assert head[grows].mean() == pytest.approx(0.5, abs=4.2 / np.sqrt(12 * grows.sum()))
    more, _ = draw_growing(KEYS, np.zeros(N, int), 0.3)
    assert np.all(more[grows])


def test_a_lesion_does_not_depend_on_the_others(human):
    place = make_place(WAKE, DEATH)
    all_of_them, some = (follow(list_lesions(count), place, human) for count in (300, 200))
    assert some.equals(all_of_them.iloc[:200])
    assert not follow(list_lesions(200).assign(lesion=1), place, human)["fate"].equals(some["fate"])
    assert len(follow(list_lesions(0), place, human)) == 0
