"""The gate: what enters, what is refused and how it is said."""

import json
import math
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from niche_sim.config import (
    SWITCHES,
    ConfigError,
    build_experiment,
    check_files,
    experiment_schema,
    list_available,
    load_drug,
    load_experiment,
    load_parameters,
)
from niche_sim.config.library import list_experiments
from niche_sim.config.reader import MOST_BYTES, parse, read_document
from niche_sim.errors import InputError
from niche_sim.resources import configs_dir

SCENE = {
    "kind": "generated",
    "size": ["2 mm", "2 mm"],
    "voxel": "20 um",
    "boundary": "periodic",
    "bone_volume_fraction": 0.15,
    "trabecular_thickness": "130 um",
    "trabecular_separation": "700 um",
    "sinusoid_spacing": "150 um",
    "sinusoid_diameter": "30 um",
}

TEXT = """\
name: small_one
title: One postmenopausal niche with and without zoledronate
seed: 2026
parameters: human
scene:
  kind: generated
  size: ["2 mm", "2 mm"]
  voxel: "20 um"
  bone_volume_fraction: 0.15
  trabecular_thickness: "130 um"
  trabecular_separation: "700 um"
  sinusoid_spacing: "150 um"
  sinusoid_diameter: "30 um"
patient: postmenopausal
time: {length: "2 yr", tick: "6 h", spin_up: "1 yr"}
population: {dormant_dtc: 48}
arms:
  control: {}
  treated: {regimen: zoledronate_q4w}
override: {death.surveillance: "1e-4 /d"}
record:
  series: "1 d"
  cells: "90 d"
  pictures: ["0 d", "6 months", "2 yr"]
"""


def mapping(**changes):
    base = {
        "name": "small_one",
        "scene": dict(SCENE),
        "patient": "postmenopausal",
        "time": {"length": "2 yr", "tick": "6 h"},
        "arms": {"control": {}},
    }
    return base | changes


def write(folder, text, name="experiment.yaml"):
    file = folder / name
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


