"""Tumours of a patient: what her niches and her host make lesions meet, arms that share draws, and counts by visit."""

import numpy as np
import pandas as pd
import pytest

import niche_sim as ns
from niche_sim.aspirate import find_positivity
from niche_sim.draws import run_key
from niche_sim.errors import InputError
from niche_sim.lesions import CAUSES
from niche_sim.simulation import follow_host, run_experiment
from niche_sim.skeletal_events import find_hazard
from niche_sim.tumour_summary import QUANTITIES, summarise_tumours
from niche_sim.tumours import (
    COLUMNS,
    DEATHS,
    GROWTH,
    WAKES,
    build_bone,
    build_outside,
    count_events,
    follow_tumours,
    join_niches,
    read_numbers,
)

YEAR, STEP = 8766.0, 672.0
ROWS = 66
NTX = np.full(ROWS, 80.0)
CHEMOTHERAPY = {"drug": "anthracycline_taxane", "dose": "100 mg", "start": "40 d", "interval": "21 d", "doses": 4}


def make(**changes):
    mapping = {
        "name": "tiny", "seed": 9, "scene": "trabecula_small", "patient": "postmenopausal",
        "time": {"length": "1820 d", "spin_up": "30 d"}, "population": {"dormant_dtc": 8}, "record": {"series": "28 d"},
        "arms": {"control": {}, "other": {}},
    }  # fmt: skip
    return ns.build_experiment(mapping | changes)


def list_series(wake=4e-4, death=4e-5, net=0.02, suitability=0.28, days=1000.0):
    """Return a series of constant hazards (1/d); its first row closes no interval."""
    steps = 112 * np.arange(ROWS)
    frame = pd.DataFrame({"step": steps, "time_h": 6.0 * steps})
    frame[WAKES] = np.array([wake / 2, wake / 4, wake / 4, 0.0])
    frame[DEATHS] = 0.0
    frame["hazard_death_baseline_per_d"] = death
    frame["growth_division_per_d"], frame["growth_death_per_d"] = 0.01 + net, 0.01
    frame["dormant_cell_days"], frame["suitability_mean"] = days, suitability
    frame.loc[0, WAKES + DEATHS + GROWTH] = np.nan
    frame.loc[0, "dormant_cell_days"] = 0.0
    return frame


def run(niches=None, tumours=400, experiment=None, patient=0):
    experiment = experiment or make()
    held = niches or {arm: [list_series()] for arm in experiment.arms}
    return follow_tumours(experiment, run_key(9, patient), tumours, held, dict.fromkeys(experiment.arms, NTX), 0.0)


@pytest.fixture(scope="module")
def found():
    return run(tumours=2000)


def test_the_series_of_a_niche_has_what_lesions_meet():
    experiment = make(time={"length": "28 d", "spin_up": "0 d"}, record={"series": "7 d"}, arms={"control": {}})
    joined = join_niches([run_experiment(experiment).series])
    assert joined[COLUMNS].iloc[1:].notna().all().all() and (joined[GROWTH].iloc[1:] > 0).all().all()


def test_hazards_of_niches_are_weighted_by_cells_at_risk():
    niches = [list_series(wake=1e-3, days=100.0), list_series(wake=2e-3, days=300.0, net=0.01)]
    niches[1].loc[10:, "dormant_cell_days"] = 0.0
    niches[1].loc[10:, WAKES + DEATHS] = np.nan
    niches[0].loc[20:, "dormant_cell_days"] = 0.0
    niches[0].loc[20:, WAKES + DEATHS] = np.nan
    joined = join_niches(niches)
    total = joined[WAKES].sum(axis=1)
    assert total[1:10].to_numpy() == pytest.approx(1.75e-3)
    assert total[10:].to_numpy() == pytest.approx(1e-3)  # of the niche that has cells, then as they were
    assert (joined["growth_division_per_d"][1:]).to_numpy() == pytest.approx(0.025)
    bone = build_bone(joined)
    assert bone.wake.shape == (4, ROWS - 1) and bone.death.shape == (7, ROWS - 1)
    assert bone.wake[:, 0].sum() == pytest.approx(1.75e-3 / 24.0) and bone.division[0] == pytest.approx(0.025 / 24.0)


