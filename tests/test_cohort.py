"""Cohorts: matched patients, the same on any number of jobs; what is said of them together; folder and command line."""

import os
import threading

import numpy as np
import pandas as pd
import pytest
from test_cli import call

import niche_sim as ns
from niche_sim import cohort as cohorts
from niche_sim.cohort import (
    PATIENT,
    add_baseline,
    build_niche,
    count_normalised,
    draw_factors,
    find_start,
    run_cohort,
    summarise,
)
from niche_sim.config import ConfigError
from niche_sim.draws import run_key
from niche_sim.errors import InputError, Interrupted, NumericalError
from niche_sim.kinds import MARKER_UNITS as UNITS
from niche_sim.store.folder import write_file

SPREAD = [
    {"name": "patient.activation_frequency", "cv": 0.35, "status": "assumed", "source": "none"},
    {"name": "osteoclasts.lifespan", "cv": 0.1, "distribution": "normal", "status": "assumed", "source": "none"},
    {"name": "drugs.zoledronate.pharmacokinetics.clearance_skeleton", "cv": 0.2, "status": "assumed", "source": "none"},
]
TEXT = """\
name: tiny
seed: 9
scene: trabecula_small
patient: postmenopausal
time: {length: "60 d", spin_up: "30 d"}
arms:
  control: {}
  drug:
    regimen:
      - {drug: zoledronate, dose: "4 mg", start: "30 d"}
record: {series: "15 d", cells: "15 d", fields: "15 d", pictures: ["0 d"]}
spread:
  - {name: patient.activation_frequency, cv: 0.35, status: assumed, source: none}
"""


def make(**changes):
    mapping = {
        "name": "tiny", "seed": 9, "scene": "trabecula_small", "patient": "postmenopausal",
        "time": {"length": "60 d", "spin_up": "30 d"}, "record": {"series": "15 d", "cells": "15 d", "fields": "15 d"},
        "arms": {"control": {}, "drug": {"regimen": [{"drug": "zoledronate", "dose": "4 mg", "start": "30 d"}]}},
        "spread": SPREAD,
    }  # fmt: skip
    return ns.build_experiment(mapping | changes)


@pytest.fixture(scope="module")
def cohort():
    return run_cohort(make(), 2, 2)


def test_the_same_on_any_number_of_jobs(cohort):
    other = run_cohort(make(), 2, 2, jobs=4)
    assert cohort.markers.equals(other.markers)
    assert cohort.patients.equals(other.patients)
    assert cohort.summary.equals(other.summary)


def test_a_patient_does_not_depend_on_the_others(cohort):
    alone = run_cohort(make(), 1, 2)
    assert alone.markers.equals(cohort.markers[cohort.markers["patient"] == 0].reset_index(drop=True))


def test_arms_are_alike_until_the_first_dose(cohort):
    control, drug = (cohort.markers[cohort.markers["arm"] == arm].reset_index(drop=True) for arm in ("control", "drug"))
    before = control["time_h"] <= 30 * 24.0
    columns = [name for name in control if name != "arm"]
    assert control.loc[before, columns].equals(drug.loc[before, columns])
    assert not control.loc[~before, columns].equals(drug.loc[~before, columns])


def test_a_niche_is_the_run_of_its_seed_and_records_its_series_alone():
    experiment = make(spread=[])
    built, key = build_niche(experiment, 9, 1, 0)
    assert key == run_key(9, 1, PATIENT) and built.seed == int(run_key(9, 1, 0)) == built.scene.seed
    run = ns.run_experiment(built, host_key=key)
    arm = run.arms["drug"]
    assert not len(arm.events) and not len(arm.cells) and not len(arm.ledgers) and not arm.fields and not arm.maps
    markers = run_cohort(experiment, 2, 1).markers
    mine = markers[(markers["patient"] == 1) & (markers["arm"] == "drug")].reset_index(drop=True)
    content = arm.series["bone_mineral_content_um3"]
    assert mine["bmd_trabecular_true"].tolist() == pytest.approx((100 * content / content.iloc[0]).tolist())


def test_seeds_of_niches_differ_and_a_scene_with_its_own_seed_stays():
    seeds = {build_niche(make(), 9, p, n)[0].seed for p in range(30) for n in range(30)}
    assert len(seeds) == 900
    fixed = make(scene={
        "kind": "generated", "size": ["0.8 mm", "0.8 mm"], "voxel": "20 um", "bone_volume_fraction": 0.2, "seed": 4,
        "trabecular_thickness": "80 um", "trabecular_separation": "320 um", "sinusoid_spacing": "280 um",
        "sinusoid_diameter": "40 um",
    })  # fmt: skip
    assert build_niche(fixed, 9, 0, 0)[0].scene.seed == 4


