"""Macrophages: each mechanism alone against its closed form, and what depleting them does to tumour, bone and homing."""

import math
from pathlib import Path
from types import SimpleNamespace as Bag

import numpy as np
import pytest

import niche_sim as ns
from niche_sim import schedule
from niche_sim import simulation as sim
from niche_sim.config import SWITCHES
from niche_sim.config.reader import read_document
from niche_sim.drugs import build_effects, read_bone_laws, read_cell_laws
from niche_sim.host import Patient, build_forcing
from niche_sim.kinds import (
    DIE_BASELINE,
    DIE_DRUG,
    DIE_PHAGOCYTOSIS,
    DTC,
    IGF1,
    MACROPHAGE,
    OSTEOBLAST,
    OSTEOCLAST,
    PRECURSOR,
    TGF_BETA,
)
from niche_sim.lattice import build_world, count_cubes
from niche_sim.processes import division, macrophages, migration, osteoblasts, osteoclasts, secretion
from niche_sim.processes.arrival import supply_rate
from niche_sim.regimens import Course
from niche_sim.state import add_cell, allocate_state, lay_scene

HUMAN = ns.load_parameters("human")
PATIENT = Patient((1e-5,))
OFF = dict.fromkeys(SWITCHES, False)
TICK = Bag(step=3, hours=6.0, key=np.uint64(5))  # the last of a day
HOST = Bag(plasma=np.zeros(1), phagocytes=0.0, osteoclast_lineage=0.0, rankl_block=0.0, rankl_factor=1.0, opg_factor=1.0)
SEEDS = (1, 2, 3, 4)
ABLATED = ("mafia", "liposomal_clodronate")


def make_rates(**changes):
    """Rates with macrophages, death and drugs on cells of their lineage on, all else off, and numbers changed."""
    on = ("macrophages", "death", "drug_macrophage", "drug_osteoclast", "osteal_support", "tumour_support")
    on += ("phagocytosis", "tumour_fates")
    rates = sim.build_rates(HUMAN, {}, OFF | dict.fromkeys(on, True))
    for name, value in changes.items():
        setattr(rates.macrophages, name, value)
    return rates


def make_marrow(shape=(1, 9, 9), voxel_um=20.0, bone=None, periodic=False, cells=90):
    world = build_world(shape, voxel_um, periodic)
    state = allocate_state(world, cells=cells, bmus=1, sectors=1, claim=1, drugs=1, log=cells)
    nothing = np.zeros(shape, bool)
    lay_scene(state, world, nothing if bone is None else bone, nothing)
    return state, world


def put(state, kind, voxel, polarisation=0.0):
    row = add_cell(state, 0, kind, voxel, np.uint64(voxel + 1), np.uint64(0), 1)
    state.cells.polarisation[row] = polarisation
    return row


# ------------------------------------------------------------------ number


def count_in_time(length, every, **arm):
    """Macrophages over their number at rest in a large patch with them alone, five times as dense; and that number."""
    arms = {"arm": arm}
    run = ns.run_experiment(ns.build_experiment({
        "name": "alone", "seed": 3, "scene": "trabecula_postmenopausal", "patient": "postmenopausal",
        "time": {"length": length, "spin_up": "30 d"}, "record": {"series": every, "events": False}, "arms": arms,
        "switches": OFF | {"macrophages": True, "migration": True, "drug_macrophage": True, "dosing": True},
        "override": {"macrophages.density": 0.05},
    }))  # fmt: skip
    arm = run.arms["arm"]
    rest = 0.05 * (arm.final_hash_arrays["voxels.is_bone"] == 0).sum()
    return arm.series["time_h"].to_numpy() / 24.0, arm.series["macrophages"].to_numpy() / rest, rest


def test_supply_holds_the_stated_density():
    """dx/dt = (1 - x) / refill: variance refill / (residence x number), correlation time refill; 4.5 standard errors."""
    days, x, rest = count_in_time("120 d", "1 d")
    refill, residence = (HUMAN.value(f"macrophages.{name}") / 24.0 for name in ("refill_time", "residence"))
    error = math.sqrt(refill / residence / rest * 2.0 * refill / days[-1])
    assert abs(x.mean() - 1.0) < 4.5 * error
    assert 4.5 * error < 0.06


