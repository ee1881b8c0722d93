"""Depletion of macrophages in the shipped experiment, in direction: `pytest -m deep tests/validation/test_depletion.py`.

Eight matched seeds; every direction holds beyond two standard errors. Sizes: experiments/macrophage_depletion/notes.md.
"""

import runpy
from pathlib import Path

import pytest

pytestmark = [pytest.mark.deep, pytest.mark.timeout(3600)]
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "macrophage_depletion.py"
ABLATED = ("mafia", "liposomal_clodronate")


@pytest.fixture(scope="module")
def found():
    tools = runpy.run_path(str(BENCHMARK))
    return tools["compare"](tools["run_all"](8))


def bounds(found, setting, arm, what):
    """Mean less and plus two standard errors, over the control of the same seed."""
    row = found.loc[(setting, arm)]
    return row["mean"][what] - 2.0 * row["error"][what], row["mean"][what] + 2.0 * row["error"][what]


@pytest.mark.parametrize("arm", ABLATED)
@pytest.mark.parametrize("setting", ["bone", "elsewhere", "no osteal support"])
def test_ablation_slows_the_tumour_in_bone_and_outside_whatever_bone_does(found, setting, arm):
    """Soki et al. 2015 in tibiae, Hiraoka et al. in bone and muscle."""
    assert bounds(found, setting, arm, "tumour")[1] < 1.0


def test_bone_goes_down_with_ablation_and_up_with_liposomal_clodronate(found):
    """Soki et al. 2015; Cho et al. 2014."""
    assert bounds(found, "bone", "mafia", "bone")[1] < 0.0 < bounds(found, "bone", "liposomal_clodronate", "bone")[0]


def test_the_effect_on_bone_is_separable_from_that_on_tumour(found):
    """Without osteal support ablation no longer lowers bone, and lowers the tumour all the same."""
    assert bounds(found, "no osteal support", "mafia", "bone")[1] > 0.0
    assert bounds(found, "no osteal support", "mafia", "tumour")[1] < 1.0


@pytest.mark.parametrize("arm", ABLATED)
def test_fewer_cells_come_and_fewer_are_there_after_half_a_year(found, arm):
    """Opperman et al. 2019."""
    assert bounds(found, "homing", arm, "homed")[1] < 1.0
    assert bounds(found, "homing", arm, "tumour")[1] < 1.0


def test_a_drug_for_osteoclasts_alone_slows_the_tumour_in_bone_only(found):
    """Hiraoka et al.: reveromycin A. Elsewhere nothing at all changes."""
    assert bounds(found, "bone", "osteoclast_only", "tumour")[1] < 1.0
    assert bounds(found, "elsewhere", "osteoclast_only", "tumour") == (1.0, 1.0)