def test_factors_follow_their_distribution_inside_their_range():
    turnover, lifespan, uptake = make().spread
    drawn = pd.DataFrame([draw_factors(make().spread, run_key(1, p, PATIENT)) for p in range(4000)])
    for entry in (turnover, lifespan, uptake):
        assert drawn[entry.name].between(entry.low, entry.high).all()
    # Hardly truncated: mean 1 and standard deviation as stated.
    assert drawn[lifespan.name].mean() == pytest.approx(1.0, abs=0.01)
    assert drawn[lifespan.name].std() == pytest.approx(0.1, rel=0.05)
    assert drawn[uptake.name].median() == pytest.approx(1.0, abs=0.015)
    assert np.log(drawn[uptake.name]).std() == pytest.approx(np.sqrt(np.log1p(0.04)), rel=0.06)
    assert abs(drawn.corr().to_numpy()[np.triu_indices(3, 1)]).max() < 0.06
    assert draw_factors((uptake,), run_key(1, 7, PATIENT))[uptake.name] == drawn[uptake.name][7]  # others change nothing


def test_a_patient_gets_her_numbers_in_every_arm():
    experiment = make()
    built, key = build_niche(experiment, 9, 0, 0)
    factors = draw_factors(experiment.spread, key)
    for arm in experiment.arms:
        ratio = built.arm_parameters(arm).value("osteoclasts.lifespan") / experiment.parameters.value("osteoclasts.lifespan")
        assert ratio == pytest.approx(factors["osteoclasts.lifespan"])
    host, given = built.host_patient(), experiment.host_patient()
    assert host.activation[0] == pytest.approx(given.activation[0] * factors["patient.activation_frequency"])
    name = "drugs.zoledronate.pharmacokinetics.clearance_skeleton"
    drug, shipped = (held.host_drugs()["zoledronate"].clearance_skeleton for held in (built, experiment))
    assert drug == pytest.approx(shipped * factors[name])


def test_adherence_is_that_of_the_patient_not_of_the_niche():
    from niche_sim.regimens import Course, schedule_doses

    experiment = make()
    course = Course("zoledronate", 4.0, 24.0, 0.0, None, "iv", 0.25, adherence=0.5)
    taken = []
    for niche in range(3):
        _, key = build_niche(experiment, 9, 0, niche)
        taken.append([took for _, took in schedule_doses([course], experiment.host_drugs(), 1000.0, key)])
    assert taken[0] == taken[1] == taken[2] and 0 < sum(taken[0]) < len(taken[0])


# ---------------------------------------------------------------- what is said of them together


def tabulate(values, start_h, arm="control", patient=0):
    """Return the table of a patient in whom every marker measures `values` a month apart."""
    table = pd.DataFrame({"patient": patient, "arm": arm, "time_h": 720.0 * np.arange(len(values))})
    for name in UNITS:
        table[f"{name}_true"] = table[f"{name}_measured"] = np.array(values, float)
    return add_baseline(table, start_h)


def test_baseline_is_the_mean_before_treatment_or_the_first_measurement():
    values = [np.nan, 10.0, 30.0, 5.0]
    assert tabulate(values, 1440.0)["ctx_relative"].tolist()[1:] == [0.5, 1.5, 0.25]
    assert tabulate(values, 24.0)["ctx_relative"].tolist()[1:] == [1.0, 3.0, 0.5]
    assert tabulate([np.nan, 0.0, 1.0], 720.0)["ctx_relative"].isna().all()


def test_start_is_the_first_dose_or_change_of_any_arm():
    assert find_start(make()) == 30 * 24.0
    assert find_start(make(arms={"control": {}}, spread=SPREAD[:1])) == cohorts.SHORTEST_BASELINE_H
    changes = [{"at": "20 d", "switches": {"division": False}}]
    assert find_start(make(arms={"a": {}, "b": {"changes": changes}}, spread=[])) == 20 * 24.0
    assert find_start(make(arms={"a": {}, "b": {"switches": {"division": False}}}, spread=[])) == 0.0