def problems_of(action, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        action(*arguments, **keywords)
    assert caught.value.exit_code == 2
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return caught.value.problems


def only(problems):
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def dump(plain):
    import io

    from ruamel.yaml import YAML

    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.dump(plain, stream)
    return stream.getvalue()


# ---------------------------------------------------------------- what enters


def test_loads_into_inside_units(tmp_path):
    experiment = load_experiment(write(tmp_path, TEXT))
    assert (experiment.name, experiment.seed) == ("small_one", 2026)
    assert (experiment.length_h, experiment.tick_h, experiment.spin_up_h) == (17532.0, 6.0, 8766.0)
    assert experiment.scene.size_um == [2000.0, 2000.0]
    assert experiment.scene.voxel_um == 20.0
    assert experiment.scene.periodic
    assert experiment.scene.seed == 2026
    assert experiment.scene.plain()["trabecular_thickness"] == 130.0
    assert experiment.population.dormant_dtc == 48
    assert experiment.population.cycling_dtc == 0
    assert experiment.record.pictures_h == [0.0, 4383.0, 17532.0]
    assert experiment.record.fields_h is None
    assert experiment.record.cells_h == 2160.0
    assert experiment.parameters.value("death.surveillance") == pytest.approx(1e-4 / 24)
    assert experiment.parameters["death.surveillance"].status == "assumed"
    assert experiment.host_patient().activation == pytest.approx((0.13 / 8766,))
    assert experiment.host_patient().oestradiol == pytest.approx((0.022,))
    course = experiment.arms["treated"].regimen[0]
    assert (course.drug, course.dose_mg, course.interval_h, course.infusion_h) == ("zoledronate", 4.0, 672.0, 0.25)
    assert list(experiment.drugs) == ["zoledronate"]
    assert experiment.host_drugs()["zoledronate"].molar_mass == 272.09
    assert experiment.arms["control"].regimen == []
    off = ("angiogenic_dormancy", "immune_dormancy")
    assert experiment.switches == {name: name not in off for name in SWITCHES}


def test_resolved_experiment_is_itself(tmp_path):
    text = TEXT.replace(
        "treated: {regimen: zoledronate_q4w}",
        "treated: {regimen: clodronate_daily, override: {death.share: 1}, switches: {division: false}}",
    ).replace("death.share: 1", 'dormancy.exit_rate: "1e-4 /d"')
    experiment = load_experiment(write(tmp_path, text))
    again = load_experiment(write(tmp_path, dump(experiment.resolved()), "resolved.yaml"))
    assert again == experiment
    assert again.config_hash == experiment.config_hash
    assert again.arm_parameters("treated").value("dormancy.exit_rate") == pytest.approx(1e-4 / 24)
    assert again.arm_switches("treated")["division"] is False
    assert again.arm_switches("control")["division"] is True
    assert build_experiment(experiment.resolved()) == experiment


def test_hash_follows_content_not_spelling():
    one = build_experiment(mapping())
    assert build_experiment(mapping(time={"length": "730.5 d", "tick": "360 min"})).config_hash == one.config_hash
    assert build_experiment(mapping(seed=1)).config_hash != one.config_hash


def test_resolved_holds_every_number_with_its_source():
    resolved = build_experiment(mapping()).resolved()
    leaf = resolved["parameters"]["dormancy"]["exit_rate"]
    assert set(leaf) == {"value", "range", "status", "source", "note"}
    assert leaf["value"].endswith("/d")


def test_switch_names_are_those_of_the_schedule():
    from niche_sim.schedule import Switches

    assert set(SWITCHES) == set(Switches._fields)


def test_three_dimensions_and_closed_boundary():
    scene = SCENE | {"size": ["0.2 mm", "0.4 mm", "0.4 mm"], "boundary": "closed"}
    experiment = build_experiment(mapping(scene=scene))
    assert experiment.scene.size_um == [200.0, 400.0, 400.0]
    assert not experiment.scene.periodic


def test_patient_that_changes_over_time(tmp_path):
    leaf = 'range: ["0.05 /yr", "1 /yr"], status: assumed, source: none'
    file = write(
        tmp_path,
        f"""\
        name: changing
        activation_frequency:
          - {{from: "0 yr", value: "0.13 /yr", {leaf}}}
          - {{from: "1 yr", value: "0.24 /yr", {leaf}}}
        bone_balance:
          - {{from: "0 yr", value: 1.0, range: [0.9, 1.0], status: assumed, source: none}}
          - {{from: "2 yr", value: 0.9, range: [0.9, 1.0], status: assumed, source: none}}
        rankl_factor: {{value: 1, range: [0.5, 2], status: assumed, source: none}}
        oestradiol: {{value: "100 pmol/L", range: ["0 pmol/L", "500 pmol/L"], status: assumed, source: none}}
        """,
        "changing.yaml",
    )
    assert check_files([file]) == []
    patient = build_experiment(mapping(patient=str(file))).host_patient()
    assert patient.times_h == (0.0, 8766.0, 17532.0)
    assert patient.bone_balance == pytest.approx((1.0, 0.95, 0.9))
    assert patient.activation == pytest.approx((0.13 / 8766, 0.24 / 8766, 0.24 / 8766))
    assert patient.rankl_factor == (1.0, 1.0, 1.0) and patient.oestradiol == pytest.approx((0.1, 0.1, 0.1))


def test_paths_are_from_the_file_that_names_them(tmp_path, monkeypatch):
    scene = dump(SCENE)
    write(tmp_path, scene, "mine.yaml")
    file = write(tmp_path, dump(mapping(scene="mine.yaml")))
    monkeypatch.chdir("/")
    assert load_experiment(file).scene.voxel_um == 20.0


def test_image_scene_is_found_beside_its_file(tmp_path):
    np.save(tmp_path / "mask.npy", np.arange(40) < np.full((40, 1), 20))
    scene = {k: SCENE[k] for k in ("voxel", "sinusoid_spacing", "sinusoid_diameter")}
    scene |= {"kind": "image", "file": "mask.npy", "image_voxel": "10 um", "boundary": "closed"}
    write(tmp_path, dump(scene), "image.yaml")
    experiment = load_experiment(write(tmp_path, dump(mapping(scene="image.yaml"))))
    assert experiment.scene.file == str((tmp_path / "mask.npy").resolve())
    assert build_experiment(experiment.resolved()) == experiment
    (tmp_path / "real.npy").write_bytes((tmp_path / "mask.npy").read_bytes())
    for spoil in (Path.unlink, lambda path: path.symlink_to("real.npy"), lambda path: path.write_text("no image")):
        spoil(tmp_path / "mask.npy")
        problem = only(check_files([tmp_path / "image.yaml"]))
        assert (problem.path, problem.code) == ("file", "file")
        (tmp_path / "mask.npy").unlink(missing_ok=True)


def test_shipped_files_are_sound():
    files = [
        configs_dir() / kind / f"{name}.yaml"
        for kind, names in list_available().items()
        if kind not in ("experiments", "studies")
        for name in names
    ]
    assert len(files) > 10
    assert [str(problem) for problem in check_files(files)] == []


@pytest.mark.parametrize("name", list_experiments())
def test_shipped_experiments_are_sound(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    assert load_experiment(name[:3]).config_hash == experiment.config_hash


def test_shipped_patients_and_regimens():
    available = list_available()
    assert {"premenopausal", "early_postmenopausal", "postmenopausal"} <= set(available["patients"])
    for name in available["regimens"]:
        experiment = build_experiment(mapping(arms={"a": {"regimen": name}}))
        assert 1 <= len(experiment.arms["a"].regimen) <= 2
    patients = [
        build_experiment(mapping(patient=name)).host_patient()
        for name in ("premenopausal", "early_postmenopausal", "postmenopausal")
    ]
    assert [patient.activation[0] * 8766 for patient in patients] == pytest.approx([0.13] * 3)
    assert [patient.oestradiol[0] for patient in patients] == pytest.approx([0.367, 0.073, 0.022])


def test_drug_file_reaches_the_host():
    drug = load_drug("zoledronate")
    assert drug.numbers["pharmacokinetics"]["central_volume"] == 12.0
    assert drug.drug.affinity == pytest.approx(3.47e-3)
    assert drug.mapping["molar_mass"]["value"] == "272.09 g/mol"


# ---------------------------------------------------------------- options


def test_settings_reach_keys_parameters_and_named_files(tmp_path):
    file = write(tmp_path, TEXT)
    experiment = load_experiment(
        file,
        sets=[
            "scene.voxel=10 um",
            "patient=premenopausal",
            "dormancy.exit_rate=1e-4 /d",
            "switches.death=false",
            "arms.treated.regimen.0.dose=8 mg",
            "arms.extra.regimen=clodronate_daily",
            "arms.control.override.death.surveillance=1e-3 /d",
            "patient.bone_balance.value=0.98",
        ],
    )
    assert experiment.scene.voxel_um == 10.0
    assert experiment.parameters.value("dormancy.exit_rate") == pytest.approx(1e-4 / 24)
    assert experiment.switches["death"] is False
    assert experiment.arms["treated"].regimen[0].dose_mg == 8.0
    assert experiment.arms["extra"].regimen[0].drug == "clodronate"
    assert experiment.arms["control"].override == {"death.surveillance": "1e-3 /d"}
    assert experiment.host_patient().bone_balance == (0.98,)
    assert build_experiment(experiment.resolved()) == experiment


def test_pictures_by_an_interval(tmp_path):
    path = write(tmp_path, TEXT)
    weekly = load_experiment(path, sets={"record.pictures": "7 d"})
    assert weekly.record.pictures_h == 168.0
    assert weekly.resolved()["record"]["pictures"] == "168 h"
    assert build_experiment(weekly.resolved()) == weekly
    assert load_experiment(path, sets={"record.pictures": "7 d"}, length="20 d").record.pictures_h == 168.0
    assert load_experiment(path, sets={"record.pictures": "false"}).record.pictures_h == []


def test_settings_reach_a_shipped_drug(tmp_path):
    experiment = load_experiment(write(tmp_path, TEXT), sets={"drugs.zoledronate.skeleton.affinity.value": "3e6 L/mol"})
    assert experiment.host_drugs()["zoledronate"].affinity == pytest.approx(3e-3)


def test_shorter_length_leaves_out_what_comes_after(tmp_path):
    late = TEXT.replace("zoledronate_q4w", '[{drug: zoledronate, dose: "4 mg", start: "1 yr"}]')
    experiment = load_experiment(write(tmp_path, late), length="90 d", seed=7)
    assert (experiment.length_h, experiment.seed) == (2160.0, 7)
    assert experiment.record.pictures_h == [0.0, 2160.0]
    assert experiment.arms["treated"].regimen == []
    assert build_experiment(experiment.resolved()) == experiment


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("time.lenght=3 d", "--set time.lenght: unknown key; did you mean 'length'?"),
        ("dormancy.exit_rat=3", "did you mean 'dormancy.exit_rate'?"),
        ("dormancy.exit_rate=3 /d", "--set dormancy.exit_rate: '3 /d' is outside the range"),
        ("foo", "--set: expected name=value"),
        ("=3", "--set: expected name=value"),
        ("name.x=3", "name holds no keys"),
        ("arms.treated.regimen.7.dose=3 mg", "has no entry '7'; it has 1"),
        ("patient=nobody", "--set patient: unknown patient 'nobody'"),
        ("seed=-1", "--set seed: -1 is not between"),
        ("arms=3", "--set arms: expected a mapping"),
        (".".join(["scene"] * 50) + "=1", "more than 32 parts"),
    ],
)
def test_wrong_settings_are_placed_at_the_option(tmp_path, setting, said):
    problem = only(problems_of(load_experiment, write(tmp_path, TEXT), sets=[setting]))
    assert said in str(problem)
    assert problem.file.startswith("--set")
    assert problem.line is None


