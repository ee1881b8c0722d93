"""Each mechanism of a tumour cell alone in the engine, at other numbers than the shipped ones, against its closed form.

Every law runs on a fixed seed and, in the deep tier, on a fresh one. docs/mechanisms.md lists them.
"""

import math
import secrets

import numpy as np
import pytest
from lab import DAY, HUMAN, Lab, P, Z, check_poisson, check_share, check_shares, check_waiting
from scipy import stats

import niche_sim as ns
from niche_sim.kinds import (
    ADAPTED,
    CXCL12,
    CYCLING,
    DIE_BASELINE,
    DIE_CHEMOTHERAPY,
    DIE_DEPRIVATION,
    DIE_DRUG,
    DIE_HYPOXIA,
    DIE_IMMUNE,
    DIE_TUMOUR,
    DIVIDE,
    DORMANT,
    EGRESS,
    FORMING,
    GROWTH_RISK,
    IGF1,
    LOG_ARRIVAL,
    LOG_BIRTH,
    LOG_DEATH,
    LOG_EGRESS,
    LOG_MUTATION,
    LOG_SLEEP,
    LOG_SPROUT,
    LOG_WAKE,
    N_ARRIVALS,
    N_BIRTHS,
    N_EGRESS,
    N_MUTATIONS,
    N_OUTCOMES,
    N_SEEDED,
    N_SLEEPS,
    N_WAKES_FIRST,
    OSTEOBLAST,
    PRECURSOR,
    PTHRP,
    RESISTANT,
    RESORBING,
    REVERSAL,
    SLEEP,
    TGF_BETA,
    VASCULAR,
    WAKE_FACTORS,
    WAKE_LINING,
    WAKE_SPONTANEOUS,
    WAKE_SPROUTING,
)
from niche_sim.regimens import Course
from niche_sim.state import add_cell


@pytest.fixture(params=[48, pytest.param("fresh", marks=pytest.mark.deep)])
def seed(request):
    return secrets.randbits(30) if request.param == "fresh" else request.param


# ---------------------------------------------------------------- what RANKL does to tumour cells

PRIMING = {"dormancy.rankl_half": 0.9, "dormancy.rankl_exponent": 2.5, "secretion.opg_half": 0.4}
REPLETE = (0.013, 0.7)  # nmol/L of RANKL and OPG at resting surface


def body_rankl(blocked=0.1):
    """Free RANKL at 1.7 times the secretion, 0.6 of the OPG and a share blocked, over that at replete oestradiol."""
    rankl, opg = REPLETE
    free = rankl * 1.7 * (1 - blocked) / (1 + opg * 0.6 / 0.4)
    return free / (rankl / (1 + opg / 0.4))


PRIMED = body_rankl() ** 2.5 / (body_rankl() ** 2.5 + 0.9**2.5)


def prime(lab, blocked=0.1):
    """Give the patient of a lab RANKL and OPG of her own."""
    lab.state.reference[:] = REPLETE
    lab.forcing.rankl_factor[:], lab.forcing.opg_factor[:], lab.forcing.rankl_block[:] = 1.7, 0.6, blocked
    return lab


@pytest.mark.parametrize(
    ("off", "blocked", "pthrp", "body"),
    [
        ([], 0.1, 0.0, 1.0), ([], 1.0, 0.0, 0.0), (["rankl_on_tumour"], 0.1, 0.0, None),
        ([], 0.1, 0.03, 1 + 4 * 0.6), (["vicious_cycle"], 0.1, 0.03, 1.0),
    ],
)  # fmt: skip
def test_waking_and_growth_by_factors_take_as_much_as_rankl_primes(seed, off, blocked, pthrp, body):
    """B is 1.7 (1 - blocked) over what OPG leaves, times 1 + 4 x 0.6 where PTHrP occupies three in five; 1 switched off."""
    numbers = PRIMING | WAKING | {"dormancy.exit_rate": 0.0, "division.basal_rate": 0.0, "division.maximum_rate": 0.3 / DAY}
    numbers |= {"secretion.pthrp_half": 0.02, "secretion.pthrp_on_rankl": 4.0}
    lab = prime(Lab(["dormancy", "division"], numbers, seed=seed, off=off), blocked)
    lab.state.fields.concentration[TGF_BETA], lab.state.fields.concentration[PTHRP] = 1e3, pthrp  # saturated by factors
    b = 1.0 if body is None else body * body_rankl()
    share = b**2.5 / (b**2.5 + 0.9**2.5)
    lab.seed(lab.grid(4), DORMANT).seed(lab.grid(4) + 2, CYCLING).run(1)
    assert lab.hazard(WAKE_FACTORS) == pytest.approx(0.15 / DAY * share, rel=1e-6)
    assert lab.hazard(DIVIDE, CYCLING) == pytest.approx(0.3 / DAY * share, rel=1e-6)


# ---------------------------------------------------------------- dormancy

ROUTES = {
    "wake_spontaneous": WAKE_SPONTANEOUS, "wake_factors": WAKE_FACTORS, "wake_lining": WAKE_LINING,
    "wake_sprouting": WAKE_SPROUTING,
}  # fmt: skip
WAKING = {
    "dormancy.exit_rate": 0.011 / DAY, "dormancy.factor_rate": 0.15 / DAY, "dormancy.tgf_beta_half": 7e-4,
    "dormancy.igf1_half": 3e-3, "dormancy.factor_exponent": 1.5, "dormancy.lining_rate": 0.023 / DAY,
    "dormancy.sprouting_rate": 0.07 / DAY, "dormancy.restraint": 0.35, "dormancy.entry_lining": 0.0,
    "dormancy.entry_vessel": 0.0,
}  # fmt: skip
TGF, IGF = 2e-4, 1e-3  # nmol/L
DOSE = (TGF / 7e-4 + IGF / 3e-3) ** 1.5
RESPONSE = DOSE / (1 + DOSE)
WAKE_RATES = {  # 1/d, free of restraint
    "wake_spontaneous": 0.011, "wake_factors": 0.15 * RESPONSE * PRIMED, "wake_lining": 0.023,
    "wake_sprouting": 0.07 * RESPONSE,
}  # fmt: skip