def test_the_supply_of_an_empty_marrow_refills_it_in_its_time():
    m = Bag(residence=1080.0, refill_time=240.0)
    assert supply_rate(m, 1.0) == pytest.approx(1.0 / 1080.0)
    assert supply_rate(m, 0.0) == pytest.approx(1.0 / 240.0)
    assert supply_rate(m, 10.0) == 0.0
    for x in (0.2, 0.6, 1.1):  # what comes less what dies is (1 - x) / refill
        assert supply_rate(m, x) - x / m.residence == pytest.approx((1.0 - x) / m.refill_time)


def test_ablation_leaves_what_supply_and_hazard_balance():
    """dx/dt = (1 - x) / refill - k x: to 1 / (1 + k refill) by exp(-(1 / refill + k) t), within 4.5 binomial errors."""
    days, x, rest = count_in_time("40 d", "4 d", override={"macrophages.ablation_rate": "0.15 /d"})
    speed = 1.0 / 10.0 + 0.15
    expected = 0.4 + (x[0] - 0.4) * np.exp(-speed * days)
    assert (np.abs(x - expected)[1:] < 4.5 * np.sqrt(expected[1:] / rest)).all()
    assert x[-1] < 0.6 < x[0]


def test_a_dose_of_liposomes_depletes_for_days_and_is_made_good_in_weeks():
    """70 to 95 % gone by two days, refilled within one to three weeks; k = 1.1 ln 10 / 2 d in the exposure."""
    days, x, rest = count_in_time("30 d", "1 d", regimen=[{"drug": "liposomal_clodronate", "dose": "100 mg"}])
    k = 1.1 * math.log(10.0) / 2.0
    trough = (1.0 / (1.0 + 10.0 * k)) * (1.0 - math.exp(-2.0 * (0.1 + k))) + x[0] * math.exp(-2.0 * (0.1 + k))
    assert x[2] == pytest.approx(trough, abs=4.5 * math.sqrt(trough / rest) + 0.01)
    assert 0.05 < x[2] < 0.30
    later = 1.0 - (1.0 - trough) * np.exp(-(days[2:] - 2.0) / 10.0)
    assert (np.abs(x[2:] - later) < 4.5 * np.sqrt(later / rest) + 0.01).all()
    assert x[7] < 0.75 and x[23:].mean() > 0.8


# ------------------------------------------------------------------ polarisation and drug


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("tgf_beta", [0.0, 0.05e-3, 5.0])
def test_polarisation_goes_to_its_steady_state_from_both_sides(start, tgf_beta):
    state, _ = make_marrow()
    row = put(state, MACROPHAGE, 40, start)
    state.fields.concentration[TGF_BETA, 40] = tgf_beta
    rates = make_rates()
    m = rates.macrophages
    on, off = m.polarise_rate * tgf_beta / (tgf_beta + m.tgf_beta_half), m.relax_rate + 0.02
    for _ in range(4):  # exact at any tick: four ticks are one of four times the length
        macrophages._polarise(state, rates, TICK, row, 40, 0.02)
    aim = on / (on + off)
    assert state.cells.polarisation[row] == pytest.approx(aim + (start - aim) * math.exp(-(on + off) * 24.0), rel=1e-12)


def swallow(drug, plasma):
    """The load (nmol/L) of a macrophage after each tick of a plasma course, and its effects."""
    effects = build_effects({drug: ns.load_drug(drug).drug}, read_bone_laws(HUMAN), read_cell_laws(HUMAN))
    rates = Bag(drugs=effects, macrophages=make_rates().macrophages)
    state, _ = make_marrow()
    row = put(state, MACROPHAGE, 40)
    loads = []
    for now in plasma:
        macrophages._swallow(state, rates, Bag(plasma=np.array([now])), TICK, row, 40)
        loads.append(state.load[row, 0])
    return np.array(loads), effects


@pytest.mark.parametrize(("drug", "share"), [("zoledronate", 1.0), ("clodronate", 0.14)])
def test_load_approaches_what_is_outside_times_the_uptake_of_its_class(drug, share):
    memory = HUMAN.value("macrophages.drug_memory")
    loads, _ = swallow(drug, np.full(40, 80.0))
    assert loads == pytest.approx(80.0 * share * (1.0 - np.exp(-6.0 * np.arange(1, 41) / memory)), rel=1e-12)


