"""RANKL, OPG and PTHrP where diffusion is fast, against the algebra of models without space.

What agrees. With secretion and decay of the first order a well-mixed field is what is secreted over what is removed. PTHrP
then raises RANKL by 1 + a s and lowers OPG by 1 - b s, s = PTHrP / (PTHrP + half); RANKL left free by OPG is
RANKL / (1 + OPG / K), K = k2 / k1 of Lemaire et al. 2004: their occupancy of RANK without what RANK itself binds.

What differs by design. Lemaire et al. let RANK compete (a factor 1 + k3 K / k4 on K, which goes with excess OPG only from
ratios of two states), bind RANKL to osteoblasts (RANKL per active, OPG per responding osteoblast, in proportion to PTH and
to its inverse), and have one pool; here lining cells, working sites and osteoblasts secrete into a field, PTHrP saturates,
and RANK binds no RANKL away.
"""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.initial import _settle
from niche_sim.kinds import ADAPTED, CYCLING, DTC, OPG, OSTEOBLAST, PTHRP, RANKL, TGF_BETA
from niche_sim.lattice import build_world
from niche_sim.schedule import Host, Tick
from niche_sim.signals import free_rankl
from niche_sim.simulation import build_rates
from niche_sim.state import add_cell, allocate_state, lay_scene
from niche_sim.submodels.bone_mean_field import LEMAIRE, rate_lemaire

NONE = np.zeros(1)
HOST = Host(NONE, NONE, 0.0, 0.0, 0.0, 0.0, 1.0, 1.3, 1.0, 1.0, 1.0, 0.0, 0.0, np.zeros((1, 6, 4)))
DIFFUSION = np.array([4e6, 8e6, 1.6e7, 3.2e7])  # um2/h; physical are some 5e4
FIELDS = (TGF_BETA, PTHRP, RANKL, OPG)
HUMAN = ns.load_parameters("human")


def build_rates_of(diffusion, **switches):
    """Return human rates with all diffusion coefficients equal (um2/h) and fields solved to 1e-8."""
    rates = build_rates(HUMAN, {}, switches)
    own = rates.diffusion
    return rates._replace(diffusion=own._replace(diffusion=np.full_like(own.diffusion, diffusion), tolerance=1e-8))


def fill(state, kind, voxels):
    for v in voxels:
        row = add_cell(state, 0, kind, v, np.uint64(v + 1), np.uint64(0), 0)
        state.cells["mode"][row] = CYCLING if kind == DTC else 0


def settle(state, rates, world):
    """Solve until TGF-beta has set PTHrP, and PTHrP RANKL and OPG; return the fields."""
    for _ in range(4):
        state.fields.changed[:] = 1
        _settle(state, rates, world, HOST, Tick(1, 6.0, 0))
    assert not state.fault.any()
    return state.fields.concentration[list(FIELDS)]


def solve_mixed(state, rates, world):
    """Return TGF-beta, PTHrP, RANKL and OPG (nmol/L) of a patch that is one pool."""
    s, decay = rates.secretion, rates.diffusion.decay
    marrow = state.voxels["is_bone"] == 0
    litres = marrow.sum() * world.volume_um3 * 1e-15
    kinds = state.cells["kind"][: state.living[0]]
    cycling, osteoblasts = (kinds == DTC).sum(), (kinds == OSTEOBLAST).sum()
    area = state.voxels["contact"][marrow].sum() * world.face_um2 * world.surface_factor

    def pool(fmol_h, field):
        return fmol_h * 1e-6 / litres / decay[field]

    tgf_beta = s.tgf_beta_basal / (decay[TGF_BETA] + s.tumour_uptake * cycling / marrow.sum())
    driven = tgf_beta / (tgf_beta + rates.division.tgf_beta_half)
    pthrp = pool(cycling * s.pthrp_basal * (1 + s.pthrp_gain * driven), PTHRP)
    share = pthrp / (pthrp + s.pthrp_half)
    rankl = pool(s.rankl_lining * area * (1 + s.pthrp_on_rankl * share) * HOST.rankl_factor, RANKL)
    opg = pool((s.opg_lining * area + s.opg_osteoblast * osteoblasts) * (1 - s.pthrp_on_opg * share), OPG)
    return np.array([tgf_beta, pthrp, rankl, opg])


def build_slab(cycling):
    """Return a closed patch, a quarter of it bone, with osteoblasts and cycling tumour cells in a corner."""
    world = build_world((1, 12, 12), 20.0, False)
    state = allocate_state(world, cells=world.n, bmus=1, sectors=1, claim=1, drugs=1, log=4)
    bone = np.zeros((1, 12, 12), bool)
    bone[:, :3] = True
    lay_scene(state, world, bone, np.zeros_like(bone))
    fill(state, OSTEOBLAST, range(36, 40))
    fill(state, DTC, range(143, 143 - cycling, -1))
    return world, state


def mix(cycling):
    """Return the fields of a slab at growing diffusion, their limit, and the algebra of one pool."""
    found = []
    for diffusion in DIFFUSION:
        world, state = build_slab(cycling)
        rates = build_rates_of(diffusion)
        found.append(settle(state, rates, world)[:, state.voxels["is_bone"] == 0])
    found = np.array(found)
    through = np.polynomial.polynomial.polyfit(DIFFUSION.min() / DIFFUSION, found.reshape(len(found), -1), len(found) - 1)
    return found, through[0].reshape(found[0].shape), solve_mixed(state, rates, world)


