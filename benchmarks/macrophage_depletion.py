"""Macrophages, osteoclasts or both depleted: `python benchmarks/macrophage_depletion.py [SEEDS] [FOLDER]` prints it.

The shipped experiment `macrophage_depletion` as it stands (`bone`), the same where bone does not turn over and RANKL primes
no tumour cell (`elsewhere`, for a site outside bone), without osteal support (`no osteal support`), and with tumour cells
that come by blood from the first day of treatment instead of those at time 0 (`homing`). Matched seeds: each arm over the
control of its seed, mean (standard error). With FOLDER, summary.csv and depletion.png are written there.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

import niche_sim as ns

AT_ONCE = 3
SETTINGS = {
    "bone": {},
    # Denosumab stands for reveromycin A, which does not block RANKL: outside bone its block is not to reach tumour cells.
    "elsewhere": {"switches.remodelling": "false", "switches.rankl_on_tumour": "false"},
    "no osteal support": {"switches.osteal_support": "false"},
    "homing": {"population.cycling_dtc": "0", "arrival.tumour_supply": "100 /yr"},
}
MARKS = {  # colour, marker, shift to the side
    "bone": ("#0072B2", "o", -0.15), "elsewhere": ("#E69F00", "s", 0.0), "no osteal support": ("#D55E00", "^", 0.15),
    "homing": ("#0072B2", "o", 0.0),
}  # fmt: skip
COUNTS = ("macrophages", "osteoclasts", "osteoblasts")


def measure(setting, seed):
    """Return one row an arm of a seed in a setting."""
    run = ns.run_experiment(ns.load_experiment("macrophage_depletion", seed=seed, sets=SETTINGS[setting]))
    rows = []
    for arm, result in run.arms.items():
        series = result.series
        late, last = series[series["time_h"] > 240.0], series.iloc[-1]
        volume = series["bone_volume_fraction"]
        rows.append({
            "setting": setting, "seed": seed, "arm": arm, "tumour": last["dormant"] + last["cycling"],
            "homed": last["dtc_arrivals"], "bone": 100.0 * (volume.iloc[-1] / volume.iloc[0] - 1.0),
            "igf1": late["igf1_nmol_per_L"].mean(), "home": late["suitability_perivascular"].mean(),
        } | {name: late[name].mean() for name in COUNTS})  # fmt: skip
    return rows


def run_all(seeds, settings=tuple(SETTINGS)):
    """Return a row a setting, seed and arm."""
    jobs = [(setting, seed) for setting in settings for seed in range(1, seeds + 1)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return pd.DataFrame([row for rows in pool.map(lambda job: measure(*job), jobs) for row in rows])


def compare(table):
    """Return each arm against the control of its seed: ratios, in bone percentage points; mean and standard error."""
    keys = ["setting", "seed", "arm"]
    values = table.set_index(keys)
    control = values.xs("control", level="arm").reindex(values.index.droplevel("arm")).set_axis(values.index)
    with np.errstate(divide="ignore", invalid="ignore"):
        against = (values / control).replace([np.inf, -np.inf], np.nan)
    against["bone"] = values["bone"] - control["bone"]
    against.loc[against.index.get_level_values("setting") != "homing", "homed"] = np.nan  # one or none comes by blood
    grouped = against.groupby(["setting", "arm"], sort=False)
    return pd.concat({"mean": grouped.mean(), "error": grouped.sem()}, axis=1)


def draw(found, file):
    """Draw tumour, bone and homing of each arm against the control, by setting, with two standard errors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.0), layout="constrained")
    arms = [arm for arm in found.index.get_level_values("arm").unique() if arm != "control"]
    shown = (
        ("tumour", 1.0, "Tumour cells / control", ("bone", "elsewhere", "no osteal support")),
        ("bone", 0.0, "Bone volume less control, % of start", ("bone", "no osteal support")),
        ("homed", 1.0, "Cells that came by blood / control", ("homing",)),
    )
    for panel, (what, rest, title, settings) in zip(figure.subplots(1, 3), shown):
        for setting in settings:
            colour, marker, shift = MARKS[setting]
            mean, error = (found.loc[setting][kind][what].reindex(arms) for kind in ("mean", "error"))
            places = np.arange(len(arms)) + shift
            panel.errorbar(places, mean, 2 * error, fmt=marker, color=colour, capsize=3, markersize=7, label=setting)
        panel.axhline(rest, color="#686d73", linewidth=0.8, linestyle="--")
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xticks(range(len(arms)), [arm.replace("_", "\n") for arm in arms], fontsize=9)
        panel.set_xlim(-0.5, len(arms) - 0.5)
        panel.spines[["top", "right"]].set_visible(False)
        if rest:
            panel.set_ylim(0.0, 1.15)
        panel.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, columnspacing=0.8)
    figure.savefig(file, dpi=110)


def main(seeds, folder):
    """Print the table of every setting; write table and figure into `folder`."""
    found = compare(run_all(seeds))
    for setting, part in found.groupby(level="setting", sort=False):
        known = part["mean"].columns[part["mean"].notna().all()]
        text = part["mean"][known].map("{:.2f}".format) + " (" + part["error"][known].map("{:.2f}".format) + ")"
        print(f"\n{setting}, over control ({seeds} seeds)\n{text.droplevel('setting').to_string()}")
    if folder:
        rows = found.stack(level=1, future_stack=True).rename_axis(["setting", "arm", "quantity"]).dropna()
        rows.round(4).to_csv(Path(folder) / "summary.csv")
        draw(found, Path(folder) / "depletion.png")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4, sys.argv[2] if len(sys.argv) > 2 else "")
