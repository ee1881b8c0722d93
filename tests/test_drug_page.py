"""docs/drugs.md: the drug, the experiment and the regimen of the page work as they stand there, and no key is forgotten."""

import re

import numpy as np
import pytest
from pharmacokinetics import ROOT

import niche_sim as ns
from niche_sim.config import check_files
from niche_sim.config.schema import CourseModel, list_keys
from niche_sim.drugs import CLASSES, DRUG_LAYOUT, DRUG_TEXT, Leaf
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course
from niche_sim.simulation import run_experiment

PAGE = (ROOT / "docs" / "drugs.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of the page, each under the name that the page gives it, in an empty folder."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for key, name in (("molar_mass:", "inventodronate"), ("arms:", "experiment"), ("courses:", "monthly_then_quarterly")):
        (text,) = [block for block in blocks if re.search(f"^{key}", block, re.MULTILINE)]
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_files_of_the_page_have_no_mistakes(folder):
    assert check_files(sorted(folder.glob("*.yaml"))) == []


def test_the_drug_of_the_page_is_followed_by_its_python(folder):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(code, names)  # our own page
    assert names["peak"] > 0 and 0.3 < names["excreted"] < 0.4
    whole = pharmacokinetics(names["drug"], [Course("inventodronate", 100.0)], [1e4])
    amount = 0.01 * 100e6 / 280
    assert whole["exposure"][0] == pytest.approx(amount / 12.0, rel=1e-6)  # F dose / clearance
    assert whole["skeleton"][0] == pytest.approx(0.6 * amount, rel=1e-6)


def test_the_experiment_of_the_page_runs(folder):
    run = run_experiment(ns.load_experiment("experiment.yaml", length="8 d"))
    doses = run.arms["treated"].events.query("event == 'dose'")["time_h"]
    assert doses.tolist() == [0.0, 168.0]
    held = {name: arm.series["drug_surface_fmol"].iloc[-1] for name, arm in run.arms.items()}
    assert held["treated"] > 0 == held["control"]


def test_the_rule_for_two_half_lives_of_the_page():
    """V, CL and two half-lives of pamidronate give the tissue that was solved for it."""
    drug = ns.load_drug("pamidronate").drug
    volume, clearance = drug.central_volume, drug.clearance_excretion + drug.clearance_skeleton
    a, b, k = np.log(2) / 0.8, np.log(2) / 27.2, clearance / volume
    back = a * b / k
    out = a + b - k - back
    assert drug.peripheral[0] == pytest.approx((volume * out / back, volume * out), rel=0.01)


def list_leaves(layout):
    for key, entry in layout.items():
        inner = entry[0] if isinstance(entry, list) else entry
        yield key
        if not isinstance(inner, Leaf):
            yield from list_leaves(inner)


def test_the_page_names_every_key_class_and_key_of_a_course():
    for key in {*DRUG_TEXT, *CLASSES, *list_leaves(DRUG_LAYOUT), *list_keys(CourseModel)}:
        assert f"`{key}`" in PAGE, key


@pytest.mark.parametrize(("old", "new", "path", "said"), [
    ("absorbed_fraction: ", "#", "absorbed_fraction", "a drug given oral needs it"),
    ("absorption_rate: ", "#", "absorption_rate", "a drug given oral needs it"),
    ("class: amino", "class: ", "effects.gamma_delta", "has no gamma_delta; that belongs to amino"),
    ('value: "1 %", range: ["0.5 %", "2 %"]', "value: 3, range: [1, 6]", "absorbed_fraction.value", "write '3 %'"),
    ('"10 L", range: ["6 L"', '"0 L", range: ["0 L"', "pharmacokinetics.central_volume.value", "must be above 0"),
    ("route: oral", "route: im", "route", "absorbed like sc"),
    ("name: inventodronate", "name: Invento 100", "name", "letters, digits"),
    ('"80 mL/min"', '"80,5 mL/min"', "pharmacokinetics.clearance_excretion.value", "not a comma"),
])  # fmt: skip
def test_a_mistake_in_the_drug_of_the_page_is_told_at_its_place(folder, old, new, path, said):
    file = folder / "inventodronate.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    found = [problem for problem in check_files([file]) if problem.path == path]
    assert found and said in found[0].message and found[0].line > 1, check_files([file])


def test_an_experiment_tells_the_mistakes_of_a_drug_and_nothing_that_follows_from_them(folder):
    file = folder / "inventodronate.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("potency: {value: 0.2", "potency: {value: 2"), encoding="utf-8")
    spread = "spread: [{name: drugs.inventodronate.absorbed_fraction, cv: 0.2, status: assumed, source: none}]\n"
    with (folder / "experiment.yaml").open("a", encoding="utf-8") as experiment:
        experiment.write(spread)
    (problem,) = check_files([folder / "experiment.yaml"])
    assert problem.path.endswith("potency.value")


def test_an_oral_drug_needs_no_infusion(folder):
    file = folder / "inventodronate.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith("infusion")), encoding="utf-8")
    assert check_files([file]) == []