def test_wrong_length_and_seed_are_placed_at_the_option(tmp_path):
    problems = problems_of(load_experiment, write(tmp_path, TEXT), length="3", seed=2**64)
    assert [(p.file, p.path) for p in problems] == [("--length", "time.length"), ("--seed", "seed")]


# ---------------------------------------------------------------- mistakes

BROKEN = """\
name: bad one
titel: x
seed: "2026"
parameters: humn
scene:
  kind: generated
  size: ["2 mm", "2 mm"]
  voxel: "20 mg"
  boundary: periodi
  bone_volume_fraction: 0.9
  trabecular_thickness: 130
  trabecular_separation: "700 um"
  sinusoid_diameter: "30 um"
patient: postmenopausl
time: {lenght: "2 yr", tick: "7 h", spin_up: "-1 yr"}
population: {dormant_dtc: -48, cycling_dtc: 1.5}
arms:
  "a/b": {}
  control:
  treated: {regimen: zoledronate_q4}
  x: {regimen: [{drug: zolendronate, dose: 4, intervall: "28 d"}], switches: {divsion: true, death: no}}
switches: {division: 1}
override: {dormancy.exit_rat: "1e-4 /d", dormancy.exit_rate: "1 /d", dormancy.factor_rate: "1 um", death.surveillance: nan}
record:
  series: true
  cells: "91 um"
"""