def test_free_clodronate_hardly_moves_macrophages_that_the_same_drug_in_liposomes_kills():
    drugs = {name: ns.load_drug(name).drug for name in ("clodronate", "liposomal_clodronate")}
    free = build_forcing([Course("clodronate", 300.0, 24.0, route="iv")], drugs, PATIENT, 20, 6.0)
    loads, effects = swallow("clodronate", free.plasma[:, 0])
    killed = sum(macrophages.drug_response(effects, np.array([load])) for load in loads) * 6.0
    assert 0.0 < -math.expm1(-killed) < 0.02
    inside = build_forcing([Course("liposomal_clodronate", 100.0)], drugs, PATIENT, 20, 6.0)
    assert -math.expm1(-inside.phagocytes.sum() * 6.0) == pytest.approx(1.0 - 10.0**-1.1)
    assert inside.osteoclast_lineage == pytest.approx(0.5 * inside.phagocytes)
    assert not inside.uptake.any() and not inside.plasma.any() and not free.phagocytes.any()


def test_liposomes_reach_phagocytes_and_nothing_else():
    state, world = make_marrow()
    rows = {kind: put(state, kind, 10 * (kind + 1)) for kind in (DTC, PRECURSOR, OSTEOCLAST, OSTEOBLAST, MACROPHAGE)}
    host, rates = Bag(**vars(HOST) | {"phagocytes": 0.05, "osteoclast_lineage": 0.02}), make_rates(ablation_rate=0.01)
    macrophages.run(state, rates, world, host, TICK)
    osteoclasts.set_hazards(state, rates, host, TICK)
    osteoblasts.set_hazards(state, rates, world, 1.0)
    found = {kind: state.hazard[row, DIE_DRUG] for kind, row in rows.items()}
    assert found == pytest.approx({DTC: 0.0, PRECURSOR: 0.02, OSTEOCLAST: 0.02, OSTEOBLAST: 0.0, MACROPHAGE: 0.06})
    rates.switches.drug_macrophage = rates.switches.drug_osteoclast = False
    state.hazard[:] = 0.0
    macrophages.run(state, rates, world, host, TICK)
    osteoclasts.set_hazards(state, rates, host, TICK)
    assert [state.hazard[rows[kind], DIE_DRUG] for kind in (PRECURSOR, OSTEOCLAST, MACROPHAGE)] == [0.0, 0.0, 0.01]


# ------------------------------------------------------------------ phagocytosis and taxis


def test_a_tumour_cell_is_threatened_by_each_inflammatory_macrophage_beside_it():
    state, world = make_marrow()
    beside, far = put(state, DTC, 41), put(state, DTC, 43)
    put(state, MACROPHAGE, 40, 0.25), put(state, MACROPHAGE, 50, 1.0), put(state, MACROPHAGE, 32, 0.0)
    rates = make_rates(relax_rate=0.0, engulf_rate=0.01)
    macrophages.run(state, rates, world, HOST, TICK)
    assert state.hazard[beside, DIE_PHAGOCYTOSIS] == pytest.approx(0.0075 + 0.0 + 0.01)
    assert state.hazard[far, DIE_PHAGOCYTOSIS] == 0.0
    rates.switches.death = False
    state.hazard[:] = 0.0
    macrophages.run(state, rates, world, HOST, TICK)
    assert not state.hazard[:, DIE_PHAGOCYTOSIS].any()


def test_tumour_cells_beside_macrophages_survive_exponentially():
    """400 pairs, hazard rate (1 - p): the share alive is exp(-hazard t), within 4.5 binomial standard errors."""
    state, world = make_marrow((1, 100, 100), cells=1000)
    for v in (np.arange(2, 100, 5)[:, None] * 100 + np.arange(2, 100, 5)).ravel():
        put(state, DTC, v), put(state, MACROPHAGE, v + 1, 0.4)
    rates = make_rates(relax_rate=0.0, engulf_rate=0.01, residence=np.inf)
    forcing = build_forcing([], {}, PATIENT, 40, 6.0)
    for done in range(0, 40, 10):
        schedule.advance(state, rates, world, forcing, 6.0, np.uint64(11), 0, done, 10)
        kinds = state.cells.kind[: state.living[0]]
        share = math.exp(-0.006 * 6.0 * (done + 10))
        assert abs((kinds == DTC).sum() / 400 - share) < 4.5 * math.sqrt(share * (1 - share) / 400)
        assert (kinds == MACROPHAGE).sum() == 400


