"""Designs of studies: what is read, what is refused and how it is said, which points and runs follow."""

import copy
import hashlib
import json
import math
import os
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from scipy import stats

from niche_sim.config import ConfigError, build_experiment
from niche_sim.errors import InputError, ResourceError
from niche_sim.resources import configs_dir
from niche_sim.simulation import run_experiment
from niche_sim.study import runs
from niche_sim.study.constraints import read_constraint, scale
from niche_sim.study.design import build_design, sample_unit
from niche_sim.study.endpoints import COLUMNS, is_brief
from niche_sim.study.gate import check_study, load_study
from niche_sim.study.runs import build_point, build_run, iterate_runs, list_batches, survey_points, take_run
from niche_sim.study.spec import BUILT, Endpoint, Factor
from niche_sim.study.values import find_value
from niche_sim.units import convert, express

TEXT = """\
name: small
experiment: e00_zoledronate_niche
set: {time.length: "1 yr", population.dormant_dtc: 24}
design: {kind: latin_hypercube, points: 12, seed: 3}
factors:
  dormancy.exit_rate: {}
  osteoclasts.erosion_rate: {range: ["5 um/d", "10 um/d"]}
  dose: {at: "arms.zoledronate.regimen.0.dose", values: ["1 mg", "2 mg", "4 mg"]}
  interval: {at: "arms.*.regimen.0.interval", range: ["7 d", "180 d"], round: "6 h"}
replicates: 2
"""
CONTROLLED = """\
name: surface
experiment: e00_zoledronate_niche
design: {kind: grid}
factors:
  dose: {at: arms.zoledronate.regimen.0.dose, values: ["1 mg", "4 mg"]}
  interval: {at: arms.zoledronate.regimen.0.interval, range: ["28 d", "112 d"], levels: 4}
replicates: 3
"""
DESIGNS = {
    "latin_hypercube": "{kind: latin_hypercube, points: 12, seed: 3}",
    "sobol_sequence": "{kind: sobol_sequence, points: 16}",
    "morris": "{kind: morris, points: 3, levels: 6, seed: 2}",
    "saltelli": "{kind: saltelli, points: 8, seed: 2, second_order: true}",
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write_text(text=TEXT, name="study.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return write_text


def with_design(text, kind):
    lines = [f"design: {DESIGNS[kind]}" if line.startswith("design:") else line for line in text.splitlines()]
    return "\n".join(lines) + "\n"


def complain(file):
    with pytest.raises(ConfigError) as caught:
        load_study(file)
    return caught.value.problems


def factors_of(study):
    return {factor.name: factor for factor in study.factors}


def frame_bytes(frame):
    return frame.to_csv(index=False).encode()


# ---------------------------------------------------------------- what is read


def test_a_factor_has_the_range_and_scale_of_its_parameter(write):
    study = load_study(write())
    own = build_experiment(study.experiment).parameters["dormancy.exit_rate"]
    factor = factors_of(study)["dormancy.exit_rate"]
    ends = [convert(f"{end!r} {factor.unit}", "1/h") for end in (factor.low, factor.high)]
    assert ends == pytest.approx(own.range, rel=1e-12)
    assert factor.scale == ("log" if own.range[1] > 100 * own.range[0] else "linear")
    assert factors_of(study)["osteoclasts.erosion_rate"].distribution == "uniform"
    assert factors_of(study)["interval"].places == ("arms.zoledronate.regimen.0.interval",)
    assert study.experiment["time"]["length"] == "8766 h" and study.experiment["population"]["dormant_dtc"] == 24


def test_wide_ranges_are_drawn_on_a_logarithmic_scale(write):
    text = TEXT.replace('"10 um/d"]', '"10 um/d"], distribution: loguniform')
    text = text.replace("exit_rate: {}", 'exit_rate: {}\n  death.surveillance: {range: ["1e-6 /d", "1e-3 /d"]}')
    study = load_study(write(text))
    assert factors_of(study)["death.surveillance"].distribution == "loguniform"
    assert factors_of(study)["osteoclasts.erosion_rate"].scale == "log"


@pytest.mark.parametrize("kind", DESIGNS)
def test_a_resolved_study_is_a_study_with_the_same_points(write, tmp_path, kind):
    study = load_study(write(with_design(TEXT, kind)))
    copy = tmp_path / "copy.yaml"
    with copy.open("w") as stream:
        YAML(typ="safe").dump(study.resolved(), stream)
    again = load_study(copy)
    assert again.config_hash == study.config_hash and again.resolved() == study.resolved()
    assert frame_bytes(build_design(again)) == frame_bytes(build_design(study))


@pytest.mark.parametrize("order", ["[true, false]", "[false, true]"])
def test_true_is_one_and_false_is_zero_whatever_their_order(write, tmp_path, order):
    factors = f"factors:\n  division: {{at: switches.division, values: {order}}}\n"
    factors += "  scene: {values: [trabecula_small, trabecula_fine]}\n"
    design = build_design(load_study(write(CONTROLLED.split("factors:")[0] + factors + "replicates: 1\n")))
    assert dict(zip(design["division"], design["division.value"])) == {"true": 1.0, "false": 0.0}
    assert dict(zip(design["scene"], design["scene.value"])) == {"trabecula_small": 0.0, "trabecula_fine": 1.0}
    (tmp_path / "points.csv").write_text("division\n" + "\n".join(order.strip("[]").split(", ")) + "\n")
    text = CONTROLLED.replace("{kind: grid}", "{kind: table, table: points.csv}").split("factors:")[0]
    table = build_design(load_study(write(text + "factors:\n  division: {at: switches.division}\n")))
    assert dict(zip(table["division"], table["division.value"])) == {"true": 1.0, "false": 0.0}


def test_points_of_which_the_gate_reads_parts_are_those_that_it_reads_whole(write, monkeypatch):
    text = CONTROLLED.replace("{kind: grid}", "{kind: latin_hypercube, points: 20, seed: 5}").replace("replicates: 3\n", (
        "  start: {at: arms.zoledronate.regimen.0.start, range: [0 d, 300 d]}\n"
        "  exit: {at: dormancy.exit_rate}\n"
        "  until: {at: arms.zoledronate.regimen.0.until, values: [400 d, 500 d]}\n"
    )).replace(", levels: 4", "")  # fmt: skip
    study = load_study(write(text))
    design, said = build_design(study), []
    monkeypatch.setattr(runs, "SAY_EVERY_S", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "build_experiment", None)
        parts = [build_point(study, row) for row in runs.iterate_rows(study, design)]
        known = survey_points(study, design, said.append)
    assert said[0] == "0 of 20 points checked" and len(said) == 20
    monkeypatch.setattr(runs, "_stands_alone", lambda keys: False)
    whole = [build_point(study, row) for row in runs.iterate_rows(study, design)]
    assert [point.resolved() for point in parts] == [point.resolved() for point in whole]
    assert [point.arms for point in parts] == [point.arms for point in whole] and parts[0].arms != parts[1].arms
    assert survey_points(study, design) == known
    # A drug that some factor moves is read again.
    study = load_study(write(text.replace("dormancy.exit_rate", "drugs.zoledronate.pharmacokinetics.central_volume")))
    moved = [build_point(study, row) for row in runs.iterate_rows(study, build_design(study))]
    assert len({point.drugs["zoledronate"].drug for point in moved}) == 20


@pytest.mark.parametrize("place", ["arms", "arms.zoledronate", "drugs", "override", "time", "population", "switches"])
def test_a_place_that_is_not_one_value_is_refused(write, place):
    with pytest.raises(ConfigError, match=rf"factors.x.at: '{place}' is not one value: name one of it, e.g. \w+\."):
        load_study(write(CONTROLLED.split("factors:")[0] + f"factors:\n  x: {{at: {place}, values: [a, b]}}\n"))


def test_a_resolved_table_is_read_from_the_points_beside_it(write, tmp_path):
    (tmp_path / "points.csv").write_text("dose,division\n1 mg,true\n4 mg,false\n2.5 mg,true\n")
    text = CONTROLLED.split("design:")[0] + (
        "design: {kind: table, table: points.csv}\n"
        "factors:\n  dose: {at: arms.zoledronate.regimen.0.dose}\n  division: {at: switches.division}\n"
    )
    study = load_study(write(text))
    design = build_design(study)
    assert list(design["dose.value"]) == [1.0, 4.0, 2.5] and list(design["dose"]) == ["1 mg", "4 mg", "2.5 mg"]
    assert [build_point(study, row).switches["division"] for row in design.to_dict("records")] == [True, False, True]
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    design.to_parquet(folder / BUILT)
    with (folder / "study.yaml").open("w") as stream:
        YAML(typ="safe").dump(study.resolved(), stream)
    again = load_study(folder)
    assert again.config_hash == study.config_hash
    assert frame_bytes(build_design(again)) == frame_bytes(design)
    (tmp_path / "points.csv").write_text("dose,division\n1 mg,true\n4 mg,false\n2.6 mg,true\n")
    assert load_study(tmp_path / "study.yaml").config_hash != study.config_hash


def test_settings_reach_the_study_and_its_experiment(write):
    sets = ["design.points=5", "replicates=7", "time.length=30 d", "dormancy.tgf_beta_half=1 pmol/L"]
    study = load_study(write(), sets=sets)
    assert (study.design.points, study.replicates, study.experiment["time"]["length"]) == (5, 7, "720 h")
    assert build_experiment(study.experiment).parameters["dormancy.tgf_beta_half"].written == "1 pmol/L"


def test_an_experiment_in_place_and_one_beside_the_study(write, tmp_path):
    resolved = load_study(write()).experiment
    with (tmp_path / "mine.yaml").open("w") as stream:
        YAML(typ="safe").dump(resolved, stream)
    beside = load_study(write(TEXT.replace("e00_zoledronate_niche", "./mine.yaml")))
    assert beside.experiment == resolved


def test_a_file_that_set_names_lies_beside_the_study(write, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text((configs_dir() / "scenes" / "trabecula_small.yaml").read_text())
    file = write(CONTROLLED.replace("design:", "set: {scene: ./mine.yaml}\ndesign:"))
    small = write(CONTROLLED.replace("design:", "set: {scene: trabecula_small}\ndesign:"), "small.yaml")
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        assert load_study(file).experiment["scene"]["size"] == load_study(small).experiment["scene"]["size"]
    (tmp_path / "mine.yaml").unlink()
    (problem,) = complain(file)
    assert problem.path == "set.scene" and "cannot be read: no such file" in problem.message


def test_the_study_of_the_documentation_is_sound(write):
    page = (Path(__file__).parents[1] / "docs/studies.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 1 and check_study(write(blocks[0])) == []


# ---------------------------------------------------------------- points


def test_a_latin_hypercube_has_one_point_a_stratum(write):
    study = load_study(write(TEXT.replace("points: 12", "points: 97").replace(', round: "6 h"', "")))
    design = build_design(study)
    for factor in study.factors:
        values = design[f"{factor.name}.value"].to_numpy()
        if factor.distribution == "choice":
            counts = pd.Series(values).value_counts()
            assert counts.max() - counts.min() <= 1 and len(counts) == 3
            continue
        low, high = (np.log([factor.low, factor.high]) if factor.scale == "log" else (factor.low, factor.high))
        place = ((np.log(values) if factor.scale == "log" else values) - low) / (high - low)
        assert sorted(np.floor(place * 97).astype(int)) == list(range(97)), factor.name


def test_points_that_move_parameters_alone_are_those_of_the_whole_gate(write, monkeypatch):
    moved = "dormancy.exit_rate: {}, osteoclasts.erosion_rate: {}, migration.tumour_speed: {}"
    study = load_study(write(TEXT.split("factors:")[0] + f"factors: {{{moved}}}\n"))
    rows = build_design(study).head(3).to_dict("records")
    rows.append({"dormancy.exit_rate": "1.5e-4 /d"})  # and what is left out stays
    quick = [build_point(study, row) for row in rows]
    monkeypatch.setattr(runs, "_TOGETHER", ("",))  # all are checked with other keys
    assert [point.resolved() for point in quick] == [build_point(study, row).resolved() for row in rows]
    assert len({point.parameters.value("dormancy.exit_rate") for point in quick}) == 4
    with pytest.raises(ConfigError, match="outside the range"):
        monkeypatch.undo()
        build_point(study, {"dormancy.exit_rate": "1e6 /d"})


@pytest.mark.parametrize("kind", DESIGNS)
def test_texts_are_the_numbers_exactly(write, kind):
    study = load_study(write(with_design(TEXT, kind)))
    design = build_design(study)
    assert list(design["point"]) == list(range(len(design)))
    for factor in study.factors:
        assert [float(express(text, factor.unit)) for text in design[factor.name]] == list(design[f"{factor.name}.value"])
    row = design.iloc[-1]
    point = build_point(study, row)
    assert point.parameters.value("dormancy.exit_rate") == convert(row["dormancy.exit_rate"], "1/h")
    assert point.arms["zoledronate"].regimen[0].dose_mg == row["dose.value"]
    assert point.arms["zoledronate"].regimen[0].interval_h == convert(row["interval"], "h")
    assert point.arms["zoledronate"].regimen[0].interval_h % 6.0 == 0.0


def test_a_grid_crosses_values_the_last_factor_fastest(write):
    design = build_design(load_study(write(CONTROLLED)))
    assert list(zip(design["dose"], design["interval"])) == [
        (dose, interval) for dose in ("1 mg", "4 mg") for interval in ("28 d", "56 d", "84 d", "112 d")
    ]  # fmt: skip


def test_a_morris_trajectory_moves_one_factor_at_a_time(write):
    study = load_study(write(with_design(TEXT, "morris")))
    sample = sample_unit(study)
    count = len(study.factors)
    assert sample.shape == (3 * (count + 1), count) and set(np.round(sample.ravel() * 5) / 5) >= set(sample.ravel())
    for trajectory in sample.reshape(3, count + 1, count):
        steps = np.diff(trajectory, axis=0)
        assert sorted(np.flatnonzero(step).tolist() for step in steps) == [[i] for i in range(count)]
        assert np.abs(steps).sum(axis=1) == pytest.approx(0.6)  # levels / (2 (levels - 1)) of 6 levels


def test_indices_of_ishigami_from_a_saltelli_design(write):
    text = with_design(TEXT, "saltelli").replace("points: 8", "points: 16384").replace(", second_order: true", "")
    text = "\n".join(line for line in text.splitlines() if "interval" not in line) + "\n"
    sample = sample_unit(load_study(write(text)))
    x = math.pi * (2.0 * sample - 1.0)
    y = (np.sin(x[:, 0]) + 7.0 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])).reshape(-1, 5)
    a, b, mixed = y[:, 0], y[:, -1], y[:, 1:-1]
    variance = np.var(np.concatenate([a, b]))
    first = [np.mean(b * (mixed[:, i] - a)) / variance for i in range(3)]
    total = [np.mean((a - mixed[:, i]) ** 2) / 2.0 / variance for i in range(3)]
    assert first == pytest.approx([0.3139, 0.4424, 0.0], abs=0.01)
    assert total == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.01)


@pytest.mark.parametrize(
    ("factor", "law"),
    [
        (Factor("x", ("x",), "uniform", 2.0, 5.0), stats.uniform(2, 3)),
        (Factor("x", ("x",), "loguniform", 1e-4, 1e2), stats.loguniform(1e-4, 1e2)),
        (Factor("x", ("x",), "normal", 2.0, 9.0, "", 4.0, 2.0), stats.truncnorm(-1, 2.5, 4, 2)),
        (Factor("x", ("x",), "triangular", 1.0, 5.0, "", 2.0), stats.triang(0.25, 1, 4)),
        (Factor("x", ("x",), "integer", 3.0, 6.0), stats.randint(3, 7)),
    ],
)
def test_values_follow_the_distribution(factor, law):
    places = np.linspace(0.011, 0.987, 25)
    assert [find_value(factor, u)[1] for u in places] == pytest.approx(law.ppf(places), rel=1e-8)
    assert (find_value(factor, 0.0)[1], find_value(factor, 1.0)[1]) == (factor.low, factor.high)


def test_a_lognormal_factor_has_the_stated_median_and_coefficient_of_variation():
    factor = Factor("x", ("x",), "lognormal", 0.0, 1e9, "um", 3.0, 0.5)
    drawn = np.array([find_value(factor, u)[1] for u in (np.arange(20_000) + 0.5) / 20_000])
    assert np.median(drawn) == pytest.approx(3.0, rel=1e-3)
    assert drawn.std() / drawn.mean() == pytest.approx(0.5, rel=5e-3)


@pytest.mark.parametrize("step", ["7 h", "20 min", "0.7 d"])
def test_rounded_values_are_multiples_in_the_range(step):
    factor = Factor("x", ("x",), "uniform", 1.1, 3.3, "d", round=step)
    for u in np.linspace(0.0, 1.0, 23):
        text, value = find_value(factor, u)
        assert express(text, step.split()[1]) % express(step, step.split()[1]) == 0
        assert 1.1 <= value <= 3.3 and value == pytest.approx(float(express(text, "d")), rel=1e-15)


def test_designs_do_not_depend_on_the_process(write):
    study_file = write(with_design(TEXT, "saltelli"))
    code = (
        "import hashlib, sys; from niche_sim.study.gate import load_study; from niche_sim.study.design import build_design\n"
        "from niche_sim.study.runs import list_batches; study = load_study(sys.argv[1]); design = build_design(study)\n"
        "print(hashlib.sha256(design.to_csv().encode()).hexdigest(), *(b.name for b in list_batches(study, design)))"
    )
    study = load_study(study_file)
    design = build_design(study)
    here = [hashlib.sha256(design.to_csv().encode()).hexdigest(), *(batch.name for batch in list_batches(study, design))]
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code, str(study_file)], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == here, done.stderr