EXPECTED = """\
1:7: name: expected a name
2:1: titel: unknown key; did you mean 'title'?
3:7: seed: expected a whole number, not '2026'
4:13: parameters: unknown parameter set 'humn'; did you mean 'human'?
5:1: scene.sinusoid_spacing: missing
8:10: scene.voxel: '20 mg' is a mass; expected a length
9:13: scene.boundary: expected one of periodic, closed, not 'periodi'; did you mean 'periodic'?
10:25: scene.bone_volume_fraction: 0.9 is more than 0.6
11:25: scene.trabecular_thickness: missing unit: expected a length, write e.g. '130 um'
14:10: patient: unknown patient 'postmenopausl'; did you mean 'postmenopausal'?
15:1: time.length: missing: 'length' is needed here (is it 'lenght'?)
15:8: time.lenght: unknown key; did you mean 'length'?
15:30: time.tick: a day is not a whole number of ticks of 7 h
15:46: time.spin_up: '-1 yr' is less than 0 h
16:27: population.dormant_dtc: -48 is not between 0 and 1000000
16:45: population.cycling_dtc: expected a whole number, not 1.5
18:3: arms.a/b: the name of an arm
19:3: arms.control: expected a mapping of keys, not nothing; write {}
20:22: arms.treated.regimen: unknown regimen 'zoledronate_q4'; did you mean 'zoledronate_q4w'?
21:24: arms.x.regimen.0.drug: unknown drug 'zolendronate'; did you mean 'zoledronate'?
21:44: arms.x.regimen.0.dose: missing unit: expected a mass, write e.g. '4 mg'
21:47: arms.x.regimen.0.intervall: unknown key; did you mean 'interval'?
21:79: arms.x.switches.divsion: unknown key; did you mean 'division'?
21:101: arms.x.switches.death: expected true or false, not 'no'
22:22: switches.division: expected true or false, not 1
23:12: override.dormancy.exit_rat: unknown parameter; did you mean 'dormancy.exit_rate'?
23:62: override.dormancy.exit_rate: '1 /d' is outside the range 1e-5 /d to 1.6e-4 /d
23:92: override.dormancy.factor_rate: '1 um' is a length; expected a rate
23:120: override.death.surveillance: 'nan' is not a number
25:11: record.series: expected a time, e.g. '6 h', not True
26:10: record.cells: '91 um' is a length; expected a time
"""


