"""Pharmacokinetics and kill alone, against closed forms to a relative 1e-6 or better."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.optimize import brentq

from niche_sim.submodels import kill, pk

CENTRE = {"volume": "10 L", "clearance": "2 L/h", "molar_mass": "500 g/mol"}
TISSUES = [{"volume": "30 L", "clearance": "4 L/h"}, {"rate_out": "0.05 /h", "rate_back": "0.01 /h"}]


def solve(kinetics, doses, length="48 h", every="0.5 h"):
    spec = pk.Spec.model_validate(
        {"model": "pk", "name": "t", "kinetics": kinetics, "doses": doses, "length": length, "every": every}
    )
    assert pk.check(spec) == []
    tables = pk.run(spec, lambda fraction: None)
    for name, frame in tables.items():
        assert list(frame.columns) == list(pk.COLUMNS[name])
    return tables["concentration"], tables["exposure"].set_index("quantity")["value"]


def exponents(k10, pairs):
    """Return rates and shares of the bolus response of a mammillary model (Gibaldi and Perrier 1982)."""
    k12 = [out for out, _ in pairs]
    poles = np.array([1.0])
    for _, back in pairs:
        poles = np.polymul(poles, [1.0, back])
    whole = np.polymul([1.0, k10 + sum(k12)], poles)
    for i, (out, back) in enumerate(pairs):
        rest = np.array([1.0])
        for j, (_, other) in enumerate(pairs):
            rest = np.polymul(rest, [1.0, other]) if j != i else rest
        whole = np.polysub(whole, np.polymul([out * back], rest))
    roots = -np.roots(whole).real
    shares = [np.polyval(poles, -r) / np.prod([q - r for q in roots if q != r]) for r in roots]
    return roots, np.array(shares)


@pytest.mark.parametrize("tissues", [0, 1, 2])
def test_bolus_and_infusion_in_one_to_three_compartments(tissues):
    kinetics = CENTRE | {"peripheral": TISSUES[:tissues]}
    rates, shares = exponents(0.2, [(0.4, 4 / 30), (0.05, 0.01)][:tissues])
    frame, exposure = solve(kinetics, [{"dose": "100 mg"}])
    t = frame["time_h"].to_numpy()
    exact = 10.0 * (shares * np.exp(-np.outer(t, rates))).sum(axis=1)
    assert np.allclose(frame["concentration_mg_per_L"], exact, rtol=1e-9)
    assert exposure["auc_to_infinity"] == pytest.approx(50.0, rel=1e-12)
    frame, _ = solve(kinetics, [{"dose": "100 mg", "start": "3.3 h", "infusion": "5 h"}])
    since = np.clip(t - 3.3, 0, None)[:, None]
    after = np.clip(since - 5.0, 0, None)
    exact = 20.0 / 10.0 * (shares / rates * (np.exp(-rates * after) - np.exp(-rates * since))).sum(axis=1)
    assert np.allclose(frame["concentration_mg_per_L"], exact, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("ka", [1.3, 0.2])  # 0.2 is the elimination rate: the degenerate case
def test_oral_doses_repeat_and_superpose(ka):
    kinetics = CENTRE | {"absorption_rate": f"{ka} /h", "bioavailability": 0.3, "lag": "0.7 h"}
    course = {"dose": "50 mg", "start": "1.1 h", "interval": "7.3 h", "until": "40 h", "route": "oral"}
    frame, exposure = solve(kinetics, [course])
    t = frame["time_h"].to_numpy()
    exact = np.zeros(len(t))
    for start in 1.1 + 0.7 + 7.3 * np.arange(6):
        s = np.clip(t - start, 0, None)
        one = s * np.exp(-ka * s) if ka == 0.2 else (np.exp(-0.2 * s) - np.exp(-ka * s)) / (ka - 0.2)
        exact += 0.3 * 50 / 10 * ka * one
    assert np.allclose(frame["concentration_mg_per_L"], exact, rtol=1e-8, atol=1e-12)
    assert exposure["doses"] == 6
    assert exposure["auc_to_infinity"] == pytest.approx(6 * 0.3 * 50 / 2, rel=1e-12)


def test_amounts_add_up_to_what_was_given():
    kinetics = CENTRE | {"peripheral": TISSUES, "absorption_rate": "0.5 /h", "bioavailability": 0.4}
    frame, _ = solve(kinetics, [{"dose": "10 mg", "interval": "5 h", "route": "oral"}, {"dose": "3 mg", "start": "2.2 h"}])
    parts = ["absorbing", "central", "peripheral_1", "peripheral_2", "eliminated", "unabsorbed"]
    assert np.allclose(frame[[f"{p}_mg" for p in parts]].sum(axis=1), frame["dosed_mg"], rtol=1e-10)


def survive(law, growth="0 /h", doses=None, cells=1000, length="60 h"):
    spec = kill.Spec.model_validate({
        "model": "kill", "name": "t", "kinetics": CENTRE, "doses": doses or [{"dose": "100 mg"}], "kill": law,
        "growth": growth, "cells": cells, "length": length, "every": "3 h",
    })  # fmt: skip
    return kill.run(spec, lambda fraction: None)["survival"]


def test_linear_kill_has_its_closed_form():
    frame = survive({"law": "linear", "slope": "1e-5 L/nmol/h"}, growth="0.01 /h")
    t = frame["time_h"].to_numpy()
    exact = 0.01 * t - 1e-5 * 20_000 / 0.2 * (1 - np.exp(-0.2 * t))
    assert np.allclose(frame["log_survival"], exact, rtol=1e-10)


def hill_hazard(s, n):
    ratio = (20_000 * np.exp(-0.2 * s) / 900) ** n
    return 0.4 * ratio / (1 + ratio)


@pytest.mark.parametrize("n", [0.7, 1.0, 3.0])
def test_hill_kill_agrees_with_quadrature_and_for_one_with_its_closed_form(n):
    frame = survive({"law": "hill", "kmax": "0.4 /h", "half": "900 nmol/L", "exponent": n})
    for t, found in zip(frame["time_h"], frame["log_survival"]):
        exact = -quad(hill_hazard, 0, t, (n,), epsabs=1e-12, epsrel=1e-11)[0]
        assert found == pytest.approx(exact, rel=1e-7, abs=1e-12)
        if n == 1.0:
            closed = -0.4 / 0.2 * np.log((900 + 20_000) / (900 + 20_000 * np.exp(-0.2 * t)))
            assert found == pytest.approx(closed, rel=1e-8, abs=1e-12)


def test_threshold_kill_lasts_as_long_as_the_concentration_is_above_it():
    frame = survive({"law": "threshold", "kmax": "0.1 /h", "threshold": "1000 nmol/L"}, cells=7)
    above = np.log(20.0) / 0.2
    assert frame["log_survival"].iloc[-1] == pytest.approx(-0.1 * above, rel=1e-8)
    share = np.exp(-0.1 * above)
    assert frame["all_dead"].iloc[-1] == pytest.approx((1 - share) ** 7, rel=1e-8)


def test_a_very_short_infusion_gives_the_whole_dose():
    frame, exposure = solve(
        CENTRE, [{"dose": "3 mg", "start": "1.123456789123 h", "infusion": "0.1 s"}], length="10 h", every="1 h"
    )
    assert frame["dosed_mg"].iloc[-1] == pytest.approx(3.0, rel=1e-12)
    assert frame["concentration_mg_per_L"].iloc[-1] == pytest.approx(
        0.3 * np.exp(-0.2 * (10 - 1.123456789123 - 0.05 / 3600)), rel=1e-9
    )
    assert exposure["auc_to_infinity"] == pytest.approx(1.5, rel=1e-12)


def test_fast_exchange_is_as_exact_off_the_grid():
    kinetics = {"volume": "1e-3 L", "clearance": "100 L/h", "peripheral": [{"volume": "5 L", "clearance": "3 L/h"}]}
    frame, _ = solve(kinetics, [{"dose": "3 mg", "start": "0.123456789123 h"}], length="10 h", every="1 h")
    matrix = np.array([[-103e3, 0.6], [3e3, -0.6]])
    exact = [(expm(matrix * (t - 0.123456789123)) @ [3e3, 0.0])[0] for t in range(1, 11)]
    assert np.allclose(frame["concentration_mg_per_L"][1:], exact, rtol=1e-9)


@pytest.mark.parametrize("every", ["1000 h", "100 h", "1 h"])
def test_time_above_a_threshold_does_not_depend_on_what_is_recorded(every):
    """An oral peak of 3 h in a run of 1000 h: the roots of the Bateman function."""
    kinetics = {"volume": "10 L", "elimination_rate": "0.5 /h", "absorption_rate": "1.7 /h"}
    spec = kill.Spec.model_validate({
        "model": "kill", "name": "t", "kinetics": kinetics, "doses": [{"dose": "100 mg", "start": "3 h", "route": "oral"}],
        "kill": {"law": "threshold", "kmax": "0.2 /h", "threshold": "3000 nmol/L"}, "length": "1000 h", "every": every,
    })  # fmt: skip

    def excess(t):
        return 10_000 * 1.7 / 1.2 * (np.exp(-0.5 * t) - np.exp(-1.7 * t)) - 3000

    above = brentq(excess, 1.02, 20) - brentq(excess, 0, 1.02)
    found = kill.run(spec, lambda fraction: None)["survival"]["log_survival"].iloc[-1]
    assert found == pytest.approx(-0.2 * above, rel=1e-10)


def test_a_steep_hill_far_above_its_half_effect_kills_at_kmax():
    frame = survive({"law": "hill", "kmax": "0.3 /h", "half": "1e-9 nmol/L", "exponent": 20}, length="3 h")
    assert frame["log_survival"].iloc[-1] == pytest.approx(-0.9, rel=1e-9)


def test_equal_rates_have_no_full_set_of_eigenvectors_and_are_followed_all_the_same():
    kinetics = CENTRE | {"absorption_rate": "0.2 /h"}
    spec = kill.Spec.model_validate({
        "model": "kill", "name": "t", "kinetics": kinetics, "doses": [{"dose": "100 mg", "route": "oral"}],
        "kill": {"law": "hill", "kmax": "0.4 /h", "half": "900 nmol/L", "exponent": 2}, "length": "60 h", "every": "60 h",
    })  # fmt: skip
    found = kill.run(spec, lambda fraction: None)["survival"]["log_survival"].iloc[-1]

    def hazard(t):
        return 0.4 / (1 + (900 / (20_000 * 0.2 * t * np.exp(-0.2 * t))) ** 2) if t > 0 else 0.0

    exact = -quad(hazard, 0, 60, points=[1, 5, 20], epsabs=1e-12, limit=500)[0]
    assert found == pytest.approx(exact, rel=1e-8)


def test_growth_beyond_numbers_and_doses_that_are_none_are_refused():
    spec = kill.Spec.model_validate({
        "model": "kill", "name": "t", "kinetics": CENTRE, "kill": {"law": "linear", "slope": "1 L/nmol/h"},
        "doses": [{"dose": "1 mg", "start": "5 h", "until": "2 h", "interval": "1 h"}], "growth": "10 /h",
        "length": "1000 h", "every": "1 h",
    })  # fmt: skip
    assert [path for path, _ in kill.check(spec)] == [("doses", 0, "until"), ("growth",)]
