"""The state is plain: it can be taken apart and put together, and its tables stay consistent."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.host import build_forcing, read_body
from niche_sim.initial import build_state, find_residence
from niche_sim.kinds import DTC, FULL, HALF, MACROPHAGE, MINERAL_START
from niche_sim.lattice import build_neighbours, build_world, displace, list_offsets
from niche_sim.schedule import Tick
from niche_sim.simulation import build_rates, host_at, make_plan
from niche_sim.state import (
    add_cell,
    allocate_state,
    copy_state,
    flatten,
    is_free,
    lay_scene,
    move_cell,
    rebuild,
    remove_cell,
    update_tissue,
)


@pytest.fixture
def niche():
    world = build_world((1, 8, 9), 20.0, True)
    state = allocate_state(world, cells=10, bmus=4, sectors=4, claim=20, drugs=2, log=50)
    bone = np.zeros((1, 8, 9), bool)
    bone[0, 3:5] = True
    sinusoid = np.zeros_like(bone)
    sinusoid[0, 0, 0] = True
    lay_scene(state, world, bone, sinusoid)
    return state, world


@pytest.mark.parametrize("shape", [(1, 5, 7), (4, 5, 6)])
@pytest.mark.parametrize("periodic", [True, False])
def test_neighbours_are_mutual_and_match_displace(shape, periodic):
    world = build_world(shape, 20.0, periodic)
    table = build_neighbours(shape, periodic)
    for v in range(world.n):
        for w in table[v]:
            if w >= 0:
                assert v in table[w]
    assert (table >= 0).all() == periodic
    assert displace(world, 0, 0, -1, 0) == (table[0, 0 if shape[0] == 1 else 2])


def test_offsets_are_nearest_first_and_within_radius():
    offsets = list_offsets(3, 20.0, 50.0)
    lengths = np.linalg.norm(offsets, axis=1) * 20.0
    assert (np.diff(lengths) >= -1e-9).all()
    assert lengths[0] == 0
    assert lengths.max() <= 50.0


def test_scene_sets_contacts_and_ledger(niche):
    state, world = niche
    assert state.tally[MINERAL_START] == 18 * FULL
    assert state.voxels.exposed.sum() == 18
    assert state.voxels.contact.sum() == 18
    assert state.voxels.perivascular.sum() == 4
    assert not is_free(state.voxels, 0)


def test_tissue_follows_mineral(niche):
    state, world = niche
    v = 3 * 9 + 4
    state.voxels.mineral[v] = HALF - 1
    state.fields.changed[:] = 0
    update_tissue(state, world, v)
    assert state.voxels.is_bone[v] == 0
    assert state.voxels.contact[v] == 3
    assert state.fields.changed.all()


def test_cells_come_move_and_go(niche):
    state, world = niche
    rows = [add_cell(state, 0, DTC, v, np.uint64(100 + v), np.uint64(0), v) for v in (1, 2, 5)]
    assert rows == [0, 1, 2]
    move_cell(state, 1, 6)
    remove_cell(state, 0)
    assert state.living[0] == 2
    for row in range(2):
        assert state.voxels.occupant[state.cells.voxel[row]] == row
    assert set(state.cells.ident[:2]) == {102, 105}
    assert (state.voxels.occupant >= 0).sum() == 2


def test_full_table_is_a_fault_not_a_crash(niche):
    state, world = niche
    for v in range(1, 11):
        add_cell(state, 3, MACROPHAGE, v, np.uint64(v), np.uint64(0), 0)
    assert add_cell(state, 3, MACROPHAGE, 12, np.uint64(99), np.uint64(0), 0) == -1
    assert state.fault[0] == 1
    assert state.fault[1] == 3


def test_flatten_and_rebuild_are_inverse(niche):
    state, world = niche
    add_cell(state, 0, DTC, 1, np.uint64(2**63 + 5), np.uint64(0), 1)
    state.drug[1, 30] = 0.25
    again = flatten(rebuild(flatten(state)))
    for name, array in flatten(state).items():
        assert array.dtype == again[name].dtype
        assert np.array_equal(array, again[name], equal_nan=True), name


def test_copy_is_independent(niche):
    state, world = niche
    other = copy_state(state)
    other.voxels.mineral[0] = 7
    other.fields.concentration[0, 0] = 3.0
    assert state.voxels.mineral[0] == 0
    assert state.fields.concentration[0, 0] == 0.0


def test_bone_begins_with_the_ages_of_its_turnover():
    """Mean age is volume over what BMUs erode in a time; the law is exponential, so that its spread is its mean."""
    plan = make_plan(ns.load_experiment("e00_zoledronate_niche"))
    rates = build_rates(plan.experiment.parameters, plan.drugs, plan.experiment.switches)
    body = read_body(plan.experiment.parameters)
    host = host_at(build_forcing([], plan.drugs, plan.patient, 1, 6.0, body=body), 0)
    state = build_state(plan.world, plan.scene, rates, host, Tick(-1, 6.0, plan.key), 1, host.activation)
    age = -6.0 * (1 + state.voxels["laid"][state.voxels["is_bone"] == 1])
    mean = find_residence(state, plan.world, rates, host)
    assert 2.0 < mean / 8766 < 6.0  # some 0.39 /yr of a surface, 63 um deep, on plates of 140 um
    assert age.mean() == pytest.approx(mean, rel=0.1) and age.std() == pytest.approx(mean, rel=0.1)
