"""Expected hazards of the series: they tell the events, whatever the recording and through a checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
from lab import DAY, Lab
from test_switches import CHEMOTHERAPY, DOSES, lively

import niche_sim as ns
from niche_sim import simulation
from niche_sim.errors import Interrupted
from niche_sim.kinds import DORMANT, GROWTH_RISK, N_OUTCOMES, N_SEEDED
from niche_sim.risk import STRIDE

ROUTES = [f"wake_{route}" for route in ("spontaneous", "factors", "lining", "sprouting")]
CAUSES = ("baseline", "deprivation", "chemotherapy", "drug", "immune", "phagocytosis")
Z = 4.2


def build(arms=None, record=None, **changes):
    arms = arms or {"treated": {"regimen": DOSES + CHEMOTHERAPY}}
    record = {"series": "2 d", "events": False, "ledgers": False} | (record or {})
    return ns.build_experiment(lively(arms=arms, record=record, population={"dormant_dtc": 80}, **changes))


def add_up(series, name):
    """Expected events: the hazard (1/d) of each interval times its cell-days."""
    return float((series[f"hazard_{name}_per_d"] * series["dormant_cell_days"]).iloc[1:].sum())


def test_events_are_those_expected():
    """Summed over arms that share no draw but the start; counts of a handful lie within Poisson error."""
    off = dict.fromkeys([*ROUTES, "arrival"], False)
    found = {name: [0, 0.0] for name in ("wake", "death")}
    for seed in range(3):
        run = ns.run_experiment(build({"asleep": {"regimen": DOSES, "switches": off}, "waking": {}}, seed=seed))
        asleep, waking = run.arms["asleep"].series, run.arms["waking"].series
        for name in CAUSES:
            found["death"] += np.array([asleep[f"dtc_deaths_{name}"].iloc[-1], add_up(asleep, f"death_{name}")])
        for name in ROUTES:
            found["wake"] += np.array([waking[f"dtc_{name.replace('wake', 'wakes')}"].iloc[-1], add_up(waking, name)])
    for events, expected in found.values():
        assert expected > 30
        assert abs(events - expected) < Z * np.sqrt(expected)


def test_the_recording_interval_changes_no_sum():
    often, rarely = (
        ns.run_experiment(build(record={"series": every})).arms["treated"].series for every in ("6 h", "8 d")
    )
    for name in [f"death_{cause}" for cause in CAUSES] + ROUTES:
        assert add_up(often, name) == pytest.approx(add_up(rarely, name), rel=1e-9, abs=1e-15)
    assert often["dormant_cell_days"].iloc[1:].sum() == pytest.approx(rarely["dormant_cell_days"].iloc[1:].sum(), rel=1e-12)


class Memory:
    """Keeps the checkpoints of an arm at some steps, and gives back the last."""

    def __init__(self):
        self.kept = {}

    def list_steps(self, last):
        return {17, 30} & set(range(last + 1))

    def load(self, arm):
        return self.kept.get(arm)

    def save(self, arm, saved):
        self.kept[arm] = replace(saved, arrays={name: array.copy() for name, array in saved.arrays.items()})


def test_a_checkpoint_between_two_records_keeps_what_was_added_up():
    whole = ns.run_experiment(build()).arms["treated"]
    memory, reached = Memory(), []

    def stop(event, **info):
        if event == "advance" and info["arm"] == "treated" and info["time_h"] == 30 * 6.0:
            reached.append(1)
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        simulation.run_experiment(build(), progress=stop, keeper=memory)
    assert reached and memory.kept["treated"].step == 30
    resumed = simulation.run_experiment(build(), keeper=memory).arms["treated"]
    assert resumed.series.equals(whole.series)
    assert np.array_equal(resumed.final_hash_arrays["risk"], whole.final_hash_arrays["risk"])
    assert whole.final_hash_arrays["risk"][DORMANT, N_OUTCOMES] > 0


@pytest.mark.parametrize(("hours", "in_a_day"), [(6.0, 4), (24.0 / 11.0, 11), (5.0, 5)])
def test_growth_is_surveyed_once_a_day_whatever_the_tick(hours, in_a_day):
    """In its first tick, every seventh place and each day the next; a day is the nearest whole number of ticks."""
    lab = Lab(["death"], {}, rows="bone", hours=hours, ticks=STRIDE * in_a_day)
    free = np.flatnonzero(lab.state.voxels.is_bone == 0)
    lab.state.tally[N_SEEDED] = 1
    for day in range(STRIDE):
        for ticks in (1, in_a_day - 1):
            lab.run(ticks)
            assert lab.state.risk[GROWTH_RISK, N_OUTCOMES] == DAY * (free % STRIDE <= day).sum()


def test_growth_is_not_surveyed_before_there_was_a_tumour():
    lab = Lab(["death"], {}, ticks=4)
    assert lab.run(4).state.risk[GROWTH_RISK, N_OUTCOMES] == 0.0