def sleepers(seed, rows="bone", off=(), **place):
    """3600 dormant cells beside bone."""
    lab = Lab(["dormancy"], WAKING | PRIMING, seed=seed, side=105, rows=rows, off=off, **place)
    lab.state.fields.concentration[TGF_BETA], lab.state.fields.concentration[IGF1] = TGF, IGF
    return prime(lab).seed(lab.first_rows, DORMANT)


@pytest.mark.parametrize(
    ("route", "opened", "vessel", "hazard"),
    [
        ("wake_spontaneous", False, False, 0.011 * 0.65),
        ("wake_spontaneous", True, False, 0.011),
        ("wake_factors", False, False, 0.15 * RESPONSE * PRIMED * 0.65),
        ("wake_factors", True, True, 0.15 * RESPONSE * PRIMED),
        ("wake_lining", True, False, 0.023),
        ("wake_sprouting", False, True, 0.07 * RESPONSE * 0.65),
        ("wake_sprouting", True, True, 0.07 * RESPONSE),
    ],
)
def test_each_route_of_waking_alone_has_an_exponential_time(seed, route, opened, vessel, hazard):
    others = [name for name in ROUTES if name != route]
    lab = sleepers(seed, off=others, opened=opened, vessel=vessel).run(160)
    n = len(lab.first_rows)
    woke = lab.log(LOG_WAKE)
    assert (woke["cause"] == ROUTES[route]).all() and len(woke["step"]) == n - lab.count(DORMANT) > 200
    check_waiting(woke["step"], n, hazard / DAY, 6.0, 160)
    assert lab.hazard(ROUTES[route]) == pytest.approx(hazard / DAY, rel=1e-12)


@pytest.mark.parametrize(("route", "opened", "vessel"), [("wake_lining", False, True), ("wake_sprouting", True, False)])
def test_a_route_is_shut_where_its_place_is_not(seed, route, opened, vessel):
    off = [name for name in ROUTES if name != route]
    lab = sleepers(seed, off=off, opened=opened, vessel=vessel).run(160)
    assert lab.count(DORMANT) == len(lab.first_rows)


def test_routes_share_the_wakings_in_proportion_to_their_hazards(seed):
    lab = sleepers(seed, opened=True, vessel=True).run(80)
    n, total = len(lab.first_rows), sum(WAKE_RATES.values())
    check_waiting(lab.log(LOG_WAKE)["step"], n, total / DAY, 6.0, 80)
    check_shares(lab.state.tally[N_WAKES_FIRST : N_WAKES_FIRST + 4], list(WAKE_RATES.values()))
    # The time tells nothing of the route: early and late wakings have the same shares.
    woke = lab.log(LOG_WAKE)
    early = woke["step"] < np.median(woke["step"])
    table = [np.bincount(woke["cause"][part] - WAKE_SPONTANEOUS, minlength=4) for part in (early, ~early)]
    assert stats.chi2_contingency(table).pvalue > P


@pytest.mark.parametrize(
    ("rows", "opened", "vessel", "entry"),
    [
        ("bone", False, False, 0.04), ("marrow", False, True, 0.017), ("bone", False, True, 0.057),
        ("bone", True, True, 0.017),
    ],
)
def test_falling_asleep_is_exponential_and_adds_lining_and_vessel(seed, rows, opened, vessel, entry):
    numbers = {"dormancy.entry_lining": 0.04 / DAY, "dormancy.entry_vessel": 0.017 / DAY}
    lab = Lab(["dormancy"], numbers, seed=seed, rows=rows, opened=opened, vessel=vessel, off=ROUTES)
    lab.seed(lab.first_rows, CYCLING).run(120)
    slept = lab.log(LOG_SLEEP)
    assert len(slept["step"]) == lab.count(DORMANT) == lab.state.tally[N_SLEEPS]
    check_waiting(slept["step"], len(lab.first_rows), entry / DAY, 6.0, 120)
    assert lab.hazard(SLEEP, CYCLING) == pytest.approx(entry / DAY, rel=1e-12)


@pytest.mark.parametrize("place", [{"rows": "marrow"}, {"rows": "bone", "opened": True}])
def test_nobody_falls_asleep_away_from_lining_and_vessel(seed, place):
    lab = Lab(["dormancy"], {"dormancy.entry_lining": 1.0, "dormancy.entry_vessel": 1.0}, seed=seed, **place)
    assert lab.seed(lab.first_rows, CYCLING).run(20).count(CYCLING) == len(lab.first_rows)


def test_sleeping_and_waking_come_to_their_balance(seed):
    """A chain of two states: the dormant share nears p_sleep / (p_sleep + p_wake) of one tick."""
    wake, sleep = 0.2 / DAY, 0.08 / DAY
    numbers = WAKING | {"dormancy.exit_rate": wake, "dormancy.entry_vessel": sleep}
    lab = Lab(["dormancy"], numbers, seed=seed, vessel=True)
    lab.seed(lab.first_rows, DORMANT).run(120)
    asleep, awake = (-math.expm1(-rate * 6.0) for rate in (sleep, wake))
    share = asleep / (asleep + awake)
    check_share(lab.count(DORMANT), len(lab.first_rows), share + (1 - share) * (1 - asleep - awake) ** 120)


# ---------------------------------------------------------------- death

