"""The pure laws of the processes against known values."""

import math
from types import SimpleNamespace as Bag

import numpy as np
import pytest

from niche_sim.draws import run_key, uniform_pair
from niche_sim.kernel import kernel
from niche_sim.kinds import (
    ADAPTED,
    CYCLING,
    DIE_HYPOXIA,
    DIVIDE,
    DTC,
    FORMING,
    N_SPROUTS,
    RECRUITING,
    RESISTANT,
    RESORBING,
    REVERSAL,
    VASCULAR,
)
from niche_sim.lattice import build_world
from niche_sim.processes import angiogenesis
from niche_sim.processes.death import chemotherapy_hazard
from niche_sim.processes.division import division_hazard
from niche_sim.processes.dormancy import Rates as Dormancy
from niche_sim.processes.dormancy import exit_hazards
from niche_sim.processes.fates import choose_outcome
from niche_sim.processes.remodelling import activation_response
from niche_sim.processes.suitability import combine
from niche_sim.signals import free_rankl, hill, saturate
from niche_sim.state import add_cell, allocate_state
from niche_sim.surface import touches_bmu, touches_pit

DORMANCY = Dormancy(1e-5, 4e-4, 2e-4, 1e-4, 2.0, 3.0, 4.0, 2e-4, 1e-4, 0.5, 4e-4, 2e-4)


def test_signals():
    assert saturate(3.0, 3.0) == 0.5
    assert hill(0.0, 1.0, 2.0) == 0.0
    assert hill(2.0, 1.0, 2.0) == pytest.approx(0.8)
    assert free_rankl(2.0, 1.0, 1.0, 0.5) == 0.5
    assert free_rankl(2.0, 1.0, 2.0, 0.5) == pytest.approx(2 / 3)


def test_activation_is_one_at_reference_and_bounded():
    assert activation_response(1.0, 2.0) == 1.0
    assert activation_response(1e9, 2.0) == pytest.approx(3.0)
    assert activation_response(0.0, 2.0) == 0.0


def test_a_weight_of_zero_switches_a_term_off():
    assert combine(0.0, 0.3) == 1.0
    assert combine(1.0, 0.3) == pytest.approx(0.3)


def test_resting_lining_restrains_and_released_factors_drive_a_primed_cell():
    rest = exit_hazards(DORMANCY, 0.0, 0.0, 1.0, True, False, False)
    assert rest == (0.5e-5, 0.0, 0.0, 0.0)
    driven = exit_hazards(DORMANCY, 1.0, 0.0, 0.7, False, True, True)
    assert driven[0] == 1e-5
    assert driven[1] == pytest.approx(0.7 * 4e-4, rel=1e-3)
    assert driven[2] == 2e-4
    assert driven[3] == pytest.approx(1e-4, rel=1e-3)


DIVISION = Bag(
    basal_rate=0.1, maximum_rate=1.1, igf1_half=1.0, tgf_beta_half=2.0, factor_exponent=3.0, adapted_independence=0.4
)


def test_division_rises_with_the_dose_of_factors_as_far_as_the_cell_is_primed():
    plain = division_hazard.py_func
    assert plain(DIVISION, 0.0, 0.0, 1.0, 0) == pytest.approx(0.1)
    assert plain(DIVISION, 1e9, 0.0, 0.7, 0) == pytest.approx(0.1 + 0.7)
    assert plain(DIVISION, 0.5, 1.0, 0.7, RESISTANT) == pytest.approx(0.1 + 0.35)  # 1/2 and 1/2: the half dose
    assert plain(DIVISION, 1.0, 2.0, 1.0, 0) == pytest.approx(0.1 + 8 / 9)


def test_a_bone_adapted_cell_needs_fewer_factors():
    plain = division_hazard.py_func
    assert plain(DIVISION, 0.0, 0.0, 1.0, ADAPTED) == pytest.approx(0.1 + 0.4)
    assert plain(DIVISION, 1.0, 0.0, 1.0, ADAPTED | RESISTANT) == pytest.approx(0.1 + 0.5 + 0.4 * 0.5)
    assert plain(DIVISION, 1e9, 0.0, 1.0, ADAPTED) == pytest.approx(1.1)


def test_vessels_protect_from_chemotherapy_whatever_the_cycle():
    d = Bag(quiescent_chemotherapy_share=0.05, vessel_protection=0.8, resistant_share=0.3)
    plain = chemotherapy_hazard.py_func
    assert plain(d, 1.0, True, False, 0) == 1.0
    assert plain(d, 1.0, False, False, ADAPTED) == 0.05
    assert plain(d, 1.0, True, True, 0) == pytest.approx(0.2)
    assert plain(d, 1.0, False, True, 0) == pytest.approx(0.01)
    assert plain(d, 1.0, True, True, RESISTANT) == pytest.approx(0.06)


