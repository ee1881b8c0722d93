"""The lineage of the largest clone of each arm: a line a cell in time, marks where it woke and died."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from niche_sim.errors import InputError
from niche_sim.lineage import Lineage, follow, list_lesions
from niche_sim.store import Result
from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR
from niche_sim.view.palette import CELLS, DEATHS, FAINT, WAKES

MOST_CELLS = 300
JOINT = "#8d9298"
ROUTES = {column.removeprefix("dtc_wakes_"): (label, colour) for label, column, colour in WAKES}
CAUSES = {column.removeprefix("dtc_deaths_"): (label, colour) for label, column, colour in DEATHS}


def choose_cells(cells: pd.DataFrame, most: int = MOST_CELLS) -> pd.DataFrame:
    """Return the cells with the largest branches, then those that lived longest; a mother is always among them."""
    length = cells["fate_h"] - cells["born_h"]
    order = cells.assign(length=length).sort_values(["branch", "length"], ascending=False, kind="stable").index[:most]
    return cells.loc[cells.index.isin(order)]


def place_cells(cells: pd.DataFrame) -> dict[int, int]:
    """Return the row of each cell: below it its daughters, the last-born first, so that no joint crosses a line."""
    daughters: dict[int, list[int]] = {}
    for ident, parent in zip(cells.index, cells["parent"]):
        daughters.setdefault(parent, []).append(ident)
    rows: dict[int, int] = {}
    waiting = [ident for ident in cells.index[::-1] if cells.at[ident, "generation"] == 0]
    while waiting:
        ident = waiting.pop()
        rows[ident] = len(rows)
        waiting += daughters.get(ident, [])  # in order of birth: the last-born is taken first
    return rows


def find_height(cells: int) -> float:
    """Return the height (inch) of a panel with so many lines."""
    return float(np.clip(0.06 * cells, 1.5, 9.0))


def _find_pitch(rows: Mapping[int, int]) -> float:
    """Return the distance (points) between two lines."""
    return 72.0 * find_height(len(rows)) / len(rows)


def list_spans(cell: pd.Series, changes: pd.DataFrame) -> list[tuple[float, float, str]]:
    """Return from when to when (h) a cell was dormant and cycling, from its events `wake` and `sleep` in order."""
    mode, since = "dormant" if cell["asleep"] else "cycling", float(cell["born_h"])
    spans = []
    for time_h, event in zip(changes["time_h"], changes["event"]):
        spans.append((since, float(time_h), mode))
        mode, since = "cycling" if event == "wake" else "dormant", float(time_h)
    return [*spans, (since, float(cell["fate_h"]), mode)]


def _draw_lines(ax: Axes, cells: pd.DataFrame, events: pd.DataFrame, rows: Mapping[int, int], scale: float) -> None:
    turns = dict(iter(events[events["event"].isin(["wake", "sleep"])].groupby("ident")))
    none = events.iloc[:0]
    width = float(np.clip(0.5 * _find_pitch(rows), 0.9, 3.0))
    joints = []
    lines: dict[str, list] = {"dormant": [], "cycling": []}
    for ident, cell in cells.iterrows():
        row = rows[ident]
        for start, end, mode in list_spans(cell, turns.get(ident, none)):
            lines[mode].append([(start / scale, row), (end / scale, row)])
        if cell["parent"] in rows:
            joints.append([(cell["born_h"] / scale, rows[cell["parent"]]), (cell["born_h"] / scale, row)])
    ax.add_collection(LineCollection(joints, colors=JOINT, linewidths=0.7, zorder=1))
    for mode, segments in lines.items():
        ax.add_collection(LineCollection(segments, colors=CELLS[mode].colour, linewidths=width, zorder=2, capstyle="butt"))


def _mark(ax: Axes, found: pd.DataFrame, rows: Mapping[int, int], scale: float, look: dict[str, Any]) -> None:
    ax.plot(found["time_h"] / scale, [rows[ident] for ident in found["ident"]], linestyle="none", zorder=4, **look)


def _draw_marks(ax: Axes, events: pd.DataFrame, rows: Mapping[int, int], scale: float) -> dict[str, Artist]:
    """Mark wakings by route, deaths by cause, and what left to blood; return the handles of a legend."""
    size = float(np.clip(1.5 * _find_pitch(rows), 4.0, 7.0))
    looks: list[tuple[str, str, str, dict[str, Any]]] = []
    for cause, (label, colour) in CAUSES.items():
        look = {"marker": "X", "markersize": size, "color": colour, "markeredgecolor": "white", "markeredgewidth": 0.3}
        looks.append(("death", cause, f"died: {label}", look))
    leaving = {"marker": ">", "markersize": size + 1, "color": "#222222", "markeredgecolor": "white", "markeredgewidth": 0.3}
    looks.append(("egress", "", "left to blood", leaving))
    for route, (label, colour) in ROUTES.items():
        look = {"marker": "^", "markersize": 9, "color": colour, "markeredgecolor": "black", "markeredgewidth": 0.8}
        looks.append(("wake", route, f"woke: {label}", look))
    handles: dict[str, Artist] = {}
    for event, cause, label, look in looks:
        found = events[(events["event"] == event) & (events["cause"] == cause)]
        if len(found):
            _mark(ax, found, rows, scale, look)
            shown: dict[str, Any] = look | {"markersize": 8.0}
            handles[label] = Line2D([], [], linestyle="none", label=label, **shown)
    return handles


def _head(ax: Axes, lineage: Lineage, drawn: int) -> None:
    founder = lineage.cells.iloc[0]
    ever, alive = len(lineage.cells), int(founder["branch_alive"])
    text = f"{founder['origin']} founder {lineage.first}; {ever:,} cells ever, {alive:,} alive at the end"
    left = f"; drawn: {drawn:,}, those of the largest branches, then of the longest lives" if drawn < ever else ""
    ax.set_title(f"{lineage.arm}: clone {founder['clone']}", fontsize=11, loc="left", pad=18)
    ax.text(0, 1.0, text + left + "\n", transform=ax.transAxes, fontsize=8.5, color=FAINT, va="center_baseline")


def _draw_clone(ax: Axes, lineage: Lineage, scale: float) -> dict[str, Artist]:
    cells = choose_cells(lineage.cells)
    rows = place_cells(cells)
    events = lineage.events[lineage.events["ident"].isin(cells.index)]
    _draw_lines(ax, cells, events, rows, scale)
    handles = _draw_marks(ax, events, rows, scale)
    _head(ax, lineage, len(cells))
    ax.set_xlim(0, lineage.end_h / scale * 1.005)
    ax.set_ylim(len(rows) + 0.5, -1.0 - 7.0 / _find_pitch(rows))
    ax.set_yticks([])
    ax.spines[["top", "right", "left"]].set_visible(False)
    return handles


def find_largest(result: Result) -> list[Lineage]:
    """Return of each arm the clone with most cells at the end, or ever if none lives, where any cell has divided."""
    found = []
    for arm in result.arms:
        lesions = list_lesions(result, arm)
        if len(lesions) and lesions["ever"].iloc[0] > 1:
            found.append(follow(result, arm, lesion=1))
            continue
        cells = follow(result, arm).cells
        if len(cells) and cells["divisions"].any():
            found.append(follow(result, arm, clone=int(cells["clone"].mode().iloc[0])))
    return found


def lineage_figure(result: Result) -> Figure | None:
    """Return the lineage of the largest clone of each arm; None where none divided or events were not recorded."""
    try:
        lineages = find_largest(result)
    except InputError:
        return None
    if not lineages:
        return None
    heights = [1.0 + find_height(min(len(lineage.cells), MOST_CELLS)) for lineage in lineages]
    figure = Figure(figsize=(14, sum(heights) + 1.2), layout=ConstrainedLayoutEngine(hspace=0.03))
    axes = figure.subplots(len(lineages), 1, squeeze=False, height_ratios=heights)[:, 0]
    years = result.length_h >= 1.5 * HOURS_PER_YEAR
    handles: dict[str, Artist] = {
        mode: Line2D([], [], linewidth=3, color=CELLS[mode].colour, label=CELLS[mode].label)
        for mode in ("dormant", "cycling")
    }
    for ax, lineage in zip(axes, lineages):
        handles |= _draw_clone(ax, lineage, HOURS_PER_YEAR if years else HOURS_PER_DAY)
        ax.set_xlabel("years" if years else "days", fontsize=9, color=FAINT)
    figure.legend(handles=list(handles.values()), loc="outside upper left", ncols=5, frameon=False, fontsize=9.5)
    return figure