def test_every_mistake_of_a_file_is_reported_at_once(tmp_path):
    file = write(tmp_path, BROKEN)
    said = [str(problem) for problem in check_files([file])]
    expected = [f"{file}:{line}" for line in EXPECTED.splitlines()]
    assert len(said) == len(expected), "\n".join(said)
    for line, start in zip(said, expected):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("changes", "path", "said"),
    [
        ({"time": {"length": "0 d"}}, "time.length", "is not above 0 h"),
        ({"time": {"length": "101 yr"}}, "time.length", "is more than 100 yr"),
        ({"time": {"length": "2 yr", "tick": "25 h"}}, "time.tick", "is more than 24 h"),
        ({"time": {"length": "2 yr", "tick": "5 h"}}, "time.tick", "not a whole number of ticks"),
        ({"time": {"length": "25 h", "tick": "6 h"}}, "time.length", "the nearest is 24 h"),
        ({"time": {"length": "2 d", "spin_up": "1 h"}}, "time.spin_up", "not a whole number of ticks"),
        ({"arms": {}}, "arms", "at least 1 entry"),
        ({"arms": {"x" * 65: {}}}, "arms." + "x" * 61 + "...", "the name of an arm"),
        ({"arms": {"__x": {}}}, "arms.__x", "the name of an arm"),
        ({"arms": {"x\n": {}}}, "arms.'x\\n'", "the name of an arm"),
        ({"seed": -1}, "seed", "is not between 0 and 18446744073709551615"),
        ({"seed": 2**64}, "seed", "is not between"),
        ({"seed": True}, "seed", "expected a whole number"),
        ({"seed": 1.0}, "seed", "expected a whole number"),
        ({"record": {"pictures": ["3 yr"]}}, "record.pictures.0", "'3 yr' is after the end of the run, '2 yr'"),
        ({"record": {"pictures": "12 h"}}, "record.pictures", "gives 1,462 pictures, at most 1000 are kept; take 18 h"),
        ({"record": {"pictures": "7 h"}}, "record.pictures", "not a whole number of ticks"),
        ({"record": {"pictures": 7}}, "record.pictures", "missing unit: expected a time"),
        ({"record": {"pictures": ["0 d", 7]}}, "record.pictures.1", "missing unit: expected a time"),
        ({"record": {"pictures": ["0 d"] * 1001}}, "record.pictures", "at most 1000 entries"),
        ({"record": {"series": "7 h"}}, "record.series", "not a whole number of ticks"),
        ({"record": {"events": 1}}, "record.events", "expected true or false"),
        ({"population": {"dormant_dtc": 9000}}, "population.dormant_dtc", "do not fit into some 8500 voxels"),
        ({"scene": SCENE | {"size": ["2 mm", "2010 um"]}}, "scene.size.1", "the nearest is 2000 um"),
        ({"scene": SCENE | {"size": ["20 um", "2 mm"]}}, "scene.size.0", "fewer than 3 voxels"),
        ({"scene": SCENE | {"size": ["2 mm"]}}, "scene.size", "at least 2 entries"),
        ({"scene": SCENE | {"size": ["50 mm", "50 mm", "50 mm"]}}, "scene.size", "voxels; at most"),
        ({"scene": SCENE | {"sinusoid_diameter": "150 um"}}, "scene.sinusoid_diameter", "smaller than"),
        ({"scene": SCENE | {"kind": "generate"}}, "scene.kind", "did you mean 'generated'?"),
        ({"scene": SCENE | {"bone_volume_fraction": math.nan}}, "scene.bone_volume_fraction", "not finite"),
        ({"scene": None}, "scene", "expected the name of a scene"),
        ({"scene": "../../etc/passwd"}, "scene", "ends in .yaml"),
        ({"scene": "none.yaml"}, "scene", "no such file"),
        ({"patient": 3}, "patient", "expected the name of a patient"),
        ({"override": {"death.nothing": 1}}, "override.death.nothing", "unknown parameter"),
        ({"override": 3}, "override", "expected parameters"),
        ({"parameters": {}}, "parameters", "expected groups of parameters"),
        ({"title": 3}, "title", "put it in quotes"),
        ({"drugs": {"x": "y"}}, "drugs.x", "unknown drug 'y'"),
        ({"drugs": []}, "drugs", "expected drugs"),
    ],
)
def test_one_mistake_is_one_problem(changes, path, said):
    problem = only(problems_of(build_experiment, mapping(**changes)))
    assert problem.path == path
    assert said in problem.message
    assert problem.file == "<api>"


@pytest.mark.parametrize(
    ("course", "key", "said"),
    [
        ({"start": "3 yr"}, "start", "the course starts at '3 yr', but the run ends at '2 yr'"),
        ({"start": "2 yr"}, "start", "but the run ends"),
        ({"start": "1 yr", "interval": "28 d", "until": "0.5 yr"}, "until", "is not after the start, '1 yr'"),
        ({"until": "1 yr"}, "until", "needs an `interval`"),
        ({"interval": "1 min"}, "interval", "is less than 1 h"),
        ({"dose": "-4 mg"}, "dose", "is not above 0 mg"),
        ({"dose": "4 mg/L"}, "dose", "expected a mass"),
        ({"route": "oral"}, "route", "is given iv, not oral"),
        ({"route": "nasal"}, "route", "expected one of iv, oral, sc"),
        ({"drug": "zoledronat"}, "drug", "did you mean 'zoledronate'?"),
    ],
)
def test_impossible_courses(course, key, said):
    arms = {"a": {"regimen": [{"drug": "zoledronate", "dose": "4 mg"} | course]}}
    problem = only(problems_of(build_experiment, mapping(arms=arms)))
    assert problem.path == f"arms.a.regimen.0.{key}"
    assert said in problem.message