def crowd(cells):
    """A closed marrow patch with cycling tumour cells of one clone at the given voxels."""
    world = build_world((1, 5, 5), 20.0, False)
    state = allocate_state(world, cells=30, bmus=1, sectors=1, claim=1, drugs=1, log=9)
    for number, voxel in enumerate(cells):
        add_cell(state, 0, DTC, voxel, np.uint64(number + 1), np.uint64(0), 7)
    state.cells.mode[: len(cells)] = CYCLING
    state.hazard[: len(cells), DIVIDE] = 0.01
    return state, world


def run_angiogenesis(state, world, sprout_rate):
    rates = Bag(angiogenesis=Bag(crowding=0.5, sprout_rate=sprout_rate), switches=Bag(death=True))
    angiogenesis.run.py_func(state, rates, world, None, Bag(step=3, hours=6.0, key=np.uint64(5)))


def test_a_crowded_lesion_is_held_by_as_much_death_as_division():
    state, world = crowd(range(25))
    run_angiogenesis(state, world, 0.0)
    assert state.hazard[:25, DIE_HYPOXIA] == pytest.approx(0.01) and not state.cells.trait[:25].any()
    state, world = crowd([12])
    run_angiogenesis(state, world, 0.0)
    around = angiogenesis.find_crowding.py_func(state, world, 12)
    assert 0 < around < 0.1 and state.hazard[0, DIE_HYPOXIA] == pytest.approx(0.01 * around / 0.5)


def test_vessels_come_to_the_whole_lesion_once_and_free_it():
    state, world = crowd(range(25))
    state.cells.clone[:5] = 8
    run_angiogenesis(state, world, 1e9)
    assert (state.cells.trait[:25] == VASCULAR).all() and state.tally[N_SPROUTS] == 2 == state.log_count[0]
    state.hazard[:, DIE_HYPOXIA] = 0.0
    run_angiogenesis(state, world, 1e9)
    assert not state.hazard[:, DIE_HYPOXIA].any() and state.tally[N_SPROUTS] == 2


@kernel
def _tally_outcomes(key, hazards, hours, counts):
    for i in range(100_000):
        u, which = uniform_pair(key, i, 0, 0)
        counts[choose_outcome(hazards, hours, u, which) + 1] += 1


def test_competing_risks_have_their_law():
    """One draw: P(any) = 1 - exp(-H dt), P(k | any) = h_k / H, within 4.5 standard errors (false alarm < 3e-5)."""
    hazards = np.array([0.01, 0.0, 0.03, 0.06])
    counts = np.zeros(5, np.int64)
    _tally_outcomes(run_key(3), hazards, 6.0, counts)
    happens = 1 - math.exp(-0.1 * 6)
    expected = np.array([1 - happens, *(happens * hazards / 0.1)])
    error = np.sqrt(expected * (1 - expected) / 1e5)
    assert (np.abs(counts / 1e5 - expected) <= 4.5 * error).all()
    assert counts[2] == 0


@pytest.mark.parametrize("first", [FORMING, RESORBING])
def test_a_bmu_beside_a_voxel_is_seen_whatever_the_order_of_its_faces(first):
    """Bone above belongs to one BMU, bone to the right to another; one of the two has not yet been refilled."""
    world = build_world((1, 5, 5), 20.0, False)
    state = allocate_state(world, cells=4, bmus=2, sectors=1, claim=1, drugs=1, log=4)
    state.bmus.phase[:] = (first, FORMING + RESORBING - first)
    for bone, bmu in ((7, 0), (13, 1)):  # above and to the right of the middle, 12
        state.voxels.is_bone[bone], state.voxels.owner[bone] = 1, bmu
    assert touches_bmu(state, world, 12)
    state.bmus.phase[:] = FORMING
    assert not touches_bmu(state, world, 12)


@pytest.mark.parametrize("place", [12, 7, 17, 11, 13])
def test_a_bmu_is_open_until_it_forms_and_a_pit_is_dug_while_it_resorbs(place):
    """In the voxel itself (a cell over what was eroded) and beside it; not across a corner, and not without a BMU."""
    world = build_world((1, 5, 5), 20.0, False)
    state = allocate_state(world, cells=4, bmus=1, sectors=1, claim=1, drugs=1, log=4)
    assert not touches_bmu(state, world, 12)
    state.voxels.owner[[place, 6]] = 0
    for phase in (RECRUITING, RESORBING, REVERSAL, FORMING):
        state.bmus.phase[0] = phase
        assert touches_bmu(state, world, 12) == (phase != FORMING)
        assert touches_pit(state, world, 12) == (phase == RESORBING)
    state.bmus.phase[0], state.voxels.owner[place] = RESORBING, -1
    assert not touches_pit(state, world, 12) and not touches_bmu(state, world, 12)