# ---------------------------------------------------------------- constraints


def test_constraints_filter_points_and_number_them_anew(write):
    text = CONTROLLED + 'constraints: ["dose / interval < 2.5 mg / 56 d", "(interval - 28 d) * 2 >= 0 d"]\n'
    design = build_design(load_study(write(text)))
    assert list(zip(design["dose"], design["interval"])) == [
        ("1 mg", "28 d"), ("1 mg", "56 d"), ("1 mg", "84 d"), ("1 mg", "112 d"), ("4 mg", "112 d")
    ]  # fmt: skip
    assert list(design["point"]) == [0, 1, 2, 3, 4]


UNITS = {
    "dose": "mg", "interval": "d", "rate": "/d", "d": "d", "speed": "um/d", "share": "", "dissolved": "nmol/L", "room": "L"
}  # fmt: skip


def holds(text, **values):
    columns = {name: scale(np.array(value, float), UNITS[name]) for name, value in values.items()}
    return np.atleast_1d(read_constraint(text, UNITS).holds(columns)).tolist()


def test_constraints_compute_with_units():
    a, b = np.array([0.0, 1.0, 6.0]), np.array([39.0, 39.5, 48.1])
    found = holds("-share + 2 * (interval - 1 d) / 3 h <= 1e1", share=a, interval=b / 24.0)
    assert found == list(-a + 2 * (b - 24.0) / 3 <= 10.0)
    assert holds("1 / share > 0", share=[-1.0, 2.0, np.nan]) == [False, True, False]
    assert holds("dissolved * room <= 5e6 fmol", dissolved=[1.0, 2.0], room=[5.0, 5.0]) == [True, False]
    assert holds("dose / interval < 60 mg / 365 d", dose=[4, 4], interval=[24, 25]) == [False, True]


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("rate <= 0.1 /d", {"rate": [0.1, 0.11]}, [True, False]), ("rate<=0.1/h", {"rate": [2.3, 2.5]}, [True, False]),
        ("speed <= 5 um/d", {"speed": [5.0, 5.01]}, [True, False]), ("share < 50 %", {"share": [0.4, 0.6]}, [True, False]),
        ("interval >= 4 weeks", {"interval": [27, 28]}, [False, True]), ("d > 7 d", {"d": [7, 8]}, [False, True]),
        ("speed * interval * speed * d < 4 um**2", {"speed": [2, 1], "interval": [1, 1], "d": [1, 1]}, [False, True]),
        ("dose / d <= 2 mg/d", {"dose": [4, 5], "d": [2, 2]}, [True, False]),  # the unit is no division by the factor d
        ("rate <= 4 / d", {"rate": [2, 2], "d": [2, 3]}, [True, False]),  # and with spaces it is one
        ("dose<4 mg*interval/2 d", {"dose": [4, 4], "interval": [2, 3]}, [False, True]),
    ],
)  # fmt: skip
def test_a_unit_follows_its_number(text, values, expected):
    assert holds(text, **values) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dose < 3 h", "'dose' is a mass (mg) and '3 h' is a time (h): only what has the same dimension can be compared"),
        ("dose + rate < 5 mg", "'dose' is a mass (mg) and 'rate' is a rate (/d): only what has"),
        ("rate < 0.1", "only what has the same dimension can be compared; give the number a unit: '0.1 /d'"),
        ("3 - dose > 1 mg", "can be subtracted; give the number a unit: '3 mg'"),
        ("dose / interval < 3", "'dose / interval' is measured in mg/h and '3' is a plain number"),
        ("dose - share < 3 mg", "'share' is a plain number: only what has the same dimension can be subtracted; multiply"),
        ("dose < 3 daz", "'daz' after 3 is not a unit"), ("rate < 4/d", "write ' /d' for one, ' / d' for the other"),
        ("share < 1e999", "'1e999' is not finite"),
    ],
)  # fmt: skip
def test_constraints_of_unlike_dimensions_are_refused(text, told):
    with pytest.raises(InputError) as caught:
        read_constraint(text, UNITS)
    assert told in str(caught.value)