DEATHS = {
    "death.dormant_baseline": 0.0, "death.cycling_baseline": 0.0, "death.dormant_deprivation": 0.0,
    "death.cycling_deprivation": 0.0, "death.surveillance": 0.0, "death.gamma_delta_kill": 0.0,
}  # fmt: skip
FAR = {
    "suitability.contact_weight": 0.7, "suitability.far_contact": 0.15, "suitability.cxcl12_weight": 0.0,
    "suitability.nourishment_weight": 0.0, "suitability.places_weight": 0.0, "suitability.macrophages_weight": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "mode", "on", "numbers", "hazard"),
    [
        (DIE_BASELINE, DORMANT, [], {"death.dormant_baseline": 0.013 / DAY}, 0.013),
        (DIE_BASELINE, CYCLING, [], {"death.cycling_baseline": 0.021 / DAY}, 0.021),
        (DIE_DEPRIVATION, DORMANT, ["suitability"], {"death.dormant_deprivation": 0.05 / DAY} | FAR, 0.05 * 0.7 * 0.85),
        (DIE_DEPRIVATION, CYCLING, ["suitability"], {"death.cycling_deprivation": 0.03 / DAY} | FAR, 0.03 * 0.7 * 0.85),
        (DIE_IMMUNE, DORMANT, [], {"death.surveillance": 0.017 / DAY}, 0.017),
        (DIE_IMMUNE, CYCLING, [], {"death.surveillance": 0.004 / DAY, "death.gamma_delta_kill": 0.05 / DAY}, 0.024),
        (DIE_IMMUNE, CYCLING, ["immune_dormancy"], {"death.immune_control": 0.06 / DAY, "death.immune_half": TGF}, 0.03),
        (DIE_IMMUNE, CYCLING, ["immune_dormancy"], {"death.immune_control": 0.06 / DAY, "death.immune_half": 6e-4}, 0.045),
    ],
)
def test_each_cause_of_death_alone_has_an_exponential_survival(seed, cause, mode, on, numbers, hazard):
    lab = Lab(["death", *on], DEATHS | numbers, seed=seed)
    lab.forcing.gamma_delta[:] = 0.4
    lab.state.fields.concentration[TGF_BETA] = TGF
    lab.seed(lab.first_rows, mode).run(120)
    died = lab.log(LOG_DEATH)
    assert (died["cause"] == cause).all() and len(died["step"]) == len(lab.first_rows) - lab.count() > 100
    check_waiting(died["step"], len(lab.first_rows), hazard / DAY, 6.0, 120)
    assert lab.hazard(cause, mode) == pytest.approx(hazard / DAY, rel=1e-12)


@pytest.mark.parametrize(("mode", "on"), [(DORMANT, ["immune_dormancy"]), (CYCLING, [])])
def test_immune_dormancy_spares_dormant_cells_and_is_off_unless_switched_on(seed, mode, on):
    lab = Lab(["death", *on], DEATHS | {"death.immune_control": 1.0}, seed=seed)
    assert lab.seed(lab.first_rows, mode).run(20).count() == len(lab.first_rows)


KILL = {"death.quiescent_chemotherapy_share": 0.2, "death.vessel_protection": 0.6, "death.resistant_share": 0.3}


BOTH = ["quiescent_shelter", "vessel_shelter"]


@pytest.mark.parametrize(
    ("mode", "vessel", "trait", "off", "share"),
    [
        (CYCLING, False, 0, [], 1.0), (DORMANT, False, 0, [], 0.2), (CYCLING, True, 0, [], 0.4),
        (DORMANT, True, 0, [], 0.08), (CYCLING, False, RESISTANT, [], 0.3), (CYCLING, True, RESISTANT | ADAPTED, [], 0.12),
        (DORMANT, True, 0, BOTH[:1], 0.4), (DORMANT, True, 0, BOTH[1:], 0.2), (DORMANT, True, RESISTANT, BOTH, 0.3),
    ],
)  # fmt: skip
def test_a_course_of_chemotherapy_kills_its_decades(seed, mode, vessel, trait, off, share):
    """130 mg of a drug that kills 2 decades at 100 mg: 10^-2.6 of exposed cells are left, 10^(-2.6 share) of others."""
    drugs = _load("anthracycline_taxane")
    lab = Lab(
        ["death", "chemotherapy"], DEATHS | KILL, seed=seed, side=105, vessel=vessel, drugs=drugs, ticks=40,
        off=off, courses=[Course("anthracycline_taxane", 130.0, start_h=10.0)],
    )  # fmt: skip
    lab.seed(lab.first_rows, mode, trait=trait).run(40)
    check_share(lab.count(), len(lab.first_rows), 10 ** (-2.6 * share))
    died = lab.log(LOG_DEATH)
    assert (died["cause"] == DIE_CHEMOTHERAPY).all()
    assert died["step"].min() * 6.0 >= 6.0 and died["step"].max() * 6.0 <= 10.0 + 3 * DAY


def _load(*names):
    return ns.build_experiment({
        "name": "drugs", "scene": "trabecula_small", "patient": "postmenopausal", "time": {"length": "1 d"},
        "arms": {"all": {"regimen": [{"drug": name, "dose": "1 mg"} for name in names]}},
    }).host_drugs()  # fmt: skip


def coat(lab, density):
    """Put so much drug (fmol/um2) on every bone face."""
    voxels, world = lab.state.voxels, lab.world
    lab.state.drug[0] = density * voxels.exposed * world.face_um2 * world.surface_factor