def test_mistake_in_a_named_file_has_the_place_of_that_file(tmp_path):
    text = (configs_dir() / "drugs" / "zoledronate.yaml").read_text(encoding="utf-8")
    line = text[: text.index('value: "12 L"')].count("\n") + 1
    write(tmp_path, text.replace('value: "12 L"', 'value: "12 mg"'), "zoledronate.yaml")
    text = TEXT.replace("arms:", "drugs: {zoledronate: ./zoledronate.yaml}\narms:")
    problem = only(problems_of(load_experiment, write(tmp_path, text)))
    assert problem.file.endswith("zoledronate.yaml")
    assert (problem.line, problem.path) == (line, "drugs.zoledronate.pharmacokinetics.central_volume.value")
    assert "is a mass; expected a volume" in problem.message


def test_mistakes_of_a_parameter_set(tmp_path):
    text = (configs_dir() / "parameters" / "human.yaml").read_text(encoding="utf-8")
    assert check_files([write(tmp_path, text, "mine.yaml")]) == []
    changed = text.replace("  exit_rate: {value:", "  exit_rat: {value:", 1)
    changed = changed.replace('lifespan: {value: "14 d"', 'lifespan: {value: "14 um"', 1)
    changed = re.sub(r"(apposition_rate: .*status: measured, source: )\w+", r"\1none", changed)
    problems = check_files([write(tmp_path, changed, "mine.yaml")])
    assert [(p.path, p.code) for p in problems] == [
        ("osteoclasts.lifespan.value", "unit"),
        ("osteoblasts.apposition_rate.source", "value"),
        ("dormancy.exit_rate", "missing"),
        ("dormancy.exit_rat", "unknown"),
    ]
    assert all(p.line and p.column for p in problems)
    problems_of(load_parameters, str(tmp_path / "mine.yaml"))


def test_unknown_names_are_input_errors():
    assert "no experiment or file" in str(only(problems_of(load_experiment, "nothing_like_it")))
    assert "did you mean 'e01_turnover'?" in str(only(problems_of(load_experiment, "x01_turnover")))
    assert "known: " in str(only(problems_of(load_parameters, "nothing_like_it")))
    assert "unknown drug" in str(only(problems_of(load_drug, "zoledronat")))
    assert "unknown parameter set" in str(only(problems_of(load_parameters, "humn")))


# ---------------------------------------------------------------- hostile files


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("a: &x 1\nb: *x\n", "alias", (1, 4)),
        ("a: !!python/object:os.system x\n", "tag", (1, 4)),
        ("a: ! 1\n", "tag", (1, 4)),
        ("a: 1\na: 2\n", "duplicate", (2, 1)),
        ("[" * 100, "depth", (1, 34)),
        ("- " * 100, "depth", (1, 67)),
        ("a: 1\n---\nb: 2\n", "syntax", (2, 1)),
        ("", "missing", (1, 1)),
        ("a: b: c\n", "syntax", (1, 5)),
        ("? [a]\n: b\n", "type", (1, 3)),
        ("a: \x00\n", "encoding", (1, 4)),
        ('a: "\\e[2J"\n', "encoding", (1, 4)),
        ("a: [" + "1," * 20_000 + "]", "size", (1, 1)),
        ("a: b\n" * 100_000, "size", None),
        ("".join(f"k{i}: b\n" for i in range(60_000)), "size", None),
        ("%YAML 9.9\n---\na: 1\n", "syntax", None),
        ('a: "\\U99999999"\n', "syntax", None),
        ("# x\n" * 240_000, "missing", (1, 1)),
    ],
)
def test_hostile_text_is_refused_quickly(tmp_path, text, code, place):
    file = write(tmp_path, "") if not text else tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    began = time.thread_time()
    problems = check_files([file])
    assert time.thread_time() - began < 5
    places = [(problem.line, problem.column) for problem in problems if problem.code == code]
    assert place in places if place else places


def test_a_duplicate_key_hides_no_other_mistake(tmp_path):
    text = dump(mapping()) + "seed: 1\nseed: 2\ncolour: red\n"
    codes = [problem.code for problem in check_files([write(tmp_path, text)])]
    assert sorted(codes) == ["duplicate", "unknown"]


