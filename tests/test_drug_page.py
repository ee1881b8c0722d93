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
