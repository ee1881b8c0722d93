"""Untreated bone over ten years: `python -m pytest -m deep tests/validation/test_bone.py -s` prints means and errors.

Three cases, eight seeds each: 24 runs of some 40 s, four at once.

Bands. Balance of a patch scatters between seeds; with the balance set to 1 the slope of bone volume must not differ
from 0 by more than three standard errors of its mean over the seeds, nor by more than 0.5 % a year. The other bands are
those that histomorphometry gives: depth 40 to 76 um, formation 95 to 145 d, eroded surface at most 6 %; and before the
menopause every entry of `configs/histomorphometry.yaml`, within two standard errors over the seeds.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

import niche_sim as ns
from niche_sim.config import build_experiment
from niche_sim.histomorphometry import AGREEMENT, estimate_all, list_quantities, read_references

pytestmark = [pytest.mark.deep, pytest.mark.timeout(3600)]
SEEDS = range(1, 9)
CASES = {
    "premenopausal": ("trabecula_premenopausal", "367 pmol/L", 0.13),
    "early_postmenopausal": ("trabecula_premenopausal", "73 pmol/L", 0.24),
    "postmenopausal": ("trabecula_postmenopausal", "22 pmol/L", 0.39),
}


def assume(value, bounds):
    return {"value": value, "range": bounds, "status": "assumed", "source": "none"}


def measure(case, seed):
    scene, oestradiol, _ = CASES[case]
    patient = {
        "name": "untreated", "activation_frequency": assume("0.13 /yr", ["0.1 /yr", "0.5 /yr"]),
        "bone_balance": assume(1.0, [0.9, 1.0]), "rankl_factor": assume(1.0, [0.5, 2.0]),
        "oestradiol": assume(oestradiol, ["0 pmol/L", "500 pmol/L"]),
    }  # fmt: skip
    run = ns.run_experiment(build_experiment({
        "name": "untreated_bone", "seed": seed, "scene": scene, "patient": patient,
        "time": {"length": "10 yr", "tick": "6 h", "spin_up": "1 yr"}, "population": {"dormant_dtc": 0},
        "arms": {"control": {}}, "record": {"series": "5 d", "events": True}, "switches": {"arrival": False},
    }))  # fmt: skip
    arm = run.arms["control"]
    series = arm.series
    years, volume = series["time_h"] / 8766, series["bone_volume_fraction"]
    found = estimate_all(series[series["time_h"] > 0], arm.bmus)
    return {
        "case": case, "seed": seed, "volume_slope_percent_per_yr": 100 * np.polyfit(years, volume, 1)[0] / volume.mean(),
        "surface_change_percent": 100 * (series["bone_surface_um2"].iloc[-1] / series["bone_surface_um2"].iloc[0] - 1),
        "thickness_slope_percent_per_yr": 100 * np.polyfit(years, series["trabecular_thickness_um"], 1)[0]
        / series["trabecular_thickness_um"].mean(),
    } | {symbol: estimate.mean for symbol, estimate in found.items()}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    jobs = [(case, seed) for case in CASES for seed in SEEDS]
    with ThreadPoolExecutor(4) as pool:
        rows = pd.DataFrame(list(pool.map(lambda job: measure(*job), jobs)))
    print("\n" + rows.groupby("case", sort=False).agg(["mean", "sem"]).drop(columns="seed").round(2).T.to_string())
    return rows.set_index("case")


def test_balanced_bone_stays_bone(table):
    case = "premenopausal"
    slope = table.loc[case, "volume_slope_percent_per_yr"]
    assert abs(slope.mean()) < min(3 * slope.sem(), 0.5) or abs(slope.mean()) < 0.1
    assert abs(table.loc[case, "surface_change_percent"].mean()) < 10
    thinning = table.loc[case, "thickness_slope_percent_per_yr"]
    assert abs(thinning.mean()) < min(3 * thinning.sem(), 0.5) or abs(thinning.mean()) < 0.1


@pytest.mark.parametrize("case", list(CASES))
def test_activation_frequency_is_as_set(table, case):
    """Some 80 to 230 births a run give a standard error of 4 % on eight seeds at the lowest frequency."""
    assert table.loc[case, "Ac.f"].mean() == pytest.approx(CASES[case][2], rel=0.1)


@pytest.mark.parametrize("case", list(CASES))
def test_cavities_are_as_deep_and_formation_as_long_as_measured(table, case):
    assert 40 < table.loc[case, "E.De"].mean() < 76
    assert 95 < table.loc[case, "FP"].mean() < 145
    assert table.loc[case, "ES/BS"].mean() < 6


@pytest.mark.parametrize("case", list(CASES))
def test_the_two_activation_frequencies_agree(table, case):
    """Counted births and BFR/BS over W.Th are the same turnover, read off different columns."""
    assert table.loc[case, "Ac.f (BFR/W.Th)"].mean() == pytest.approx(table.loc[case, "Ac.f"].mean(), rel=0.1)


PREMENOPAUSAL = read_references("pre")
# What the rules at their present numbers miss; an entry that comes to be met must leave.
MISSED = {
    "Tb.Sp": "by the plate model it follows from BV/TV and Tb.Th, whose literature excludes it",
    "ES/BS": "it is activation frequency times period: 0.13 /yr and at most seven weeks cannot give 2 %",
    "Ac.f": "0.122 +- 0.004 /yr; 0.125 +- 0.002 of 24 seeds: 4 % below what is set",
}


@pytest.mark.parametrize(
    "symbol",
    [pytest.param(s, marks=pytest.mark.xfail(strict=True, reason=MISSED[s]) if s in MISSED else ())
     for s, *_ in list_quantities() if s in PREMENOPAUSAL],
)  # fmt: skip
def test_premenopausal_bone_is_that_of_histomorphometry(table, symbol):
    values, reference = table.loc["premenopausal", symbol], PREMENOPAUSAL[symbol]
    slack = AGREEMENT * values.sem()
    assert reference.low - slack <= values.mean() <= reference.high + slack


@pytest.mark.parametrize("case", list(CASES))
def test_eroded_surface_is_activation_frequency_times_period(table, case):
    """The sides of a cavity are counted too, so that it is somewhat more."""
    period_yr = table.loc[case, "Rs.P+Rv.P"].mean() / 365.25
    assert table.loc[case, "ES/BS"].mean() == pytest.approx(100.0 * table.loc[case, "Ac.f"].mean() * period_yr, rel=0.25)


def test_bone_is_lost_after_menopause_and_faster_at_higher_turnover(table):
    """Beyond two standard errors; no faster than in women in the two years after the last period (Sowers et al. 2010)."""
    early, late = (table.loc[case, "volume_slope_percent_per_yr"] for case in ("early_postmenopausal", "postmenopausal"))
    assert -3.3 < late.mean() < early.mean() < 0.0
    assert early.mean() + 2 * early.sem() < 0.0
    assert late.mean() + 2 * np.hypot(late.sem(), early.sem()) < early.mean()


@pytest.mark.xfail(strict=True, reason="-0.24 +- 0.04 % a year, with oestradiol held at that of the first year")
def test_bone_is_lost_early_after_menopause_at_the_published_pace(table):
    """Of women 3.3 % a year in years 0 to 2 after the last period, 1.1 % in 2 to 7 (spine, DXA; Sowers et al. 2010)."""
    assert table.loc["early_postmenopausal", "volume_slope_percent_per_yr"].mean() < -1.1