def test_a_regimen_may_be_written_in_place_as_its_file_has_it(tmp_path):
    course = {"drug": "zoledronate", "dose": "4 mg"}
    given = [build_experiment(mapping(arms={"a": {"regimen": regimen}})) for regimen in ([course], {"courses": [course]})]
    assert given[0] == given[1]
    wrong = mapping(arms={"a": {"regimen": {"course": [], "courses": [course | {"dose": "4 kg"}]}}})
    with pytest.raises(ConfigError) as refused:
        build_experiment(wrong)
    assert {problem.path for problem in refused.value.problems} == {"arms.a.regimen.course", "arms.a.regimen.0.dose"}


def test_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "big.yaml").write_bytes(b" " * (MOST_BYTES + 1))
    (tmp_path / "latin.yaml").write_bytes("name: caf\xe9".encode("latin-1"))
    (tmp_path / "utf16.yaml").write_bytes("name: x".encode("utf-16"))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    files = [tmp_path / f"{name}.yaml" for name in ("big", "latin", "utf16", "pipe", "loop", "absent")]
    problems = check_files([*files, tmp_path, "/dev/zero", "a\0b", "x" * 5000])
    codes = ["size", "encoding", "encoding", "file", "file", "file", "file", "file", "file", "file"]
    assert [problem.code for problem in problems] == codes
    assert problems[1].column == 10


def test_byte_order_mark_and_windows_lines_are_text(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert check_files([tmp_path / "x.yaml"]) == []


def test_scalars_follow_yaml_1_2():
    data = parse('{a: 1e-4, b: no, c: 012, d: 0x1f, e: 3:25, f: .inf, g: "1", h: ~, i: true, j: 1_0}', "x").data
    expected = [1e-4, "no", "012", "0x1f", "3:25", ".inf", "1", None, True, "1_0"]
    assert list(data.values()) == expected


def test_places_are_those_of_the_text(tmp_path):
    document = read_document(write(tmp_path, "a:\n  b: [1,\n    x]\n"))
    assert (document.place(("a", "b", 1)).line, document.place(("a", "b", 1)).column) == (3, 5)
    assert (document.key_place(("a", "b")).line, document.key_place(("a", "b")).column) == (2, 3)


def test_python_values_that_are_no_data_are_refused():
    loop = {}
    loop["x"] = loop
    for wrong in ({"scene": loop}, {"title": object()}, {1: 2}, {"seed": {3}}, {"title": "a\x1b[2J"}):
        problems_of(build_experiment, mapping() | wrong)


# ---------------------------------------------------------------- any mutation

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.sampled_from(["6 h", "2 yr", "-1 d", "1e308 yr", "20 um", "nan h", "human", "zoledronate", "1e-300 um", "0 h"]),
)


def list_paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from list_paths(inner, (*path, key))


def copy_of(value):
    return json.loads(json.dumps(value))


VALID = mapping(
    seed=3,
    title="x",
    population={"dormant_dtc": 4},
    switches={"death": True},
    override={"death.surveillance": "0 /d"},
    arms={"a": {"regimen": [{"drug": "zoledronate", "dose": "4 mg", "interval": "28 d", "until": "1 yr"}]}, "b": {}},
    record={"series": "1 d", "events": True, "pictures": ["0 d", "1 yr"]},
)
PATHS = [path for path in list_paths(VALID) if path]


CHANGES = st.lists(st.tuples(st.sampled_from(PATHS), ODD, st.sampled_from("sdr")), min_size=1, max_size=4)
PIECE = st.one_of(st.text(max_size=6), st.sampled_from([*"{}[]:,&*!|>%@`'\"#-? \n\t\0", "\n---\n", "<<: "]))
EDITS = st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 12), PIECE), min_size=1, max_size=5)
NAMES = st.one_of(st.sampled_from([".".join(map(str, path)) for path in PATHS]), st.text(max_size=12))
VALUES = st.one_of(st.text(max_size=12), st.sampled_from(["1", "6 h", "true", "[1, 2]", "{a: 1}", "20 um", "human"]))


def fuzz(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))


def mutate(plain, changes):
    for path, odd, how in changes:
        parent = plain
        try:
            for key in path[:-1]:
                parent = parent[key]
            if how == "s":
                parent[path[-1]] = odd
            elif how == "d":
                del parent[path[-1]]
            elif isinstance(parent, dict):
                parent[str(odd)] = parent.pop(path[-1])
        except (KeyError, IndexError, TypeError):
            continue
    return plain


def try_mapping(changes):
    try:
        experiment = build_experiment(mutate(copy_of(VALID), changes))
    except ConfigError as error:
        assert error.problems
        assert all(problem.message and problem.code for problem in error.problems)
    else:
        assert build_experiment(experiment.resolved()) == experiment


