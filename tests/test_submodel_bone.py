"""Bone without space: published steady states to 1e-6, and the course of the equations."""

import numpy as np
import pytest

from niche_sim.errors import NumericalError
from niche_sim.submodels import bone_mean_field as bone


def solve(**keys):
    spec = bone.Spec.model_validate({"model": "bone_mean_field", "name": "t", "length": "300 d", "every": "10 d"} | keys)
    assert bone.check(spec) == []
    tables = bone.run(spec, lambda fraction: None)
    return tables["course"], tables["steady_state"].set_index("variable")["value"]


def test_komarova_rests_where_its_exponents_say():
    """With the published numbers x1 = (b1/a1)^-1 (b2/a2)^(1/2), x2 = (b1/a1)^-1 (b2/a2)^(-1/2)."""
    course, steady = solve(system="komarova")
    assert steady["x1"] == pytest.approx(15 * np.sqrt(0.005), rel=1e-12)
    assert steady["x2"] == pytest.approx(15 / np.sqrt(0.005), rel=1e-12)
    assert np.allclose(course["x1"], steady["x1"], rtol=1e-8)
    assert np.allclose(course["z"], 100.0, atol=1e-8)


def test_komarova_event_resorbs_then_refills():
    course, steady = solve(system="komarova", initial={"x1": 11.06})
    assert course["z"].min() < 97
    assert abs(course["z"].iloc[-1] - course["z"].min()) > 1
    assert course["x1"].iloc[-1] == pytest.approx(steady["x1"], rel=0.05)


def test_lemaire_rests_at_the_published_state():
    """R 7.734e-4, B 7.282e-4, C 9.127e-4 pmol/L: table 2 of Lemaire et al. 2004, as printed."""
    course, steady = solve(system="lemaire")
    assert steady.to_numpy() == pytest.approx([7.734e-4, 7.282e-4, 9.127e-4], rel=3e-4)
    assert np.allclose(course[["R", "B", "C"]].to_numpy(), steady.to_numpy(), rtol=1e-7)


def test_lemaire_returns_to_rest_after_a_pulse_by_its_own_equations():
    pulse = {"start": "20 d", "end": "90 d", "parameters": {"IP": 1e3}}
    course, steady = solve(system="lemaire", length="3 yr", pulses=[pulse])
    assert course["C"].max() > 1.5 * steady["C"]
    assert course[["R", "B", "C"]].iloc[-1].to_numpy() == pytest.approx(steady.to_numpy(), rel=1e-6)


def test_impossible_systems_are_refused():
    with pytest.raises(NumericalError, match="no steady state"):
        solve(system="komarova", parameters={"g11": 1.0, "g21": 0.0})
    spec = bone.Spec.model_validate({
        "model": "bone_mean_field", "name": "t", "system": "lemaire", "parameters": {"a1": 1.0}, "initial": {"x1": 1.0},
        "length": "1 d", "every": "1 d", "pulses": [{"start": "2 d", "end": "1 d", "parameters": {}}],
    })  # fmt: skip
    assert [path for path, _ in bone.check(spec)] == [("parameters", "a1"), ("initial", "x1"), ("pulses", 0, "end")]


def test_rates_below_zero_and_runaway_courses_are_refused():
    spec = bone.Spec.model_validate({
        "model": "bone_mean_field", "name": "t", "system": "komarova", "parameters": {"a1": -3.0, "k1": 0.0, "g11": -1.0},
        "length": "1 d", "every": "1 d",
    })  # fmt: skip
    assert [path for path, _ in bone.check(spec)] == [("parameters", "a1")]
    with pytest.raises(NumericalError, match="without bound"):
        solve(system="komarova", parameters={"g11": 3.0}, initial={"x1": 50.0})
    with pytest.raises(NumericalError, match="without bound"):
        solve(system="komarova", initial={"x1": 11.06}, pulses=[{"start": "1 d", "end": "2 d", "parameters": {"g21": 1e3}}])
