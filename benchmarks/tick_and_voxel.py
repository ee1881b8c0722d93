"""What tick, voxel and tolerance do to the shipped experiment: `python benchmarks/tick_and_voxel.py [SEEDS]` prints it.

Endpoints of the control and the zoledronate arm over two years, tumour cells as sentinels; mean and standard error over
seeds. Halving the tick and going from 20 to 10 um voxels should move each endpoint by less than its uncertainty.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

import niche_sim as ns
from niche_sim.config import load_experiment

CASES = {
    "12 h, 20 um": {"time.tick": "12 h"}, "6 h, 20 um": {}, "3 h, 20 um": {"time.tick": "3 h"},
    "6 h, 10 um": {"scene.voxel": "10 um"}, "6 h, 20 um, tolerance 1e-5": {"fields.tolerance": "1e-5"},
}  # fmt: skip


def measure(case, seed):
    """Return the endpoints of one seed, a row an arm."""
    sets = CASES[case] | {
        "time.spin_up": "360 d", "time.length": "720 d", "record.pictures": '["0 d"]', "record.cells": "false",
        "record.fields": "false", "switches.tumour_fates": "false",
    }  # fmt: skip
    run = ns.run_experiment(load_experiment("e00_zoledronate_niche", sets=sets, seed=seed))
    rows = []
    for arm, result in run.arms.items():
        series = result.series
        volume = series["bone_volume_fraction"]
        net = series["growth_division_per_d"] - series["growth_death_per_d"]
        rows.append({
            "case": case, "arm": arm, "bone change, %": 100 * (volume.iloc[-1] / volume.iloc[0] - 1),
            "resorption, 1000 um3/d": series["resorption_um3_per_d"].mean() / 1e3,
            "eroded surface, %": 100 * series["eroded_surface_fraction"].mean(),
            "suitability": series["suitability_endosteal"].mean(), "net growth, 1e-3 /d": 1e3 * net.mean(),
            "waking, 1e-4 /d": 1e4 * series.filter(like="hazard_wake_").sum(axis=1).mean(),
            "death, 1e-4 /d": 1e4 * series.filter(like="hazard_death_").sum(axis=1).mean(),
        })  # fmt: skip
    return rows


def main(seeds):
    """Print the table."""
    jobs = [(case, seed) for case in CASES for seed in range(1, seeds + 1)]
    with ThreadPoolExecutor(2) as pool:
        rows = [row for part in pool.map(lambda job: measure(*job), jobs) for row in part]
    grouped = pd.DataFrame(rows).groupby(["arm", "case"], sort=False)
    mean, error = grouped.mean(), grouped.sem()
    print((mean.map(lambda v: f"{v:.3g}") + " (" + error.map(lambda v: f"{v:.2g}") + ")").to_string())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
