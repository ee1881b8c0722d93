"""Suitability is the product of its terms, and what it loses is divided among them; a drug lowers only what it acts on."""

import math
from pathlib import Path

import numpy as np
import pytest

import niche_sim as ns
from niche_sim import observers, schedule
from niche_sim import simulation as sim
from niche_sim.host import build_forcing
from niche_sim.kinds import CXCL12, IGF1, NICHE_NAMES, NO_TERM, TERM_NAMES, TGF_BETA
from niche_sim.processes.suitability import LEAST_TERM, find_loss, measure_terms
from niche_sim.state import copy_state

LIVELY = Path(__file__).resolve().parent / "lively.yaml"


@pytest.fixture(scope="module")
def plan():
    return sim.make_plan(ns.load_experiment(LIVELY))


@pytest.fixture(scope="module")
def lived(plan):
    """A niche after two months of turnover and four days with tumour cells, without drug."""
    state = sim.spin_up(plan)
    forcing = build_forcing([], plan.drugs, plan.patient, 16, plan.hours)
    schedule.advance(state, switch(plan), plan.world, forcing, plan.hours, plan.key, 0, 0, 16)
    return state


def switch(plan, parameters=None, **switches):
    return sim.build_rates(parameters or plan.experiment.parameters, plan.drugs, plan.experiment.switches | switches)


def only(name):
    return {f"suitability_{term}": term == name for term in TERM_NAMES}


def losses_of(row, niche):
    """The mean loss by each term, from the columns of a series."""
    return {term: row[f"suitability_loss_{niche}"] * row[f"suitability_share_{term}_{niche}"] for term in TERM_NAMES}


def find_marrow(state):
    return np.flatnonzero((state.voxels["is_bone"] == 0) & (state.voxels["sinusoid"] == 0))


def test_terms_multiply_to_the_map_and_follow_their_formulas(plan, lived):
    rates, voxels, field = switch(plan), lived.voxels, lived.fields.concentration
    s, u = rates.suitability, lambda a, k: a / (a + k)
    for v in np.random.default_rng(1).choice(find_marrow(lived), 200, replace=False):
        contact, *rest = measure_terms(lived, rates, plan.world, v)
        food = 1 - (1 - u(field[IGF1, v], s.igf1_half)) * (1 - u(field[TGF_BETA, v], s.tgf_beta_half))
        expected = [
            1 - s.cxcl12_weight * (1 - u(field[CXCL12, v], s.cxcl12_half)), 1 - s.nourishment_weight * (1 - food),
            1 - s.places_weight * voxels["held"][v],
            1 - s.macrophages_weight * (1 - u(voxels["support"][v], rates.macrophages.support_half)),
        ]  # fmt: skip
        assert rest == pytest.approx(expected, rel=1e-12)
        assert contact == 1.0 or 1 - s.contact_weight <= contact < 1.0
        assert contact * math.prod(rest) == pytest.approx(voxels["suitability"][v], rel=1e-12)


def test_shares_add_up_to_one_and_losses_to_the_map(plan, lived):
    row = observers.measure_losses(lived, switch(plan), plan.world)
    for niche in NICHE_NAMES:
        assert sum(row[f"suitability_share_{term}_{niche}"] for term in TERM_NAMES) == pytest.approx(1.0, rel=1e-12)
    voxels = lived.voxels
    homes = {"marrow": find_marrow(lived), "perivascular": np.flatnonzero(voxels["perivascular"])}
    homes["endosteal"] = np.flatnonzero((voxels["contact"] > 0) & (voxels["sinusoid"] == 0))
    for niche, places in homes.items():
        assert row[f"suitability_loss_{niche}"] == pytest.approx(-np.log(voxels["suitability"][places]).mean(), rel=1e-12)


@pytest.mark.parametrize("name", TERM_NAMES)
def test_a_term_that_is_off_has_no_share_and_one_alone_has_all(plan, lived, name):
    without = observers.measure_losses(lived, switch(plan, **{f"suitability_{name}": False}), plan.world)
    alone = observers.measure_losses(lived, switch(plan, **only(name)), plan.world)
    for niche in ("marrow", "endosteal"):
        assert without[f"suitability_share_{name}_{niche}"] == 0.0
        assert alone[f"suitability_share_{name}_{niche}"] == 1.0


