"""The figures of a study over its factors: responses along each, maps over two, and an emulator between the points."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from niche_sim.study.emulator import Emulator
from niche_sim.study.estimates import average_replicates
from niche_sim.study.results import StudyResults
from niche_sim.study.trends import trace_response
from niche_sim.view import palette
from niche_sim.view.common import tidy
from niche_sim.view.palette import FAINT, INK
from niche_sim.view.sensitivity import TOTAL, Tables, explain, find_unit, name_factor, rank_factors, write_title

MOST_CURVES, MOST_CELLS, MOST_PANELS, MOST_BINS = 12, 12, 5, 6
MOST_DOTS = 1000
POINTS_A_CELL = 4  # on average, of a map that is no grid


def _lay_out(shown: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for so many small panels that share their vertical axis."""
    lines = math.ceil(shown / 4)
    columns = math.ceil(shown / lines)
    size = (max(3.1 * columns, 8.0), 1.7 + 2.5 * lines)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.08, wspace=0.05))
    axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).ravel())
    for ax in axes[shown:]:
        ax.set_visible(False)
    return figure, axes[:shown]


def _finish(ax: Axes, results: StudyResults, factor: str, unit: str, log: bool) -> None:
    tidy(ax, "", unit)
    ax.set_title("")
    ax.margins(x=0.03)
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    words = results.find_words(factor)
    if words:
        ax.set_xticks(list(words), list(words.values()))
    ax.set_xlabel(name_factor(results, factor), fontsize=8.5, color=INK)


def response_sheet(results: StudyResults, tables: Tables, endpoint: str) -> Figure | None:
    """Return the mean response of each arm along each of the most important factors; of points drawn independently."""
    if not results.independent.any():
        return None
    order = rank_factors(tables, endpoint)[:MOST_CURVES]
    figure, axes = _lay_out(len(order))
    for ax, factor in zip(axes, order):
        values = results.values(factor)[results.independent]
        for number, arm in enumerate(results.arms):
            y, look = results.response(endpoint, arm)[results.independent], palette.pick_arm(number)
            curve = trace_response(values, y)
            some = slice(None, None, math.ceil(len(values) / MOST_DOTS))
            dots = {"color": look["color"], "alpha": 0.25, "markersize": 3, "zorder": 0, "rasterized": True}
            ax.plot(values[some], average_replicates(y)[some], ".", **dots)
            ax.fill_between(curve["value"], curve["low"], curve["high"], color=look["color"], alpha=0.18, linewidth=0)
            ax.plot(curve["value"], curve["mean"], marker="o", markersize=3.5, linewidth=1.6, **look)
        _finish(ax, results, factor, results.unit(endpoint), _is_log(results, factor))
    if len(results.arms) > 1:
        handles = [Line2D([], [], linewidth=3, label=f" {arm}", **palette.pick_arm(n)) for n, arm in enumerate(results.arms)]
        figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    write_title(figure, results, endpoint, "Responses")
    words = f"Dots: points (at most {MOST_DOTS:,}), means over replicates. Lines: means over an eighth of the\n"
    words += "points each (or at each of few values), all other factors varying; band: 95 % interval of that mean."
    explain(figure, results, words, len(order))
    return figure


def _is_log(results: StudyResults, factor: str) -> bool:
    about = next(held for held in results.study.factors if held.name == factor)
    return about.scale == "log" and bool(results.values(factor).min() > 0)


# Maps over two factors ---------------------------------------------------------------------------------------------------


def _cut(results: StudyResults, factor: str) -> tuple[np.ndarray, list[str]]:
    """Return the cell of each point along a factor and the names of cells: its values, or ranges of equally many points."""
    values, words = results.values(factor), results.find_words(factor)
    distinct = np.unique(values)
    if len(distinct) <= MOST_CELLS or words:
        return np.searchsorted(distinct, values), [words.get(value, f"{value:.3g}") for value in distinct.tolist()]
    bins = int(np.clip(np.sqrt(len(values) / POINTS_A_CELL), 2, MOST_BINS))
    edges = np.quantile(values, np.linspace(0, 1, bins + 1))
    cell = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return cell, [f"{low:.3g}–{high:.3g}" for low, high in zip(edges[:-1], edges[1:])]


def _choose_axes(results: StudyResults, tables: Tables, endpoint: str) -> tuple[str, str, str | None] | None:
    """Return the factors across, up, and (of a grid) from line to line; None if fewer than two vary."""
    varied = {name: len(np.unique(results.values(name))) for name in results.factors}
    names = [name for name, number in varied.items() if number > 1]
    if len(names) < 2:
        return None
    if results.study.design.kind != "grid":
        across, up = [name for name in rank_factors(tables, endpoint) if name in names][:2]
        return across, up, None
    third = min(reversed(names), key=lambda name: varied[name])
    if len(names) == 2 or varied[third] > MOST_PANELS:
        return names[0], names[1], None
    across, up = [name for name in names if name != third][:2]
    return across, up, third