@pytest.mark.parametrize(("phase", "share"), [(RESORBING, 1.0), (REVERSAL, 0.37), (None, 0.37)])
def test_contact_with_drug_kills_fully_in_a_pit_and_a_share_at_rest(seed, phase, share):
    lab = Lab(
        ["death", "drug_tumour"], DEATHS | {"death.resting_contact_share": 0.37}, seed=seed, rows="bone",
        opened=phase is not None, drugs=_load("zoledronate"),
    )  # fmt: skip
    lab.state.bmus.phase[0] = phase or 0
    half, kmax = lab.rates.drugs.tumour_half_load[0], lab.rates.drugs.tumour_kmax[0]
    coat(lab, 3.0 * half)
    lab.seed(lab.first_rows, DORMANT).run(40)
    died = lab.log(LOG_DEATH)
    assert (died["cause"] == DIE_DRUG).all()
    check_waiting(died["step"], len(lab.first_rows), 0.75 * kmax * share, 6.0, 40)
    assert lab.hazard(DIE_DRUG) == pytest.approx(0.75 * kmax * share, rel=1e-12)


def test_cells_that_touch_no_coated_bone_do_not_die_of_it(seed):
    lab = Lab(["death", "drug_tumour"], DEATHS, seed=seed, rows="bone", opened=True, drugs=_load("zoledronate"))
    lab.world.neighbours[lab.first_rows, 0] = -1  # their bone is above
    coat(lab, 1.0)
    assert lab.seed(lab.first_rows, DORMANT).run(20).count() == len(lab.first_rows)


def test_causes_share_the_deaths_in_proportion_to_their_hazards(seed):
    numbers = {
        "death.dormant_baseline": 0.01 / DAY, "death.dormant_deprivation": 0.04 / DAY, "death.surveillance": 0.02 / DAY,
    }  # fmt: skip
    lab = Lab(["death", "suitability", "chemotherapy"], DEATHS | FAR | KILL | numbers, seed=seed, side=90)
    lab.forcing.chemotherapy[:] = 0.11 / DAY
    lab.seed(lab.first_rows, DORMANT).run(120)
    hazards = {
        DIE_BASELINE: 0.01, DIE_DEPRIVATION: 0.04 * 0.7 * 0.85, DIE_CHEMOTHERAPY: 0.2 * 0.11, DIE_IMMUNE: 0.02
    }  # fmt: skip
    died = lab.log(LOG_DEATH)
    check_waiting(died["step"], len(lab.first_rows), sum(hazards.values()) / DAY, 6.0, 120)
    check_shares([(died["cause"] == cause).sum() for cause in hazards], list(hazards.values()))
    for cause, hazard in hazards.items():
        assert lab.hazard(cause) == pytest.approx(hazard / DAY, rel=1e-12)


def test_growth_is_surveyed_with_every_death_of_a_cycling_cell(seed):
    """The mean over free places of marrow; beside vessels they are sheltered from chemotherapy."""
    numbers = DEATHS | FAR | KILL | {
        "death.cycling_baseline": 0.05 / DAY, "death.cycling_deprivation": 0.02 / DAY, "death.surveillance": 0.01 / DAY,
    }  # fmt: skip
    lab = Lab(["death", "suitability", "chemotherapy"], numbers, seed=seed, rows="bone")
    lab.forcing.chemotherapy[:] = 0.3 / DAY
    voxels = lab.state.voxels
    voxels.perivascular[lab.first_rows] = 1  # half of the marrow; the rest touches resting bone: contact is whole at both
    lab.state.tally[N_SEEDED] = 1
    lab.run(28)  # in a week every place is met once
    survey = lab.state.risk[GROWTH_RISK]
    assert survey[N_OUTCOMES] == DAY * (voxels.is_bone == 0).sum()
    assert survey[:DIE_HYPOXIA].sum() / survey[N_OUTCOMES] == pytest.approx((0.05 + 0.01 + 0.3 * 0.7) / DAY, rel=1e-9)


def test_waking_and_death_compete(seed):
    numbers = WAKING | DEATHS | {"dormancy.exit_rate": 0.02 / DAY, "death.dormant_baseline": 0.03 / DAY}
    lab = Lab(["dormancy", "death"], numbers, seed=seed, side=90)
    lab.seed(lab.first_rows, DORMANT).run(200)
    woke, died = lab.log(LOG_WAKE)["step"], lab.log(LOG_DEATH)["step"]
    check_waiting(np.append(woke, died), len(lab.first_rows), 0.05 / DAY, 6.0, 200)
    check_shares([len(woke), len(died)], [0.02, 0.03])


def test_nothing_happens_to_sentinels_but_their_hazards_are_met(seed):
    """With tumour fates off a cell stays in its place and mode under any hazard, which is what it would have met."""
    numbers = WAKING | {"death.dormant_baseline": 0.2 / DAY, "egress.rate": 0.3 / DAY}
    lab = Lab(["dormancy", "death", "egress", "division"], DEATHS | numbers, seed=seed, vessel=True, off=["tumour_fates"])
    lab.seed(lab.grid(4), DORMANT).seed(lab.grid(4) + 2, CYCLING).run(40)
    n = len(lab.grid(4))
    assert lab.count(DORMANT) == lab.count(CYCLING) == n and lab.state.log_count[0] == 0
    passed = (0.2 + 0.011) * 10.0  # in 10 d; each counts with the chance that it would still be there
    assert lab.state.risk[DORMANT, N_OUTCOMES] == pytest.approx(n * 240.0 * -math.expm1(-passed) / passed, rel=1e-12)
    assert lab.hazard(DIE_BASELINE) == pytest.approx(0.2 / DAY, rel=1e-12)
    assert lab.hazard(EGRESS, CYCLING) == pytest.approx(0.3 / DAY, rel=1e-12)


# ---------------------------------------------------------------- growth