def test_a_constraint_without_unit_is_told_with_its_place(write):
    (problem,) = complain(write(CONTROLLED + 'constraints: ["dose < 5 mg", "interval > 30"]\n'))
    assert problem.path == "constraints.1" and problem.line == 8 and "'30 d'" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true') < 1 mg", "dose.__class__ < 1 mg", "dose < 1 mg < 2 mg", "dose", "dose <",
        "(dose < 1 mg", "dose ** 2 < 1 mg**2", "dose < 1 mg; 1", "dos < 1 mg", "", 3, "dose = 1 mg", "1 " * 400,
        "(" * 22 + "1" + ")" * 22 + "<2",
    ],
)  # fmt: skip
def test_what_is_no_comparison_is_refused(text):
    with pytest.raises(InputError) as caught:
        read_constraint(text, {"dose": "mg"})
    assert "dimension" not in str(caught.value)


def test_constraints_that_nothing_fulfils(write):
    with pytest.raises(ConfigError, match="none of the 8 points"):
        build_design(load_study(write(CONTROLLED + 'constraints: ["dose > 5 mg"]\n')))


# ---------------------------------------------------------------- what is refused


def test_every_mistake_is_told_with_its_place(write):
    file = write("""\
name: wrong
titel: Typing error
experiment: e00_zoledronate_niche
set: {time.length: "1 parsec", population.dormant_dt: 24}
arms: [zoledronate, contrl]
design: {kind: saltelli, points: 100, levels: 4}
factors:
  dormancy.exit_rat: {}
  osteoclasts.erosion_rate: {range: ["5 um/d", "20 um/d"]}
  a: {at: arms.zoledronate.regimen.0.dos, range: ["1 mg", "4 mg"]}
  b: {at: arms.zoledronate.regimen.0.dose, range: ["1 mg", "4 h"]}
  c: {at: arms.zoledronate.regimen.3.dose, range: ["1 mg", "4 mg"]}
  d: {at: arms.zoledronate.regimen.0.infusion, range: ["4 min", "1 min"]}
  e: {at: scene.bone_volume_fraction, range: [0.1, 0.9]}
  f: {at: switches.division, values: [true, 3]}
  g: {at: population.dormant_dtc, range: [1.5, 10.5]}
  h: {at: patient.activation_frequency, distribution: normal, sd: 3 um}
  i: {at: record.series, values: ["1 d"]}
  j: {at: time.spin_up, values: ["100 d", "100 d"]}
  dormancy.lining_rate: {range: ["1e-3 /d", "1e-2 /d"], mode: 3}
  k: {at: [scene.voxel, dormancy.lining_rate], values: ["20 um"]}
replicates: 0
constraints: [a < 3]
endpoints:
  one: {column: cyclin}
  two: {column: cycling, take: first_above}
""")
    told = {(problem.line, problem.path): problem.message for problem in complain(file)}
    expected = {
        (2, "titel"): "did you mean 'title'", (4, "set.time.length"): "unknown unit 'parsec'",
        (4, "set.population.dormant_dt"): "did you mean 'dormant_dtc'", (5, "arms.1"): "did you mean 'control'",
        (6, "design.points"): "take 64 or 128", (6, "design.levels"): "has no `levels`",
        (8, "factors.dormancy.exit_rat"): "did you mean 'dormancy.exit_rate'",
        (9, "factors.osteoclasts.erosion_rate.range.1"): "outside the range 1 um/d to 10 um/d",
        (10, "factors.a.at"): "did you mean 'dose'", (11, "factors.b.range.1"): "is a time; expected a mass",
        (12, "factors.c.at"): "has 1, counted from 0", (13, "factors.d.range"): "is empty",
        (14, "factors.e.range.1"): "0.9 is more than 0.6", (15, "factors.f.values.1"): "expected true or false",
        (16, "factors.g.range.0"): "`distribution: integer`", (17, "factors.h.sd"): "is a length; expected a rate",
        (18, "factors.i.at"): "follows from the endpoints", (19, "factors.j.values.1"): "already in the list",
        (20, "factors.dormancy.lining_rate.mode"): "has no such key", (22, "replicates"): "not between",
        (23, "constraints"): "takes no constraints", (25, "endpoints.one.column"): "did you mean 'cycling'",
        (26, "endpoints.two.take"): "first_above(10)",
    }  # fmt: skip
    for place, fragment in expected.items():
        assert fragment in told.get(place, ""), (place, told.get(place))
    assert all(problem.column for problem in complain(file))


