"""Frames: what a living niche shows is what its result shows, and nothing is shared with either."""

import numpy as np
import pytest
from test_view import save

import niche_sim as ns
from niche_sim.errors import InputError
from niche_sim.kinds import DORMANT, DTC, FIELD_NAMES, FULL, KIND_NAMES, MODE_NAMES
from niche_sim.lattice import build_world
from niche_sim.scenes import build_scene
from niche_sim.simulation import build_rates
from niche_sim.state import copy_state, rebuild
from niche_sim.view.frame import OVERLAYS, list_frames, read_frame, take_frame


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return save(tmp_path_factory.mktemp("frame") / "result")


@pytest.fixture(scope="module")
def living(result):
    """State, rates and world of the end of the treated arm."""
    experiment = ns.load_experiment(result.directory / "resolved.yaml")
    scene = build_scene(experiment.scene.plain(), experiment.seed)
    world = build_world(scene.bone.shape, scene.voxel_um, scene.periodic)
    rates = build_rates(experiment.parameters, experiment.host_drugs(), experiment.arm_switches("drug"))
    return rebuild(result.final_state("drug")), rates, world


@pytest.mark.parametrize("overlay", [None, *OVERLAYS])
def test_a_living_frame_is_the_recorded_one(result, living, overlay):
    live = take_frame(*living, arm="drug", time_h=48.0, overlay=overlay)
    stored = read_frame(result, "drug", -1, overlay=overlay)
    assert (live.arm, live.time_h, live.voxel_um) == (stored.arm, stored.time_h, stored.voxel_um) == ("drug", 48.0, 20.0)
    assert set(live.maps) == set(stored.maps) == {"mineral", "sinusoid", "laid_step"} | ({overlay} - {None})
    for name, seen in live.maps.items():
        assert seen.dtype == stored.maps[name].dtype and seen.shape == stored.maps[name].shape
        rounding = 2.0**-11 if name in FIELD_NAMES else 1e-6  # fields are stored rounded
        np.testing.assert_allclose(seen, stored.maps[name], rtol=rounding, atol=1e-12)
    order = np.argsort(live.cells.ident)
    for mine, theirs in zip(live.cells, stored.cells):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine[order], theirs)


def test_a_frame_shares_nothing_and_cannot_be_written(living):
    state, rates, world = living
    frame = take_frame(state, rates, world, arm="drug", time_h=48.0, overlay="suitability")
    before = {name: array.copy() for name, array in frame.maps.items()}
    kind = frame.cells.kind.copy()
    changed = copy_state(state)
    live = take_frame(changed, rates, world, arm="drug", time_h=48.0, overlay="suitability")
    changed.voxels.mineral[:], changed.voxels.suitability[:], changed.cells.kind[:] = 7, 0.123, 3
    for name, array in before.items():
        np.testing.assert_array_equal(live.maps[name], array)
    np.testing.assert_array_equal(live.cells.kind, kind)
    with pytest.raises(ValueError, match="read-only"):
        frame.maps["mineral"][0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        frame.cells.kind[0] = 1


def test_recorded_cells_are_where_the_table_says(result):
    frame = read_frame(result, "control", 0)
    table = result.cells[(result.cells["arm"] == "control") & (result.cells["step"] == 0)]
    assert len(frame.cells.ident) == len(table) > 4
    dormant = (frame.cells.kind == DTC) & (frame.cells.mode == DORMANT)
    assert dormant.sum() == (table["state"] == "dormant").sum() == 4
    named = dict(zip(table["ident"], zip(table["kind"], table["z"], table["y"], table["x"])))
    for i, ident in enumerate(frame.cells.ident):
        cells = frame.cells
        assert named[ident] == (KIND_NAMES[cells.kind[i]], cells.z[i], cells.y[i], cells.x[i])
    assert set(np.unique(frame.cells.mode)) <= set(range(len(MODE_NAMES)))


def test_an_interval_records_the_start_every_interval_and_the_end(tmp_path):
    weekly = save(tmp_path / "weekly", arms={"only": {}}, record={"pictures": "18 h", "fields": False}, population={})
    assert list_frames(weekly, "only").tolist() == [0.0, 18.0, 36.0, 48.0]
    assert set(weekly.cells["time_h"]) == {0.0, 18.0, 36.0, 48.0}
    assert len({read_frame(weekly, "only", i).cells.ident.tobytes() for i in range(4)}) > 1


def test_single_precision_keeps_every_quantum_of_mineral(result):
    quanta = np.arange(FULL + 1)
    assert np.array_equal(np.rint((quanta / FULL).astype(np.float32).astype(float) * FULL), quanta)
    assert not ((quanta / FULL).astype(np.float32) >= 0.5)[: FULL // 2].any()  # marrow stays marrow
    for name in ("mineral", "suitability", "drug_surface", "drug_buried"):
        assert result.maps("drug", name).dtype == np.float32
    stored = np.rint(result.maps("drug", "mineral")[-1].ravel().astype(float) * FULL)
    np.testing.assert_array_equal(stored, result.final_state("drug")["voxels.mineral"])


def test_times_that_can_be_replayed(result):
    assert list_frames(result, "drug").tolist() == [0.0, 48.0]
    assert read_frame(result, "drug", 1).time_h == 48.0


def test_bad_input_is_one_message(result, living):
    with pytest.raises(InputError, match="overlay: there is no 'suitabilty'; did you mean 'suitability'"):
        take_frame(*living, arm="drug", time_h=0.0, overlay="suitabilty")
    with pytest.raises(InputError, match="there is no 'mineral'"):
        read_frame(result, "drug", 0, overlay="mineral")
    with pytest.raises(InputError, match="has 2 recorded pictures, so none of number 2"):
        read_frame(result, "drug", 2)
    with pytest.raises(InputError, match="no arm 'nobody'; there is control, drug"):
        read_frame(result, "nobody", 0)


def test_a_field_that_was_not_recorded_is_said_so(tmp_path):
    bare = save(tmp_path / "bare", arms={"only": {}}, record={"fields": False, "pictures": ["0 d"]}, population={})
    with pytest.raises(InputError, match="RANKL was not recorded up to 0 h; run again with .*record.fields"):
        read_frame(bare, "only", 0, overlay="rankl")
    assert len(read_frame(bare, "only", 0).cells.ident) == (bare.cells["step"] == 0).sum()