def test_nothing_is_lost_where_suitability_is_off(plan, lived):
    row = observers.measure_losses(lived, switch(plan, suitability=False), plan.world)
    assert all(row[f"suitability_loss_{niche}"] == 0.0 for niche in NICHE_NAMES)
    assert all(np.isnan(row[name]) for name in row if "share" in name)
    assert (observers.draw_maps(lived, switch(plan, suitability=False), plan.world)["limiting_term"] == NO_TERM).all()


def test_a_term_of_nothing_loses_no_more_than_the_least_term(plan, lived):
    assert find_loss(0.0) == -math.log(LEAST_TERM)
    assert find_loss(1.0) == 0.0
    parameters = plan.experiment.parameters.override({"suitability.macrophages_weight": 1.0})
    state = copy_state(lived)
    state.voxels["support"] = 0.0
    row = observers.measure_losses(state, switch(plan, parameters), plan.world)
    assert losses_of(row, "marrow")["macrophages"] == pytest.approx(-math.log(LEAST_TERM))


def test_the_limiting_term_is_that_with_the_largest_loss(plan, lived):
    rates = switch(plan)
    limits = observers.draw_maps(lived, rates, plan.world)["limiting_term"].ravel()
    marrow = find_marrow(lived)
    assert (np.delete(limits, marrow) == NO_TERM).all()
    for v in marrow[::37]:
        assert limits[v] == np.argmin(measure_terms(lived, rates, plan.world, v))
    assert len(set(limits[marrow])) > 1


@pytest.fixture(scope="module")
def resting():
    """The losses at bone of a patch at rest (no remodelling), by arm: what a coat does, what drugged macrophages do.

    A hundred times the dose, so that macrophages feel it; they are a source of IGF-1, which nourishes.
    """
    doses = [{"drug": "zoledronate", "dose": "400 mg", "interval": "4 d"}]
    quiet = {"remodelling": False, "drug_osteoclast": False}
    arms = {
        "control": {}, "coat": {"drug_macrophage": False}, "macrophages": {"drug_adhesion": False},
        "neither": {"drug_macrophage": False, "drug_adhesion": False},
    }  # fmt: skip
    run = ns.run_experiment(ns.build_experiment({
        "name": "resting", "seed": 5, "scene": "trabecula_small", "patient": "postmenopausal", "switches": quiet,
        "time": {"length": "16 d", "spin_up": "10 d"}, "population": {"dormant_dtc": 0}, "record": {"series": "4 d"},
        "arms": {
            name: {"regimen": doses, "switches": off} if name != "control" else {} for name, off in arms.items()
        },
    }))  # fmt: skip
    return {arm: losses_of(result.series.iloc[-1], "endosteal") for arm, result in run.arms.items()}


@pytest.mark.parametrize(
    ("arm", "moved"), [("coat", {"contact"}), ("macrophages", {"macrophages", "nourishment"}), ("neither", set())]
)
def test_a_bisphosphonate_lowers_the_terms_it_acts_on_and_no_other(resting, arm, moved):
    for term in TERM_NAMES:
        if term in moved:
            assert resting[arm][term] > 1.0005 * resting["control"][term]
        else:
            assert resting[arm][term] == pytest.approx(resting["control"][term], rel=1e-9)


def test_fewer_released_factors_lower_nourishment():
    """Beside vessels contact is whole whatever bone does, so that a block of osteoclasts reaches nourishment alone."""
    doses = [{"drug": "denosumab", "dose": "60 mg"}]
    run = ns.run_experiment(ns.load_experiment(LIVELY, sets={
        "arms": {"control": {}, "blocked": {"regimen": doses}}, "population.dormant_dtc": "0",
        "population.cycling_dtc": "0", "switches.macrophages": "false", "time.spin_up": "0 d", "time.length": "60 d",
    }))  # fmt: skip
    control, blocked = (
        {term: loss.mean() for term, loss in losses_of(run.arms[arm].series, "perivascular").items()}
        for arm in ("control", "blocked")
    )
    assert blocked["nourishment"] > 1.2 * control["nourishment"]
    assert control["contact"] == blocked["contact"] == 0.0
    for term in ("cxcl12", "places", "macrophages"):
        assert blocked[term] == pytest.approx(control[term], rel=0.02)