@pytest.mark.parametrize(
    ("old", "new", "fragment"),
    [
        ("  dormancy.exit_rate: {}", "  dormancy.exit_rate:", "write {} for an empty one"),
        ("latin_hypercube, points: 12", "grid", "a grid needs `levels`"),
        ("latin_hypercube, points: 12, seed: 3", "table, table: none.csv", "cannot be read"),
        ("latin_hypercube, points: 12", "latin_hypercube", "'points' is needed"),
        ("e00_zoledronate_niche", "e00_zoledronate_niches", "did you mean 'e00_zoledronate_niche'"),
        ("e00_zoledronate_niche", "./none.yaml", "no such file"),
        ("dose: {", 'more: {at: [dormancy.exit_rate], range: ["1e-5 /d", "2e-5 /d"]}\n  dose: {', "moved by the factor"),
        ('round: "6 h"', 'round: "400 d"', "no multiple"),
        ('values: ["1 mg", "2 mg", "4 mg"]', 'values: ["1 mg", "2 h"]', "is a time; expected a mass"),
        ('values: ["1 mg", "2 mg", "4 mg"]', "distribution: triangular, mode: 2 mg", "nothing states the range"),
        ("replicates: 2", "endpoints: {x: {column: cycling, take: average}}", "cannot be taken"),
        ("replicates: 2", "endpoints: {key: {column: cycling}}", "'key' is a column of the tables already"),
        ("dormancy.exit_rate: {}", "point: {at: dormancy.exit_rate}", "'point' is a column of the tables already"),
        ("dormancy.exit_rate: {}", "dose.value: {at: dormancy.exit_rate}", "'dose.value' is a column of the tables"),
        ("replicates: 2", "endpoints: {x: {column: cycling + dormnt}}", "did you mean 'dormant'?"),
        ("replicates: 2", "endpoints: {x: {column: cycling + bone_surface_um2}}", "units cannot be added: count, um2"),
        ("replicates: 2", "arms: [[control], 3]", "should be a valid string"),
        ("dormancy.exit_rate: {}", "dormancy.exit_rate: []", "expected a mapping"),
        ("dormancy.exit_rate: {}", "dormancy.exit_rate: {distribution: lognormal, cv: 1e200}", "beyond reason"),
        ("dormancy.exit_rate: {}", "dormancy.exit_rate: {distribution: normal, sd: 1e200 /d}", "beyond reason"),
        ("{time.length", "{record.series: false, time.length", "records no series"),
    ],
)  # fmt: skip
def test_what_a_study_cannot_be(write, old, new, fragment):
    assert old in TEXT
    problems = complain(write(TEXT.replace(old, new)))
    assert any(fragment in problem.message for problem in problems), [str(problem) for problem in problems]