def test_niches_without_cells_are_refused_with_a_remedy():
    empty = list_series()
    empty[WAKES + DEATHS] = np.nan
    empty["dormant_cell_days"] = 0.0
    for series in ([empty], [list_series().iloc[:1]]):
        with pytest.raises(InputError, match="raise population.dormant_dtc"):
            join_niches(series)


def test_outside_bone_lesions_meet_the_host_alone():
    experiment = make(arms={
        "control": {}, "chemotherapy": {"regimen": [CHEMOTHERAPY]},
        "zoledronate": {"regimen": [{"drug": "zoledronate", "dose": "4 mg", "start": "28 d"}]},
        "off": {"regimen": [CHEMOTHERAPY], "switches": {"chemotherapy": False, "dormancy": False, "death": False}},
        "tamoxifen": {"regimen": "tamoxifen_5yr"},
        "without": {"regimen": "tamoxifen_5yr", "switches": {"endocrine_therapy": False}},
        "later": {"changes": [
            {"at": "280 d", "switches": {"division": False}, "override": {"outside.exit_rate": "3e-4 /d"}},
        ]},
    })  # fmt: skip
    steps, key = 112 * np.arange(ROWS), run_key(9, 0)
    places = {arm: build_outside(experiment, arm, follow_host(experiment, arm, key), steps) for arm in experiment.arms}
    own, kill = experiment.parameters.group("outside"), experiment.parameters.group("death")
    control = places["control"]
    assert control.wake.sum(axis=0) == pytest.approx(own["exit_rate"])
    assert control.death.sum(axis=0) == pytest.approx(own["dormant_death"] + kill["surveillance"])
    assert control.loss == pytest.approx(own["growing_death"] + kill["surveillance"])
    # Four courses of 2 decades each at the stated share, whatever the visits.
    more = (places["chemotherapy"].loss - control.loss) * np.diff(control.times_h)
    assert more.sum() == pytest.approx(own["chemotherapy_share"] * 8.0 * np.log(10.0), rel=1e-6)
    asleep = places["chemotherapy"].death[CAUSES.index("chemotherapy")] * np.diff(control.times_h)
    assert asleep.sum() == pytest.approx(kill["quiescent_chemotherapy_share"] * more.sum())
    immune = places["zoledronate"].death[CAUSES.index("immune")]
    assert immune[0] == kill["surveillance"] < immune[1] <= kill["surveillance"] + kill["gamma_delta_kill"]
    forcing = follow_host(experiment, "tamoxifen", key)
    given, tamoxifen = forcing.hormone_growth[: steps[-1]].reshape(ROWS - 1, -1).mean(axis=1), places["tamoxifen"]
    assert given.min() < 0.9 and tamoxifen.division / control.division == pytest.approx(given)
    waking = forcing.hormone_waking[: steps[-1]].reshape(ROWS - 1, -1).mean(axis=1)
    assert tamoxifen.wake[0] / control.wake[0] == pytest.approx(waking) and waking.min() < 0.9
    assert np.array_equal(places["without"].division, control.division)
    off, later = places["off"], places["later"]
    assert not off.wake.any() and not off.death.any() and not off.loss.any()
    assert later.division[9] > 0 and not later.division[10:].any()
    assert later.wake[0, 10:] == pytest.approx(3e-4 / 24.0)


def test_without_an_effect_arms_are_identical(found):
    lesions, visits = found
    for table in (lesions, visits):
        arms = [table[table["arm"] == arm].drop(columns="arm").reset_index(drop=True) for arm in ("control", "other")]
        pd.testing.assert_frame_equal(*arms)
    assert lesions["detected_h"].notna().any() and (lesions["origin"] == "seeded").any()


