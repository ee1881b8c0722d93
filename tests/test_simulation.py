"""Whole runs on a small patch: same seed same bits, exact ledgers, every process switched off, matched arms."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim import simulation
from niche_sim.errors import InputError, NumericalError
from niche_sim.kinds import FULL, MINERAL_FORMED, MINERAL_REMOVED, MINERAL_START
from niche_sim.schedule import Switches

DRUG = [{"drug": "zoledronate", "dose": "4 mg", "interval": "7 d", "start": "0 d", "until": "21 d"}]


def make(length="20 d", arms=None, **changes):
    mapping = {
        "name": "small", "seed": 5, "scene": "trabecula_small", "patient": "postmenopausal",
        "time": {"length": length, "tick": "6 h", "spin_up": "40 d"},
        "population": {"dormant_dtc": 6, "cycling_dtc": 4}, "arms": arms or {"control": {}, "drug": {"regimen": DRUG}},
        "record": {"series": "5 d", "cells": "10 d", "fields": "10 d", "pictures": ["0 d", "20 d"]},
    }  # fmt: skip
    return ns.build_experiment(mapping | changes)


@pytest.fixture(scope="module")
def run():
    return ns.run_experiment(make())


def same(a, b):
    return all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in a) and set(a) == set(b)


def test_same_seed_same_bits_on_any_threads(run):
    again = ns.run_experiment(make(), threads=2)
    for name, arm in run.arms.items():
        assert same(arm.final_hash_arrays, again.arms[name].final_hash_arrays)
        assert arm.series.equals(again.arms[name].series)
        assert arm.events.equals(again.arms[name].events)


def test_other_seed_differs(run):
    other = ns.run_experiment(make(seed=6))
    assert not same(run.arms["control"].final_hash_arrays, other.arms["control"].final_hash_arrays)


def test_recording_changes_nothing(run):
    quiet = ns.run_experiment(make(record={"series": "20 d", "events": False}))
    for name, arm in run.arms.items():
        assert same(arm.final_hash_arrays, quiet.arms[name].final_hash_arrays)
    assert len(quiet.arms["control"].events) == 0


def test_an_added_arm_changes_no_other_and_equal_arms_are_equal(run):
    more = ns.run_experiment(make(arms={"control": {}, "again": {}, "drug": {"regimen": DRUG}}))
    for name in ("control", "drug"):
        assert same(run.arms[name].final_hash_arrays, more.arms[name].final_hash_arrays)
    assert same(more.arms["control"].final_hash_arrays, more.arms["again"].final_hash_arrays)


def test_mineral_ledger_closes_exactly(run):
    for arm in run.arms.values():
        final = arm.final_hash_arrays
        tally = final["tally"]
        assert final["voxels.mineral"].sum(dtype=np.int64) == (
            tally[MINERAL_START] - tally[MINERAL_REMOVED] + tally[MINERAL_FORMED]
        )
        assert (final["voxels.mineral"] >= 0).all()
        assert (final["voxels.mineral"] <= FULL).all()


def test_drug_ledger_closes(run):
    final = run.arms["drug"].final_hash_arrays
    deposited, swallowed, excreted, pool = final["drug_ledger"][0]
    assert deposited > 0
    assert final["drug"].sum() + final["body"].sum() + pool + swallowed + excreted == pytest.approx(deposited, rel=1e-9)
    assert run.arms["control"].final_hash_arrays["drug"].sum() == 0


def test_cells_are_consistent_and_counted(run):
    for arm in run.arms.values():
        final, last = arm.final_hash_arrays, arm.series.iloc[-1]
        n = int(final["living"][0])
        voxel = final["cells.voxel"][:n]
        assert len(set(final["cells.ident"][:n])) == n
        assert (final["voxels.occupant"][voxel] == np.arange(n)).all()
        assert (final["voxels.occupant"] >= 0).sum() == n
        assert (final["voxels.is_bone"][voxel] == 0).all()
        deaths = sum(last[name] for name in arm.series if name.startswith("dtc_deaths_"))
        gained = 10 + last["dtc_births"] + last["dtc_arrivals"]
        assert last["dormant"] + last["cycling"] == gained - deaths - last["dtc_egress"]


def test_concentrations_are_finite_and_never_negative(run):
    for arm in run.arms.values():
        assert (arm.final_hash_arrays["fields.concentration"] >= 0).all()
        assert np.isfinite(arm.final_hash_arrays["fields.concentration"]).all()


def test_events_tell_what_the_series_counts(run):
    for arm in run.arms.values():
        events, last = arm.events, arm.series.iloc[-1]
        tumour = events[events["kind"] == "dtc"]
        assert (tumour["event"] == "birth").sum() == last["dtc_births"]
        assert (tumour["event"] == "sleep").sum() == last["dtc_sleeps"]
    assert (run.arms["drug"].events["event"] == "dose").sum() == 3


@pytest.mark.parametrize("name", Switches._fields)
def test_runs_with_each_process_and_effect_off_from_the_spin_up_on(name):
    """Off from time 0 on: test_switches."""
    time = {"length": "10 d", "tick": "6 h", "spin_up": "20 d"}
    off = ns.run_experiment(make(time=time, switches={name: False}, record={"series": "5 d"}))
    last = off.arms["drug"].series.iloc[-1]
    assert np.isfinite(last["bone_volume_fraction"])
    if name == "division":
        assert last["dtc_births"] == 0
    if name == "dormancy":
        assert last["dtc_sleeps"] == 0
    if name == "remodelling":
        assert last["bmu_started"] == 0 and last["osteoclast_fusions"] == 0
    if name in ("dosing", "bone_drug"):
        assert last["drug_surface_fmol"] == 0


def test_runs_in_three_dimensions():
    scene = {
        "kind": "generated", "size": ["0.4 mm", "0.4 mm", "0.4 mm"], "voxel": "20 um", "boundary": "closed",
        "bone_volume_fraction": 0.25, "trabecular_thickness": "100 um", "trabecular_separation": "250 um",
        "sinusoid_spacing": "150 um", "sinusoid_diameter": "30 um",
    }  # fmt: skip
    solid = ns.run_experiment(make(length="5 d", scene=scene, record={"series": "5 d", "pictures": ["5 d"]}))
    assert solid.arms["drug"].maps["mineral"].shape == (1, 20, 20, 20)
    assert solid.arms["drug"].series["drug_surface_fmol"].iloc[-1] > 0


def test_too_many_tumour_cells_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        ns.run_experiment(make(population={"dormant_dtc": 1500}))


def test_python_interface():
    human = ns.load_parameters("human")
    result = ns.Simulation(human, scene="trabecula_small", seed=7, spin_up="1 d", dormant_dtc=4).run("3 d")
    assert result.series["dormant"].iloc[0] == 4
    assert result.series["time_h"].iloc[-1] == 72.0


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: state.reserve.__setitem__((0, 700), np.nan), "tgf_beta.* 700"),
        (lambda state: state.fields.concentration.__setitem__((5, 41), np.inf), "cxcl12.* 41"),
        (lambda state: state.drug.__setitem__((0, 300), np.nan), r"drug.* is not finite at \[0, 300\]|free_drug"),
        (lambda state: state.voxels["held"].__setitem__(12, np.nan), r"voxels.* is not finite at \[12\]"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_a_number_stops_the_run_with_name_place_and_tick(monkeypatch, spoil, told):
    """Within one recorded interval: a kernel that took a maximum over it would go on as if nothing were wrong."""
    seed = simulation.seed_tumour

    def seed_and_spoil(state, *others):
        found = seed(state, *others)
        state.voxels.is_bone[[700, 41]] = 0
        spoil(state)
        return found

    monkeypatch.setattr(simulation, "seed_tumour", seed_and_spoil)
    with pytest.raises(NumericalError, match=told) as stopped:
        ns.run_experiment(make(length="20 d", arms={"drug": {"regimen": DRUG}}))
    assert 0 <= int(str(stopped.value).split("tick ")[1].split(" ")[0]) <= 20
    assert stopped.value.exit_code == 3


def test_a_tick_too_long_for_the_fastest_cell_is_refused_by_the_engine_too():
    """What the gate lets through: a change on the way."""
    faster = [{"at": "5 d", "override": {"migration.precursor_speed": "60 um/h"}}]
    arms = {"a": {"changes": faster}}
    with pytest.raises(NumericalError, match=r"migration.precursor_speed: a tick of 24 h is too long .* at most 10.7 h"):
        ns.run_experiment(make(time={"length": "20 d", "tick": "24 h"}, arms=arms))


CHANGES = ("dosing", "bone_drug", "secretion", "diffusion", "osteoclasts", "osteoblasts", "macrophages")


@pytest.fixture(scope="module")
def switched():
    """Every process above off from day 10 of 20 on, each in an arm of its own, all dosed every 7 days."""
    arms = {name: {"regimen": DRUG, "changes": [{"at": "10 d", "switches": {name: False}}]} for name in CHANGES}
    begun = {"at": "10 d", "switches": {"dosing": True}}
    arms["later"] = {"regimen": DRUG, "switches": {"dosing": False}, "changes": [begun]}
    arms["never"] = {"regimen": DRUG, "switches": {"macrophages": False, "osteoclasts": False}}
    return ns.run_experiment(make(arms=arms, record={"series": "1 d"})).arms


def test_what_is_switched_off_on_the_way_vanishes(switched):
    last = {name: arm.series.iloc[-1] for name, arm in switched.items()}
    doses = {name: arm.events.query("event == 'dose'")["time_h"].tolist() for name, arm in switched.items()}
    assert doses["macrophages"] == [0.0, 168.0, 336.0]
    assert doses["dosing"] == [0.0, 168.0] and doses["later"] == [336.0]
    after = switched["dosing"].series.query("time_h > 300")
    # What is left in plasma comes back from bone.
    assert after["plasma_nmol_per_L"].iloc[-1] < 0.8 * last["macrophages"]["plasma_nmol_per_L"]
    assert last["bone_drug"]["free_drug_nmol_per_L"] == 0.0
    for field in ("tgf_beta", "igf1", "rankl", "opg", "cxcl12"):
        assert last["secretion"][f"{field}_nmol_per_L"] == 0.0
        assert last["diffusion"][f"{field}_nmol_per_L"] == 0.0
    assert last["macrophages"]["macrophages"] == last["never"]["macrophages"] == last["never"]["precursors"] == 0
    assert last["osteoclasts"]["osteoclasts"] == last["osteoclasts"]["precursors"] == last["osteoblasts"]["osteoblasts"] == 0
    drug = switched["later"].series.set_index("time_h")["drug_surface_fmol"]
    assert drug.iloc[-1] > 0 and not drug[:240.0].any()


@pytest.mark.parametrize("name", CHANGES)
def test_pauses_change_nothing_where_a_process_is_off(switched, name):
    """The kernel pauses at every recorded day, or hardly ever: the whole final states are equal."""
    arm = {"regimen": DRUG, "changes": [{"at": "10 d", "switches": {name: False}}]}
    rare = ns.run_experiment(make(arms={name: arm}, record={"series": "20 d"}))
    assert same(rare.arms[name].final_hash_arrays, switched[name].final_hash_arrays)


def test_until_something_is_switched_off_the_arms_are_equal(switched):
    for name in CHANGES:
        past = switched[name].series.query("time_h <= 240").drop(columns="arm")
        assert past.equals(switched["macrophages"].series.query("time_h <= 240").drop(columns="arm"))


def test_without_death_no_tumour_cell_dies_of_anything():
    off = ns.run_experiment(make(switches={"death": False}, override={"macrophages.engulf_rate": "0.1 /d"}))
    last = off.arms["control"].series.iloc[-1]
    assert not last.filter(like="dtc_deaths").any() and last["dtc_births"] > 0


def test_counters_and_ages_begin_where_they_should(run):
    first = run.arms["control"].series.iloc[0]
    assert not first.filter(regex="^(dtc_|osteoclast_[fd]|bmu_started)").any()
    ages = run.arms["control"].cells.query("step == 0 and kind == 'macrophage'")["age_h"]
    assert ages.max() == 40 * 24.0