def test_no_mistake_is_a_traceback(write):
    """Values, keys and kinds that do not belong where they stand: the gate says so, or takes them."""
    draw = random.Random(5)
    plain = YAML(typ="safe").load(TEXT)
    strange = [None, True, -1, 10**30, 1e308, "", "*", "arms.*.*", "4 mg", "-3 d", [], {}, [1], [None, 3], [[1], "1 d"]]
    for number in range(60):
        study = copy.deepcopy(plain)
        for _ in range(1 + number % 3):
            places = list(list_places(study))
            holder, key = draw.choice(places)
            holder[key] = copy.deepcopy(draw.choice(strange))
        file = write()
        with file.open("w") as stream:
            YAML(typ="safe").dump(study, stream)
        assert all(problem.message and problem.file == str(file) for problem in check_study(file))


def list_places(value):
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from list_places(value[key])


def test_tables_that_do_not_fit(write, tmp_path):
    text = CONTROLLED.split("design:")[0] + (
        "design: {kind: table, table: points.csv}\nfactors:\n  dose: {at: arms.zoledronate.regimen.0.dose}\n"
    )
    for content, line, fragment in (
        ("dose\n1 mg\n2 h\n", 3, "is a time; expected a mass"), ("dos\n1 mg\n", 1, "did you mean 'dose'"),
        ("dose\n", None, "0 rows"), ("dose,x\n1 mg,2\n ,3\n", 3, "empty"), ("dose\n1 mg\n2\n", 3, "missing unit"),
        ("dose\n1 mg,\n", 2, "has 2 cells; the first line has 1"), ("dose,dose\n1 mg,2 mg\n", 1, "two columns of this name"),
        ("dose;x\n1 mg;2\n", 1, "expected commas"), ('dose\n"1 mg\n', None, "is no CSV file"), ("", None, "is empty"),
        ("dose\n1 mg\0\n", None, "a character of no text"), ("\ufeffdose\r\n1 mg\r\n2 um\r\n", 3, "is a length"),
    ):  # fmt: skip
        (tmp_path / "points.csv").write_text(content, encoding="utf-8", newline="")
        problems = complain(write(text))
        lines = (None, 3) if line is None else (line,)  # what is wrong with the whole file is said of `table`, in line 3
        assert any(fragment in problem.message and problem.line in lines for problem in problems), (content, problems)
    (tmp_path / "points.csv").write_bytes("dose\n1 µg\n".encode("latin-1"))
    assert "not UTF-8" in complain(write(text))[0].message
    (tmp_path / "points.csv").unlink()
    os.mkfifo(tmp_path / "points.csv")  # which an ordinary open would wait for
    assert "not a regular file" in complain(write(text))[0].message
    (tmp_path / "points.parquet").write_bytes(b"no table")
    assert "no Parquet file" in complain(write(text.replace(".csv", ".parquet")))[0].message