def test_a_tumour_does_not_depend_on_the_others(found):
    fewer, _ = run(tumours=100)
    both = (table[table["tumour"] < 100].sort_values(["arm", "tumour", "lesion"]) for table in (fewer, found[0]))
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in both))


def test_less_waking_in_bone_only_delays_and_spares_other_organs():
    less = {"control": [list_series()], "other": [list_series(wake=1e-4)]}
    lesions, visits = run(less, tumours=1500)
    control, other = (lesions[lesions["arm"] == arm].set_index(["tumour", "lesion"]) for arm in ("control", "other"))
    bone = control["site"].eq("bone") & control["origin"].eq("initial")
    woke, again = control.loc[bone, "woke_h"], other["woke_h"].reindex(control.index[bone])
    assert 0 < again.notna().sum() < woke.notna().sum() and not (again.notna() & woke.isna()).any()
    seeds = [table[table["origin"] == "seeded"] for table in (control, other)]
    outside = [table[table["site"] == "outside"] for table in seeds]
    assert len(outside[1]) < len(outside[0]) and set(outside[1].index) <= set(outside[0].index)
    last = visits[visits["time_h"] == visits["time_h"].max()].set_index("arm")
    assert last.loc["other", "bone_metastasis_share"] < last.loc["control", "bone_metastasis_share"]


def test_worse_marrow_alone_sends_more_lesions_elsewhere():
    niches = {"control": [list_series()], "other": [list_series(suitability=0.05)]}
    # Few seeds a woman, so that none comes to the most that are followed.
    experiment = make(override={"circulation.shedding": "1e-5 /d", "circulation.background": "1e5 /d"})
    lesions, _ = run(niches, tumours=1500, experiment=experiment)
    seeded = lesions[lesions["origin"] == "seeded"].groupby(["arm", "site"]).size().unstack()
    assert seeded.loc["other", "bone"] < 0.5 * seeded.loc["control", "bone"]
    assert seeded.loc["other", "outside"] > seeded.loc["control", "outside"]


def test_switches_keep_lesions_from_shedding_and_seeding():
    experiment = make(arms={"control": {"switches": {"arrival": False}}, "other": {"switches": {"egress": False}}})
    lesions, visits = run(experiment=experiment)
    assert not ((lesions["origin"] == "seeded") & (lesions["arm"] == "control")).any()
    background = visits.loc[visits["arm"] == "other", "ctc_cells"].iloc[1:]
    assert background.nunique() == 1 and background.iloc[0] > 0


def test_visits_count_the_lesions(found):
    lesions, visits = (table[table["arm"] == "control"] for table in found)
    last = visits.iloc[-1]
    for site in ("bone", "outside"):
        mine = lesions[lesions["site"] == site]
        fates = mine["fate"].value_counts()
        assert last[f"{site}_dormant"] * 2000 == pytest.approx(fates["dormant"])
        assert last[f"{site}_growing"] * 2000 == pytest.approx(fates["growing"] + fates["detected"])
        assert last[f"{site}_detected"] * 2000 == pytest.approx(mine["detected_h"].notna().sum())
        seen = mine.loc[mine["detected_h"].notna(), "tumour"].nunique()
        assert last[f"{site}_metastasis_share"] * 2000 == pytest.approx(seen)
    everywhere = lesions.loc[lesions["detected_h"].notna(), "tumour"].nunique()
    assert last["any_metastasis_share"] * 2000 == pytest.approx(everywhere)
    first = lesions[lesions["site"] == "bone"].groupby("tumour")["detected_h"].min()
    assert last["bone_metastasis_h"] * 2000 == pytest.approx((last["time_h"] - first).sum())
    shares = visits.filter(like="_metastasis_share")
    assert (shares.diff().iloc[1:] >= 0).all().all()


