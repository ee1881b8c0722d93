"""Where a single dose is as years go by: `python benchmarks/drug_in_bone.py [SEEDS]` prints it.

The shipped experiment `where_the_drug_is`: shares of the dose by place (the ledger of the drug), and the half-life with
which plasma falls; mean (standard error) over seeds.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

import niche_sim as ns

PLACES = {
    "in plasma and tissues": ("plasma", "tissues"),
    "on the surface of bone": ("on_resting_surface", "on_eroding_surface", "on_forming_surface"),
    "buried": ("buried",), "swallowed": ("swallowed",), "excreted": ("excreted",),
}  # fmt: skip
TIMES_D = (30, 180, 360, 720, 1800)
SPANS_D = ((5, 60), (60, 200), (200, 400))


def measure(seed):
    """Return the rows of one seed: arm, what, value."""
    run = ns.run_experiment(ns.load_experiment("where_the_drug_is", seed=seed))
    rows = []
    for arm, result in run.arms.items():
        books = result.ledgers[(result.ledgers["ledger"] == "drug") & (result.ledgers["item"] == arm)]
        table = books.pivot_table(index="time_h", columns="entry", values="amount") / books["amount"].max()
        for day in TIMES_D:
            found = table.iloc[np.abs(table.index - 24 * day).argmin()]
            for place, names in PLACES.items():
                rows.append((arm, f"{place}, % of the dose, day {day}", -100 * found[list(names)].sum()))
        days, level = result.series["time_h"] / 24, result.series["plasma_nmol_per_L"]
        for first, last in SPANS_D:
            inside = (days >= first) & (days <= last)
            rate = -np.polyfit(days[inside], np.log(level[inside]), 1)[0]
            rows.append((arm, f"half-life in plasma, d, days {first} to {last}", np.log(2) / rate))
    return rows


def main(seeds):
    """Print the table."""
    with ThreadPoolExecutor(2) as pool:
        rows = [row for part in pool.map(measure, range(1, seeds + 1)) for row in part]
    grouped = pd.DataFrame(rows, columns=["arm", "what", "value"]).groupby(["what", "arm"], sort=False)["value"]
    text = grouped.mean().map(lambda v: f"{v:.3g}") + " (" + grouped.sem().map(lambda v: f"{v:.1g}") + ")"
    print(text.unstack().to_string())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
