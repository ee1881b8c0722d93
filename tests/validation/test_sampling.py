"""What sentinels measure is what happens to cells that do wake and die, however many lie in a niche."""

import numpy as np
import pytest

import niche_sim as ns
from niche_sim.kinds import DIE_BASELINE, DIE_HYPOXIA, OUTCOME_NAMES, WAKE_SPONTANEOUS, WAKE_SPROUTING

pytestmark = pytest.mark.deep
EXITS = [
    *(f"hazard_wake_{name}_per_d" for name in OUTCOME_NAMES[WAKE_SPONTANEOUS : WAKE_SPROUTING + 1]),
    *(f"hazard_death_{name}_per_d" for name in OUTCOME_NAMES[DIE_BASELINE : DIE_HYPOXIA + 1]),
]


def run(seed, cells, switches, overrides=None):
    """Return the series of two years of zoledronate in a postmenopausal niche."""
    return ns.run_experiment(ns.build_experiment({
        "name": "sampling", "seed": seed, "scene": "trabecula_postmenopausal", "patient": "postmenopausal",
        "time": {"length": "2 yr", "tick": "6 h", "spin_up": "180 d"}, "population": {"dormant_dtc": cells},
        "switches": {"arrival": False} | switches, "arms": {"a": {"regimen": "zoledronate_q4w"}},
        "record": {"series": "28 d", "events": False, "ledgers": False}, "override": overrides or {},
    })).series  # fmt: skip


def list_left(series):
    """Return the share of cells that the measured hazards leave, at the end."""
    days = np.diff(series["time_h"]) / 24.0
    return float(np.exp(-(series[EXITS].iloc[1:].sum(axis=1).to_numpy() * days).sum()))


def test_sentinels_give_the_survivors_of_cells_that_wake_and_die():
    """Woken cells neither divide nor sleep again here, so that what is dormant at the end never left."""
    off = {"dormancy.entry_lining": "0 /d", "dormancy.entry_vessel": "0 /d"}
    seeds, cells = range(1, 9), 60
    expected = np.mean([list_left(run(seed, cells, {"tumour_fates": False})) for seed in seeds])
    left = [run(seed, cells, {"division": False}, off)["dormant"].iloc[-1] for seed in seeds]
    number = cells * len(left)
    error = np.sqrt(expected * (1.0 - expected) / number)
    assert abs(np.sum(left) / number - expected) < 4.0 * error
    assert 0.5 < expected < 0.95  # enough leave to tell


def test_the_hazard_of_a_sentinel_does_not_depend_on_how_many_there_are():
    """Twelve and ninety-six in the same patches: the difference is within four standard errors of patches."""
    seeds = range(1, 9)
    few, many = (
        np.array([-np.log(list_left(run(seed, cells, {"tumour_fates": False}))) for seed in seeds]) for cells in (12, 96)
    )
    difference = few - many
    assert abs(difference.mean()) < 4.0 * difference.std(ddof=1) / np.sqrt(len(difference))
    assert many.mean() > 0.02