GROWTH = {
    "division.basal_rate": 0.02 / DAY, "division.maximum_rate": 0.7 / DAY, "division.igf1_half": 2e-3,
    "division.tgf_beta_half": 6e-4, "division.factor_exponent": 1.5, "division.adapted_independence": 0.3,
    "division.resistance_probability": 0.0, "division.adaptation_probability": 0.0,
}  # fmt: skip


def feed(igf1, tgf_beta):
    """The growth by factors of a primed cell, of what it is at most."""
    dose = (igf1 / 2e-3 + tgf_beta / 6e-4) ** 1.5
    return dose / (1 + dose) * PRIMED


FED = feed(IGF, TGF)


@pytest.mark.parametrize(
    ("trait", "off", "rate"),
    [
        (0, [], 0.02 + 0.68 * FED),
        (ADAPTED, [], 0.02 + 0.68 * (FED + 0.3 * (1 - FED))),
        (0, ["growth_factors"], None),
        (ADAPTED, ["growth_factors"], None),
    ],
)
def test_a_lone_cell_divides_at_its_rate(seed, trait, off, rate):
    """Births of one tick: 1 - exp(-h dt) a cell. Without growth factors: fed by what marrow secretes, secretion / decay."""
    lab = prime(Lab(["division"], GROWTH | PRIMING, seed=seed, side=240, off=off))
    lab.state.fields.concentration[IGF1], lab.state.fields.concentration[TGF_BETA] = IGF, TGF
    if rate is None:
        fed = feed(*(HUMAN.value(f"secretion.{f}_basal") / HUMAN.value(f"fields.{f}_decay") for f in ("igf1", "tgf_beta")))
        rate = 0.02 + 0.68 * (fed + (0.3 * (1 - fed) if trait else 0.0))
    places = lab.grid(4)
    lab.seed(places, CYCLING, trait=trait).run(1)
    check_share(lab.state.tally[N_BIRTHS], len(places), -math.expm1(-rate / DAY * 6.0))
    assert lab.hazard(DIVIDE, CYCLING) == pytest.approx(rate / DAY, rel=1e-12)
    lab.run(4)  # the survey of growth meets the same fields
    survey = lab.state.risk[GROWTH_RISK]
    if not trait:
        assert survey[DIVIDE] / survey[N_OUTCOMES] == pytest.approx(rate / DAY, rel=1e-12)


def test_drug_on_bone_slows_division(seed):
    lab = Lab(["division", "drug_tumour"], GROWTH | {"division.basal_rate": 0.4 / DAY, "division.maximum_rate": 0.4 / DAY},
              seed=seed, side=150, rows="bone", drugs=_load("zoledronate"))  # fmt: skip
    coat(lab, lab.rates.drugs.tumour_half_load[0])
    places = lab.first_rows[::4]
    lab.seed(places, CYCLING).run(1)
    kept = 1 - 0.5 * lab.rates.drugs.tumour_cytostasis[0]
    check_share(lab.state.tally[N_BIRTHS], len(places), -math.expm1(-0.4 * kept / 4))
    assert lab.hazard(DIVIDE, CYCLING) == pytest.approx(0.4 * kept / DAY, rel=1e-12)


def test_dormant_cells_and_cells_without_room_do_not_divide(seed):
    numbers = GROWTH | {"division.basal_rate": 10.0, "division.maximum_rate": 10.0}
    lab = Lab(["division"], numbers, seed=seed, side=12)
    assert lab.seed(lab.grid(4), DORMANT).run(10).state.tally[N_BIRTHS] == 0
    lab = Lab(["division"], numbers, seed=seed, side=12)
    lab.seed(range(lab.world.n), CYCLING).run(10)
    assert lab.state.tally[N_BIRTHS] == 0 and lab.count() == lab.world.n


def colonies(seed, numbers, on, trait=0, spacing=9, founders=1156, ticks=80):
    """Founders far apart whose cells wander, so that they hardly ever lack room; return the sizes of their clones."""
    side = spacing * round(math.sqrt(founders))
    moving = {"migration.tumour_speed": 10.0, "migration.tumour_taxis": 0.0}
    still = {"migration.precursor_speed": 0.0, "migration.macrophage_speed": 0.0}
    lab = Lab(["division", "migration", *on], GROWTH | DEATHS | moving | still | numbers, seed=seed, side=side, cells=40_000)
    places = lab.grid(spacing)
    lab.seed(places, CYCLING, trait=trait).run(ticks)
    return lab, np.bincount(lab.state.cells.clone[lab.tumour()], minlength=len(places) + 1)[1:]


def check_moments(sizes, mean, variance):
    n = len(sizes)
    assert abs(sizes.mean() - mean) <= Z * np.sqrt(variance / n)
    # Sizes of clones are near geometric: the error of their variance is some three times that of a normal law.
    assert abs(sizes.var(ddof=1) - variance) <= 3 * Z * variance * np.sqrt(2 / n)


@pytest.mark.parametrize(("birth", "death"), [(0.05, 0.03), (0.035, 0.035), (0.02, 0.06)])
def test_clones_follow_birth_and_death(seed, birth, death):
    """Mean, variance and extinction of clones of one founder at 20 d (Kendall 1948)."""
    numbers = {f"division.{k}_rate": birth / DAY for k in ("basal", "maximum")} | {"death.cycling_baseline": death / DAY}
    _, sizes = colonies(seed, numbers, ["death"])
    t, growth = 20.0, math.exp((birth - death) * 20.0)
    if birth == death:
        mean, variance, extinct = 1.0, 2 * birth * t, birth * t / (1 + birth * t)
    else:
        mean, variance = growth, (birth + death) / (birth - death) * growth * (growth - 1)
        extinct = death * (growth - 1) / (birth * growth - death)
    check_moments(sizes, mean, variance)
    check_share((sizes == 0).sum(), len(sizes), extinct)