def test_summary_of_known_patients():
    levels = (2.0, 4.0, 6.0, 8.0)
    markers = pd.concat(
        [tabulate([np.nan, x, x], 720.0, "control", p) for p, x in enumerate(levels)]
        + [tabulate([np.nan, x, x / 2], 720.0, "drug", p) for p, x in enumerate(levels)]
    )
    table = summarise(markers, "control", 1).set_index(["arm", "time_h", "marker", "value"])
    row = table.loc[("drug", 1440.0, "ctx", "measured")]
    assert (row["mean"], row["median"], row["patients"]) == (2.5, 2.5, 4)
    assert row["low"] == pytest.approx(np.percentile([1, 2, 3, 4], 2.5))
    # Every patient is halved, so that the matched ratio has no scatter however patients are drawn.
    assert [row["ratio"], row["ratio_low"], row["ratio_high"]] == pytest.approx([0.5, 0.5, 0.5])
    assert table.loc[("drug", 1440.0, "p1np", "relative")]["mean"] == 0.5
    assert not (table.reset_index()["time_h"] == 0).any()


def test_one_patient_without_a_baseline_does_not_hide_the_others():
    markers = pd.concat([tabulate([np.nan, 0.0, 1.0], 720.0), tabulate([np.nan, 2.0, 1.0], 720.0, patient=1)])
    table = summarise(markers, "control", 1).set_index(["time_h", "marker", "value"])
    row = table.loc[(1440.0, "ctx", "relative")]
    assert (row["patients"], row["mean"]) == (1, 0.5)


def test_share_of_high_ntx_that_becomes_normal():
    courses = [[np.nan, 100, 50, 90], [np.nan, 100, 90, 90], [np.nan, 40, 10, 10], [np.nan, 80, 80, 20]]
    markers = pd.concat([tabulate(values, 720.0, patient=p) for p, values in enumerate(courses)])
    table = count_normalised(markers, 64.0, 720.0).set_index(["time_h", "value"])
    assert table["patients"].unique().tolist() == [3]
    assert table.loc[(1440.0, "normal"), "mean"] == pytest.approx(1 / 3)
    assert table.loc[(2160.0, "normal"), "mean"] == pytest.approx(1 / 3)
    assert table.loc[(2160.0, "never_normal"), "mean"] == pytest.approx(1 / 3)
    assert table.loc[(2160.0, "normal"), "low"] < 1 / 3 < table.loc[(2160.0, "normal"), "high"]
    assert len(count_normalised(markers, 1000.0, 720.0)) == 0


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("entry, place, words", [
    ("{name: patient.age, cv: 0.3, ANY}", "13:12: spread.0.name", "unknown number of a patient"),
    ("{name: osteoclast.lifespan, cv: 0.3, ANY}", "13:12: spread.0.name", "'osteoclasts.lifespan'"),
    ("{name: drugs.clodronate.molar_mass, cv: 0.3, ANY}", "13:12", "no arm gives the drug"),
    ("{name: drugs.zoledronate.effects, cv: 0.3, ANY}", "13:12", "is a group of numbers"),
    ("{name: drugs.zoledronate.effects.ovary.onset, cv: 0.3, ANY}", "13:12", "has no number"),
    ("{name: secretion.tgf_beta_content, cv: -1, ANY}", "13:44: spread.0.cv", "not above 0"),
    ("{name: osteoclasts.lifespan, cv: 0.3, distribution: gamma, ANY}", "13:57: spread.0.distribution", "lognormal, normal"),
    ("{name: osteoclasts.lifespan, cv: 0.3, status: measured, source: none}", "13:69: spread.0.source", "needs a source"),
    ("{name: osteoclasts.lifespan, cv: 0.3, range: [1 d, 90 d], ANY}", "13:50", "wider than the range"),
    ("{name: osteoclasts.lifespan, cv: 0.3, range: [15 d, 16 d], ANY}", "13:12", "not inside the range"),
    ("{name: osteoclasts.lifespan, cv: 0.3, range: [1 L, 16 d], ANY}", "13:51", "is a volume"),
    ("{name: osteoclasts.lifespan, cw: 0.3, ANY}", "13:34: spread.0.cw", "unknown key"),
    ("{name: arrival.reseeding_share, cv: 0.3}", "12:1: spread.0.status", "'status' is needed here"),
])  # fmt: skip
def test_mistakes_of_a_spread_are_named_with_their_place(tmp_path, entry, place, words):
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT.rpartition("  - ")[0] + f"  - {entry.replace('ANY', 'status: assumed, source: none')}\n")
    with pytest.raises(ConfigError) as caught:
        ns.load_experiment(file)
    assert any(f"tiny.yaml:{place}" in line and words in line for line in str(caught.value).splitlines()), str(caught.value)


