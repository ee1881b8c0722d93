"""Print the turnover of untreated premenopausal bone that `markers.reference_turnover` stands for.

Usage: python benchmarks/marker_reference.py [patches] [years]

Each patch is the shipped premenopausal scene of its own seed, settled for two years. The reference is the mean of resorption
and formation over patches, per um2 of the surface that a patch has at time 0.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import niche_sim as ns


def measure(seed: int, years: int) -> tuple[float, float]:
    """Return resorption and formation of one patch, um/d."""
    run = ns.run_experiment(ns.build_experiment({
        "name": "reference", "seed": seed, "scene": "trabecula_premenopausal", "patient": "premenopausal",
        "time": {"length": f"{years} yr", "spin_up": "2 yr"}, "arms": {"control": {}},
        "record": {"series": f"{years} yr", "events": False, "ledgers": False, "pictures": []},
    }))  # fmt: skip
    first, last = run.series.iloc[0], run.series.iloc[-1]
    return tuple(last[f"{name}_um3_per_d"] / first["bone_surface_um2"] for name in ("resorption", "formation"))


def main() -> None:
    """Measure and print."""
    given = [int(text) for text in sys.argv[1:3]]
    patches, years = (*given, *(16, 5)[len(given) :])
    with ThreadPoolExecutor(2) as pool:
        found = np.array(list(pool.map(lambda seed: measure(seed, years), range(1, patches + 1))))
    for name, values in zip(("resorption", "formation", "turnover"), [*found.T, found.mean(axis=1)]):
        print(f"{name}: {values.mean():.5f} um/d, standard error {values.std(ddof=1) / len(values) ** 0.5:.5f}")


if __name__ == "__main__":
    main()