def test_pure_birth_is_geometric(seed):
    numbers = {"division.basal_rate": 0.04 / DAY, "division.maximum_rate": 0.04 / DAY}
    _, sizes = colonies(seed, numbers, [])
    law = stats.geom(math.exp(-0.04 * 20))
    expected = np.append(len(sizes) * law.pmf(np.arange(1, 8)), len(sizes) * law.sf(7))
    assert stats.chisquare(np.append(np.bincount(sizes, minlength=8)[1:8], (sizes > 7).sum()), expected).pvalue > P


def test_mutations_are_a_share_of_births_and_are_inherited(seed):
    """Each trait falls to a daughter of a mother without it with its probability, the two independently."""
    chances = {"division.resistance_probability": 0.11, "division.adaptation_probability": 0.23}
    numbers = chances | {"division.basal_rate": 0.06 / DAY, "division.maximum_rate": 0.06 / DAY}
    lab, _ = colonies(seed, numbers, ["mutation"])
    cells = lab.state.cells[lab.tumour()]
    traits = dict(zip(cells["ident"].view(np.int64), cells["trait"]))  # nobody died: a mother has the traits she had
    gained = dict(zip(lab.log(LOG_MUTATION)["ident"], lab.log(LOG_MUTATION)["cause"]))
    births = lab.log(LOG_BIRTH)
    mothers = np.array([traits[parent] for parent in births["parent"]])
    own = np.array([traits[ident] for ident in births["ident"]])
    new = np.array([gained.get(ident, 0) for ident in births["ident"]])
    assert (own == mothers | new).all() and (mothers & new == 0).all()
    assert len(gained) == lab.state.tally[N_MUTATIONS]
    for bit, chance in ((RESISTANT, 0.11), (ADAPTED, 0.23)):
        plain = mothers & bit == 0
        check_share(((new & bit) > 0)[plain].sum(), plain.sum(), chance)
    both = mothers == 0
    check_share((new == RESISTANT | ADAPTED)[both].sum(), both.sum(), 0.11 * 0.23)


# ---------------------------------------------------------------- angiogenic dormancy

BALANCE = {"angiogenesis.crowding": 1e-9, "angiogenesis.sprout_rate": 0.0} | {
    f"division.{k}_rate": 0.035 / DAY for k in ("basal", "maximum")
}


def test_an_angiogenic_lesion_is_held_in_balance(seed):
    """Deaths by lack of oxygen equal births: a critical branching process, of mean 1 and b t / (1 + b t) extinct."""
    lab, sizes = colonies(seed, BALANCE, ["death", "angiogenic_dormancy"])
    assert set(lab.log(LOG_DEATH)["cause"]) == {DIE_HYPOXIA}
    assert lab.hazard(DIE_HYPOXIA, CYCLING) == pytest.approx(lab.hazard(DIVIDE, CYCLING), rel=1e-12)
    check_moments(sizes, 1.0, 2 * 0.7)
    check_share((sizes == 0).sum(), len(sizes), 0.7 / 1.7)


def test_with_vessels_the_balance_ends(seed):
    lab, sizes = colonies(seed, BALANCE, ["death", "angiogenic_dormancy"], trait=VASCULAR)
    assert len(lab.log(LOG_DEATH)["step"]) == 0
    check_moments(sizes, math.exp(0.7), math.exp(0.7) * math.expm1(0.7))


@pytest.mark.parametrize(("cells", "need"), [(1, 1.0), (1, 0.5), (5, 1.0)])
def test_vessels_come_to_a_lesion_at_a_rate_in_proportion_to_its_cells(seed, cells, need):
    """The first sprout of a lesion of m crowded cells takes 1 / (rate m need) in mean; then it has vessels for good."""
    share = 1 / 21  # of the voxels within 50 um that a lone cell holds
    numbers = {"angiogenesis.crowding": share / need if need < 1 else 1e-9, "angiogenesis.sprout_rate": 0.02 / DAY}
    lab = Lab(["angiogenic_dormancy"], numbers, seed=seed, side=420)
    centres = lab.grid(12)
    lesions = np.concatenate([centres + shift for shift in range(cells)])
    lab.seed(lesions, CYCLING, clones=np.tile(np.arange(1, len(centres) + 1), cells)).run(120)
    sprouts = lab.log(LOG_SPROUT)
    assert len(set(sprouts["clone"])) == len(sprouts["clone"])  # once a lesion
    check_waiting(sprouts["step"], len(centres), 0.02 * cells * need / DAY, 6.0, 120)
    with_vessels = lab.state.cells.clone[lab.tumour()][lab.state.cells.trait[lab.tumour()] & VASCULAR > 0]
    assert sorted(set(with_vessels)) == sorted(sprouts["clone"]) and len(with_vessels) == cells * len(sprouts["clone"])


def test_without_death_an_angiogenic_lesion_loses_no_cell(seed):
    lab, sizes = colonies(seed, BALANCE, ["angiogenic_dormancy"], ticks=20)
    assert len(lab.log(LOG_DEATH)["step"]) == 0 and sizes.sum() > len(sizes)


# ---------------------------------------------------------------- blood

BLOOD = {
    "egress.rate": 0.08 / DAY, "arrival.reseeding_share": 0.35, "arrival.ctc_half_life": 9.0, "arrival.lodging_rate": 0.0,
    "arrival.tumour_supply": 0.0,
}  # fmt: skip