def test_a_wildcard_that_meets_nothing_says_what_there_is(write):
    text = CONTROLLED.replace("arms.zoledronate.regimen.0.dose", "arms.*.regimen.*.dos")
    (problem,) = complain(write(text))
    assert problem.message.endswith("has the place 'arms.*.regimen.*.dos'; did you mean 'dose'?")
    (problem,) = check_study(write(TEXT.replace("points: 12", "points: 1000000000")))
    assert "1,000,000,000 points" in problem.message


ROUTES = """\
name: routes
experiment:
  name: tiny
  scene: trabecula_small
  patient: postmenopausal
  time: {length: "2 d"}
  arms: {treated: {regimen: [{drug: zoledronate, dose: "4 mg"}]}}
design: {kind: table, table: TABLE}
factors:
  drug: {at: arms.treated.regimen.0.drug}
  dose: {at: arms.treated.regimen.0.dose}
  route: {at: arms.treated.regimen.0.route}
"""


def test_all_bad_rows_of_a_table_are_told_at_once(write, tmp_path):
    """Empty cells, units, drugs and doses out of range, in one go; sound rows between them are none."""
    lines = [
        "drug,route,dose", "zoledronate,iv,4 mg", "zoledronat,iv,4 mg", "ibandronate,iv,6 mg", "zoledronate,iv,-4 mg",
        "ibandronate,oral,50 h", "alendronate,,70 mg", "alendronate,oral,70 mg", "ibandronate,iv,0.006 g",
    ]  # fmt: skip
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    told = [(found.line, found.path, found.message) for found in complain(write(ROUTES.replace("TABLE", "rows.csv")))]
    expected = [
        (3, "drug", "zoledronat"), (5, "dose", "is not above 0 mg"), (6, "dose", "is a time; expected a mass"),
        (7, "route", "the cell is empty"), (9, "dose, drug, route", "lines 4 and 9 are the same"),
    ]
    assert [(line, path) for line, path, _ in told] == [(line, path) for line, path, _ in expected]
    assert all(fragment in message for (_, _, message), (_, _, fragment) in zip(told, expected)), told
    pd.read_csv(tmp_path / "rows.csv").to_parquet(tmp_path / "rows.parquet")
    paths = [problem.path for problem in complain(write(ROUTES.replace("TABLE", "rows.parquet")))]
    assert sorted(path.split()[1] for path in paths) == ["1", "3", "4", "5", "7"]


