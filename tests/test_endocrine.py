"""Endocrine therapy: its time course, what it does to oestradiol and to tumour cells with and without receptor."""

from types import SimpleNamespace as Bag

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.config import build_experiment, check_files
from niche_sim.drugs import Drug
from niche_sim.errors import InputError
from niche_sim.host import Body, Endocrine, Patient, build_forcing, lack_of_oestradiol, read_body
from niche_sim.kinds import (
    CYCLING,
    DIVIDE,
    DORMANT,
    DTC,
    TGF_BETA,
    WAKE_FACTORS,
    WAKE_LINING,
    WAKE_SPONTANEOUS,
    WAKE_SPROUTING,
)
from niche_sim.processes import division, dormancy, endocrine
from niche_sim.regimens import Course
from niche_sim.resources import configs_dir
from niche_sim.simulation import build_rates, host_at, make_plan, spin_up

ENDOCRINE = Endocrine(0.4, 0.05, rankl_gain=2.0, opg_loss=0.5, balance_loss=0.1, extragonadal=0.02)
BODY = Body(ENDOCRINE, receptor=1.0)
DAILY = Course("pill", 20.0, 24.0, 0.0, 100 * 24.0, "oral")


def make(**changes):
    times = {"hormone_duration": 24.0, "hormone_onset": 240.0, "hormone_recovery": 480.0}
    return Drug("pill", "endocrine_therapy", "oral", **times | changes)


def force(drug, oestradiol=0.4, body=BODY, courses=(DAILY,), days=200):
    patient = Patient((1e-5,), oestradiol=(oestradiol,))
    return build_forcing(courses, {"pill": drug}, patient, 4 * days, 6.0, body=body)


def rankl(oestradiol):
    return 1.0 + 2.0 * lack_of_oestradiol(np.array([oestradiol]), ENDOCRINE)[0]


def test_the_effect_rises_under_cover_and_returns_after_the_last_tablet():
    forcing = force(make(hormone_growth=0.6, hormone_waking=0.4))
    t = 6.0 * np.arange(1, 801)
    full = -np.expm1(-2400.0 / 240.0)
    share = np.where(t <= 2400.0, -np.expm1(-t / 240.0), full * np.exp(-(t - 2400.0) / 480.0))
    np.testing.assert_allclose(forcing.hormone_growth, 1.0 - 0.4 * share, rtol=1e-12)
    np.testing.assert_allclose(forcing.hormone_waking, 1.0 - 0.6 * share, rtol=1e-12)
    assert not forcing.plasma.any() and not forcing.uptake.any() and not forcing.chemotherapy.any()
    assert np.all(forcing.rankl_factor == 1.0)  # replete, and nothing that acts on bone