def test_egress_is_exponential_beside_vessels_and_blood_keeps_a_share_for_its_half_life(seed):
    lab = Lab(["egress"], BLOOD, seed=seed, rows="sinusoid")
    lab.seed(lab.first_rows, CYCLING).run(60)
    left = lab.log(LOG_EGRESS)["step"]
    check_waiting(left, len(lab.first_rows), 0.08 / DAY, 6.0, 60)
    assert lab.hazard(EGRESS, CYCLING) == pytest.approx(0.08 / DAY, rel=1e-12)
    assert lab.state.tally[N_EGRESS] == len(left) == len(lab.first_rows) - lab.count()
    assert lab.state.blood[0] == pytest.approx((0.35 * 0.5 ** ((60 - left) * 6.0 / 9.0)).sum(), rel=1e-12)


@pytest.mark.parametrize(("rows", "mode"), [("bone", CYCLING), ("sinusoid", DORMANT)])
def test_nobody_leaves_away_from_vessels_or_asleep(seed, rows, mode):
    lab = Lab(["egress"], BLOOD | {"egress.rate": 1.0}, seed=seed, rows=rows)
    assert lab.seed(lab.first_rows, mode).run(20).count() == len(lab.first_rows)


def arrive(lab, ticks, supply):
    """Run tick by tick; return arrivals and what their hazard expects in each: supply(tick) x S / entrances, free voxels."""
    voxels, found, expected = lab.state.voxels, [], []
    entrances = voxels.perivascular.sum()
    places = np.zeros(lab.world.n)
    for tick in range(ticks):
        free = (voxels.perivascular == 1) & (voxels.occupant < 0)
        suitability = 1 - 0.6 * voxels.held[free]
        chance = -np.expm1(-supply(tick) * suitability / entrances * lab.hours)
        places[free] += chance
        before = lab.state.tally[N_ARRIVALS]
        lab.run(1)
        found.append(lab.state.tally[N_ARRIVALS] - before)
        expected.append(chance.sum())
    return np.array(found), np.array(expected), places


HELD = FAR | {"suitability.contact_weight": 0.0, "suitability.places_weight": 0.6}


def test_arrivals_are_poisson_at_supply_times_suitability(seed):
    numbers = BLOOD | HELD | {"arrival.tumour_supply": 1.7 / 6.0}
    lab = Lab(["arrival", "suitability"], numbers, seed=seed, side=90, rows="sinusoid")
    lab.state.voxels.held[:] = np.linspace(0, 1, lab.world.n) ** 0.5
    found, expected, places = arrive(lab, 400, lambda tick: 1.7 / 6.0)
    check_poisson(found.sum(), expected.sum())
    # At first supply x mean suitability of the entrances; one in six is taken at the end.
    entrances = lab.state.voxels.perivascular == 1
    assert expected[0] == pytest.approx(1.7 * (1 - 0.6 * lab.state.voxels.held[entrances]).mean(), rel=1e-3)
    # Numbers of ticks are Poisson: of mean 1.1, by their variance.
    z = ((found - expected) ** 2 / expected).sum() - len(found)
    assert abs(z) <= Z * np.sqrt((2 + 1 / expected).sum())
    # They come where it suits them.
    arrivals = lab.log(LOG_ARRIVAL)
    classes = np.arange(lab.world.n) * 6 // lab.world.n
    check_shares(np.bincount(classes[arrivals["voxel"]], minlength=6), np.bincount(classes, places))
    assert (lab.state.cells.mode[lab.tumour()] == CYCLING).all()


def test_what_circulates_lodges_until_it_has_decayed(seed):
    """Of B cells in blood l / (l + ln 2 / half-life) each, l = lodging_rate S, at ticks much shorter than the half-life."""
    lab = Lab(["arrival", "suitability"], BLOOD | HELD | {"arrival.lodging_rate": 0.02}, seed=seed, side=90, rows="sinusoid",
              hours=0.5)  # fmt: skip
    lab.state.voxels.held[:] = 0.5
    lab.state.blood[0] = 2000.0
    leaving = math.log(2) / 9.0 + 0.02 * 0.7
    mean = -math.expm1(-leaving * 0.5) / (leaving * 0.5)  # over a tick
    found, expected, _ = arrive(lab, 200, lambda tick: 0.02 * 2000.0 * mean * math.exp(-leaving * tick * 0.5))
    check_poisson(found.sum(), expected.sum())
    # Places that are taken take no more: a little less lodges than at first.
    assert lab.state.blood[0] == pytest.approx(2000.0 * math.exp(-100 * leaving), rel=0.5)
    assert expected.sum() == pytest.approx(2000.0 * 0.02 * 0.7 / leaving, rel=0.1)


def test_what_circulates_lodges_as_much_at_a_tick_far_longer_than_its_half_life(seed):
    """l / (l + ln 2 / half-life) of each cell, l = lodging_rate S, at a half-life of 1.7 h and a tick of 6 h."""
    numbers = BLOOD | HELD | {"arrival.lodging_rate": 0.02, "arrival.ctc_half_life": 1.7}
    lab = Lab(["arrival", "suitability"], numbers, seed=seed, side=150, rows="sinusoid", hours=6.0)
    lab.state.voxels.held[:] = 0.5
    lab.state.blood[0] = 5000.0
    lab.run(12)
    entrances = (lab.state.voxels.perivascular == 1).sum()
    taken = 0.02 * 0.7 / (0.02 * 0.7 + math.log(2) / 1.7)
    assert entrances > 10 * 5000 * taken  # hardly any place is taken twice
    assert lab.state.tally[N_ARRIVALS] == pytest.approx(5000 * taken, rel=0.4)


# ---------------------------------------------------------------- motility

WALK = {
    "migration.tumour_speed": 7.0, "migration.tumour_taxis": 0.0, "migration.precursor_speed": 4.0,
    "migration.precursor_taxis": 0.0, "migration.macrophage_speed": 0.0,
}  # fmt: skip