def test_macrophages_follow_corpses_beyond_chance():
    """One of four ways leads to a corpse: it is taken with exp(taxis) / (exp(taxis) + 3), a quarter without taxis."""
    state, world = make_marrow()
    state.voxels.corpse[41] = 5.0
    for taxis in (0.0, 2.0):
        rates = make_rates()
        rates.migration.macrophage_taxis = taxis
        draws = (np.arange(2000) + 0.5) / 2000
        aims = [migration.choose_target(state, rates, world, MACROPHAGE, 40, u) for u in draws]
        assert np.mean(np.array(aims) == 41) == pytest.approx(math.exp(taxis) / (math.exp(taxis) + 3.0), abs=1e-3)


# ------------------------------------------------------------------ support


@pytest.mark.parametrize(
    ("shape", "voxel_um", "periodic"),
    [((1, 30, 30), 20.0, True), ((1, 30, 30), 20.0, False), ((1, 40, 40), 10.0, True), ((16, 16, 16), 20.0, True)],
)
def test_support_is_the_polarisation_spread_over_the_marrow_in_reach(shape, voxel_um, periodic):
    bone = np.zeros(shape, bool)
    bone[:, 8:11] = True
    state, world = make_marrow(shape, voxel_um, bone, periodic)
    v = np.ravel_multi_index((shape[0] // 2, 6, 1), shape)
    put(state, MACROPHAGE, v, 0.7), put(state, DTC, v + 5)
    rates = make_rates()
    macrophages.spread_support(state, rates, world)
    support = state.voxels.support.reshape(shape)
    assert support.sum() * count_cubes(world) == pytest.approx(0.7)
    assert not support[bone].any()
    near = np.array(np.indices(shape)).reshape(3, -1).T - np.array(np.unravel_index(v, shape))
    if periodic:
        near = (near + np.array(shape) // 2) % np.array(shape) - np.array(shape) // 2
    inside = (np.sqrt((near**2).sum(axis=1)) * voxel_um <= 125.0).reshape(shape) & ~bone
    assert ((support > 0) == inside).all() and len(np.unique(support[inside])) == 1
    put(state, MACROPHAGE, v + 2, 0.2)
    macrophages.spread_support(state, rates, world)
    assert state.voxels.support.sum() * count_cubes(world) == pytest.approx(0.9)


def test_macrophages_secrete_igf1_by_their_support():
    state, world = make_marrow((1, 30, 30))
    put(state, MACROPHAGE, 465, 0.7), put(state, MACROPHAGE, 300, 0.1)
    rates = make_rates()
    macrophages.spread_support(state, rates, world)
    secretion.run(state, rates, world, HOST, TICK)
    made = (state.fields.secretion[IGF1] - HUMAN.value("secretion.igf1_basal")).sum() * world.volume_um3 / 1e9
    assert made == pytest.approx(0.8 * HUMAN.value("secretion.igf1_macrophage"))


def test_division_is_driven_by_support_in_proportion():
    state, _ = make_marrow()
    rates = make_rates(growth_share=0.4)
    for support, drive in ((0.0, 0.6), (0.003, 1.0), (0.006, 1.4)):
        state.voxels.support[40] = support
        assert division.find_macrophage_drive(state, rates, 40) == pytest.approx(drive)
    for switch in ("tumour_support", "macrophages"):
        rates = make_rates()
        setattr(rates.switches, switch, False)
        assert division.find_macrophage_drive(state, rates, 40) == 1.0


def test_most_of_the_igf1_of_resting_marrow_comes_from_macrophages():
    """1.1e-5 of 1.3e-5 nmol/L/h, at the polarisation that the basal TGF-beta keeps up; cells enter polarised about so."""
    m = make_rates().macrophages
    rest = HUMAN.value("secretion.tgf_beta_basal") / HUMAN.value("fields.tgf_beta_decay")
    on = m.polarise_rate * rest / (rest + m.tgf_beta_half)
    polarisation = on / (on + m.relax_rate)
    assert polarisation == pytest.approx(m.polarisation_start, rel=0.05)
    made = 1e9 / 8000.0 * HUMAN.value("secretion.igf1_macrophage") * m.density * polarisation
    assert made + HUMAN.value("secretion.igf1_basal") == pytest.approx(1.3e-5, rel=0.02)


def test_osteoblasts_are_kept_by_the_macrophages_of_the_marrow():
    state, world = make_marrow((1, 20, 20))
    rates = make_rates(density=0.01)
    row = put(state, OSTEOBLAST, 399)
    for number, drive in ((0, 0.01), (2, 0.5), (4, 1.0), (6, 1.5)):
        while (state.cells.kind[: state.living[0]] == MACROPHAGE).sum() < number:
            put(state, MACROPHAGE, int(state.living[0]))
        assert osteoblasts.find_osteal_drive(state, rates, world) == pytest.approx(drive)
    osteoblasts.set_hazards(state, rates, world, 0.5)
    assert state.hazard[row, DIE_BASELINE] == pytest.approx(2.0 / HUMAN.value("osteoblasts.lifespan"))
    for switch in ("osteal_support", "macrophages"):
        rates = make_rates()
        setattr(rates.switches, switch, False)
        assert osteoblasts.find_osteal_drive(state, rates, world) == 1.0


# ------------------------------------------------------------------ depletion


SHIPPED = Path(__file__).resolve().parent.parent / "experiments" / "macrophage_depletion" / "experiment.yaml"
ARMS = read_document(str(SHIPPED)).data["arms"]


def deplete(seed, arms, length="120 d", **sets):
    """The end of some arms of the shipped experiment on a small patch: tumour, those who came, change of bone (%)."""
    small = {"scene": "trabecula_small", "population.cycling_dtc": "30", "time.spin_up": "30 d", "record.series": "10 d"}
    chosen = {"arms": {arm: ARMS[arm] for arm in arms}, "time.length": length}
    run = ns.run_experiment(ns.load_experiment("macrophage_depletion", seed=seed, sets=small | chosen | sets))
    found = {}
    for arm, result in run.arms.items():
        first, last = result.series.iloc[0], result.series.iloc[-1]
        bone = 100.0 * (last["bone_volume_fraction"] / first["bone_volume_fraction"] - 1.0)
        found[arm] = {"tumour": last["cycling"] + last["dormant"], "came": last["dtc_arrivals"], "bone": bone}
    return found


def test_depletion_either_way_lowers_the_tumour_beyond_noise():
    """Soki et al. 2015: the mean log ratio is below 0 by two standard errors; without turnover, whose chances are larger."""
    rows = [deplete(seed, ("control", *ABLATED), **{"switches.remodelling": "false"}) for seed in SEEDS]
    for arm in ABLATED:
        ratio = np.log([row[arm]["tumour"] / row["control"]["tumour"] for row in rows])
        assert ratio.mean() + 2.0 * ratio.std(ddof=1) / math.sqrt(len(ratio)) < 0.0


def test_bone_falls_with_ablation_and_rises_with_liposomal_clodronate():
    """Soki et al. 2015, Cho et al. 2014; here without tumour."""
    alone = {"population.cycling_dtc": "0", "switches.arrival": "false"}
    rows = [deplete(seed, ("control", *ABLATED), "180 d", **alone) for seed in range(1, 9)]
    mafia, clodronate = (np.array([row[arm]["bone"] - row["control"]["bone"] for row in rows]) for arm in ABLATED)
    assert mafia.mean() < 0.0 < clodronate.mean()
    more = clodronate - mafia
    assert more.mean() > 2.0 * more.std(ddof=1) / math.sqrt(len(more))


def test_fewer_tumour_cells_come_to_a_marrow_without_macrophages():
    """As after pre-treatment with liposomal clodronate (Opperman et al. 2019); arms share the draws of those who come."""
    homing = {"population.cycling_dtc": "0", "arrival.tumour_supply": "100 /yr"}
    rows = [deplete(seed, ("control", "mafia"), **homing) for seed in (1, 2, 3)]
    control, mafia = (sum(row[arm]["came"] for row in rows) for arm in ("control", "mafia"))
    assert 0 < mafia < 0.95 * control


def test_without_osteoclasts_a_tumour_outside_bone_grows_on_and_without_macrophages_it_does_not():
    """As of metastases in muscle (Hiraoka et al.): a patch without turnover, whose cells no RANKL primes, is not bone."""
    arms = ("control", "osteoclast_only", "mafia")
    last = deplete(1, arms, **{"switches.remodelling": "false", "switches.rankl_on_tumour": "false"})
    assert last["osteoclast_only"] == last["control"]
    assert last["control"]["tumour"] > 1.2 * last["mafia"]["tumour"]
