"""How turnover acts on waking, on growth and on clearance: `python benchmarks/turnover_sensitivity.py [SEEDS] [FIGURE.png]`.

48 dormant competent cells in 2 mm of bone, two years. Turnover is moved in three ways: by oestradiol (premenopausal bone and
patient), by activation frequency alone (RANKL as before the menopause), and by zoledronate 4 mg every 4 weeks on either
side of the menopause. The switches `wake_factors`, `wake_lining` and `wake_sprouting` off leave spontaneous waking;
`growth_factors` off leaves growth on what marrow secretes everywhere. Expected hazards, mean (standard error) over seeds.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import niche_sim as ns
from niche_sim.kinds import DIE_BASELINE, DIE_PHAGOCYTOSIS, OUTCOME_NAMES, WAKE_SPONTANEOUS, WAKE_SPROUTING

OESTRADIOL = (367, 150, 73, 44, 22, 8)  # pmol/L
ACTIVATION = (0.05, 0.13, 0.26, 0.52, 1.0)  # 1/yr
ARMS = {
    "all": {},
    "waking not by turnover": {"switches": {"wake_factors": False, "wake_lining": False, "wake_sprouting": False}},
    "growth not by turnover": {"switches": {"growth_factors": False}},
}
WAKES = [f"hazard_wake_{name}_per_d" for name in OUTCOME_NAMES[WAKE_SPONTANEOUS : WAKE_SPROUTING + 1]]
DEATHS = [f"hazard_death_{name}_per_d" for name in OUTCOME_NAMES[DIE_BASELINE : DIE_PHAGOCYTOSIS + 1]]
SHOWN = ("resorption", "waking", "death", "net growth", "half-life, yr", "doubling, months")


def assume(value, low, high):
    """Return a number of a patient as its file writes it."""
    return {"value": value, "range": [low, high], "status": "assumed", "source": "none", "note": "moved by a benchmark"}


def list_cases():
    """Return (way, level, experiment without seed) of every case."""
    base = {
        "name": "turnover", "scene": "trabecula_premenopausal", "time": {"length": "2 yr", "tick": "6 h", "spin_up": "1 yr"},
        "population": {"dormant_dtc": 48}, "switches": {"arrival": False, "tumour_fates": False},
        "record": {"series": "28 d", "events": False, "ledgers": False},
        "arms": {name.replace(" ", "_"): arm for name, arm in ARMS.items()},
    }  # fmt: skip
    still = {"bone_balance": assume(1.0, 0.9, 1.1), "rankl_factor": assume(1.0, 0.5, 2.0)}
    cases = []
    for level in OESTRADIOL:
        own = still | {
            "name": "woman", "activation_frequency": assume("0.13 /yr", "0.01 /yr", "2 /yr"),
            "oestradiol": assume(f"{level} pmol/L", "0 pmol/L", "600 pmol/L"),
        }  # fmt: skip
        cases.append(("oestradiol", f"{level} pmol/L", base | {"patient": own}))
    for level in ACTIVATION:
        own = still | {
            "name": "woman", "activation_frequency": assume(f"{level} /yr", "0.01 /yr", "2 /yr"),
            "oestradiol": assume("367 pmol/L", "0 pmol/L", "600 pmol/L"),
        }  # fmt: skip
        cases.append(("activation", f"{level} /yr", base | {"patient": own}))
    for woman in ("premenopausal", "postmenopausal"):
        arms = {name: arm | {"regimen": "zoledronate_q4w"} for name, arm in base["arms"].items()}
        cases.append(("zoledronate", woman, base | {"patient": woman, "arms": arms}))
    return cases


def measure(case, seed):
    """Return {arm: {what: value}} of one case and seed."""
    found = {}
    for name, result in ns.run_experiment(ns.build_experiment(case | {"seed": seed})).arms.items():
        held = result.series.iloc[1:]
        weight = held["dormant_cell_days"] / held["dormant_cell_days"].sum()
        waking, death = ((held[columns].sum(axis=1) * weight).sum() for columns in (WAKES, DEATHS))
        net = (held["growth_division_per_d"] - held["growth_death_per_d"]).mean()
        found[name] = {
            "resorption": held["resorption_um3_per_d"].mean(), "waking": waking, "death": death, "net growth": net,
            "half-life, yr": np.log(2) / (waking + death) / 365.25, "doubling, months": np.log(2) / net / 30.44,
        }  # fmt: skip
    return found


def draw(rows, path):
    """Draw the curves: waking and net growth over resorption, relative to replete oestradiol."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    unit = rows["oestradiol", "367 pmol/L"]["all"]["resorption"][0]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
    colours = {"oestradiol": "#0072B2", "activation": "#E69F00", "zoledronate": "#009E73"}
    markers = {"all": "o-", "waking_not_by_turnover": "s:", "growth_not_by_turnover": "s:"}
    panels = (
        ("waking", "waking_not_by_turnover", "waking of a dormant cell, 1e-4 /d", 1e4),
        ("net growth", "growth_not_by_turnover", "net growth, 1e-3 /d", 1e3),
        ("death", None, "death of a dormant cell, 1e-4 /d", 1e4),
    )
    for axis, (what, off, label, scale) in zip(axes, panels):
        for way, colour in colours.items():
            for arm in ("all", *([off] if off else [])):
                mine = [held[arm] for (moved, _), held in rows.items() if moved == way]
                points = sorted((held["resorption"][0] / unit, *held[what]) for held in mine)
                x, y, error = np.array(points).T
                style = markers[arm].replace("-", "") if way == "zoledronate" else markers[arm]
                said = {"all": way}.get(arm, f"{way}, switched off")
                axis.errorbar(x, y * scale, error * scale, fmt=style, color=colour, ms=4, lw=1, label=said)
        axis.set(xlabel="resorption over that with replete oestradiol", ylabel=label, ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    seeds = range(1, 1 + (int(sys.argv[1]) if len(sys.argv) > 1 else 3))
    cases = list_cases()
    with ThreadPoolExecutor(2) as pool:
        waiting = {(way, level): [pool.submit(measure, case, seed) for seed in seeds] for way, level, case in cases}
        runs = {key: [future.result() for future in held] for key, held in waiting.items()}
    rows = {}
    print("| moved by | to | arm | " + " | ".join(SHOWN) + " |")
    print("|---" * (3 + len(SHOWN)) + "|")
    for (way, level), held in runs.items():
        rows[way, level] = {}
        for arm in held[0]:
            values = {what: np.array([run[arm][what] for run in held]) for what in SHOWN}
            means = {what: (value.mean(), value.std(ddof=1) / np.sqrt(len(value)) if len(value) > 1 else 0.0)
                     for what, value in values.items()}  # fmt: skip
            rows[way, level][arm] = means
            cells = " | ".join(f"{mean:.3g} ({error:.2g})" for mean, error in means.values())
            print(f"| {way} | {level} | {arm.replace('_', ' ')} | {cells} |")
    if len(sys.argv) > 2:
        draw(rows, sys.argv[2])