def test_many_bad_rows_are_told_up_to_the_usual_number(write, tmp_path):
    rows = [f"zoledronate,iv,{i + 1} h" for i in range(300)] + ["zoledronate,iv,4 mg"] * 300 + ["zoledronate,,5 mg"] * 300
    (tmp_path / "rows.csv").write_text("\n".join(["drug,route,dose", "zoledronate,iv,4 mg", *rows]))
    codes = [problem.code for problem in complain(write(ROUTES.replace("TABLE", "rows.csv")))]
    assert {code: codes.count(code) for code in codes} == {"unit": 20, "missing": 20, "duplicate": 20}
    (tmp_path / "rows.csv").write_text("drug,route,dose\nzoledronate,,4 mg\nzoledronate,,5 mg\n")
    assert [problem.message for problem in complain(write(ROUTES.replace("TABLE", "rows.csv")))] == ["the cell is empty"] * 2
    (tmp_path / "rows.csv").write_text("\n".join(["drug,route,dose", *(f"zoledronate,iv,much{i}" for i in range(1001))]))
    assert "more than 1000 different cells" in complain(write(ROUTES.replace("TABLE", "rows.csv")))[-1].message


def test_rows_of_a_table_are_tried_whole_and_a_wrong_one_is_told_with_its_line(write, tmp_path):
    """No other drug can be given on the route of the experiment; row by row all is sound."""
    sound = "drug,route,dose\nibandronate,iv,6 mg\nibandronate,oral,50 mg\nalendronate,oral,70 mg\n"
    (tmp_path / "rows.csv").write_text(sound + "\n")
    file = write(ROUTES.replace("TABLE", "rows.csv"))
    study = load_study(file)
    courses = [build_point(study, row).arms["treated"].regimen[0] for row in build_design(study).to_dict("records")]
    assert [(course.drug, course.route) for course in courses] == [
        ("ibandronate", "iv"), ("ibandronate", "oral"), ("alendronate", "oral")
    ]  # fmt: skip
    assert check_study(file) == []
    (tmp_path / "rows.csv").write_text(sound + "zoledronate,oral,4 mg\nzoledronate,iv,-4 mg\n")
    told = [(Path(p.file).name, p.line, p.path, p.message) for p in complain(file)]
    assert told == [
        ("rows.csv", 5, "route", "arms.treated.regimen.0.route: zoledronate is given iv, not oral (route oral)"),
        ("rows.csv", 6, "dose", "arms.treated.regimen.0.dose: '-4 mg' is not above 0 mg (dose -4 mg)"),
    ]
    pd.read_csv(tmp_path / "rows.csv").to_parquet(tmp_path / "rows.parquet")
    first = complain(write(ROUTES.replace("TABLE", "rows.parquet")))[0]
    assert (first.line, first.path) == (None, "row 3 of rows.parquet (counted from 0), route")
    (tmp_path / "rows.csv").write_text(sound + "\nalendronate,oral,35 mg\n")  # an empty line would shift the others
    told = complain(write(ROUTES.replace("TABLE", "rows.csv")))
    assert {(problem.line, problem.message) for problem in told} == {(5, "the cell is empty")}


def test_a_design_of_absurd_size_is_refused_before_anything_is_allocated(write):
    text = TEXT.replace("points: 12", "points: 1000000000")
    tracemalloc.start()
    try:
        with pytest.raises(ResourceError, match=r"1,000,000,000 points .* 4,000,000,000 runs .* at most 10,000,000"):
            load_study(write(text))
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_points_that_the_gate_refuses_are_told_by_number(write):
    text = CONTROLLED.replace("replicates: 3", "  until: {at: arms.zoledronate.regimen.0.until, values: [200 d, 3 yr]}")
    text = text.replace("  until", "  start: {at: arms.zoledronate.regimen.0.start, values: [0 d, 300 d]}\n  until")
    study = load_study(write(text))
    with pytest.raises(ConfigError) as caught:
        survey_points(study, build_design(study))
    first = caught.value.problems[0]
    assert first.path.startswith("point 2 (") and "200 d" in first.path
    assert "is not after the start" in first.message
    assert len(caught.value.problems) == 8 and len(check_study(write(text))) == 8


# ---------------------------------------------------------------- runs


def test_runs_share_seeds_between_points_and_arms(write):
    study = load_study(write())
    design = build_design(study)
    seeds = {
        (run.point, run.replicate, run.arm): build_run(study, design.iloc[run.point], run.replicate, run.arm)
        for run in iterate_runs(study, design)
        if run.point < 2
    }
    assert {(key[1], run.seed, run.scene.seed) for key, run in seeds.items()} == {(0, 4, 4), (1, 5, 5)}
    assert all(list(run.arms) == [key[2]] and not run.record.events for key, run in seeds.items())


def test_a_run_is_what_the_gate_makes_of_it(write):
    study = load_study(write())
    run = take_run(build_point(study, build_design(study).iloc[5]), 1, "zoledronate")
    assert build_experiment(run.resolved()).config_hash == run.config_hash


def test_an_arm_that_no_factor_touches_is_one_run(write):
    study = load_study(write(CONTROLLED))
    design = build_design(study)
    every = list(iterate_runs(study, design))
    assert sorted(run.number for run in every) == list(range(8 * 3 * 2))
    controls = {run.replicate: run.key for run in every if run.arm == "control"}
    assert {(run.replicate, run.key) for run in every if run.arm == "control"} == set(controls.items())
    assert len(set(controls.values())) == 3 and len({run.key for run in every}) == 3 + 24
    assert len({run.spin_up for run in every}) == 3


def test_keys_follow_what_is_computed(write, monkeypatch):
    def keys(text):
        study = load_study(write(text))
        return [run.key for run in sorted(iterate_runs(study, build_design(study)))]

    base = keys(CONTROLLED)
    renamed = CONTROLLED.replace("name: surface", "name: other\ntitle: Another").replace("4 mg", "4000 ug")
    assert keys(renamed) == base
    assert not set(keys(CONTROLLED.replace("design:", "set: {seed: 99}\ndesign:"))) & set(base)
    longer = keys(CONTROLLED.replace("replicates: 3", "replicates: 4"))
    assert len(set(base) - set(longer)) == 0 and len(set(longer) - set(base)) == 9
    monkeypatch.setattr(runs, "_sources", lambda: "others")
    assert not set(keys(CONTROLLED)) & set(base)