def heat_sheet(results: StudyResults, tables: Tables, endpoint: str) -> Figure | None:
    """Return maps of each response over two factors: of a grid the first two, else the two that matter most.

    A column a response; in a grid of more factors a line for each value of that with the fewest, if at most five.
    """
    chosen = _choose_axes(results, tables, endpoint) if results.independent.any() else None
    if chosen is None:
        return None
    across, up, third = chosen
    (column, columns), (row, rows) = _cut(results, across), _cut(results, up)
    line, lines = _cut(results, third) if third else (np.zeros(len(column), int), [""])
    maps = {}
    for label in results.responses:
        mean = np.where(results.independent, average_replicates(results.response(endpoint, label)), np.nan)
        parts = [_fill(mean, column, row, line == number, (len(rows), len(columns))) for number in range(len(lines))]
        maps[label] = np.stack(parts)
    width = len(maps) * (1.1 + max(2.4, 0.55 * len(columns))) + 0.9
    size = (max(width, 8.0), 1.9 + len(lines) * max(1.9, 0.36 * len(rows) + 0.6))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.06, wspace=0.05))
    axes = figure.subplots(len(lines), len(maps), squeeze=False, sharex=True, sharey=True)
    _paint(figure, axes, results, endpoint, maps)
    for ax in axes[-1]:
        slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, columns)) > 5 else {}
        ax.set_xticks(range(len(columns)), columns, **slanted)
        ax.set_xlabel(name_factor(results, across), fontsize=9)
    for ax, value in zip(axes[:, 0], lines):
        ax.set_yticks(range(len(rows)), rows)
        where = f"{third} = {value} {find_unit(results, third)}".rstrip() + "\n" if third else ""
        ax.set_ylabel(where + name_factor(results, up), fontsize=9)
    write_title(figure, results, endpoint, "Map")
    rest = ", all other factors varying" if len(results.factors) > (3 if third else 2) else ""
    explain(figure, results, f"Means over points and replicates in each cell{rest}. Grey: no run there has a value.")
    return figure


def _paint(
    figure: Figure, axes: Any, results: StudyResults, endpoint: str, maps: dict[str, np.ndarray]
) -> None:
    """Paint the maps: arms on one scale, each difference on one of its own around 0."""
    shared = _scale_colours([found for label, found in maps.items() if len(results.responses[label]) == 1], False)
    for panels, (label, found) in zip(axes.T, maps.items()):
        differs = len(results.responses[label]) == 2
        norm = _scale_colours([found], True) if differs else shared
        paint = palette.clear_map("PuOr_r" if differs else "viridis", "#e4e4e4")
        for ax, cells in zip(panels, found):
            image = ax.imshow(cells, origin="lower", aspect="auto", cmap=paint, norm=norm)
            _write_cells(ax, cells, image)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        panels[0].set_title(label, fontsize=11, loc="left")
        bar = figure.colorbar(image, ax=list(panels), shrink=0.9, pad=0.02, aspect=25)
        bar.set_label(results.unit(endpoint), fontsize=8.5, color=FAINT)


def _fill(mean: np.ndarray, column: np.ndarray, row: np.ndarray, inside: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the mean over the points in each cell, NaN in an empty one."""
    there = inside & np.isfinite(mean)
    total, number = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (row[there], column[there]), mean[there])
    np.add.at(number, (row[there], column[there]), 1.0)
    return np.divide(total, number, out=np.full(shape, np.nan), where=number > 0)


def _scale_colours(maps: Iterable[np.ndarray], around_zero: bool) -> Normalize:
    held = np.concatenate([found[np.isfinite(found)] for found in maps])
    if not len(held):
        return Normalize(0.0, 1.0)
    if around_zero:
        size = float(np.abs(held).max()) or 1.0
        return TwoSlopeNorm(0.0, -size, size)
    low, high = float(held.min()), float(held.max())
    return Normalize(low, high if high > low else low + 1.0)


def _write_cells(ax: Axes, cells: np.ndarray, image: Any) -> None:
    """Write the numbers into the cells, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            ink = INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
            ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=7.5, color=ink)


# Emulator ----------------------------------------------------------------------------------------------------------------


def emulator_sheet(results: StudyResults, emulator: Emulator, place: np.ndarray) -> Figure:
    """Return the emulator along each factor, all others at `place` (their units), with its interval and its error."""
    walks = [_walk(emulator, place, number) for number in range(len(place))]
    swings = [float(np.ptp(emulator.predict(walk)[0])) for walk in walks]
    order = np.argsort(-np.array(swings), kind="stable")[:MOST_CURVES]
    figure, axes = _lay_out(len(order))
    for ax, number in zip(axes, order):
        along = walks[number][:, number]
        mean, low, high = emulator.predict(walks[number])
        ax.fill_between(along, low, high, color=TOTAL, alpha=0.18, linewidth=0)
        ax.plot(along, mean, color=TOTAL, linewidth=1.8)
        ax.axvline(place[number], color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
        _finish(ax, results, emulator.factors[number], emulator.unit, bool(emulator.log[number]))
    write_title(figure, results, emulator.endpoint, f"Emulator, {emulator.label}")
    words = f"Gaussian process through {len(emulator.y)} of {emulator.available} points. Along each factor, the others at "
    words += f"the dotted lines; band: 95 % interval of the mean.\n{emulator.tell_error()}"
    explain(figure, results, words, len(order))
    return figure


def _walk(emulator: Emulator, place: np.ndarray, number: int) -> np.ndarray:
    """Return points along one factor, the others at `place`."""
    along = np.tile(place, (60, 1))
    space = np.geomspace if emulator.log[number] else np.linspace
    along[:, number] = space(emulator.low[number], emulator.high[number], len(along))
    return along
