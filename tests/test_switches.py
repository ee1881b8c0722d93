"""An ablation takes away its own mechanism: its channel is silent, what has no input changes by no bit.

The table OWN is exact: what a switch silences beyond it, or fails to silence, is a defect.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

import niche_sim as ns
from niche_sim.kinds import FREE_DRUG, MACROPHAGE, TERM_NAMES
from niche_sim.schedule import Switches

LIVELY = Path(__file__).resolve().parent / "lively.yaml"
DOSES = [
    {"drug": "zoledronate", "dose": "4 mg", "interval": "7 d"},
    {"drug": "clodronate", "dose": "300 mg", "route": "iv", "start": "2 d", "interval": "10 d"},
]
CHEMOTHERAPY = [{"drug": "anthracycline_taxane", "dose": "1 mg", "start": "2 d"}]
# Much bone surface and many vessels on little room.
DENSE = {
    "kind": "generated", "size": ["0.8 mm", "0.8 mm"], "voxel": "20 um", "boundary": "periodic",
    "bone_volume_fraction": 0.3, "trabecular_thickness": "80 um", "trabecular_separation": "160 um",
    "sinusoid_spacing": "140 um", "sinusoid_diameter": "30 um",
}  # fmt: skip

FIELDS = {"tgf_beta", "igf1", "rankl", "opg", "pthrp", "cxcl12", "free_drug"}
CONTINUOUS = {f"{field}_nmol_per_L" for field in FIELDS} | {
    f"hazard_wake_{route}_per_d" for route in ("spontaneous", "factors", "sprouting")
} | {
    f"hazard_death_{cause}_per_d" for cause in ("baseline", "deprivation", "chemotherapy", "immune", "phagocytosis")
} | {
    "growth_division_per_d", "growth_death_per_d", "plasma_nmol_per_L", "drug_surface_fmol", "drug_buried_fmol",
    "macrophages", "precursors", "osteoblasts", "macrophage_load",
    *(f"suitability_loss_by_{term}" for term in TERM_NAMES),
}  # fmt: skip
"""What is there in any niche in which its mechanism is on: a switch silences those of OWN and no other."""
COUNTS = {
    "dtc_births", "dtc_sleeps", "dtc_arrivals", "dtc_egress", "dtc_mutations", "dtc_sprouts", "dtc_deaths_hypoxia",
    "osteoclast_fusions", "osteoclast_deaths_drug", "bmu_started", "osteoblasts_killed", "hops", "hazard_wake_lining_per_d",
    "hazard_death_drug_per_d",
}  # fmt: skip
"""What happens now and then."""

LOCAL = {f"{field}_nmol_per_L" for field in FIELDS - {"free_drug"}}
BY_FACTORS = {"hazard_wake_factors_per_d", "hazard_wake_sprouting_per_d"}
DOSED = {"drug_surface_fmol", "drug_buried_fmol", "free_drug_nmol_per_L", "hazard_death_drug_per_d"}
DEATHS = {name for name in CONTINUOUS | COUNTS if name.startswith("hazard_death")}
OWN = {
    "dosing": DOSED | {
        "plasma_nmol_per_L", "macrophage_load", "hazard_death_chemotherapy_per_d", "hazard_death_immune_per_d",
        "osteoclast_deaths_drug",
    },
    "bone_drug": DOSED | {"osteoclast_deaths_drug"},
    "secretion": LOCAL | BY_FACTORS,
    "diffusion": LOCAL | BY_FACTORS | {"free_drug_nmol_per_L", "osteoclast_fusions", "bmu_started"},
    "remodelling": {"bmu_started"},
    "osteoclasts": {"precursors", "osteoclast_fusions", "osteoclast_deaths_drug"},
    "osteoblasts": {"osteoblasts", "osteoblasts_killed"},
    "macrophages": {"macrophages", "macrophage_load", "hazard_death_phagocytosis_per_d"},
    "suitability": {"hazard_death_deprivation_per_d", *(f"suitability_loss_by_{term}" for term in TERM_NAMES)},
    "arrival": {"dtc_arrivals"},
    "dormancy": {"dtc_sleeps", "hazard_wake_lining_per_d"} | {name for name in CONTINUOUS if name.startswith("hazard_wake")},
    "division": {"dtc_births", "dtc_mutations", "dtc_deaths_hypoxia", "growth_division_per_d"},
    "migration": {"hops"},
    # Sentinels: hazards are met, nothing comes of them.
    "tumour_fates": {"dtc_births", "dtc_sleeps", "dtc_egress", "dtc_mutations", "dtc_deaths_hypoxia"},
    "death": DEATHS | {"growth_death_per_d", "dtc_deaths_hypoxia"},
    "egress": {"dtc_egress"},
    "drug_osteoclast": {"osteoclast_deaths_drug"},
    "drug_macrophage": {"macrophage_load"},
    "drug_tumour": {"hazard_death_drug_per_d"},
    "drug_gamma_delta": {"hazard_death_immune_per_d"},
    "chemotherapy": {"hazard_death_chemotherapy_per_d"},
    "mutation": {"dtc_mutations"},
    "angiogenic_dormancy": {"dtc_sprouts", "dtc_deaths_hypoxia"},
    **{f"suitability_{term}": {f"suitability_loss_by_{term}"} for term in TERM_NAMES},
    **{f"wake_{route}": {f"hazard_wake_{route}_per_d"} for route in ("spontaneous", "factors", "lining", "sprouting")},
    "phagocytosis": {"hazard_death_phagocytosis_per_d"},
    "osteoblast_loss": {"osteoblasts_killed"},
}  # fmt: skip
"""What a switch that is off silences, for good."""
# Without factors, precursors that wander or a BMU there is no turnover: what follows from it may end too.
FOLLOWS = dict.fromkeys(
    ("secretion", "diffusion", "remodelling", "osteoclasts", "osteoblasts", "migration"), COUNTS | {"drug_buried_fmol"}
)
# These come only of others that are counted: fewer births make fewer mutants.
CHAINED = {"dtc_mutations", "dtc_deaths_hypoxia", "dtc_sprouts", "osteoclast_deaths_drug", "osteoblasts_killed"}
# They change how large something is, and silence nothing. Their laws: test_suitability (drug_adhesion), test_well_mixed
# (vicious_cycle), test_mechanisms (immune_dormancy, growth_factors, rankl_on_tumour, the shelters), test_endocrine,
# test_macrophages (the support of osteoblasts and tumour).
SHAPING = {
    "drug_adhesion", "vicious_cycle", "immune_dormancy", "growth_factors", "rankl_on_tumour", "endocrine_therapy",
    "quiescent_shelter", "vessel_shelter", "osteal_support", "tumour_support",
}  # fmt: skip


def lively(**changes):
    mapping = YAML(typ="safe").load(LIVELY)
    mapping["override"] |= {"death.surveillance": "0 /d", "death.resting_contact_share": 0.02} | changes.pop("override", {})
    mapping["patient"]["activation_frequency"]["value"] = "5 /yr"
    return mapping | {"scene": DENSE, "seed": 41, "time": {"length": "12 d", "spin_up": "60 d"}} | changes


@pytest.fixture(scope="module")
def ablated():
    """The channels of a niche with everything on, and with each switch off from time 0."""
    regimen = DOSES + CHEMOTHERAPY
    arms = {"on": {"regimen": regimen}} | {
        name: {"regimen": regimen, "switches": {name: False}} for name in Switches._fields
    }
    run = ns.run_experiment(ns.build_experiment(lively(
        arms=arms, population={"dormant_dtc": 110, "cycling_dtc": 40},
        record={"series": "4 d", "cells": "4 d", "ledgers": False},
    )))  # fmt: skip
    return {name: list_channels(arm) for name, arm in run.arms.items()}


def list_channels(arm):
    """Return the largest value of each channel over the rows after time 0."""
    rows, events, final = arm.series.iloc[1:].copy(), arm.events, arm.final_hash_arrays
    for term in TERM_NAMES:
        rows[f"suitability_loss_by_{term}"] = rows["suitability_loss_marrow"] * rows[f"suitability_share_{term}_marrow"]
    found = {name: float(rows[name].fillna(0.0).abs().max()) for name in rows if name in CONTINUOUS | COUNTS}
    n = int(final["living"][0])
    found["macrophage_load"] = float(final["load"][:n][final["cells.kind"][:n] == MACROPHAGE].sum())
    died = events[(events["event"] == "death") & (events["kind"] == "osteoblast")]
    found["osteoblasts_killed"] = int((died["cause"] == "tumour").sum())
    found["hops"] = count_hops(arm.cells)
    return found


def count_hops(cells):
    """Return how often a cell that can move is elsewhere at the next record."""
    cells = cells[cells["kind"].isin(["dtc", "macrophage", "precursor"])].sort_values(["ident", "step"])
    moved = cells[["z", "y", "x"]].ne(cells[["z", "y", "x"]].shift()).any(axis=1)
    return int((moved & cells["ident"].eq(cells["ident"].shift())).sum())


def test_every_switch_has_its_test():
    assert set(OWN) | SHAPING == set(Switches._fields)
    assert not set(OWN) & SHAPING


def test_the_page_of_mechanisms_names_every_switch_and_tests_that_exist():
    page = (LIVELY.parent.parent / "docs" / "mechanisms.md").read_text(encoding="utf-8")
    assert [name for name in Switches._fields if f"`{name}`" not in page] == []
    named = re.findall(r"`(\w+)::(test_\w+)`", page)
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (LIVELY.parent / f"test_{file}.py").read_text(encoding="utf-8"), test


def test_with_everything_on_everything_happens(ablated):
    """What the table is read against; if a new draw breaks it, another seed of the niche is wanted."""
    assert set(ablated["on"]) == CONTINUOUS | COUNTS
    silent = {name for name, most in ablated["on"].items() if not most > 0}
    assert silent <= COUNTS and len(silent) <= 2


@pytest.mark.parametrize("name", Switches._fields)
def test_a_switch_silences_its_own_channels_and_no_other(ablated, name):
    silent = {channel for channel, most in ablated[name].items() if most == 0}
    assert all(np.isfinite(most) for most in ablated[name].values())
    assert silent >= OWN.get(name, set())
    # A rare count may be 0 by chance; some ten expected events are not.
    seldom = {channel for channel in COUNTS if ablated["on"][channel] < 10} | CHAINED
    assert silent - OWN.get(name, set()) <= seldom | FOLLOWS.get(name, set())


# ---------------------------------------------------------------- nothing to switch off


def differing(a, b, ignored=()):
    """Return the arrays of the final states of two arms that differ in any bit."""
    a, b = a.final_hash_arrays, b.final_hash_arrays
    return {name for name in a if a[name].tobytes() != b[name].tobytes()} - set(ignored)


def run_with_each_off(names, **keys):
    """Return the arm with everything on and those in which one of `names` is off."""
    every = {"angiogenic_dormancy": True, "immune_dormancy": True}
    arms = {"on": {}} | {name: {"switches": {name: False}} for name in names}
    mapping = {
        "name": "null", "seed": 7, "scene": "trabecula_small", "patient": "postmenopausal", "switches": every, "arms": arms,
        "time": {"length": "6 d", "spin_up": "20 d"}, "record": {"series": "6 d", "events": False, "ledgers": False},
    }  # fmt: skip
    return ns.run_experiment(ns.build_experiment(mapping | keys)).arms


DRUGS = [name for name in Switches._fields if name.startswith("drug_")] + ["dosing", "bone_drug", "chemotherapy"]
WEIGHTS = {f"suitability.{term}_weight": 0.0 for term in TERM_NAMES}
TERMS = ["suitability", *(f"suitability_{term}" for term in TERM_NAMES)]
OF_TUMOUR = [
    "arrival", "dormancy", "division", "death", "egress", "vicious_cycle", "mutation", "angiogenic_dormancy",
    "immune_dormancy", "wake_spontaneous", "wake_factors", "wake_lining", "wake_sprouting", "growth_factors", "phagocytosis",
    "osteoblast_loss", "rankl_on_tumour", "endocrine_therapy", "tumour_fates", "quiescent_shelter", "vessel_shelter",
    "tumour_support",
]  # fmt: skip
SILENCED = {
    "egress": {"egress.rate": "0 /d"}, "arrival": {"arrival.tumour_supply": "0 /yr", "arrival.reseeding_share": 0},
    "mutation": {"division.adaptation_probability": 0, "division.resistance_probability": 0},
    "immune_dormancy": {"death.immune_control": "0 /d"}, "phagocytosis": {"macrophages.engulf_rate": "0 /d"},
    "wake_factors": {"dormancy.factor_rate": "0 /d"}, "wake_lining": {"dormancy.lining_rate": "0 /d"},
    "wake_sprouting": {"dormancy.sprouting_rate": "0 /d"}, "tumour_support": {"macrophages.growth_share": 0},
    "vicious_cycle": {"secretion.pthrp_basal": "0 fmol/h"},
}  # fmt: skip


def test_without_drug_and_tumour_their_switches_change_no_bit():
    names = [*DRUGS, *OF_TUMOUR, *TERMS]
    arms = run_with_each_off(names, override=WEIGHTS | SILENCED["arrival"])
    assert {name: differing(arms["on"], arms[name]) for name in names} == dict.fromkeys(names, set())


def test_with_a_rate_of_zero_a_switch_changes_no_bit():
    zero = {key: value for group in SILENCED.values() for key, value in group.items()}
    names = [*DRUGS, "endocrine_therapy", "quiescent_shelter", "vessel_shelter", *TERMS, *SILENCED]
    population = {"dormant_dtc": 15, "cycling_dtc": 15}
    arms = run_with_each_off(names, override=WEIGHTS | zero | {"division.basal_rate": "0.1 /d"}, population=population)
    assert {name: differing(arms["on"], arms[name]) for name in names} == dict.fromkeys(names, set())
    assert arms["on"].series["dtc_births"].iloc[-1] > 0


# ---------------------------------------------------------------- drugs, effect by effect

EFFECTS = ("drug_osteoclast", "drug_macrophage", "drug_tumour", "drug_adhesion", "drug_gamma_delta")


@pytest.fixture(scope="module")
def traced():
    """A control, both bisphosphonates without any effect, and each effect alone."""
    none = dict.fromkeys(EFFECTS, False)
    arms = {"control": {}, "tracer": {"regimen": DOSES, "switches": none}} | {
        name: {"regimen": DOSES, "switches": none | {name: True}} for name in EFFECTS
    }
    run = ns.run_experiment(ns.build_experiment(lively(
        arms=arms, population={"dormant_dtc": 40, "cycling_dtc": 20},
        record={"series": "16 d", "events": False, "ledgers": False},
    )))  # fmt: skip
    return run.arms


def changed_by(arms, name):
    """What differs from the control beside where the drug is, and the field of free drug with its scratch."""
    where = {"drug", "drug_ledger", "body", "shared", "load", "fields.folded", "fields.solves"}
    changed = differing(arms["control"], arms[name], where)
    for table in ("fields.concentration", "fields.secretion", "fields.uptake"):
        a, b = (arms[arm].final_hash_arrays[table] for arm in ("control", name))
        own = np.arange(len(a)) != FREE_DRUG
        if np.array_equal(a[own], b[own]):
            changed.discard(table)
    return changed


def test_a_bisphosphonate_without_its_effects_is_a_tracer(traced):
    assert traced["tracer"].final_hash_arrays["drug"].sum() > 0
    assert changed_by(traced, "tracer") == set()


@pytest.mark.parametrize("name", EFFECTS)
def test_each_effect_alone_does_something(traced, name):
    assert changed_by(traced, name) >= {"risk"}
