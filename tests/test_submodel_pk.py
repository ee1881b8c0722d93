"""Pharmacokinetics and kill alone, against closed forms to a relative 1e-6 or better."""

import numpy as np
import pytest
from scipy.integrate import quad

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