def try_text(file, edits):
    text = TEXT
    for at, length, new in edits:
        text = text[:at] + new + text[at + length :]
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    for problem in check_files([file]):
        assert problem.message and problem.code
        assert problem.line is None or problem.line >= 1


def try_setting(file, name, value):
    try:
        load_experiment(file, sets=[f"{name}={value}"])
    except InputError as error:
        assert error.problems


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write(tmp_path_factory.mktemp("base"), dump(VALID))


@fuzz(60)
@given(CHANGES)
def test_any_mutated_mapping_is_accepted_or_refused_with_reasons(changes):
    try_mapping(changes)


@fuzz(150)
@given(EDITS)
def test_any_mutated_text_is_accepted_or_refused_with_reasons(tmp_path, edits):
    try_text(tmp_path / "x.yaml", edits)


@fuzz(40)
@given(NAMES, VALUES)
def test_any_setting_is_accepted_or_refused_with_reasons(base, name, value):
    try_setting(base, name, value)


@pytest.mark.deep
@fuzz(2000)
@given(CHANGES, EDITS, NAMES, VALUES)
def test_thousands_of_mutations(base, tmp_path, changes, edits, name, value):
    try_mapping(changes)
    try_text(tmp_path / "x.yaml", edits)
    try_setting(base, name, value)


# ---------------------------------------------------------------- for editors and for speed


def test_schema_accepts_what_the_gate_accepts_and_knows_the_names():
    jsonschema = pytest.importorskip("jsonschema")
    schema = experiment_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    assert list(check.iter_errors(VALID)) == []
    assert list(check.iter_errors(build_experiment(VALID).resolved())) == []
    for pictures in ("7 d", False, ["0 d", "30 d"]):
        assert list(check.iter_errors(VALID | {"record": {"pictures": pictures}})) == []
    for wrong in (
        {"titel": "x"},
        {"seed": "1"},
        {"time": {"length": 3}},
        {"switches": {"divsion": True}},
        {"patient": "nobody"},
        {"override": {"dormancy.exit_rat": 1}},
        {"record": {"pictures": 7}},
    ):
        assert list(check.iter_errors(VALID | wrong)), wrong


def test_check_starts_quickly_and_lightly(tmp_path):
    file = write(tmp_path, TEXT)
    code = (
        "import sys, niche_sim.config as c; assert c.check_files([sys.argv[1]]) == [];"
        "heavy = {'numba', 'pandas', 'scipy.linalg', 'matplotlib', 'pyarrow', 'zarr', 'mesa'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    began = sum(os.times()[2:4])  # of processes below this one that have ended
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(os.times()[2:4]) - began < 5  # 0.4 s on an idle machine


@pytest.mark.parametrize(
    ("changes", "path", "told"),
    [
        ({"arms": {"a": {"regimen": [{"drug": "denosumab", "dose": "60 mg", "route": "oral"}]}}}, "arms.a.regimen.0.route",
         "given sc or iv"),
        ({"arms": {"a": {"regimen": [{"drug": "denosumab", "dose": "60 mg", "infusion": "15 min"}]}}},
         "arms.a.regimen.0.infusion", "only an iv dose"),
        ({"arms": {"a": {"regimen": [{"drug": "zoledronate", "dose": "4 mg", "infusion": "24 h", "interval": "1 h"}]}}},
         "arms.a.regimen.0.interval", "shorter than the infusion"),
        ({"arms": {"a": {"changes": [{"at": "41 h", "switches": {"death": False}}]}}}, "arms.a.changes.0.at",
         "not a whole number of ticks"),
        ({"arms": {"a": {"changes": [{"at": "6 h", "override": {"hormone.receptor": 0.0}}]}}},
         "arms.a.changes.0.override.hormone.receptor", "is read once, before the run"),
        ({"arms": {"a": {"changes": [{"at": "6 h", "switches": {"death": False}}, {"at": "6 h"}]}}}, "arms.a.changes.1.at",
         "another change"),
        ({"arms": {"control": {}, "Control": {}}}, "arms.Control", "upper and lower case"),
        ({"time": {"length": "2 d", "tick": "24 h"}, "override": {"migration.precursor_speed": "60 um/h"}}, "time.tick",
         "at most 10.6"),
        ({"scene": SCENE | {"size": ["0.8 mm", "0.8 mm"], "trabecular_thickness": "800 um", "bone_volume_fraction": 0.5}},
         "scene.trabecular_thickness", "not thinner than the patch"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_with_their_place(changes, path, told):
    problem = only(problems_of(build_experiment, mapping(**changes)))
    assert problem.path == path and told in problem.message
