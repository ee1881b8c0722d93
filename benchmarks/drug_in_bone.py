"""Where a single dose is as years go by: `python benchmarks/drug_in_bone.py [SEEDS]` prints it.

The shipped experiment `where_the_drug_is`: shares of the dose by place (the ledger of the drug), and the half-life with
which plasma falls; mean (standard error) over seeds. Then zoledronate 4 mg every 4 weeks for five years in the same niche:
what bone holds at the end of each year, and what it kept of the doses of that year, which would fall if bone filled up.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

import niche_sim as ns
from niche_sim.config import build_experiment

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


def load_for_years(seed):
    """Return the rows of one seed under doses every 4 weeks: arm, what, value."""
    doses = [{"drug": "zoledronate", "dose": "4 mg", "interval": "28 d"}]
    run = ns.run_experiment(build_experiment({
        "name": "load_for_years", "seed": seed, "scene": "trabecula_postmenopausal", "patient": "postmenopausal",
        "time": {"length": "5 yr", "spin_up": "1 yr"}, "population": {"dormant_dtc": 0},
        "arms": {"zoledronate_q4w": {"regimen": doses}}, "record": {"series": "10 d", "events": False, "ledgers": "30 d"},
    }))  # fmt: skip
    books = next(iter(run.arms.values())).ledgers
    table = books[books["ledger"] == "drug"].pivot_table(index="time_h", columns="entry", values="amount")
    in_bone = -table[[*PLACES["on the surface of bone"], "buried"]].sum(axis=1)
    at = [np.abs(table.index - 8766 * year).argmin() for year in range(6)]
    one_dose, rows = table["dosed"].iloc[-1] / 66, []
    for year, (first, last) in enumerate(zip(at, at[1:]), 1):
        got = table["dosed"].iloc[last] - table["dosed"].iloc[first]
        lost = table["excreted"].iloc[first] - table["excreted"].iloc[last]
        rows.append(("zoledronate q4w", f"in bone at the end of year {year}, doses", in_bone.iloc[last] / one_dose))
        rows.append(("zoledronate q4w", f"not excreted of the doses of year {year}, %", 100 * (1 - lost / got)))
    return rows


def main(seeds):
    """Print the table."""
    with ThreadPoolExecutor(2) as pool:
        parts = [*pool.map(measure, range(1, seeds + 1)), *pool.map(load_for_years, range(1, seeds + 1))]
    rows = [row for part in parts for row in part]
    grouped = pd.DataFrame(rows, columns=["arm", "what", "value"]).groupby(["what", "arm"], sort=False)["value"]
    text = grouped.mean().map(lambda v: f"{v:.3g}") + " (" + grouped.sem().map(lambda v: f"{v:.1g}") + ")"
    print(text.unstack().to_string())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
