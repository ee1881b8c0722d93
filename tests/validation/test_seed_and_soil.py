"""Waking, growth and death of tumour cells beside what was published: women and mice."""

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import mouse  # noqa: E402
import turnover_sensitivity as women  # noqa: E402

pytestmark = pytest.mark.deep
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def hazards():
    """Mean over seeds of what cells meet, by way, level and arm."""
    wanted = {("oestradiol", "367 pmol/L"), ("oestradiol", "22 pmol/L"), ("zoledronate", "premenopausal"),
              ("zoledronate", "postmenopausal")}  # fmt: skip
    found = {}
    for way, level, case in women.list_cases():
        if (way, level) in wanted:
            runs = [women.measure(case, seed) for seed in SEEDS]
            found[way, level] = {
                arm: {what: np.mean([run[arm][what] for run in runs]) for what in women.SHOWN} for arm in runs[0]
            }
    return found


def test_a_competent_lesion_lasts_twelve_years_before_the_menopause(hazards):
    """Willis et al. 2010: at least 12 years, half-life of escape."""
    assert hazards["oestradiol", "367 pmol/L"]["all"]["half-life, yr"] >= 12.0


def test_metastases_double_as_patients_do(hazards):
    """Coumans et al. 2013: 1.7 +- 0.9 months; the mean of net growth before and after the menopause."""
    net = np.mean([hazards["oestradiol", level]["all"]["net growth"] for level in ("367 pmol/L", "22 pmol/L")])
    assert 1.4 < np.log(2) / net / 30.44 < 2.0


def test_turnover_acts_on_waking_and_on_growth_each_with_its_switch(hazards):
    before, after = hazards["oestradiol", "367 pmol/L"], hazards["oestradiol", "22 pmol/L"]
    assert after["all"]["waking"] > 2.0 * before["all"]["waking"]
    assert after["all"]["net growth"] > 1.5 * before["all"]["net growth"]
    off = "waking_not_by_turnover"
    assert after[off]["waking"] == pytest.approx(before[off]["waking"], rel=0.15)
    assert after[off]["net growth"] == pytest.approx(after["all"]["net growth"], rel=0.02)
    off = "growth_not_by_turnover"
    assert after[off]["net growth"] == pytest.approx(before[off]["net growth"], rel=0.15)
    assert after[off]["waking"] == pytest.approx(after["all"]["waking"], rel=0.02)


def test_zoledronate_takes_more_after_the_menopause_and_clears_besides(hazards):
    lost = {}
    for woman, level in (("premenopausal", "367 pmol/L"), ("postmenopausal", "22 pmol/L")):
        treated, untreated = hazards["zoledronate", woman]["all"], hazards["oestradiol", level]["all"]
        lost[woman] = untreated["net growth"] - treated["net growth"]
        assert treated["waking"] < untreated["waking"]
        assert treated["death"] > 2.0 * untreated["death"]
    assert lost["postmenopausal"] > 2.0 * lost["premenopausal"]


def test_ovariectomy_wakes_about_ten_times_as_many_and_zoledronate_leaves_the_untreated_baseline():
    """Ottewell et al. 2014: 83 against 17 % of mice, a ratio of hazards of 9.5 from small groups; all of the excess goes."""
    mice = [mouse.remove_ovaries(seed) for seed in SEEDS]

    def mean(name, what="waking, /d"):
        return np.mean([found[name][what] for found in mice])

    sham, removed = mean("mouse_sham untreated"), mean("mouse_ovariectomised untreated")
    assert 5.0 < removed / sham < 20.0
    assert (mean("mouse_ovariectomised zoledronate") - sham) / (removed - sham) < 0.1
    volume = "bone at the end over time 0"
    assert 1.25 < mean("mouse_sham untreated", volume) / mean("mouse_ovariectomised untreated", volume) < 1.8


def test_a_growing_lesion_loses_osteoblasts_gains_osteoclasts_and_feeds_itself():
    """Phadke et al. 2006; the cycle is broken without PTHrP, and by zoledronate."""
    rows = [mouse.grow_lesions(seed) for seed in SEEDS]

    def mean(arm, what):
        return np.mean([row[arm][what] for row in rows])

    kept = mean("tumour", "osteoblasts per mm beside") / mean("no tumour", "osteoblasts per mm beside")
    osteoclasts = mean("tumour", "osteoclasts per mm beside") / mean("no tumour", "osteoclasts per mm beside")
    assert kept < 0.4
    assert osteoclasts / kept > 4.0  # 0.6 / 0.08 in mice
    assert mean("tumour", "resorption in weeks 5 and 6") > 1.2 * mean("no tumour", "resorption in weeks 5 and 6")
    for broken in ("without PTHrP", "zoledronate"):
        assert mean(broken, "cells of tumour, week 4") < 0.75 * mean("tumour", "cells of tumour, week 4")
