"""The figures of a study over two factors at a time: maps of each response, and surfaces over the factors asked for."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from niche_sim.errors import InputError
from niche_sim.study.estimates import average_replicates
from niche_sim.study.results import StudyResults
from niche_sim.units import split
from niche_sim.view import palette
from niche_sim.view.common import name_number
from niche_sim.view.palette import FAINT, INK
from niche_sim.view.sensitivity import Tables, explain, find_unit, name_factor, rank_factors, write_title

MOST_CELLS, MOST_PANELS, MOST_BINS = 12, 5, 6
MOST_DIGITS = 6  # of a number that is shown as the file has it
POINTS_A_CELL = 4  # on average, of a map that is no grid


def _cut(results: StudyResults, factor: str) -> tuple[np.ndarray, list[str]]:
    """Return the cell of each point along a factor and the names of cells: its values, or ranges of equally many points."""
    values, words = results.values(factor), results.find_words(factor)
    distinct = np.unique(values)
    if len(distinct) <= MOST_CELLS or words:
        return np.searchsorted(distinct, values), [words.get(value, name_number(value, 4)) for value in distinct.tolist()]
    bins = int(np.clip(np.sqrt(len(values) / POINTS_A_CELL), 2, MOST_BINS))
    edges = np.quantile(values, np.linspace(0, 1, bins + 1))
    cell = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    return cell, [f"{name_number(low)}–{name_number(high)}" for low, high in zip(edges[:-1], edges[1:])]


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
            ax.text(column, row, name_number(value), ha="center", va="center", fontsize=7.5, color=ink)


# Surfaces over factors that were asked for -------------------------------------------------------------------------------


def read_axes(results: StudyResults, text: str) -> list[str]:
    """Return the factors of a surface: across, up, and those whose values are lines and columns of panels.

    Raises
    ------
    InputError
        There are not two to four of them, or one is no factor, is there twice, or has too many values.
    """
    names = [name.strip() for name in text.split(",")]
    if not 2 <= len(names) <= 4 or len(set(names)) < len(names):
        raise InputError(f"--surface {text}: expected two to four different factors: ACROSS,UP[,LINES[,COLUMNS]]")
    for name in names:
        if name not in results.factors:
            raise InputError(f"--surface: no factor {name!r}; there is {', '.join(results.factors)}")
    for name in names[2:]:
        number = len(np.unique(results.values(name)))
        if number > MOST_CELLS:
            raise InputError(f"--surface: {name!r} has {number} values; panels have at most {MOST_CELLS} lines and columns")
    return names


def surface_sheet(results: StudyResults, endpoint: str, arm: str, names: Sequence[str]) -> Figure:
    """Return panels of the mean response over two factors; of an arm that is not the reference, as a ratio to that.

    Parameters
    ----------
    results : StudyResults
    endpoint, arm : str
    names : sequence of str
        Across, up, and what differs from line to line and from column to column of the panels. Each panel has the values
        of its own points, so that drugs may have doses of their own.
    """
    mean, unit = average_replicates(results.response(endpoint, arm)), results.unit(endpoint)
    if arm != results.reference:
        usual = average_replicates(results.response(endpoint, results.reference))
        mean = np.divide(mean, usual, out=np.full_like(mean, np.nan), where=usual > 0)
        unit = f"{arm} / {results.reference}"
    (line, lines), (column, columns) = (_list_values(results, name) for name in (*names[2:], "", "")[:2])
    size = (max(2.0 + 2.4 * len(columns), 8.0), 2.1 + 1.75 * len(lines))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(hspace=0.05, wspace=0.05))
    axes = figure.subplots(len(lines), len(columns), squeeze=False)
    there = mean[np.isfinite(mean)]
    differs = arm != results.reference and bool((there < 1.0).any() and (there > 1.0).any())
    norm = _scale_ratio(mean) if differs else _scale_colours([mean], False)
    paint = palette.clear_map("PuOr_r" if differs else "viridis", "#e4e4e4")
    for (y, x), ax in np.ndenumerate(axes):
        image = _draw_panel(ax, results, names, mean, (line == y) & (column == x), paint, norm)
        ax.set_title(", ".join(word for word in (lines[y], columns[x]) if word), fontsize=9.5, loc="left")
        ax.set_xlabel(names[0] if y == len(lines) - 1 else "", fontsize=9)
        ax.set_ylabel(names[1] if x == 0 else "", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, aspect=30).set_label(unit, fontsize=8.5, color=FAINT)
    write_title(figure, results, endpoint, "Surface")
    rest = ", all other factors varying" if len(results.factors) > len(names) else ""
    words = "Means over points and replicates in each cell" + rest
    words += f", over those of {results.reference} with the same draws. " if arm != results.reference else ". "
    explain(figure, results, words + "Grey: no run there has a value.")
    return figure


def _list_values(results: StudyResults, name: str) -> tuple[np.ndarray, list[str]]:
    """Return which value of a factor each point has, and the values as their file writes them; of no factor, one for all."""
    if not name:
        return np.zeros(len(results.design), int), [""]
    distinct, first, which = np.unique(results.values(name), return_index=True, return_inverse=True)
    texts = _read_texts(results, name)[first].tolist()
    return which, texts if results.find_words(name) else [f"{name} {text}" for text in texts]


def _read_texts(results: StudyResults, name: str) -> np.ndarray:
    """Return a factor at each point as its file writes it, numbers of many digits with three."""
    texts = results.design[name].astype(str)
    if results.find_words(name):
        return texts.to_numpy()
    return texts.map(_shorten).to_numpy()


def _shorten(text: str) -> str:
    number, unit = split(text)
    return f"{name_number(float(number))} {unit}".rstrip() if sum(map(str.isdigit, text)) > MOST_DIGITS else text


def _draw_panel(
    ax: Axes, results: StudyResults, names: Sequence[str], mean: np.ndarray, inside: np.ndarray, paint: Any, norm: Normalize
) -> Any:  # fmt: skip
    """Draw the cells of one panel, along the values that its points have."""
    places, shape = [], []
    for name, axis in ((names[0], ax.xaxis), (names[1], ax.yaxis)):
        values = results.values(name)
        held, first = np.unique(values[inside], return_index=True)
        if len(held) > MOST_CELLS:
            place, texts = _cut(results, name)
        else:
            texts = _read_texts(results, name)[inside][first].tolist()
            place = np.searchsorted(held, values)
        axis.set_ticks(range(len(texts)), texts)
        places.append(np.minimum(place, max(len(texts) - 1, 0)))
        shape.append(max(len(texts), 1))
    cells = _fill(mean, places[0], places[1], inside, (shape[1], shape[0]))
    image = ax.imshow(cells, origin="lower", aspect="auto", cmap=paint, norm=norm)
    _write_cells(ax, cells, image)
    ax.tick_params(length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    return image


def _scale_ratio(ratios: np.ndarray) -> Normalize:
    """Return colours of ratios that lie on both sides of 1, white there."""
    size = float(np.nanmax(np.abs(ratios - 1.0)))
    return TwoSlopeNorm(1.0, 1.0 - size, 1.0 + size)
