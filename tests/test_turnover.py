"""Structure, surfaces and turnover on hand-made bone, and the table of BMUs against the ledgers of a run."""

from pathlib import Path

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.kinds import (
    FORMING,
    FREE,
    FULL,
    HALF,
    MINERAL_FORMED,
    MINERAL_REMOVED,
    MINERALISING_FACES,
    NEVER,
    OCCUPIED,
    RECRUITING,
    RESORBING,
    REVERSAL,
)
from niche_sim.lattice import build_world
from niche_sim.processes.remodelling import FOOTPRINT_MEMORY
from niche_sim.state import allocate_state, clear_records, flatten, lay_scene, rebuild, update_tissue
from niche_sim.surface import count_faces
from niche_sim.turnover import list_bmus, measure_bone, measure_turnover

LIVELY = Path(__file__).resolve().parent / "lively.yaml"
FACTOR = np.pi / 4
FACE_UM2 = 400.0


@pytest.fixture
def plate():
    """A plate four voxels thick across a patch of 10 x 12 voxels of 20 um, and one BMU at work on its upper side."""
    world = build_world((1, 10, 12), 20.0, True)
    state = allocate_state(world, cells=4, bmus=2, sectors=2, claim=8, drugs=1, log=4)
    bone = np.zeros((1, 10, 12), bool)
    bone[0, 3:7] = True
    lay_scene(state, world, bone, np.zeros_like(bone))
    state.bmus.phase[0] = RECRUITING
    state.normal[0] = 0.0, -1.0, 0.0  # the marrow lies before the plate, at small y
    for x in (4, 5, 6, 7):
        for y in (3, 4):
            state.voxels.owner[12 * y + x], state.voxels.sector[12 * y + x] = 0, (x - 4) // 2
    return state, world


def faces(state, world):
    counts = np.zeros(4, np.int64)
    count_faces(state, world, counts)
    return counts.tolist()


def hollow(state, world, x):
    """Take the voxel of the upper layer at `x` out of the plate."""
    v = 12 * 3 + x
    state.voxels.mineral[v], state.voxels.debt[v] = 0, FULL
    update_tissue(state, world, v)


def test_structure_of_a_plate(plate):
    """A plate has 2 BV / BS of its thickness, but for the Crofton factor, which holds for surfaces of every direction."""
    row = measure_bone(*plate)
    assert row["bone_volume_fraction"] == 0.4
    assert row["bone_surface_um2"] == pytest.approx(24 * FACE_UM2 * FACTOR)
    assert row["bone_surface_density_per_mm"] == pytest.approx(2 / 0.2 * FACTOR)
    assert row["trabecular_thickness_um"] == pytest.approx(80 / FACTOR)
    assert row["trabecular_separation_um"] == pytest.approx(120 / FACTOR)
    assert row["trabecular_number_per_mm"] == pytest.approx(FACTOR / 0.2)


def test_a_patch_without_bone_has_no_thickness(plate):
    state, world = plate
    lay_scene(state, world, np.zeros((1, 10, 12), bool), np.zeros((1, 10, 12), bool))
    row = measure_bone(state, world)
    assert np.isnan(row["trabecular_thickness_um"]) and np.isnan(row["trabecular_separation_um"])
    assert (row["bone_volume_fraction"], row["bone_surface_density_per_mm"]) == (0.0, 0.0)


def test_surface_by_what_goes_on_there(plate):
    state, world = plate
    assert faces(state, world) == [24, 0, 0, 0]
    state.bmus.phase[0] = RESORBING
    state.duty[0, 0] = OCCUPIED
    assert faces(state, world) == [24, 4, 2, 0]
    hollow(state, world, 5)  # one face goes, a floor and two sides come; the right side is of the other sector
    assert faces(state, world) == [26, 6, 3, 0]
    state.duty[0, 0] = 0
    state.bmus.phase[0] = REVERSAL
    assert faces(state, world) == [26, 6, 0, 0]


def test_the_far_side_of_a_thin_plate_is_not_under_the_osteoclast(plate):
    state, world = plate
    state.bmus.phase[0], state.duty[0, :] = RESORBING, OCCUPIED
    for y in (5, 6):
        state.voxels.owner[12 * y + 4 : 12 * y + 8], state.voxels.sector[12 * y + 4 : 12 * y + 8] = 0, 0
    assert faces(state, world) == [24, 8, 4, 0]


def test_osteoid_lies_between_finished_bone_and_what_is_to_be_filled(plate):
    state, world = plate
    for x in (5, 6):
        hollow(state, world, x)
    state.bmus.phase[0] = FORMING
    assert faces(state, world)[1:] == [6, 0, 0]  # bare until the first mineral
    state.bmus.filled[0] = 1
    assert faces(state, world)[1:] == [0, 0, 4]  # two floors, a side each
    v = 12 * 3 + 5
    state.voxels.mineral[v], state.voxels.debt[v] = HALF, HALF
    update_tissue(state, world, v)
    assert faces(state, world)[3] == 4  # half full it is bone, and no bed for its neighbour
    state.voxels.mineral[v], state.voxels.debt[v] = FULL, 0
    assert faces(state, world)[3] == 3


