"""The course of the main series by arm, as small multiples."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR, legend_arms, tidy
from niche_sim.view.palette import FAINT

SMOOTH_DAYS = {"osteoclasts": 30, "osteoblasts": 30, "macrophages": 30, "resorption_k": 90}
# Column, heading, unit.
SERIES: tuple[tuple[str, str, str], ...] = (
    ("dormant", "Dormant DTCs", "cells"), ("cycling", "Cycling DTCs", "cells; dotted: clones that came from blood"),
    ("suitability_endosteal", "Suitability at bone", "0 to 1; dotted: beside vessels"),
    ("macrophages", "Macrophages", "cells, 30-day mean"),
    ("osteoclasts", "Osteoclasts", "cells, 30-day mean"), ("osteoblasts", "Osteoblasts", "cells, 30-day mean"),
    ("resorption_k", "Resorption", "10³ µm³/d, 90-day mean"), ("bone_change", "Bone volume", "% change from start"),
    ("plasma_nmol_per_L", "Drug in plasma", "nmol/L, at recorded times"),
    ("drug_surface_fmol", "Drug on bone surface", "fmol"),
    ("tgf_beta_fmol_per_L", "TGF-β in marrow", "fmol/L"), ("igf1_fmol_per_L", "IGF-1 in marrow", "fmol/L"),
)  # fmt: skip
DOTTED = {"cycling": "cycling_arrived", "suitability_endosteal": "suitability_perivascular"}  # drawn in the same panel
DRUG_COLUMNS = ("plasma_nmol_per_L", "drug_surface_fmol")


def prepare_series(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the series of one arm in time, with the change of bone volume (%) and resorption in 10^3 um3/d."""
    frame = frame.sort_values("time_h").reset_index(drop=True)
    if "bone_volume_fraction" in frame:
        start = frame["bone_volume_fraction"].iloc[0]
        frame["bone_change"] = 100 * (frame["bone_volume_fraction"] / start - 1) if start > 0 else 0.0
    if "resorption_um3_per_d" in frame:
        # The first row closes no interval: a rate there would be a made-up zero.
        frame["resorption_k"] = (frame["resorption_um3_per_d"] / 1e3).where(frame["time_h"] > 0)
    for name in ("tgf_beta", "igf1"):
        if f"{name}_nmol_per_L" in frame:
            frame[f"{name}_fmol_per_L"] = 1e6 * frame[f"{name}_nmol_per_L"]
    return frame


def smooth(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of one arm, as a centred rolling mean where single days are noise."""
    if name not in SMOOTH_DAYS or len(frame) < 2:
        return frame[name]
    step_days = max(float(np.median(np.diff(frame["time_h"]))) / HOURS_PER_DAY, 1e-9)
    window = max(1, round(SMOOTH_DAYS[name] / step_days))
    return frame[name].rolling(min(window, len(frame)), min_periods=1, center=True).mean()


def split_arms(result: Result) -> dict[str, pd.DataFrame]:
    """Return the prepared series of each arm; empty without a series."""
    series = result.series
    if not len(series):
        return {}
    return {arm: prepare_series(series[series["arm"] == arm]) for arm in result.arms if (series["arm"] == arm).any()}


def time_axis(frames: Mapping[str, pd.DataFrame]) -> tuple[float, str]:
    """Return the hours of a unit of the time axis, and its name."""
    longest = max(float(frame["time_h"].max()) for frame in frames.values())
    return (HOURS_PER_YEAR, "years") if longest >= 1.5 * HOURS_PER_YEAR else (HOURS_PER_DAY, "days")


def _scale_plasma(ax: Axes, top: float) -> None:
    """Show four decades below the highest value, with a tick at every second one, and nothing at 0."""
    highest = int(np.floor(np.log10(top)))
    decades = [10.0**power for power in range(highest, highest - 4, -2)]
    ax.set_yscale("symlog", linthresh=max(1e-4 * top, 1e-12), linscale=0.5)
    ax.set_yticks([0.0, *decades[::-1]], labels=["0", *(f"{tick:g}" for tick in decades[::-1])])
    ax.minorticks_off()


def _draw_series(ax: Axes, frames: Mapping[str, pd.DataFrame], order: Sequence[str], name: str, scale: float) -> None:
    for arm, frame in frames.items():
        look = palette.pick_arm(order.index(arm))
        times = frame["time_h"] / scale
        if name in SMOOTH_DAYS:
            ax.plot(times, frame[name], color=look["color"], linewidth=0.6, alpha=0.22, zorder=1)
        steps = "steps-post" if name in ("dormant", "cycling") else "default"
        dotted = DOTTED.get(name, "")
        if dotted in frame and frame[dotted].any():
            ax.plot(times, frame[dotted], ":", color=look["color"], linewidth=1.0, drawstyle=steps)
        ax.plot(times, smooth(frame, name), linewidth=1.9, drawstyle=steps, label=arm, zorder=3, **look)
    values = pd.concat([smooth(frame, name) for frame in frames.values()])
    if name in SMOOTH_DAYS and values.max() > 0:
        ax.set_ylim(0, 1.35 * float(values.max()))
    if name == "plasma_nmol_per_L" and values.max() > 0:
        _scale_plasma(ax, float(values.max()))
    elif name in ("dormant", "cycling", *DRUG_COLUMNS) or name.endswith("mol_per_L"):
        ax.set_ylim(bottom=0)
    if name in ("dormant", "cycling"):
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylim(0, max(ax.get_ylim()[1], 1.0))


def time_series_sheet(result: Result) -> Figure | None:
    """Return small multiples of the main series, one line an arm; None without a series."""
    frames = split_arms(result)
    if not frames:
        return None
    series = pd.concat(frames.values())
    panels = [entry for entry in SERIES if entry[0] in series and series[entry[0]].notna().any()]
    panels = [entry for entry in panels if entry[0] not in DRUG_COLUMNS or series[entry[0]].max() > 0]
    rows = -(-len(panels) // 4)
    figure = Figure(figsize=(12.4, 2.6 * rows + 0.7), layout=ConstrainedLayoutEngine(w_pad=0.12, hspace=0.07))
    axes = figure.subplots(rows, 4, squeeze=False).ravel()
    scale, unit = time_axis(frames)
    for ax, (name, title, measure) in zip(axes, panels):
        _draw_series(ax, frames, result.arms, name, scale)
        tidy(ax, title, measure)
        ax.set_xlabel(unit, fontsize=9, color=FAINT)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    legend_arms(figure, result, list(frames))
    return figure