def test_aspirates_begin_with_the_share_of_the_closed_form_and_fall_with_the_density(found):
    visits = found[1][found[1]["arm"] == "control"].reset_index(drop=True)
    aspirate = read_numbers(ns.load_parameters("human")).aspirate
    for name, places in (("dtc_positive_share", 1), ("dtc_positive_two_sides_share", 2)):
        exact = find_positivity([2.0] * places, aspirate)
        assert visits[name][0] == pytest.approx(exact, abs=4.2 * np.sqrt(exact * (1.0 - exact) / 2000))
    fragility = make().parameters.value("dissemination.fragility")
    left = np.exp(-fragility * 4e-5 * visits["time_h"] / 24.0)
    assert (visits["dtc_density"] / visits["dtc_density"][0]).to_numpy() == pytest.approx(left.to_numpy())
    assert visits["dtc_persistent_share"][0] == visits["dtc_baseline_share"][0] == visits["dtc_positive_share"][0]
    assert (visits["dtc_persistent_share"] <= visits["dtc_positive_share"]).all()


def test_skeletal_events_come_at_the_rate_of_detected_lesions():
    events = read_numbers(ns.load_parameters("human")).events._replace(frailty_cv=0.0)
    keys, edges = np.array([run_key(1, n) for n in range(400)]), np.linspace(0.0, 4 * YEAR, 5)
    seen = pd.DataFrame({"tumour": np.repeat(np.arange(400), 2), "site": "bone", "detected_h": [YEAR, 2.5 * YEAR] * 400})
    ntx = np.array([80.0, 80.0, 40.0, 80.0])
    found = count_events(seen, keys, edges, ntx, events)
    one, two = (YEAR * find_hazard(n, 80e-6, events) for n in (1, 2))
    expected = np.cumsum([0.0, 0.0, one, 0.25 * one + 0.25 * two, two])
    assert found[:2].tolist() == [0.0, 0.0]
    assert found == pytest.approx(expected, abs=4.2 * np.sqrt(expected[-1] / 400))
    assert not count_events(seen.iloc[:0], keys, edges, ntx, events).any()


# ---------------------------------------------------------------- what is said of them


def tabulate(patient, arm, share, persistent):
    base = {quantity.column: share for quantity in QUANTITIES.values()}
    base |= {"dtc_baseline_share": 0.4, "dtc_baseline_two_sides_share": 0.4, "dtc_persistent_share": persistent}
    return pd.DataFrame({"patient": patient, "arm": arm, "time_h": [0.0, YEAR], **base, "bone_metastasis_h": [0.0, YEAR]})


def test_the_summary_of_known_patients_is_paired():
    visits = pd.concat(
        [tabulate(p, arm, factor * share, factor * 0.2)
         for p, share in enumerate((0.1, 0.2, 0.6)) for arm, factor in (("control", 1.0), ("drug", 0.5))]
    )  # fmt: skip
    table = summarise_tumours(visits, "control", run_key(1)).set_index(["arm", "time_h", "quantity"])
    row = table.loc[("drug", YEAR, "bone_metastasis")]
    assert (row["mean"], row["patients"]) == (pytest.approx(0.15), 3)
    assert 0.05 <= row["low"] < 0.15 < row["high"] <= 0.3
    assert [row["ratio"], row["ratio_low"], row["ratio_high"]] == pytest.approx([0.5, 0.5, 0.5])
    assert table.loc[("control", YEAR, "dtc_persistence"), "mean"] == pytest.approx(0.5)
    assert table.loc[("control", YEAR, "skeletal_event_rate"), "mean"] == pytest.approx(0.3)
    assert ("control", 0.0, "skeletal_event_rate") not in table.index  # nobody at risk yet
    alone = summarise_tumours(visits[visits["patient"] == 0], "control", run_key(1))
    assert alone[["low", "high", "ratio_low", "ratio_high"]].isna().all().all() and alone["ratio"].notna().any()