def test_apposition_is_mineral_over_the_faces_it_grew_from(plate):
    state, world = plate
    before = state.tally.copy()
    state.tally[MINERAL_FORMED] += 8 * FULL // 100
    state.tally[MINERALISING_FACES] += 4 * 8  # four faces in each of eight ticks of 6 h, a hundredth of a voxel each 12 h
    surface_um2 = 24 * FACE_UM2 * FACTOR
    row = measure_turnover(state, world, before, 8, 6.0, surface_um2)
    assert row["mineralising_surface_fraction"] == pytest.approx(4 / 24)
    assert row["formation_um3_per_d"] == pytest.approx(8 * 8000 / 100 / 2)
    assert row["mineral_apposition_um_per_d"] == pytest.approx(20 * 8 / 100 / 4 / 2 / FACTOR)
    assert row["bone_formation_um_per_d"] == pytest.approx(
        row["mineral_apposition_um_per_d"] * row["mineralising_surface_fraction"]
    )
    idle = measure_turnover(state, world, state.tally.copy(), 8, 6.0, surface_um2)
    assert np.isnan(idle["mineral_apposition_um_per_d"])
    assert idle["bone_formation_um_per_d"] == 0.0


def test_a_finished_bmu_is_a_row(plate):
    state, world = plate
    done = state.finished[:2]
    done.ident[:], done.origin[:], done.footprint[:] = (2**63 + 1, 7), (12 * 3 + 5, 0), (4000.0, 0.0)
    done.removed[0], done.filled[0] = 30 * FULL, 24 * FULL
    done.recruiting[:], done.ended[:], done.outcome[:] = (-20, 5), (700, 200), (0, 2)
    done.resorbing[:], done.reversal[:], done.forming[:] = (-10, NEVER), (100, NEVER), (220, NEVER)
    first, second = list_bmus(done, world, 6.0).to_dict("records")
    assert (first["ident"], first["outcome"], first["y"], first["x"]) == (2**63 + 1, "completed", 3, 5)
    assert (first["start_h"], first["resorption_start_h"], first["time_h"]) == (-120.0, -60.0, 4200.0)
    periods = [first[f"{name}_period_h"] for name in ("resorption", "reversal", "formation")]
    assert periods == [660.0, 720.0, 2880.0]
    assert (first["depth_um"], first["wall_thickness_um"]) == (60.0, 48.0)
    assert (second["outcome"], second["start_h"], second["removed_um3"]) == ("no_osteoclast", 30.0, 0.0)
    assert all(np.isnan(second[name]) for name in ("resorption_period_h", "reversal_start_h", "depth_um"))


def test_finished_bmus_survive_a_checkpoint_and_are_cleared(plate):
    state, _ = plate
    state.finished.ident[0], state.finished_count[0], state.entered[0, FORMING] = 2**63 + 1, 1, 12
    again = rebuild({name: array.copy() for name, array in flatten(state).items()})
    assert again.finished.ident[0] == 2**63 + 1
    assert again.entered[0, FORMING] == 12
    clear_records(again)
    assert again.finished.ident[0] == 0
    assert again.finished_count[0] == 0


@pytest.fixture(scope="module")
def arm():
    sets = {"time.spin_up": "0 d", "time.length": "120 d"}
    return ns.run_experiment(ns.load_experiment(LIVELY, sets=sets)).arms["untreated"]


def test_bmus_that_ended_and_those_at_work_moved_all_mineral(arm):
    state = arm.final_hash_arrays
    at_work = state["bmus.phase"] != FREE
    for column, name, counter in (("removed_um3", "removed", MINERAL_REMOVED), ("filled_um3", "filled", MINERAL_FORMED)):
        ended = arm.bmus[column].sum() / 8000.0 * FULL
        assert ended > 0
        assert ended + state[f"bmus.{name}"][at_work].sum() == pytest.approx(state["tally"][counter], abs=0.5)


def test_bmus_opened_all_surface(arm):
    state = arm.final_hash_arrays
    at_work = state["bmus.phase"] != FREE
    opened = dict(zip(arm.bmus["ident"], arm.bmus["footprint_um2"]))
    opened |= dict(zip(state["bmus.ident"][at_work], state["bmus.footprint"][at_work]))
    mean = 0.0, 0.0
    for ident in arm.events.query("event == 'bmu_start'")["ident"]:
        mean = tuple((1 - 1 / FOOTPRINT_MEMORY) * old + new for old, new in zip(mean, (opened[ident], 1.0)))
    assert mean == pytest.approx(tuple(state["opened"]), rel=1e-12)


def test_bmus_and_events_tell_the_same(arm):
    ends = arm.events.query("event == 'bmu_end'")
    starts = arm.events.query("event == 'bmu_start'").set_index("ident")["time_h"]
    assert ends["ident"].tolist() == arm.bmus["ident"].tolist()
    assert ends["cause"].tolist() == arm.bmus["outcome"].tolist()
    assert ends["step"].tolist() == arm.bmus["step"].tolist()
    assert starts[arm.bmus["ident"]].tolist() == arm.bmus["start_h"].tolist()


def test_phases_follow_each_other(arm):
    whole = arm.bmus[arm.bmus["outcome"] == "completed"]
    names = ["start_h", "resorption_start_h", "reversal_start_h", "formation_start_h", "time_h"]
    assert len(whole) > 3
    assert (np.diff(whole[names].to_numpy(), axis=1) > 0).all()
    assert whole["reversal_period_h"].unique().tolist() == [486.0]  # of 20 d; the phase ends at the first tick after it
    assert (whole["filled_um3"] <= whole["removed_um3"]).all()