def test_batches_hold_every_key_once_and_spin_ups_together(write):
    for text in (CONTROLLED, TEXT):
        study = load_study(write(text))
        design = build_design(study)
        batches = list(list_batches(study, design))
        held = [run for batch in batches for run in batch.runs]
        assert sorted(run.key for run in held) == sorted({run.key for run in iterate_runs(study, design)})
        assert [batch.number for batch in batches] == list(range(len(batches)))
        assert len({batch.name for batch in batches}) == len(batches)
        homes = {}
        for batch in batches:
            for run in batch.runs:
                homes.setdefault((run.spin_up, run.point), set()).add(batch.name)
        assert all(len(names) == 1 for names in homes.values())


def test_many_short_runs_make_few_batches(write):
    text = TEXT.replace("points: 12", "points: 1500").replace(
        'set: {time.length: "1 yr", population.dormant_dtc: 24}',
        'set: {time.length: "10 d", time.spin_up: "0 d", population.dormant_dtc: 2, scene.size: ["0.5 mm", "0.5 mm"]}',
    )
    study = load_study(write(text))
    points = survey_points(study, build_design(study))
    batches = list(list_batches(study, build_design(study), points))
    seconds = [sum(points.run_s[run.point] for run in batch.runs) for batch in batches]
    assert sum(len(batch.runs) for batch in batches) == 6000
    assert 100 < len(batches) < 600 and min(seconds[:-1]) > 0.5 * runs.choose_batch_s(study, points)


def test_predicted_time_grows_with_ticks_voxels_rows_and_what_is_alive(write):
    def predict(take="end", **sets):
        text = TEXT.replace('"1 yr"', '"100 d"') + f"endpoints: {{x: {{column: osteoclasts, take: {take}}}}}\n"
        study = load_study(write(text), sets=[f"{name.replace('__', '.')}={value}" for name, value in sets.items()])
        points = survey_points(study, build_design(study))
        return points.spin_up_s[0], points.run_s[0]

    _, whole = predict()
    ticks, voxels = 400, 10_000
    tick_s = runs.TICK_S + runs.VOXEL_TICK_S * voxels
    assert whole == pytest.approx(runs.RUN_S + tick_s * ticks, rel=0.01)
    assert predict("mean")[1] - whole == pytest.approx(tick_s * 100 * runs.QUIET, rel=0.02)
    (few, small), (many, wide) = predict(scene="trabecula_small"), predict(scene="trabecula_fine")
    assert wide > 3.5 * whole > 10 * small and many > 4 * few
    assert predict(population__dormant_dtc=0)[1] == whole  # doses are there still
    assert predict(scene="trabecula_3d")[1] == pytest.approx(runs.DEEP * 64**3 / voxels * whole, rel=0.15)


# ---------------------------------------------------------------- what runs record


LIVELY = """\
name: tiny
experiment: {file}
set: {{time.length: "4 d", time.spin_up: "2 d"}}
design: {{kind: grid}}
factors:
  clearance: {{at: drugs.zoledronate.pharmacokinetics.clearance_excretion, levels: 2}}
endpoints:
  cells: {{column: dormant}}
"""


def test_equal_keys_are_equal_runs_and_brief_records_end_alike(write):
    study = load_study(write(LIVELY.format(file=Path(__file__).with_name("lively.yaml"))))
    design = build_design(study)
    specs = {(run.point, run.arm): run for run in iterate_runs(study, design)}
    assert len({run.spin_up for run in specs.values()}) == 2  # one plan holds one set of drugs
    assert specs[0, "untreated"].key == specs[1, "untreated"].key and specs[0, "treated"].key != specs[1, "treated"].key
    series = {
        place: run_experiment(build_run(study, design.iloc[place[0]], 0, place[1])).series for place in specs
    }  # fmt: skip
    pd.testing.assert_frame_equal(series[0, "untreated"], series[1, "untreated"])
    assert not series[0, "treated"].equals(series[1, "treated"])
    assert list(series[0, "untreated"]["time_h"]) == [0.0, 96.0]
    assert sorted(series[0, "untreated"].columns) == sorted([*COLUMNS, "arm", "step", "time_h"])
    # Two arms that run together, recorded often, give the same last row but for rates.
    point = build_point(study, design.iloc[0])
    often = run_experiment(build_experiment(point.resolved() | {"record": {"series": "1 d", "events": False}}), threads=1)
    for name, arm in often.arms.items():
        last, brief = arm.series.iloc[-1], series[0, name].iloc[-1]
        same = [column for column in COLUMNS if is_brief(Endpoint("x", column, "end"))]
        pd.testing.assert_series_equal(last[same], brief[same], check_names=False)


# ---------------------------------------------------------------- the command line


def test_check_plan_and_schema_know_studies(write, capsys):
    import jsonschema

    from niche_sim.cli import _invoke

    def call(*words):
        code = _invoke([str(word) for word in words])
        return code, *capsys.readouterr()

    good = write()
    assert call("check", good) == (0, f"{good}: ok\n", "")
    planned = json.loads(call("plan", good, "--jobs", 3, "--json", "--set", "replicates=4")[1])
    assert (planned["points"], planned["runs"], planned["jobs"]) == (12, 96, 3)
    assert planned["hours"] == pytest.approx(planned["core_hours"] / 3) and planned["core_hours"] > 0
    bad = write(TEXT.replace("replicates", "replicate"), "bad.yaml")
    assert call("check", bad) == (2, "", f"{bad}:10:1: replicate: unknown key; did you mean 'replicates'?\n")
    schema = json.loads(call("schema", "--study")[1])
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(YAML(typ="safe").load(good.read_text())))
    assert list(validator.iter_errors(YAML(typ="safe").load(bad.read_text())))
