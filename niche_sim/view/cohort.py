"""The figures of a cohort: its markers, one panel a marker, one line an arm; its tumours are drawn by `tumour`."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from niche_sim.store.cohorts import load_cohort
from niche_sim.view import palette
from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR, describe_regimen, tidy
from niche_sim.view.figures import draw_sheets
from niche_sim.view.palette import FAINT
from niche_sim.view.tumour import tumour_sheet

# Marker, heading, unit.
PANELS = (
    ("ctx", "Serum CTX", "ng/mL"), ("ntx", "Urinary NTX", "nmol BCE/mmol creatinine"), ("p1np", "Serum P1NP", "µg/L"),
    ("calcium", "Serum calcium", "mmol/L"), ("bmd_spine", "Spine BMD (DXA)", "% change from baseline"),
)  # fmt: skip
_COLUMNS = 3


def prepare_marker(markers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return arm, time_h and shown of what is drawn of a marker: what was measured, of BMD its change from baseline in %."""
    shown = 100.0 * (markers[f"{name}_relative"] - 1.0) if name.startswith("bmd") else markers[f"{name}_measured"]
    return markers[["arm", "time_h"]].assign(shown=shown).dropna()


def _draw(ax: Axes, held: pd.DataFrame, arms: list[str], scale: float) -> None:
    for number, arm in enumerate(arms):
        look = palette.pick_arm(number)
        shares = held[held["arm"] == arm].groupby("time_h")["shown"].quantile([0.25, 0.5, 0.75]).unstack()
        if not len(shares):
            continue
        times = shares.index / scale
        ax.fill_between(times, shares[0.25], shares[0.75], color=look["color"], alpha=0.16, linewidth=0)
        ax.plot(times, shares[0.5], linewidth=1.8, marker="o" if len(times) == 1 else None, **look)


def marker_sheet(cohort: dict[str, Any]) -> Figure:
    """Return the courses of all markers: median of the patients, and the middle half of them as a band."""
    about, markers = cohort["manifest"], cohort["markers"]
    arms, longest = about["arms"], float(markers["time_h"].max())
    scale, unit = (HOURS_PER_YEAR, "years") if longest >= 1.5 * HOURS_PER_YEAR else (HOURS_PER_DAY, "days")
    figure = Figure(figsize=(12.5, 6.6), layout=ConstrainedLayoutEngine(hspace=0.07, wspace=0.05))
    axes = figure.subplots(2, _COLUMNS).ravel()
    for ax, (name, title, measure) in zip(axes, PANELS):
        _draw(ax, prepare_marker(markers, name), arms, scale)
        if 0 < about["baseline_h"] < longest:
            ax.axvline(about["baseline_h"] / scale, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        tidy(ax, title, measure)
        ax.set_xlim(0, longest / scale)
        if name in ("ctx", "ntx", "p1np"):
            ax.set_ylim(bottom=0)
        ax.set_xlabel(unit, fontsize=9, color=FAINT)
    _explain(axes[len(PANELS)], about)
    return figure


def _explain(ax: Axes, about: dict[str, Any]) -> None:
    """Name the arms, and say what lines and bands are, in the place of a panel."""
    ax.set_axis_off()
    arms = about["configuration"]["arms"]
    lines = [Line2D([], [], linewidth=3, **palette.pick_arm(number)) for number in range(len(about["arms"]))]
    labels = []
    for arm in about["arms"]:
        text = describe_regimen((arms.get(arm) or {}).get("regimen"))
        labels.append(f" {arm}\n {text if len(text) <= 58 else text[:55] + '...'}")
    size = 9 if len(labels) <= 5 else 7.5 if len(labels) <= 8 else 6.5
    place = {"loc": "upper left", "bbox_to_anchor": (0, 1.12), "borderaxespad": 0}
    ax.legend(lines, labels, frameon=False, fontsize=size, labelspacing=0.35, handlelength=3, **place)
    words = f"{about['patients']} patients of {about['niches']} niches each. Line: median; band: middle half of patients."
    words += "\nDotted: end of the baseline."
    ax.text(0, -0.12, words, transform=ax.transAxes, fontsize=8.5, color=FAINT, va="bottom")


SHEETS = {"markers": marker_sheet, "tumour": lambda cohort: tumour_sheet(cohort) if "tumours" in cohort else None}


def draw_cohort(directory: Path, *, out: Path | None = None, **options: Any) -> list[Path]:
    """Draw the markers of a cohort, and its tumours if it has any, into its folder `figures` or into `out`.

    `options` are those of `draw_sheets`.

    Raises
    ------
    InputError
        The folder holds no cohort, or another than was written; or no such figure.
    ResourceError
        The disk is full; figures drawn before stay as they were.
    """
    return draw_sheets(SHEETS, load_cohort(Path(directory)), out or Path(directory) / "figures", **options)

