"""Myeloma beside breast cancer in the same marrow: `python benchmarks/myeloma.py [SEEDS] [DIR]` prints the table of e10.

The experiment e10_myeloma with its own set of numbers and with `human`, patches of the same seeds: bone and cells as means
over the last 84 days, tumour cells at the end, expected waking over the treatment; mean (standard error) over seeds, drugs
as the ratio to the control of the same seed. With DIR it writes DIR/summary.csv and DIR/tumour.png.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import niche_sim as ns
from niche_sim.kinds import OUTCOME_NAMES, WAKE_SPONTANEOUS, WAKE_SPROUTING

SETS = {"breast cancer": "human", "myeloma": "myeloma"}
WAKES = [f"hazard_wake_{name}_per_d" for name in OUTCOME_NAMES[WAKE_SPONTANEOUS : WAKE_SPROUTING + 1]]
START_H, LATE_H = 84 * 24, 84 * 24
MEASURED = ("resorption_um3_per_d", "formation_um3_per_d", "osteoclasts", "osteoblasts")


def measure(chosen, seed):
    """Return {arm: {what: value}} of one set and seed."""
    experiment = ns.load_experiment("e10_myeloma", sets={"parameters": chosen}, seed=seed)
    found = {}
    for arm, result in ns.run_experiment(experiment).arms.items():
        held = result.series
        late = held[held["time_h"] > held["time_h"].iloc[-1] - LATE_H]
        treated = held[held["time_h"] > START_H]
        cells = held["dormant"].iloc[-1] + held["cycling"].iloc[-1]
        found[arm] = {name: late[name].mean() for name in MEASURED} | {
            "tumour cells": float(cells), "waking, 1e-4 /d": 1e4 * treated[WAKES].sum(axis=1).mean(),
            "net growth, 1e-3 /d": 1e3 * (treated["growth_division_per_d"] - treated["growth_death_per_d"]).mean(),
            "death of dormant cells, 1e-4 /d": 1e4 * treated.filter(like="hazard_death_").sum(axis=1).mean(),
        }  # fmt: skip
    return found


def tabulate(runs):
    """Return a row a set, arm and quantity: mean and standard error, absolute and over the control of the same seed."""
    rows = []
    for chosen, held in runs.items():
        for arm in held[0]:
            for what in held[0][arm]:
                values = np.array([run[arm][what] for run in held])
                control = np.array([run["control"][what] for run in held])
                n = len(values)
                ratios = values / control
                rows.append({
                    "set": chosen, "arm": arm, "quantity": what, "patches": n, "mean": values.mean(),
                    "error": values.std(ddof=1) / np.sqrt(n), "ratio": np.exp(np.log(np.maximum(ratios, 1e-3)).mean()),
                    "ratio_error": ratios.std(ddof=1) / np.sqrt(n),
                })  # fmt: skip
    return pd.DataFrame(rows)


def draw(table, path):
    """Draw the ratio to the control of each drug, both sets side by side."""
    from matplotlib.figure import Figure

    shown = ("tumour cells", "waking, 1e-4 /d", "net growth, 1e-3 /d", "resorption_um3_per_d")
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for axis, what in zip(figure.subplots(1, 4), shown):
        for offset, (chosen, colour) in zip((-0.12, 0.12), (("breast cancer", "#0072B2"), ("myeloma", "#D55E00"))):
            part = table[(table["set"] == chosen) & (table["quantity"] == what) & (table["arm"] != "control")]
            x = np.arange(len(part)) + offset
            axis.errorbar(x, part["ratio"], 2 * part["ratio_error"], fmt="o", color=colour, ms=5, lw=1.2, label=chosen)
            axis.set_xticks(range(len(part)), part["arm"], rotation=20)
        axis.axhline(1.0, color="grey", lw=0.8, ls="--")
        axis.set(title=what.replace("_um3_per_d", "").replace(", 1e-4 /d", "").replace(", 1e-3 /d", ""), ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("over control of the same patch")
    named = figure.axes[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    seeds = range(1, 1 + (int(sys.argv[1]) if len(sys.argv) > 1 else 6))
    with ThreadPoolExecutor(3) as pool:
        waiting = {name: [pool.submit(measure, chosen, seed) for seed in seeds] for name, chosen in SETS.items()}
        table = tabulate({name: [future.result() for future in held] for name, held in waiting.items()})
    for chosen, part in table.groupby("set", sort=False):
        arms = list(part["arm"].unique())
        print(f"\n| {chosen} | control | " + " | ".join(f"{arm} / control" for arm in arms[1:]) + " |")
        print("|---" * (1 + len(arms)) + "|")
        for what, line in part.groupby("quantity", sort=False):
            first, *others = line.to_dict("records")
            cells = [f"{first['mean']:.3g} ({first['error']:.2g})"]
            cells += [f"{row['ratio']:.2f} ({row['ratio_error']:.2g})" for row in others]
            print(f"| {what} | " + " | ".join(cells) + " |")
    if len(sys.argv) > 2:
        table.round(5).to_csv(Path(sys.argv[2]) / "summary.csv", index=False)
        draw(table, Path(sys.argv[2]) / "tumour.png")
