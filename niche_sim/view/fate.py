"""What happened to the tumour cells: bars by cause, curves in time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.common import legend_arms, tidy
from niche_sim.view.palette import FAINT, INK
from niche_sim.view.series import split_arms, time_axis

COUNTS = (("divided", "dtc_births"), ("fell asleep", "dtc_sleeps"), ("arrived", "dtc_arrivals"), ("left", "dtc_egress"))
KEY: dict[str, Any] = {"ncols": 2, "columnspacing": 1.2, "frameon": False, "fontsize": 9, "handlelength": 1}
CURVES = (("Woke", "dtc_wakes_"), ("Divided", "dtc_births"), ("Died", "dtc_deaths_"))


def sum_columns(frame: pd.DataFrame, start: str) -> pd.Series:
    """Return the sum over the columns whose names begin with `start`."""
    return frame[[name for name in frame if str(name).startswith(start)]].sum(axis=1)


def _stack_bars(ax: Axes, last: pd.DataFrame, parts: Sequence[tuple[str, str, str]], title: str) -> None:
    left, places = np.zeros(len(last)), np.arange(len(last))
    for label, column, colour in parts:
        width = last[column].to_numpy(float) if column in last else np.zeros(len(last))
        if width.any():
            ax.barh(places, width, 0.62, left=left, color=colour, edgecolor="white", linewidth=0.8, label=label)
            left = left + width
    _finish_bars(ax, last, left, title)
    if left.any():
        ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.3), **KEY)


def _finish_bars(ax: Axes, last: pd.DataFrame, totals: np.ndarray, title: str) -> None:
    tidy(ax, title, "")
    ax.set_xlabel("events until the end", fontsize=9, color=FAINT)
    ax.grid(visible=False)
    for place, total in enumerate(totals):
        label: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontweight": "bold"}
        ax.annotate(f"{total:.0f}", (total, place), **label)
    ax.set_yticks(range(len(last)), list(last.index), fontsize=10, color=INK)
    ax.invert_yaxis()
    ax.set_xlim(0, max(float(totals.max()) * 1.15, 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _list_counts(ax: Axes, last: pd.DataFrame, order: Sequence[str]) -> None:
    height = 0.8 / len(last)
    for number, arm in enumerate(last.index):
        places = np.arange(len(COUNTS)) + (number - (len(last) - 1) / 2) * height
        values = [float(last[column].get(arm, 0)) if column in last else 0.0 for _, column in COUNTS]
        bars = ax.barh(places, values, height * 0.92, color=palette.pick_arm(order.index(arm))["color"])
        ax.bar_label(bars, fmt="%d", padding=3, fontsize=9)
    tidy(ax, "Other events", "")
    ax.set_xlabel("events until the end, logarithmic above 10", fontsize=9, color=FAINT)
    ax.grid(visible=False)
    ax.set_yticks(range(len(COUNTS)), [label for label, _ in COUNTS], fontsize=10, color=INK)
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=10)
    ax.set_xlim(0, max(ax.get_xlim()[1] * 1.8, 12))
    ax.xaxis.set_major_formatter("{x:g}")


def fate_figure(result: Result) -> Figure | None:
    """Return what happened to tumour cells by arm: bars by cause, and curves in time; None without a series."""
    frames = {arm: frame for arm, frame in split_arms(result).items() if "dtc_births" in frame}
    if not frames:
        return None
    last = pd.DataFrame({arm: frame.iloc[-1] for arm, frame in frames.items()}).T
    figure = Figure(figsize=(12.4, 6.1 + 0.5 * len(frames)), layout=ConstrainedLayoutEngine(w_pad=0.12, hspace=0.07))
    axes = figure.subplots(2, 3, height_ratios=[1.6 + 0.5 * len(frames), 3.2])
    _stack_bars(axes[0][0], last, palette.WAKES, "Woke, by route")
    _stack_bars(axes[0][1], last, palette.DEATHS, "Died, by cause")
    _list_counts(axes[0][2], last, result.arms)
    scale, unit = time_axis(frames)
    for ax, (title, start) in zip(axes[1], CURVES):
        for arm, frame in frames.items():
            look = palette.pick_arm(result.arms.index(arm))
            total = sum_columns(frame, start)
            ax.plot(frame["time_h"] / scale, total, drawstyle="steps-post", linewidth=2, **look)
        tidy(ax, title, "events so far")
        ax.set_xlabel(unit, fontsize=9, color=FAINT)
        ax.set_ylim(0, max(ax.get_ylim()[1], 1.0))
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    legend_arms(figure, result, list(frames))
    return figure
