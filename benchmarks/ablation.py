"""Shares of the effects of a drug in what it does to tumours: `python benchmarks/ablation.py DIR [OUT]`.

DIR is the folder of a cohort such as that of e07_ablation. Prints a Markdown table; with OUT it writes OUT/shares.csv and
OUT/shares.png. Full dots: what is lost without the effect; open dots: what it does alone; of the whole effect of the drug.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from niche_sim.ablation import EFFECTS, ENDPOINTS, attribute_effects
from niche_sim.errors import NicheSimError
from niche_sim.store.cohorts import load_cohort

LABELS = {
    "drug_osteoclast": "osteoclasts", "drug_macrophage": "macrophages", "drug_tumour": "tumour cells (contact)",
    "drug_adhesion": "adhesion (coat)", "drug_gamma_delta": "gamma-delta T cells",
}  # fmt: skip
COLOURS = {"without": "#0072B2", "only": "#D55E00"}


def print_table(table):
    """Print the whole effect of each regimen on each endpoint, and the shares."""
    print("| regimen | endpoint | control | effect (95 %) | " + " | ".join(LABELS[name] for name in EFFECTS) + " | alone |")
    print("|---" * (5 + len(EFFECTS)) + "|")
    for (regimen, endpoint), held in table.groupby(["regimen", "endpoint"], sort=False):
        first, rows = held.iloc[0], held.set_index(["kind", "effect_of"])
        cells = [_tell(rows, ("without", name)) for name in EFFECTS]
        alone = [f"{LABELS[name]}: {_tell(rows, (kind, name))}" for kind, name in rows.index if kind == "only"]
        whole = f"{first['effect']:.3g} ({first['effect_low']:.3g} to {first['effect_high']:.3g})"
        label = f"{ENDPOINTS[endpoint].label} ({first['unit']})" if first["unit"] != "1" else ENDPOINTS[endpoint].label
        print(f"| {regimen} | {label} | {first['control']:.3g} | {whole} | {' | '.join(cells)} | {'; '.join(alone)} |")


def _tell(rows, key):
    if key not in rows.index:
        return ""
    row = rows.loc[key]
    if np.isnan(row["share"]):
        return "no clear effect"
    share, low, high = (round(row[name], 2) + 0.0 for name in ("share", "share_low", "share_high"))  # no -0.00
    return f"{share:.2f} ({low:.2f} to {high:.2f})"


def draw(table):
    """Return the figure: a row a regimen, a column an endpoint, a line an effect."""
    regimens, effects = list(dict.fromkeys(table["regimen"])), [name for name in EFFECTS if name in set(table["effect_of"])]
    figure = Figure(figsize=(12.5, 1.1 + 2.3 * len(regimens)), layout="constrained")
    axes = figure.subplots(len(regimens), len(ENDPOINTS), sharey=True, squeeze=False)
    places = dict(zip(effects, range(len(effects) - 1, -1, -1)))
    for (regimen, endpoint), held in table.groupby(["regimen", "endpoint"], sort=False):
        ax = axes[regimens.index(regimen), list(ENDPOINTS).index(endpoint)]
        first = held.iloc[0]
        ax.set_title(f"{ENDPOINTS[endpoint].label}\n{first['control']:.3g} → {first['control'] + first['effect']:.3g}"
                     + (" /d" if first["unit"] == "1/d" else ""), fontsize=9)  # fmt: skip
        for x in (0.0, 1.0):
            ax.axvline(x, color="#b5b5b5", linewidth=0.8, zorder=0)
        shown = held.dropna(subset="share")
        if not len(shown):
            ax.text(0.5, 0.5, "no clear effect", transform=ax.transAxes, ha="center", va="center", color="#686d73")
        for row in shown.itertuples():
            y = places[row.effect_of] + (0.14 if row.kind == "without" else -0.14)
            colour = COLOURS[row.kind]
            ax.plot([row.share_low, row.share_high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            ax.plot(row.share, y, "o", color=colour, ms=6, mfc=colour if row.kind == "without" else "white")
        ax.set_xlim(*_limits(shown))
        ax.set_yticks(list(places.values()), [LABELS[name] for name in places])
        ax.set_ylim(-0.6, len(places) - 0.4)
    for ax, regimen in zip(axes[:, 0], regimens):
        ax.set_ylabel(regimen, fontsize=10, fontweight="bold")
    figure.supxlabel("share of the whole effect (95 % over patients)", fontsize=9)
    for kind, label in (("without", "lost without it"), ("only", "it alone")):
        axes[0, -1].plot([], [], "o", color=COLOURS[kind], mfc=COLOURS[kind] if kind == "without" else "white", label=label)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return figure


def _limits(shown):
    """Return limits that hold 0, 1 and all shares, but no more than 3 to either side: what is beyond is cut."""
    low, high = (shown["share_low"].min(), shown["share_high"].max()) if len(shown) else (0.0, 1.0)
    return max(min(low, 0.0), -3.0) - 0.1, min(max(high, 1.0), 4.0) + 0.1


def main(folder, out):
    """Print the table; write it and the figure into a folder."""
    cohort = load_cohort(Path(folder))
    about = cohort["manifest"]
    if "tumours" not in cohort:
        raise SystemExit(f"{folder}: this cohort has no tumours; run it with --tumours and population.dormant_dtc above 0")
    arms = {name: about["configuration"]["arms"][name] for name in about["arms"]}
    table = attribute_effects(cohort["tumours"], arms, about["seed"])
    print_table(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "shares.csv", index=False)
        matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9})
        draw(table).savefig(out / "shares.png", dpi=130)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: python benchmarks/ablation.py DIR [OUT]")
    try:
        main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) == 3 else None)
    except NicheSimError as error:
        raise SystemExit(str(error)) from None