def test_a_number_that_an_arm_overrides_cannot_be_spread():
    with pytest.raises(ConfigError, match="one value in every arm"):
        make(arms={"a": {"override": {"osteoclasts.lifespan": "15 d"}}}, spread=SPREAD[1:2])
    with pytest.raises(ConfigError, match="spread twice"):
        make(spread=[SPREAD[0], SPREAD[0]])
    with pytest.raises(ConfigError, match="a factor cannot spread it"):
        make(override={"death.surveillance": "0 /d"}, spread=[SPREAD[1] | {"name": "death.surveillance"}])


def test_spread_survives_the_resolved_file_and_leaves_other_hashes_alone():
    experiment = make()
    again = ns.build_experiment(experiment.resolved())
    assert again.spread == experiment.spread and again.config_hash == experiment.config_hash
    assert "spread" not in make(spread=[]).resolved()


def test_an_error_names_patient_and_niche(monkeypatch):
    def fail(experiment, **options):
        raise NumericalError("a field is not finite")

    monkeypatch.setattr(cohorts, "run_experiment", fail)
    with pytest.raises(NumericalError, match=r"patient 0, niche 0 \(seed \d+\): a field"):
        run_cohort(make(), 2, 1)


def test_a_cohort_needs_a_series_and_a_known_reference():
    with pytest.raises(InputError, match="record.series"):
        run_cohort(make(record={"series": False}), 1, 1)
    with pytest.raises(InputError, match="no arm 'placebo'; there is control, drug"):
        run_cohort(make(), 1, 1, reference="placebo")


# ---------------------------------------------------------------- folder and command line


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("cohort")
    (place / "tiny.yaml").write_text(TEXT)
    target = place / "result"
    assert call("cohort", place / "tiny.yaml", "--patients", 2, "--niches", 1, "--jobs", 1, "--out", target, "--quiet") == 0
    return target


def test_the_folder_holds_what_was_found(folder):
    assert {path.name for path in folder.iterdir()} == {
        "markers.parquet", "summary.csv", "patients.csv", "resolved.yaml", "manifest.json", "figures",
        "report.html",
    }  # fmt: skip
    markers = pd.read_parquet(folder / "markers.parquet")
    assert set(markers["arm"]) == {"control", "drug"} and set(markers["patient"]) == {0, 1}
    for name in UNITS:
        assert {f"{name}_true", f"{name}_measured", f"{name}_relative"} <= set(markers)
    assert {"mean", "median", "low", "high", "ratio_low", "ratio_high"} <= set(pd.read_csv(folder / "summary.csv"))
    from niche_sim.store.cohorts import load_cohort

    held = load_cohort(folder)
    assert held["markers"].attrs["units"]["ctx_measured"] == "ng/mL"
    about = held["manifest"]
    assert (about["seed"], about["patients"], about["niches"], about["baseline_h"]) == (9, 2, 1, 720.0)
    assert about["sources"]["numbers"]["spread.patient.activation_frequency.cv"]["value"] == "0.35"


def test_verify_hash_plot_know_a_cohort(folder, capsys):
    assert call("verify", folder) == 0
    assert call("hash", folder) == 0
    assert call("plot", folder) == 0
    assert "markers.png" in capsys.readouterr().out
    before = (folder / "report.html").read_bytes()
    assert call("report", folder) == 0
    assert (folder / "report.html").read_bytes() == before
    assert call("export", folder, "--to", folder.parent / "exported") == 2
    assert "holds a cohort" in capsys.readouterr().err
    assert call("rerun", folder, "--out", folder.parent / "again") == 2


def test_the_figure_is_the_same_every_time(folder):
    from niche_sim.view.cohort import draw_cohort

    before = (folder / "figures" / "markers.svg").read_bytes()
    draw_cohort(folder)
    assert (folder / "figures" / "markers.svg").read_bytes() == before and len(before) > 10_000


def test_a_folder_that_exists_is_refused(folder, capsys):
    assert call("cohort", folder.parent / "tiny.yaml", "--out", folder) == 2
    assert "already exists" in capsys.readouterr().err


def test_a_changed_table_is_refused(folder, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "summary.csv").write_text("arm\n")
    assert call("plot", copy) == 2
    assert "summary.csv: was changed after it was written" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, capsys):
    from niche_sim.store import cohorts as writer

    def write(path, content):
        if path.name == "summary.csv":
            raise writer_error(path)
        write_file(path, content)

    def writer_error(path):
        from niche_sim.store.folder import explain

        return explain(OSError(28, os.strerror(28)), path, 1)

    monkeypatch.setattr(writer, "write_file", write)
    (tmp_path / "tiny.yaml").write_text(TEXT)
    arguments = ("--patients", 1, "--niches", 1, "--quiet", "--length", "30 d")
    assert call("cohort", tmp_path / "tiny.yaml", *arguments, "--out", tmp_path / "full") == 4
    assert "no room on the disk" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch, capsys):
    stopped = threading.Event()

    def run(experiment, patients, niches, **options):
        stopped.set()
        raise Interrupted("stopped")

    monkeypatch.setattr(cohorts, "run_cohort", run)
    (tmp_path / "tiny.yaml").write_text(TEXT)
    assert call("cohort", tmp_path / "tiny.yaml", "--out", tmp_path / "gone", "--quiet") == 5
    assert stopped.is_set() and "nothing unfinished was kept" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_every_niche_ends_soon_after_an_interruption():
    calls = []

    def stop(event, **info):
        calls.append(event)
        if event == "advance":
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        run_cohort(make(), 50, 4, jobs=2, progress=stop)
    assert calls.count("advance") <= 4


