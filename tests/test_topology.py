"""A cavity that cuts its trabecula through, and one that does not: pieces before and after, what is given up."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.kinds import FULL, N_BMU_PERFORATED
from niche_sim.lattice import build_world
from niche_sim.processes.osteoclasts import is_strained
from niche_sim.processes.remodelling import give_up_hole, has_floor, is_hole
from niche_sim.simulation import build_rates
from niche_sim.state import allocate_state, lay_scene, update_tissue
from niche_sim.topology import count_pieces, is_cut_through

RATES = build_rates(ns.load_parameters("human"), {}, {})
NY, NX = 40, 60


def make(thickness, width, depth, solid=False):
    """Return a state with a plate `thickness` voxels deep and a cavity of BMU 0 from above, and its world."""
    shape = (12, NY, NX) if solid else (1, NY, NX)
    world = build_world(shape, 20.0, True)
    bone = np.zeros(shape, bool)
    bone[:, 20 : 20 + thickness] = True
    state = allocate_state(world, cells=8, bmus=2, sectors=16, claim=4000, drugs=1, log=16)
    lay_scene(state, world, bone, np.zeros_like(bone))
    hole = np.zeros(shape, bool)
    hole[(slice(2, 2 + width) if solid else slice(None)), 20 : 20 + depth, 20 : 20 + width] = True
    claimed = np.flatnonzero(hole.ravel())
    state.claimed[0, : claimed.size], state.bmus.claims[0] = claimed, claimed.size
    state.voxels.owner[claimed] = 0
    state.normal[0] = 0.0, -1.0, 0.0
    for v in claimed:
        state.voxels.mineral[v], state.voxels.debt[v] = 0, FULL
        update_tissue(state, world, v)
    return state, world


@pytest.mark.parametrize("solid", [False, True])
@pytest.mark.parametrize("thickness, width, depth, cut", [
    (7, 6, 3, False), (4, 6, 3, False), (4, 6, 4, True), (4, 2, 4, True), (1, 1, 1, True),
])
def test_pieces_tell_a_cut_from_a_cavity(thickness, width, depth, cut, solid):
    state, world = make(thickness, width, depth, solid)
    assert bool(is_cut_through(state, world, 0)) is cut
    # Above and below the plate marrow is apart, and a hole joins it; in 2-D it also parts the plate.
    filled = 2 if thickness - depth < 3 else 1
    assert count_pieces(state, world, 0, False, True) == filled
    assert count_pieces(state, world, 0, True, False) == (2 if cut and not solid else 1)
    assert (state.voxels.claim == 0).all()


def test_a_free_end_and_a_crumb_are_no_cuts():
    state, world = make(4, 6, 4)
    for x in range(26, 60):  # nothing beyond the cavity: it took the end of a strut
        for y in range(20, 24):
            v = y * NX + x
            state.voxels.mineral[v] = 0
            update_tissue(state, world, v)
    assert not is_cut_through(state, world, 0)
    state, world = make(7, 6, 3)
    crumb = 21 * NX + 22  # left standing inside the cavity
    state.voxels.mineral[crumb], state.voxels.debt[crumb] = FULL, 0
    update_tissue(state, world, crumb)
    assert not is_cut_through(state, world, 0)


@pytest.mark.parametrize("width, given_up", [(2, 0), (3, 12), (6, 24)])
def test_a_slit_is_bridged_and_a_hole_is_not(width, given_up):
    state, world = make(4, width, 4)
    hole = bool(is_hole(state, RATES, world, 0))
    assert hole == (given_up > 0)
    if hole:
        give_up_hole(state, RATES, world, 0)
    assert state.bmus.lost[0] == given_up * FULL
    assert state.bmus.perforated[0] == state.tally[N_BMU_PERFORATED] == int(hole)
    assert state.voxels.debt.sum() == (4 * width - given_up) * FULL


def test_what_has_a_floor_is_kept_beside_a_hole():
    state, world = make(4, 6, 4)
    kept = 23 * NX + 20  # the first column is not cut through
    state.voxels.mineral[kept], state.voxels.debt[kept] = FULL, 0
    update_tissue(state, world, kept)
    assert has_floor(state, RATES, world, 0, 20 * NX + 20) and not has_floor(state, RATES, world, 0, 20 * NX + 22)
    give_up_hole(state, RATES, world, 0)
    assert state.bmus.lost[0] == 20 * FULL and state.voxels.debt[20 * NX + 20] == FULL


def test_thin_bone_is_strained():
    state, world = make(4, 6, 2)
    floor = [y * NX + 22 for y in (22, 23)]
    assert [bool(is_strained(state, RATES, world, 0, v)) for v in floor] == [True, True]
    state, world = make(7, 6, 2)
    assert [bool(is_strained(state, RATES, world, 0, y * NX + 22)) for y in (22, 23, 24, 25, 26)] == [False] * 3 + [True] * 2
