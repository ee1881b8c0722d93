"""Shares of effects: known ones come out, twins cancel what they share, what is no ablation is refused."""

import numpy as np
import pandas as pd
import pytest
from test_tumours import list_series
from test_tumours import run as run_tumours

import niche_sim as ns
from niche_sim.ablation import EFFECTS, ENDPOINTS, attribute_effects, find_families, measure_endpoint
from niche_sim.errors import InputError
from niche_sim.tumours import DEATHS, GROWTH, WAKES

REGIMEN = [{"drug": "zoledronate", "dose": "4 mg"}]
ARMS = {
    "control": {}, "full": {"regimen": REGIMEN},
    "less": {"regimen": REGIMEN, "switches": {"drug_osteoclast": False}},
    "null": {"regimen": REGIMEN, "switches": {"drug_gamma_delta": False}},
    "alone": {"regimen": REGIMEN, "switches": {name: name == "drug_osteoclast" for name in EFFECTS}},
}  # fmt: skip
WAKING = {"control": 10.0, "full": 4.0, "less": 8.5, "null": 4.0, "alone": 5.0}  # per 1e4 d


def list_visits(patients=20, scatter=3.0):
    """Return visits whose patients differ by much, in all arms alike, and whose last interval is twice as long."""
    rows, rng = [], np.random.default_rng(5)
    for patient in range(patients):
        own = scatter * rng.normal()
        for arm, level in WAKING.items():
            for time_h, value in ((0.0, np.nan), (672.0, level + own + 2.0), (2016.0, level + own - 1.0)):
                row = {"patient": patient, "arm": arm, "time_h": time_h, "bone_metastasis_share": 0.25 if time_h else 0.0}
                row |= dict.fromkeys([*WAKES, *DEATHS, *GROWTH], value / 4e4)
                rows.append(row)
    return pd.DataFrame(rows)


def test_known_shares_come_out_of_twins_without_scatter():
    table = attribute_effects(list_visits(), ARMS, 3).set_index(["endpoint", "kind", "effect_of"])
    for (kind, effect), share in {
        ("without", "drug_osteoclast"): 4.5 / 6, ("without", "drug_gamma_delta"): 0.0, ("only", "drug_osteoclast"): 5 / 6
    }.items():  # fmt: skip
        row = table.loc["waking", kind, effect]
        assert (row["regimen"], row["patients"]) == ("full", 20)
        assert row["effect"] == pytest.approx(-6e-4) == row["effect_low"]
        for end in ("share", "share_low", "share_high"):
            assert row[end] == pytest.approx(share, abs=1e-12)


def test_an_interval_grows_with_what_patients_do_not_share_and_holds_the_truth():
    visits = list_visits(patients=60)
    group = visits.groupby(["patient", "arm"]).ngroup()
    noise = np.random.default_rng(8).normal(0, 4.0 / 4e4, group.max() + 1)
    visits[WAKES] = visits[WAKES].add(noise[group], axis=0)
    table = attribute_effects(visits, ARMS, 3).set_index(["endpoint", "kind", "effect_of"])
    row = table.loc["waking", "without", "drug_osteoclast"]
    assert row["share_low"] < 0.75 < row["share_high"] and row["share_high"] - row["share_low"] > 0.1


def test_no_share_is_told_of_no_effect():
    table = attribute_effects(list_visits(), ARMS, 3).set_index("endpoint")
    assert (table.loc["bone_metastasis", "effect"] == 0.0).all() and table.loc["bone_metastasis", "share"].isna().all()
    assert (table.loc["growth", "effect"] == 0.0).all()  # division and death moved alike


def test_a_rate_is_a_mean_over_time_and_a_share_that_of_the_end():
    visits = list_visits(patients=1, scatter=0.0)
    assert measure_endpoint(visits, ENDPOINTS["waking"]).loc[0, "full"] == pytest.approx(4e-4)  # (6 + 2 x 3) / 3
    assert measure_endpoint(visits, ENDPOINTS["bone_metastasis"]).loc[0, "full"] == 0.25


def test_the_shipped_experiment_is_such_an_ablation():
    control, families = find_families(ns.load_experiment("e07_ablation").resolved()["arms"])
    assert control == "control" and [family.full for family in families] == ["zoledronate", "clodronate"]
    for family in families:
        assert set(family.without) == set(EFFECTS)
        assert family.only == {"drug_osteoclast": f"{family.full}_osteoclast_only"}


@pytest.mark.parametrize("left", [("full", "less"), ("control", "full"), ("control", "less", "alone")])
def test_what_is_no_ablation_is_refused(left):
    with pytest.raises(InputError, match="an arm without regimen"):
        find_families({name: ARMS[name] for name in left})


def test_what_differs_from_treatment_on_is_an_ablation_too_and_another_number_is_not():
    later = {"regimen": REGIMEN, "changes": [{"at": "84 d", "switches": {"drug_tumour": False}}]}
    other = {"regimen": REGIMEN, "override": {"death.surveillance": "1 /yr"}}
    _, (family,) = find_families(ARMS | {"later": later, "other": other})
    assert family.full == "full"
    assert family.without == {"drug_osteoclast": "less", "drug_gamma_delta": "null", "drug_tumour": "later"}
    assert family.only == {"drug_osteoclast": "alone"}


def test_a_cohort_without_hazards_is_refused():
    with pytest.raises(InputError, match="no column hazard_wake_spontaneous_per_d"):
        attribute_effects(list_visits().drop(columns=WAKES), ARMS, 3)


def test_a_cohort_keeps_the_hazards_that_lesions_meet():
    visits = run_tumours(tumours=3)[1].assign(patient=0)
    held = visits[visits["arm"] == "control"].reset_index(drop=True)
    series = list_series()
    for name in [*WAKES, *DEATHS, *GROWTH]:
        assert held[name].equals(series[name])
    assert measure_endpoint(visits, ENDPOINTS["waking"]).loc[0, "control"] == pytest.approx(4e-4)