# ---------------------------------------------------------------- tumours


def with_tumour():
    return make(population={"dormant_dtc": 8}, time={"length": "45 d", "spin_up": "15 d"})


@pytest.fixture(scope="module")
def tumours():
    return run_cohort(with_tumour(), 2, 2, tumours=40)


def test_tumours_are_the_same_on_any_number_of_jobs_and_in_a_larger_cohort(tumours):
    held = tumours.tumours
    other = run_cohort(with_tumour(), 1, 2, tumours=40, jobs=2).tumours
    assert other.lesions.equals(held.lesions[held.lesions["patient"] == 0].reset_index(drop=True))
    assert other.visits.equals(held.visits[held.visits["patient"] == 0].reset_index(drop=True))
    assert held.number == 40 and set(held.visits["patient"]) == {0, 1} and (held.visits["tumours"] == 40).all()


def test_tumours_of_arms_are_alike_until_the_first_dose(tumours):
    visits = tumours.tumours.visits
    control, drug = (visits[visits["arm"] == arm].reset_index(drop=True) for arm in ("control", "drug"))
    before = control["time_h"] <= 30 * 24.0
    now = ["dtc_density", "dtc_count", "bone_dormant", "bone_growing", "outside_dormant", "outside_growing", "ctc_cells"]
    assert control.loc[before, now].equals(drug.loc[before, now])
    assert not control.loc[~before, now].equals(drug.loc[~before, now])
    start = tumours.tumours.lesions.query("origin == 'initial'").groupby(["patient", "arm", "site"]).size().unstack("arm")
    assert start["control"].equals(start["drug"].rename("control"))


def test_tumours_are_those_asked_for_or_none():
    count = cohorts.count_tumours
    placed, bare = with_tumour(), make()
    assert (count(placed, None), count(placed, 7), count(placed, 0)) == (cohorts.USUAL_TUMOURS, 7, 0)
    assert (count(bare, None), count(bare, 0)) == (0, 0)
    with pytest.raises(InputError, match="expected 0 or more, not -1"):
        count(placed, -1)
    with pytest.raises(InputError, match="places no dormant tumour cells"):
        run_cohort(bare, 1, 1, tumours=5)


def test_the_folder_holds_the_tumours(tmp_path, capsys):
    from niche_sim.store.cohorts import load_cohort

    (tmp_path / "tiny.yaml").write_text(TEXT)
    target, file = tmp_path / "result", tmp_path / "tiny.yaml"
    some = ("--patients", 2, "--niches", 1, "--jobs", 1, "--tumours", 30, "--out", target)
    assert call("cohort", file, *some, "--set", "population.dormant_dtc=8", "--no-figures") == 0
    assert "30 tumours a patient" in capsys.readouterr().out
    assert call("verify", target) == 0 and call("plot", target) == 0 and call("hash", target) == 0
    printed = capsys.readouterr().out
    assert "tumour.png" in printed and "markers.png" in printed
    held = load_cohort(target)
    assert held["manifest"]["tumours"] == 30 and held["manifest"]["result_hash"] in printed
    units = held["lesions"].attrs["units"]
    assert (units["woke_h"], units["fate"], units["tumour"]) == ("h", "name", "count")
    assert held["tumours"].attrs["units"]["bone_metastasis_share"] == "1"
    assert held["tumours"].attrs["units"]["dtc_density"] == "1/1e6 MNC"
    assert {"dtc_positive", "bone_metastasis", "skeletal_events"} <= set(held["tumour_summary"]["quantity"])
    (target / "lesions.parquet").write_bytes(b"")
    assert call("plot", target) == 2
    assert "lesions.parquet: was changed" in capsys.readouterr().err
    assert call("cohort", file, "--tumours", 5, "--out", tmp_path / "none") == 2
    assert "population: {dormant_dtc: 48}" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