@pytest.mark.parametrize("cycling", [0, 20])
def test_fast_diffusion_gives_one_pool(cycling):
    """Every voxel nears the value of the pool in proportion to 1 / D, and the limit is that value to 1e-6."""
    found, limit, exact = mix(cycling)
    here = exact > 0.0
    assert here.all() == (cycling > 0)
    gaps = np.abs(found - exact[:, None])[:, here].max(axis=2) / exact[here]
    if cycling:
        assert gaps[-2] / gaps[-1] == pytest.approx(DIFFUSION[-1] / DIFFUSION[-2], rel=0.02)
    assert (np.abs(limit - exact[:, None])[here].max(axis=1) / exact[here]).max() < 1e-6
    assert (found[:, ~here] == 0.0).all()


def test_pthrp_moves_free_rankl():
    """Tumour cells raise free RANKL of the pool by what PTHrP does to RANKL and, through OPG, to the share left free."""
    s = build_rates_of(1.0).secretion
    (_, none, rankl, opg), (_, pthrp, driven, lowered) = (mix(cycling)[1][:, -1] for cycling in (0, 20))
    share = pthrp / (pthrp + s.pthrp_half)
    assert none == 0.0 < share
    assert driven / rankl == pytest.approx(1 + s.pthrp_on_rankl * share, rel=1e-6)
    assert lowered / opg == pytest.approx(1 - s.pthrp_on_opg * share, rel=1e-6)
    rise = free_rankl(driven, lowered, s.opg_half, 0.0) / free_rankl(rankl, opg, s.opg_half, 0.0)
    left = (1 + opg / s.opg_half) / (1 + opg * (1 - s.pthrp_on_opg * share) / s.opg_half)
    assert rise == pytest.approx((1 + s.pthrp_on_rankl * share) * left, rel=1e-6)


def test_without_the_vicious_cycle_pthrp_moves_nothing():
    """The fields of RANKL and OPG are those of a patch without tumour, to the bit, though PTHrP is there as before."""
    fields = {}
    for cycling, on in ((0, True), (20, False), (20, True)):
        world, state = build_slab(cycling)
        fields[cycling, on] = settle(state, build_rates_of(DIFFUSION[-1], vicious_cycle=on), world)
    assert np.array_equal(fields[20, False][2:], fields[0, True][2:])
    assert np.array_equal(fields[20, False][:2], fields[20, True][:2]) and fields[20, False][1].max() > 0
    assert (fields[20, True][2] > 1.0001 * fields[0, True][2])[36:].all()


def test_a_bone_adapted_cell_makes_more_pthrp():
    made = []
    for trait in (0, ADAPTED):
        world, state = build_slab(20)
        state.cells["trait"][:] = trait
        rates = build_rates_of(DIFFUSION[-1])
        made.append(settle(state, rates, world)[1])
    assert made[1] == pytest.approx(made[0] * rates.secretion.pthrp_adapted, rel=1e-6)


def test_uniform_sources_need_no_diffusion():
    """Every voxel lined and held by a cycling cell: the fields are those of one pool whatever the diffusion."""
    world = build_world((1, 8, 8), 20.0, True)
    state = allocate_state(world, cells=world.n, bmus=1, sectors=1, claim=1, drugs=1, log=4)
    state.voxels["contact"] = 1
    fill(state, DTC, range(world.n))
    for diffusion in (1.0, 4.7e4):
        rates = build_rates_of(diffusion)
        exact = solve_mixed(state, rates, world)
        assert np.abs(settle(state, rates, world) / exact[:, None] - 1).max() < 1e-8


def occupy_rank(opg_pmol_L, **changed):
    """Return the occupancy of RANK by the equations of Lemaire et al. with so much OPG and one active osteoblast."""
    p = LEMAIRE | changed | {"IO": opg_pmol_L * LEMAIRE["kO"]}
    return rate_lemaire(np.array([0.0, 1.0, 0.0]), p)[2] / p["DC"]


def test_rankl_and_opg_bind_as_in_lemaire():
    half = HUMAN["secretion.opg_half"].value * 1e3  # pmol/L
    assert half == pytest.approx(LEMAIRE["k2"] / LEMAIRE["k1"], rel=1e-12)
    rank = LEMAIRE["k3"] * LEMAIRE["K"] / LEMAIRE["k4"]
    for opg in (0.0, 1.0, 300.0, 5e4):
        without_rank = occupy_rank(opg, K=0.0) / occupy_rank(0.0, K=0.0)
        assert without_rank == pytest.approx(free_rankl(1.0, opg, half, 0.0), rel=1e-12)
        competing = occupy_rank(opg) / occupy_rank(0.0)
        assert competing == pytest.approx(free_rankl(1.0, opg, half * (1 + rank), 0.0), rel=1e-12)
    much, more = 1e9, 3e9
    ours = free_rankl(1.0, much, half, 0.0) / free_rankl(1.0, more, half, 0.0)
    assert occupy_rank(much) / occupy_rank(more) == pytest.approx(ours, rel=1e-6)
