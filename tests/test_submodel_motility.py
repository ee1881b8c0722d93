"""Motility alone: the law of diffusion within 1 %, uniform crowds, no drift, taxis up the signal.

Bands are 4.2 standard errors (one false alarm in 37,000 each) unless said.
"""

import numpy as np
import pytest
from scipy import stats

from niche_sim.submodels import motility


def move(**keys):
    spec = motility.Spec.model_validate(
        {"model": "motility", "name": "t", "voxels": [300, 300], "cells": 2000, "speed": "10 um/h", "tick": "0.1 h",
         "length": "40 h", "every": "20 h", "seed": 1} | keys
    )  # fmt: skip
    assert motility.check(spec) == []
    tables = motility.run(spec, lambda fraction: None)
    for name, frame in tables.items():
        assert list(frame.columns) == list(motility.COLUMNS[name])
    return tables["displacement"], tables["occupancy"], tables["summary"].set_index("quantity")["value"]


@pytest.mark.parametrize("voxels", [[30_00], [300, 300], [60, 60, 60]])
@pytest.mark.parametrize("boundary", ["periodic", "closed"])
def test_lone_cells_diffuse(voxels, boundary):
    """One to thirty cells a thousand voxels hardly meet; closed walls hold back a hundredth of them at most."""
    cells, replicates = (30, 300) if len(voxels) == 1 else (100, 100)
    course, _, _ = move(voxels=voxels, boundary=boundary, cells=cells, replicates=replicates, length="20 h")
    last = course.iloc[-1]
    crowd = 0.02 if boundary == "closed" or len(voxels) == 1 else 0.01
    assert abs(last["mean_square_um2"] - last["expected_um2"]) < 4.2 * last["sem_um2"] + crowd * last["expected_um2"]


@pytest.mark.parametrize("tick", ["0.1 h", "1 h", "10 h"])
def test_mean_square_displacement_is_within_one_per_cent_at_any_tick(tick):
    """80,000 cells give a standard error of the mean square of 0.35 %; the band is 1 % and three such errors."""
    course, _, found = move(voxels=[1500, 1500], cells=8000, replicates=10, tick=tick, length="100 h", every="100 h")
    last = course.iloc[-1]
    assert last["mean_square_um2"] == pytest.approx(last["expected_um2"], rel=0.02)
    assert found["diffusion_expected"] == 10 * 20 / 4


def test_a_tick_too_long_for_the_rounds_is_refused():
    spec = motility.Spec.model_validate({
        "model": "motility", "name": "t", "voxels": [400, 400], "cells": 20, "speed": "1000 um/h", "tick": "24 h",
        "length": "48 h", "every": "24 h",
    })  # fmt: skip
    assert any(path == ("tick",) for path, _ in motility.check(spec))


def test_nothing_drifts():
    course, _, _ = move(voxels=[60, 60], cells=1800, replicates=3, length="100 h", every="100 h")
    last = course.iloc[-1]
    for axis in "yx":
        assert abs(last[f"mean_{axis}_um"]) < 4.2 * last["sem_axis_um"]


@pytest.mark.parametrize("boundary", ["periodic", "closed"])
def test_a_crowd_stays_uniform(boundary):
    """Chi-square of occupied or not over free voxels, corrected for the fixed number of cells, at p > 1e-3."""
    _, places, found = move(
        voxels=[10, 10], boundary=boundary, cells=60, replicates=2000, tick="1 h", length="30 h", every="30 h"
    )
    chi2 = found["occupancy_chi2"]
    assert stats.chi2.sf(chi2, found["occupancy_degrees_of_freedom"]) > 1e-3
    assert stats.chi2.cdf(chi2, found["occupancy_degrees_of_freedom"]) > 1e-3
    assert places["occupied"].sum() == 60 * 2000


def test_a_small_dense_box_is_uniform_too():
    """Where claims made at once left corners 2 % fuller: 20,000 boxes of 3 x 3 with 4 cells see 0.8 %."""
    _, _, found = move(
        voxels=[3, 3], boundary="closed", cells=4, replicates=20_000, tick="1 h", length="300 h", every="300 h", seed=9
    )
    assert stats.chi2.sf(found["occupancy_chi2"], 8) > 1e-3


def test_obstacles_are_never_entered():
    _, places, found = move(voxels=[20, 20], boundary="closed", cells=50, obstacles=0.3, replicates=50, tick="1 h")
    assert (places["occupied"] == 0).sum() >= 120
    assert found["free_voxels"] == 280


def test_cells_climb_the_signal():
    course, _, _ = move(voxels=[50, 50], boundary="closed", cells=300, taxis=20.0, length="200 h", every="100 h")
    assert course["mean_x_um"].iloc[-1] > 10 * course["sem_axis_um"].iloc[-1]
    assert abs(course["mean_y_um"].iloc[-1]) < 5 * course["sem_axis_um"].iloc[-1]


def test_impossible_lattices_are_refused():
    spec = motility.Spec.model_validate({
        "model": "motility", "name": "t", "voxels": [4, 4], "cells": 20, "speed": "100 um/h", "taxis": 1.0,
        "length": "10 h", "every": "1 h",
    })  # fmt: skip
    assert {path[0] for path, _ in motility.check(spec)} == {"cells", "voxels", "taxis", "length", "every"}
    spec = motility.Spec.model_validate({
        "model": "motility", "name": "t", "voxels": [401, 1], "cells": 20, "speed": "1 um/h", "length": "12 h",
        "every": "6 h",
    })  # fmt: skip
    assert [path for path, _ in motility.check(spec)] == [("voxels",)]


def test_same_seed_same_tables():
    first, second = move(voxels=[50, 50]), move(voxels=[50, 50])
    assert all(a.equals(b) for a, b in zip(first, second))
    assert np.isfinite(first[0].to_numpy()).all()
