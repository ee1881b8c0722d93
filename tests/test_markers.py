"""Markers: proportional to turnover, scattered as stated, the same for equal addresses."""

import numpy as np
import pandas as pd
import pytest

import niche_sim as ns
from niche_sim.draws import run_key
from niche_sim.kinds import MARKER_UNITS as UNITS
from niche_sim.markers import draw_scatter, find_degree, find_truth, measure, read_markers

PUBLISHED_UNITS = {
    "ctx": "ng/mL", "ntx": "nmol/mmol", "p1np": "ug/L", "calcium": "mmol/L", "bmd_spine": "%", "bmd_trabecular": "%",
}


@pytest.fixture(scope="module")
def human():
    return ns.load_parameters("human")


@pytest.fixture(scope="module")
def markers(human):
    return read_markers(human)


def written(human, name):
    """Return the number of a parameter in the unit in which the file writes it."""
    return float(str(human[f"markers.{name}"].written).split()[0])


def test_reference_turnover_gives_the_reference_of_each_marker(human, markers):
    turnover = written(human, "reference_turnover")  # um/d
    found = find_truth(turnover, turnover, 1.0, markers)
    assert UNITS == PUBLISHED_UNITS
    assert found["ctx"] == pytest.approx(written(human, "ctx_reference"))
    assert found["ntx"] == pytest.approx(written(human, "ntx_reference"))
    assert found["p1np"] == pytest.approx(written(human, "p1np_reference"))
    assert found["calcium"] == pytest.approx(written(human, "calcium_set_point"))
    assert found["bmd_spine"] == found["bmd_trabecular"] == 100.0


def test_markers_are_proportional_and_calcium_saturates(human, markers):
    turnover = written(human, "reference_turnover")
    one, two = (find_truth(k * turnover, turnover, 1.0, markers) for k in (1, 2))
    assert two["ctx"] == pytest.approx(2 * one["ctx"]) and two["ntx"] == pytest.approx(2 * one["ntx"])
    assert two["p1np"] == one["p1np"]
    assert two["calcium"] - one["calcium"] == pytest.approx(written(human, "calcium_gain"), rel=1e-2)
    far = find_truth(np.array([0.0, 1e9]) * turnover, np.array([1e9, 0.0]) * turnover, 1.0, markers)["calcium"]
    rise = written(human, "calcium_rise")
    assert far - one["calcium"] == pytest.approx([-rise, rise])


def test_bone_mineralises_quickly_to_a_share_and_then_slowly(markers):
    slow = markers.secondary_time
    ages = np.array([0.0, markers.primary_time, 0.02 * slow, slow, 1e3 * slow])
    degree = find_degree(ages, markers)
    share = markers.primary_share
    assert degree[0] == pytest.approx(0.0, abs=1e-12) and degree[-1] == pytest.approx(1.0)
    assert np.all(np.diff(degree) > 0)
    assert degree[3] == pytest.approx(share + (1 - share) * (1 - np.exp(-1)), rel=1e-6)


@pytest.mark.parametrize("marker", UNITS)
def test_scatter_has_the_stated_size_and_the_truth_in_its_middle(marker, markers):
    scatter = draw_scatter(marker, range(20_000), run_key(3), markers)
    cvs = (getattr(markers, f"{marker}_within_cv"), getattr(markers, f"{marker}_assay_cv"))
    together = np.sqrt(cvs[0] ** 2 + cvs[1] ** 2)
    assert np.median(scatter) == pytest.approx(1.0, abs=4 * together / np.sqrt(20_000))
    assert scatter.std() / scatter.mean() == pytest.approx(together, rel=0.03)


def test_scatter_has_an_address(markers):
    steps = [40, 80, 120]
    one = draw_scatter("ctx", steps, run_key(1, 5), markers)
    assert np.array_equal(one[1:], draw_scatter("ctx", steps[1:], run_key(1, 5), markers))
    assert not np.isclose(one, draw_scatter("ctx", steps, run_key(1, 6), markers)).any()
    ntx = np.log(draw_scatter("ntx", range(500), run_key(1, 5), markers))
    ctx = np.log(draw_scatter("ctx", range(500), run_key(1, 5), markers))
    assert abs(np.corrcoef(ctx, ntx)[0, 1]) < 0.15


def test_a_patient_is_measured_from_the_second_visit(markers):
    signals = pd.DataFrame({
        "step": [0, 4, 8], "time_h": [0.0, 24.0, 48.0], "resorption_um3_per_d": [0.0, 3.0, 6.0],
        "formation_um3_per_d": [0.0, 4.0, 4.0], "bone_surface_um2": [100.0, 50.0, 50.0],
        "bone_mineral_content_um3": [10.0, 9.0, 11.0],
    })  # fmt: skip
    table = measure(signals, run_key(1), markers)
    assert np.isnan(table["ctx_true"][0]) and table["bmd_trabecular_true"].tolist() == pytest.approx([100.0, 90.0, 110.0])
    share = markers.spine_trabecular_share
    assert table["bmd_spine_true"].tolist() == pytest.approx([100.0, 100.0 - 10.0 * share, 100.0 + 10.0 * share])
    assert table["ctx_true"][2] == pytest.approx(2 * table["ctx_true"][1])  # of the surface at time 0, not of that now
    for name in UNITS:
        scatter = draw_scatter(name, [0, 4, 8], run_key(1), markers)
        assert np.allclose(table[f"{name}_measured"], table[f"{name}_true"] * scatter, equal_nan=True)


def test_the_series_holds_mineral_weighted_by_its_age():
    experiment = ns.build_experiment({
        "name": "mineral", "seed": 2, "scene": "trabecula_postmenopausal", "patient": "postmenopausal",
        "time": {"length": "40 d", "spin_up": "150 d"}, "arms": {"control": {}},
        "override": {"markers.primary_time": "5 d"}, "record": {"series": "20 d"},
    })  # fmt: skip
    arm = ns.run_experiment(experiment).arms["control"]
    size = 100 * 100 * 20.0**3
    volume = arm.series["bone_volume_fraction"] * size
    assert np.all(arm.series["bone_mineral_content_um3"] <= volume)
    laid, mineral = (arm.final_hash_arrays[f"voxels.{name}"] for name in ("laid", "mineral"))
    degree = find_degree((160 - laid.astype(np.int64)) * 6.0, read_markers(experiment.parameters))
    expected = (mineral * degree).sum() / 1e6 * 20.0**3
    assert (laid > -800).any()  # since the spin-up began
    assert arm.series["bone_mineral_content_um3"].iloc[-1] == pytest.approx(expected)
