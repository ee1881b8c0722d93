"""The shipped drugs against what was published, and against the closed form of their own numbers."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from compartments import SOLVERS, read_shipped
from pharmacokinetics import ROOT, SPREADS, compare, read_published, write_page

from niche_sim.config import load_drug
from niche_sim.pharmacokinetics import pharmacokinetics
from niche_sim.regimens import Course
from niche_sim.resources import configs_dir

DRUGS = ("zoledronate", "pamidronate", "clodronate", "ibandronate", "alendronate", "risedronate", "denosumab")


@pytest.fixture(scope="module")
def rows():
    return compare()


def test_every_row_that_is_meant_to_hold_holds_and_no_reason_for_a_miss_is_stale(rows):
    assert {row.drug for row in rows} == set(DRUGS)
    assert not [row for row in rows if not row.as_meant]


def test_the_page_is_what_the_script_writes(rows):
    assert (ROOT / "docs" / "pharmacokinetics.md").read_text(encoding="utf-8") == write_page(rows)


def test_published_numbers_have_known_sources_and_lie_in_their_ranges():
    keys = set(re.findall(r"@\w+\{([^,]+),", (configs_dir() / "references.bib").read_text(encoding="utf-8")))
    for entry in read_published().values():
        for row in entry["rows"]:
            assert row["source"] in keys, row
            assert row.get("bone") or (row["spread"] in SPREADS and row["range"][0] <= row["value"] <= row["range"][1]), row


@pytest.mark.parametrize("name", SOLVERS)
def test_shipped_compartments_are_those_solved_from_publications(name):
    shipped = read_shipped(name)
    for key, value in SOLVERS[name]().items():
        assert shipped[key] == pytest.approx(value, rel=0.01), key


@pytest.mark.parametrize("name", DRUGS)
@pytest.mark.parametrize("route", ["iv", "own"])
def test_area_is_what_is_absorbed_over_clearance_and_the_curve_is_its_closed_form(name, route):
    drug = load_drug(name).drug
    injected = route == "iv" or drug.route == "iv"
    share = 1.0 if injected else drug.absorbed_fraction
    course = Course(name, 10.0, route="iv" if injected else drug.route, infusion_h=0.0)
    amount, clear = share * 1e7 / drug.molar_mass, drug.clearance_excretion + drug.clearance_skeleton
    area = pharmacokinetics(drug, [course], [2e5])["exposure"][0]
    assert area == pytest.approx(amount / clear, rel=1e-6)
    # Eigenvalues of the compartments, not the matrix exponentials of the engine.
    matrix = np.zeros((2 + len(drug.peripheral),) * 2)
    matrix[0, 0], matrix[1, 0], matrix[1, 1] = -drug.absorption_rate, drug.absorption_rate, -clear / drug.central_volume
    for i, tissue in enumerate(drug.peripheral, start=2):
        matrix[1, 1] -= tissue.clearance / drug.central_volume
        matrix[i, 1], matrix[1, i] = tissue.clearance / drug.central_volume, tissue.clearance / tissue.volume
        matrix[i, i] = -tissue.clearance / tissue.volume
    rates, modes = np.linalg.eig(matrix)
    start = np.zeros(len(matrix))
    start[1 if injected else 0] = amount
    times = np.array([0.1, 0.7, 3.0, 11.0, 24.0])
    exact = (modes[1] * np.linalg.solve(modes, start) * np.exp(np.outer(times, rates))).sum(axis=1).real
    exact /= drug.central_volume
    np.testing.assert_allclose(pharmacokinetics(drug, [course], times)["concentration"], exact, rtol=1e-6)