def test_missed_tablets_let_the_effect_go():
    gap = [Course("pill", 20.0, 24.0, 0.0, 480.0, "oral"), Course("pill", 20.0, 24.0, 720.0, 2400.0, "oral")]
    forcing = force(make(hormone_growth=0.5), courses=gap)
    left = -np.expm1(-480.0 / 240.0) * np.exp(-240.0 / 480.0)
    assert forcing.hormone_growth[720 // 6 - 1] == pytest.approx(1.0 - 0.5 * left, rel=1e-12)


@pytest.mark.parametrize("receptor", [0.0, 0.25, 1.0])
def test_the_receptor_is_the_share_of_the_effect_that_counts(receptor):
    drug = make(hormone_growth=0.6, hormone_waking=0.4)
    whole, part = force(drug), force(drug, body=BODY._replace(receptor=receptor))
    np.testing.assert_allclose(1.0 - part.hormone_growth, receptor * (1.0 - whole.hormone_growth), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(1.0 - part.hormone_waking, receptor * (1.0 - whole.hormone_waking), rtol=1e-12, atol=1e-15)
    assert receptor > 0 or (part.hormone_growth == 1.0).all()


def test_two_therapies_multiply():
    both = {name: make(hormone_growth=0.6) for name in ("pill", "other")}
    courses = [DAILY, Course("other", 1.0, 24.0, 0.0, 2400.0, "oral")]
    forcing = build_forcing(courses, both, Patient((1e-5,)), 400, 6.0, body=BODY)
    alone = force(both["pill"], days=100)
    np.testing.assert_allclose(forcing.hormone_growth, alone.hormone_growth**2, rtol=1e-12)


def test_an_aromatase_inhibitor_takes_oestradiol_that_is_not_from_the_ovary():
    drug = make(hormone_aromatase=0.8, hormone_onset=12.0)
    after, before = force(drug, 0.015), force(drug, 0.3)
    assert after.rankl_factor[399] == pytest.approx(rankl(0.015 * 0.2), rel=1e-9)
    assert before.rankl_factor[399] == pytest.approx(rankl(0.28 + 0.02 * 0.2), rel=1e-9)
    assert after.rankl_factor[399] > 1.05 * rankl(0.015) and before.rankl_factor[399] < 1.02 * rankl(0.3)
    assert after.opg_factor[399] < 1.0 - 0.5 * lack_of_oestradiol(np.array([0.015]), ENDOCRINE)[0]
    assert after.bone_balance[399] < after.bone_balance[-1] < 1.0


def test_with_a_suppressed_ovary_it_takes_nearly_all():
    ovary = Drug("depot", "ovarian_suppressant", "sc", ovary_suppression=1.0, ovary_duration=672.0, ovary_onset=24.0,
                 ovary_recovery=600.0)  # fmt: skip
    drugs = {"pill": make(hormone_aromatase=1.0, hormone_onset=12.0), "depot": ovary}
    courses = [DAILY, Course("depot", 3.6, 672.0, 0.0, 2400.0, "sc")]
    forcing = build_forcing(courses, drugs, Patient((1e-5,), oestradiol=(0.3,)), 400, 6.0, body=BODY)
    assert forcing.rankl_factor[-1] == pytest.approx(3.0, rel=1e-4)


def test_a_modulator_spares_bone_after_the_menopause_and_costs_bone_before_it():
    drug = make(hormone_bone_share=0.9, hormone_bone_oestradiol=0.06)
    full = 0.9 * -np.expm1(-2400.0 / 240.0)
    for own in (0.015, 0.4):
        found = force(drug, own).rankl_factor[399]
        assert found == pytest.approx(rankl(own + full * (0.06 - own)), rel=1e-9)
        assert (found < rankl(own)) == (own < 0.06)


def test_a_modulator_needs_its_worth_and_shares_are_shares():
    with pytest.raises(InputError, match="needs hormone.bone_oestradiol"):
        ns.drugs.drug_from_mapping({
            "name": "pill", "class": "endocrine_therapy", "route": "oral",
            "effects": {"hormone": {"growth": 1.0, "waking": 1.0, "bone_share": 0.5, "duration": 24.0, "onset": 1.0,
                                    "recovery": 1.0}}})  # fmt: skip


@pytest.mark.parametrize(("old", "new", "path", "said"), [
    ("    waking:", "    waken:", "effects.hormone.waking", "the class endocrine_therapy needs it"),
    ("      value: 0.6\n      range: [0.4, 0.9]", "      value: 1.6\n      range: [0.4, 1.9]",
     "effects.hormone.growth.value", "between 0 and 1"),
    ("class: endocrine_therapy", "class: cytotoxic", "effects.hormone", "belongs to endocrine_therapy"),
])  # fmt: skip
def test_mistakes_of_a_file_are_told_at_their_place(tmp_path, old, new, path, said):
    text = (configs_dir() / "drugs" / "anastrozole.yaml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "anastrozole.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    found = [problem for problem in check_files([file]) if problem.path == path]
    assert found and said in found[0].message and found[0].line > 1


def test_shipped_therapies_hold_down_waking_more_than_growth():
    body = read_body(ns.load_parameters("breast_er_positive"))
    for name, dose in (("tamoxifen", 20.0), ("anastrozole", 1.0)):
        drug = ns.load_drug(name).drug
        course = Course(name, dose, 24.0, 0.0, None, "oral")
        forcing = build_forcing([course], {name: drug}, Patient((1e-5,), oestradiol=(0.022,)), 1500, 6.0, body=body)
        assert forcing.hormone_growth[-1] == pytest.approx(drug.hormone_growth, rel=1e-6)
        assert forcing.hormone_waking[-1] == pytest.approx(drug.hormone_waking, rel=1e-6)
        assert forcing.hormone_waking[-1] < forcing.hormone_growth[-1]
        untreated = build_forcing([], {}, Patient((1e-5,), oestradiol=(0.022,)), 1500, 6.0, body=body)
        spares = forcing.rankl_factor[-1] < untreated.rankl_factor[-1]
        assert spares == (name == "tamoxifen")


# ---------------------------------------------------------------- tumour cells


@pytest.fixture(scope="module")
def niche():
    """A small niche with dormant and cycling cells, fed; kernels are called as the Python they were written in."""
    sets = {"scene": "trabecula_small", "time.spin_up": "6 h", "population.dormant_dtc": "6", "population.cycling_dtc": "6"}
    plan = make_plan(ns.load_experiment("e00_zoledronate_niche", length="1 d", sets=sets))
    state = spin_up(plan)
    state.fields.concentration[TGF_BETA] = 1e-3
    return plan, state


def find_hazards(niche, growth, waking):
    plan, state = niche
    rates = build_rates(plan.experiment.parameters, {}, plan.experiment.switches)
    host = host_at(build_forcing([], {}, Patient((1e-5,)), 1, 6.0), 0)._replace(hormone_growth=growth, hormone_waking=waking)
    state.hazard[:] = 0.0
    for process in (dormancy, division, endocrine):
        process.run(state, rates, plan.world, host, Bag(step=0, hours=6.0))
    return state.hazard[: state.living[0]].copy()


def test_waking_and_division_are_multiplied_and_nothing_else(niche):
    state = niche[1]
    plain, held = find_hazards(niche, 1.0, 1.0), find_hazards(niche, 0.6, 0.5)
    rows = {mode: (state.cells.kind[: len(plain)] == DTC) & (state.cells.mode[: len(plain)] == mode)
            for mode in (DORMANT, CYCLING)}  # fmt: skip
    wakes = [WAKE_SPONTANEOUS, WAKE_FACTORS, WAKE_LINING, WAKE_SPROUTING]
    factor = np.ones(plain.shape[1])
    factor[wakes], factor[DIVIDE] = 0.5, 0.6
    assert (plain[rows[DORMANT]][:, wakes].sum(axis=1) > 0).all() and (plain[rows[CYCLING], DIVIDE] > 0).any()
    np.testing.assert_allclose(held, plain * factor, rtol=1e-14)


def test_only_cells_with_receptor_answer_and_the_switch_turns_it_off():
    """A therapy that leaves nothing and does nothing to bone: no births with receptor, the untreated run without it."""
    def number(value, **more):
        return {"value": value, "range": [value, value], "status": "assumed", "source": "none", **more}

    effects = {"growth": number(0.0), "waking": number(0.0), "duration": number("1 d"), "onset": number("1 min"),
               "recovery": number("1 d")}  # fmt: skip
    pill = {"name": "pill", "class": "endocrine_therapy", "route": "oral", "effects": {"hormone": effects}}
    regimen = [{"drug": "pill", "dose": "20 mg", "interval": "1 d"}]
    experiment = build_experiment({
        "name": "e", "scene": "trabecula_small", "patient": "postmenopausal", "parameters": "breast_er_positive",
        "time": {"length": "20 d"}, "population": {"cycling_dtc": 12}, "drugs": {"pill": pill},
        "override": {"division.maximum_rate": "0.9 /d", "division.basal_rate": "0.1 /d"},
        "arms": {
            "control": {}, "treated": {"regimen": regimen},
            "half": {"regimen": regimen, "override": {"hormone.receptor": 0.5}},
            "off": {"regimen": regimen, "switches": {"endocrine_therapy": False}},
        },
    })  # fmt: skip
    arms = {name: arm.series.drop(columns="arm") for name, arm in ns.run_experiment(experiment).arms.items()}
    births = {name: series["dtc_births"].iloc[-1] for name, series in arms.items()}
    assert births["treated"] == 0 < births["half"] < births["control"]
    assert (arms["treated"]["growth_division_per_d"].iloc[1:] == 0.0).all()
    assert arms["off"].equals(arms["control"])