def walk(lab, ticks, kind_rows):
    """Return the ways of cells (um), followed tick by tick round the periodic patch: shape (cells, 2)."""
    cells, n = lab.state.cells, lab.world.nx
    way = np.zeros((len(kind_rows), 2))
    for _ in range(ticks):
        before = np.stack(np.divmod(cells.voxel[kind_rows].astype(int), n), axis=1)
        lab.run(1)
        after = np.stack(np.divmod(cells.voxel[kind_rows].astype(int), n), axis=1)
        way += ((after - before + n // 2) % n - n // 2) * lab.world.voxel_um
    return way


@pytest.mark.parametrize(("kind", "speed"), [("tumour", 7.0), ("precursor", 4.0)])
def test_a_lone_cell_walks_as_diffusion_does(seed, kind, speed):
    """Mean square displacement 2 d D t with D = speed x voxel / (2 d); no drift; dormant cells stay."""
    lab = Lab(["migration"], WALK, seed=seed, side=480, hours=3.0)
    places = lab.grid(12)
    lab.seed(places, CYCLING, kind=0 if kind == "tumour" else PRECURSOR)
    way = walk(lab, 24, np.arange(len(places)))
    square, expected = (way**2).sum(axis=1), speed * 20.0 * 24 * 3.0
    # Others bar a hop now and then: one voxel in 144 is taken.
    assert abs(square.mean() / expected - 1) <= Z * square.std() / expected / np.sqrt(len(way)) + 1 / 144
    assert (np.abs(way.mean(axis=0)) <= Z * way.std(axis=0) / np.sqrt(len(way))).all()


def test_dormant_cells_stay(seed):
    lab = Lab(["migration"], WALK, seed=seed)
    lab.seed(lab.grid(6), DORMANT)
    assert not walk(lab, 10, np.arange(100)).any()


def test_taxis_is_the_drift_of_its_weights(seed):
    """Up a signal that rises e-fold in 200 um the relative change of a hop is tanh(0.05): a constant bias and drift."""
    lab = Lab(["migration"], WALK | {"migration.tumour_taxis": 6.0}, seed=seed, side=480, hours=3.0)
    x = np.arange(lab.world.n) % 480
    lab.state.fields.concentration[CXCL12] = np.exp(0.1 * x)
    places = lab.grid(12)
    places = places[np.abs(places % 480 - 240) < 200]
    lab.seed(places, CYCLING)
    way = walk(lab, 24, np.arange(len(places)))
    up, down = math.exp(6 * math.tanh(0.05)), math.exp(-6 * math.tanh(0.05))
    drift = 7.0 * (up - down) / (up + down + 2) * 24 * 3.0
    assert abs(way[:, 1].mean() - drift) <= Z * way[:, 1].std() / np.sqrt(len(way)) + drift / 144
    assert abs(way[:, 0].mean()) <= Z * way[:, 0].std() / np.sqrt(len(way))


# ---------------------------------------------------------------- bone cells that tumour cells kill


@pytest.mark.parametrize("neighbours", [0, 1, 3])
def test_osteoblasts_die_in_proportion_to_the_cycling_cells_in_reach(seed, neighbours):
    numbers = {"osteoblasts.lifespan": 50 * DAY, "osteoblasts.tumour_death": 0.03 / DAY}
    lab = Lab(["osteoblasts"], numbers, seed=seed, side=180)
    places = lab.grid(6)
    lab.state.bmus.phase[0] = FORMING
    lab.state.voxels.owner[:], lab.state.voxels.debt[:] = 0, 1  # work to do, and no bed to do it on
    for number, place in enumerate(places):
        row = add_cell(lab.state, 0, OSTEOBLAST, np.int64(place), np.uint64(number + 1), np.uint64(0), 0)
        lab.state.cells.bmu[row] = 0
    for shift in range(1, neighbours + 1):
        lab.seed((places + (1, 180, -1)[shift - 1]) % lab.world.n, CYCLING)
    lab.seed((places - 180) % lab.world.n, DORMANT)  # asleep: they do no harm
    lab.run(100)
    died = lab.log(LOG_DEATH)
    assert set(died["cause"]) == ({DIE_BASELINE, DIE_TUMOUR} if neighbours else {DIE_BASELINE})
    check_waiting(died["step"], len(places), (0.02 + 0.03 * neighbours) / DAY, 6.0, 100)
    check_share((died["cause"] == DIE_TUMOUR).sum(), len(died["cause"]), 0.03 * neighbours / (0.02 + 0.03 * neighbours))


@pytest.mark.parametrize(("mode", "off", "left"), [
    (CYCLING, [], 0.7 / (0.7 + 8 / 21)), (CYCLING, ["osteoblast_loss"], 1.0), (DORMANT, [], 1.0),
])  # fmt: skip
def test_osteoblasts_are_recruited_less_where_tumour_cells_cycle(seed, mode, off, left):
    """Recruits of one tick at unserved places of a cavity: a third row of tumour cells holds 8 of the 21 voxels around."""
    numbers = {
        "osteoblasts.recruitment_rate": 1.3 / DAY, "osteoblasts.signal_half": 2.0, "osteoblasts.tumour_half": 0.7,
        "osteoblasts.mineralisation_lag": 1e6,
    }  # fmt: skip
    lab = Lab(["osteoblasts"], numbers, seed=seed, side=105, rows="bone", off=off, claim=4000)
    places, state = lab.first_rows, lab.state
    state.bmus.phase[0], state.bmus.signal[0], state.bmus.claims[0] = FORMING, 3.0, len(places)
    state.claimed[0, : len(places)] = places
    state.voxels.owner[places], state.voxels.debt[places] = 0, 1
    lab.seed(places + lab.world.nx, mode).run(1)
    recruits = (state.cells.kind[: state.living[0]] == OSTEOBLAST).sum()
    check_share(recruits, len(places), -math.expm1(-1.3 * 0.6 * left / 4))
