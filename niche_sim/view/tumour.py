"""The tumours of a cohort: incidence of metastases in and outside bone, tumour cells in marrow, growing lesions."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from niche_sim.view import palette
from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR, describe_regimen, tidy
from niche_sim.view.palette import FAINT

# Quantity of the summary, heading, unit, factor.
PANELS = (
    ("bone_metastasis", "Bone metastasis detected", "% of women so far", 100.0),
    ("outside_metastasis", "Metastasis outside bone detected", "% of women so far", 100.0),
    ("dtc_positive", "Tumour cells found in marrow", "% of women at the visit, 2e6 MNC of one place", 100.0),
    ("bone_growing", "Growing lesions in bone", "per woman", 1.0),
)


def tumour_sheet(cohort: dict[str, Any]) -> Figure:
    """Return the courses of the tumours: mean over patients with its 95 % interval as a band, by arm."""
    about, table = cohort["manifest"], cohort["tumour_summary"]
    longest = float(table["time_h"].max())
    scale, unit = (HOURS_PER_YEAR, "years") if longest >= 1.5 * HOURS_PER_YEAR else (HOURS_PER_DAY, "days")
    figure = Figure(figsize=(10.5, 7.4), layout=ConstrainedLayoutEngine(hspace=0.07, wspace=0.05))
    for ax, (name, title, measure, factor) in zip(figure.subplots(2, 2).ravel(), PANELS):
        _draw(ax, table[table["quantity"] == name], about["arms"], scale, factor, name.endswith("metastasis"))
        if 0 < about["baseline_h"] < longest:
            ax.axvline(about["baseline_h"] / scale, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        tidy(ax, title, measure)
        ax.set_xlim(0, longest / scale)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(unit, fontsize=9, color=FAINT)
    _explain(figure, about)
    return figure


def _draw(
    ax: Axes, held: pd.DataFrame, arms: list[str], scale: float, factor: float, sudden: bool
) -> None:  # fmt: skip
    for number, arm in enumerate(arms):
        mine, look = held[held["arm"] == arm], palette.pick_arm(number)
        times = mine["time_h"] / scale
        band = factor * mine["low"], factor * mine["high"]
        ax.fill_between(times, *band, color=look["color"], alpha=0.16, linewidth=0, step="post" if sudden else None)
        ax.plot(times, factor * mine["mean"], linewidth=1.8, drawstyle="steps-post" if sudden else "default", **look)


def _explain(figure: Figure, about: dict[str, Any]) -> None:
    """Name the arms above the panels, and say below what lines and bands are."""
    arms = about["configuration"]["arms"]
    lines = [Line2D([], [], linewidth=3, **palette.pick_arm(number)) for number in range(len(about["arms"]))]
    labels = []
    for arm in about["arms"]:
        text = describe_regimen((arms.get(arm) or {}).get("regimen"))
        labels.append(f" {arm} ({text if len(text) <= 58 else text[:55] + '...'})")
    size = 9 if len(labels) <= 4 else 7.5
    figure.legend(lines, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=size, handlelength=3)
    words = f"Patients {about['patients']}, niches of each {about['niches']}, tumours of each {about['tumours']}. "
    words += "Line: mean; band: 95 % of bootstrap samples of patients. Dotted: end of the baseline."
    figure.supxlabel(words, fontsize=8.5, color=FAINT)
