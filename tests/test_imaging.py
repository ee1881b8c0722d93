"""Imaging: Gompertz growth and its inverse, scans, and lesions per patient."""

import numpy as np
import pandas as pd
import pytest

import niche_sim as ns
from niche_sim.draws import run_key
from niche_sim.imaging import (
    count_lesions,
    detect,
    draw_doubling,
    find_detectable,
    find_rate,
    find_scan,
    find_wait,
    grow,
    read_imaging,
)

MONTH = 730.5


@pytest.fixture(scope="module")
def human():
    return read_imaging(ns.load_parameters("human"))


def test_waiting_is_the_inverse_of_growth(human):
    rate = find_rate(human.doubling_time, human)
    for start, end in ((1.0, 10.0), (200.0, 1e8), (1e8, 0.9 * human.capacity)):
        wait = find_wait(start, end, rate, human)
        assert grow(start, wait, rate, human) == pytest.approx(end, rel=1e-9)
        assert find_wait(start, grow(start, 1000.0, rate, human), rate, human) == pytest.approx(1000.0)
    assert grow(5.0, 0.0, rate, human) == pytest.approx(5.0)
    assert grow(5.0, 1e9, rate, human) == pytest.approx(human.capacity)
    assert find_wait(1e9, 1e8, rate, human) == 0.0
    assert find_wait(1e3, 2.0 * human.capacity, rate, human) == np.inf


def test_a_small_lesion_doubles_within_the_doubling_time(human):
    """So far below the capacity growth is exponential, but for one part in the logarithm of their ratio."""
    far = human._replace(capacity=1e300)
    rate = find_rate(far.doubling_time, far)
    assert human.doubling_time == pytest.approx(1.7 * MONTH)
    assert grow(1.0, far.doubling_time, rate, far) == pytest.approx(2.0, rel=1e-3)
    assert find_wait(1.0, 2.0**30, rate, far) == pytest.approx(30 * far.doubling_time, rel=0.02)
    rates = find_rate(human.doubling_time, human)
    assert find_wait(1.0, 2.0, rates, human) < find_wait(1e8, 2e8, rates, human)


def test_the_detectable_size_is_a_sphere_of_cells(human):
    full = human._replace(tumour_share=1.0, detectable_diameter=10_000.0)
    assert find_detectable(full) == pytest.approx(np.pi / 6 * 1e12 / 2494.0)
    assert find_detectable(full._replace(detectable_diameter=5000.0)) == pytest.approx(find_detectable(full) / 8)
    assert 1e7 < find_detectable(human) < 1e10


def test_doubling_times_have_the_stated_mean_and_spread(human):
    drawn = np.array([draw_doubling(run_key(1, patient), 0, human) for patient in range(20_000)])
    assert drawn.mean() / MONTH == pytest.approx(1.7, rel=4.2 * human.doubling_cv / np.sqrt(20_000))
    assert drawn.std() / drawn.mean() == pytest.approx(human.doubling_cv, rel=0.06)
    assert draw_doubling(run_key(1, 7), 0, human) == drawn[7] != draw_doubling(run_key(1, 7), 1, human)


def test_the_first_scan_that_does_not_miss_it_shows_a_lesion(human):
    sure = human._replace(scan_sensitivity=1.0)
    step = sure.scan_interval
    assert find_scan(0.0, run_key(1), 0, sure) == 0.0
    assert find_scan(0.5 * step, run_key(1), 0, sure) == step
    assert find_scan(2.0 * step, run_key(1), 0, sure) == 2.0 * step
    assert np.isnan(find_scan(1.5 * step, run_key(1), 0, sure, last_h=1.9 * step))
    assert np.isnan(find_scan(np.inf, run_key(1), 0, sure))
    half = human._replace(scan_sensitivity=0.5)
    late = np.array([find_scan(1.0, run_key(3, patient), 0, half) / step for patient in range(4000)])
    assert late.mean() == pytest.approx(2.0, abs=4.2 * np.sqrt(2.0 / 4000))  # geometric of 1/2


def test_lesions_of_patients_are_detected_and_counted(human):
    lesions = pd.DataFrame({
        "patient": [0, 0, 2, 2], "lesion": [0, 1, 0, 1], "time_h": [0.0, 0.0, 0.0, 500.0],
        "cells": [1e9, 1e9, 1e9, 1.0],
    })  # fmt: skip
    keys = {patient: run_key(4, patient) for patient in range(3)}
    found = detect(lesions, keys, human._replace(scan_sensitivity=1.0), last_h=24.0)
    assert found["detected_h"].tolist()[:3] == [0.0, 0.0, 0.0]
    assert np.isnan(found["detected_h"][3]) and found["detectable_h"][3] > 500.0
    assert count_lesions(found, [0, 1, 2], 24.0).tolist() == [2, 0, 1]
    again = detect(lesions.iloc[[3]], keys, human)
    assert again["doubling_h"][0] == found["doubling_h"][3]
