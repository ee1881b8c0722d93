"""The figures of sensitivity of a study: Sobol and Morris indices, partial rank correlations, tornado.

A figure shows one endpoint; its columns or rows are the responses: each arm, and each other arm less the reference, run by
run with the same seed. Each states the runs behind it.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from niche_sim.study.estimates import average_replicates
from niche_sim.study.results import StudyResults, count_runs, tell_counts
from niche_sim.view.common import name_number
from niche_sim.view.palette import FAINT, INK

MOST_BARS = 30
LOW, HIGH, FIRST, TOTAL = "#0072B2", "#D55E00", "#E69F00", "#0072B2"
CAPTION_WIDTH, TITLE_WIDTH = 13.5, 8.5  # characters an inch, of 8.5 and of 12 points bold
Tables = Mapping[str, pd.DataFrame]
SIZES = (("sobol", "total"), ("morris", "mu_star"), ("prcc", "prcc"), ("tornado", "swing"))  # what a factor is ranked by


def _of(table: pd.DataFrame, endpoint: str) -> dict[str, pd.DataFrame]:
    """Return the rows of an endpoint by response, each with the factor as index."""
    mine = table[table["endpoint"] == endpoint]
    return {str(label): rows.set_index("factor") for label, rows in mine.groupby("response", sort=False)}


def choose_index(tables: Tables, endpoint: str) -> tuple[str, str]:
    """Return the table and the column by which the factors of an endpoint are ranked."""
    return next(pair for pair in SIZES if pair[0] in tables and (tables[pair[0]]["endpoint"] == endpoint).any())


def rank_factors(tables: Tables, endpoint: str, name: str | None = None) -> list[str]:
    """Return the factors of a table, largest first: by their largest size over the responses, each relative to its largest.

    Parameters
    ----------
    tables : mapping
        Of `summarise`.
    endpoint : str
    name : str, optional
        A table with indices; by default the first of sobol, morris, prcc, tornado that has the endpoint.
    """
    table, column = choose_index(tables, endpoint) if name is None else (name, dict(SIZES)[name])
    found = pd.DataFrame({label: rows[column].abs() for label, rows in _of(tables[table], endpoint).items()})
    relative = found / found.max().replace(0.0, np.nan)
    return [str(factor) for factor in relative.max(axis=1).fillna(-1.0).sort_values(ascending=False, kind="stable").index]


def find_notable(tables: Tables, endpoint: str) -> list[str]:
    """Return the factors whose effect on any response can be told from none, largest first.

    Those whose 95 % interval leaves out 0 (prcc, tornado), or lies above what noise alone makes (morris, sobol).
    """
    name, column = choose_index(tables, endpoint)
    table = tables[name][tables[name]["endpoint"] == endpoint]
    if name in ("morris", "sobol"):
        notable = table[f"{column}_low"] > table["noise"].fillna(0.0) + 1e-3 * (name == "sobol")
    else:
        low, high = ("low", "high") if name == "prcc" else ("swing_low", "swing_high")
        notable = table[low] * table[high] > 0
    there = set(table.loc[notable, "factor"])
    return [factor for factor in rank_factors(tables, endpoint) if factor in there]


def find_unit(results: StudyResults, factor: str) -> str:
    """Return the unit of a factor, empty for plain numbers and words."""
    return str(next(held.unit for held in results.study.factors if held.name == factor))


def name_factor(results: StudyResults, factor: str, ends: tuple[float, float] | None = None) -> str:
    """Return a factor with its unit, or below it the ends of its range, words by their names."""
    unit = find_unit(results, factor)
    if ends is None or not np.isfinite(ends).all():
        return f"{factor} ({unit})" if unit else factor
    words = results.find_words(factor)
    low, high = (words.get(end, name_number(end)) for end in ends)
    return f"{factor}\n{low} to {high} {unit}".rstrip()


def name_rise(results: StudyResults, factor: str, lead: str) -> str:
    """Return from which to which a factor of two words rises, with what leads to that; nothing of any other factor."""
    words = [word for _, word in sorted(results.find_words(factor).items())]
    return f"{lead}{words[0]} to {words[1]}" if len(words) == 2 else ""


def explain(figure: Figure, results: StudyResults, words: str, shown: int = 0) -> None:
    """Say below a figure what it shows and which runs are behind it."""
    factors = len(results.factors)
    some = f" The {shown} largest of {factors} factors." if 0 < shown < factors else ""
    about = f"{results.study.title or results.study.name}: {tell_counts(count_runs(results.runs))}."
    width = int(CAPTION_WIDTH * figure.get_figwidth())
    figure.supxlabel(f"{textwrap.fill(words + some, width)}\n{textwrap.fill(about, width)}", fontsize=8.5, color=FAINT)


def write_title(figure: Figure, results: StudyResults, endpoint: str, about: str) -> None:
    """Give a figure its title: what it shows, and of which endpoint."""
    title = textwrap.fill(f"{about}: {results.describe(endpoint)}", int(TITLE_WIDTH * figure.get_figwidth()))
    figure.suptitle(title, fontsize=12, fontweight="bold", x=0.01, ha="left")


def _bars(
    results: StudyResults, table: pd.DataFrame, endpoint: str, order: Sequence[str],
    draw: Callable[[Axes, pd.DataFrame, np.ndarray], None], names: Sequence[str], label: str,
) -> Figure:  # fmt: skip
    """Return a figure with a column a response and a line a factor, the largest on top."""
    rows = _of(table, endpoint)
    lines = 1 + max(name.count("\n") for name in names)
    size = (3.2 + 3.4 * len(rows), 1.9 + (0.16 + 0.16 * lines) * len(order))
    figure = Figure(figsize=(max(size[0], 8.0), size[1]), layout=ConstrainedLayoutEngine(wspace=0.05, hspace=0.06))
    axes = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    place = np.arange(len(order))
    for ax, (response, held) in zip(axes, rows.items()):
        draw(ax, held.loc[list(order)], place)
        ax.set_title(response, fontsize=11, loc="left")
        ax.set_xlabel(label, fontsize=9, color=FAINT)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color="#ececec", linewidth=0.8)
        ax.set_axisbelow(True)
    axes[0].set_yticks(place, names, color=INK)
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    return figure


def _pick_signs(values: pd.Series) -> list[str]:
    """Return the colour of what rises with a factor and what falls."""
    return [HIGH if value > 0 else LOW for value in values]


def _legend_signs(figure: Figure) -> None:
    handles = [Patch(color=HIGH, label="rises with the factor"), Patch(color=LOW, label="falls")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9)


def _whiskers(ax: Axes, y: np.ndarray, low: pd.Series, high: pd.Series) -> None:
    ax.hlines(y, low, high, color=INK, linewidth=1.0)


def sobol_sheet(results: StudyResults, tables: Tables, endpoint: str) -> Figure:
    """Return first-order and total Sobol indices with intervals."""
    order = rank_factors(tables, endpoint, "sobol")[:MOST_BARS]

    def draw(ax: Axes, held: pd.DataFrame, place: np.ndarray) -> None:
        for shift, name, colour in ((-0.18, "first", FIRST), (0.18, "total", TOTAL)):
            ax.barh(place + shift, held[name], height=0.34, color=colour)
            _whiskers(ax, place + shift, held[f"{name}_low"], held[f"{name}_high"])
        ax.plot(held["noise"], place + 0.18, "d", color="white", markeredgecolor=INK, markersize=4.5, clip_on=False)
        ax.axvline(0, color=INK, linewidth=0.8)

    names = [name_factor(results, factor) for factor in order]
    figure = _bars(results, tables["sobol"], endpoint, order, draw, names, "share of the variance between points")
    handles: list[Artist] = [Patch(color=FIRST, label="first order: this factor alone")]
    handles.append(Patch(color=TOTAL, label="total: with all interactions"))
    if tables["sobol"]["noise"].notna().any():
        mark = Line2D([], [], color="none", marker="d", markerfacecolor="white", markeredgecolor=INK, markersize=5)
        mark.set_label("part of the total that is noise")
        handles.append(mark)
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    write_title(figure, results, endpoint, "Sobol indices")
    explain(figure, results, "Whiskers: 95 % of bootstrap samples of blocks.", len(order))
    return figure


def morris_sheet(results: StudyResults, tables: Tables, endpoint: str) -> Figure:
    """Return mu* in order of size, and beside it mu* against sigma, for each response."""
    rows = _of(tables["morris"], endpoint)
    height = max(3.4, 1.2 + 0.21 * min(len(results.factors), MOST_BARS))
    figure = Figure(figsize=(12.0, 1.2 + height * len(rows)), layout=ConstrainedLayoutEngine(hspace=0.08, wspace=0.06))
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=[1.0, 1.1])
    unit = results.unit(endpoint)
    for (left, right), (response, held) in zip(axes, rows.items()):
        order = held.sort_values("mu_star", ascending=False, kind="stable").head(MOST_BARS)
        _draw_ranking(left, results, order, f"{response}: mu*", unit)
        _draw_spread(right, order, f"{response}: mu* and sigma", unit)
    _legend_signs(figure)
    write_title(figure, results, endpoint, "Morris screening")
    words = "Elementary effects over the whole range of a factor: mu* their mean size, sigma their standard deviation. "
    words += "Below sigma = 0.1 mu* a factor acts almost linearly; above sigma = mu* its effect bends or hangs on other "
    words += "factors. Whiskers: 95 % of bootstrap samples of trajectories."
    noisy = tables["morris"]["noise"].notna().any()
    words += " Diamond: mu* of noise alone." if noisy else ""
    explain(figure, results, words, min(MOST_BARS, len(results.factors)))
    return figure


def _draw_ranking(ax: Axes, results: StudyResults, order: pd.DataFrame, title: str, unit: str) -> None:
    place = np.arange(len(order))
    ax.barh(place, order["mu_star"], height=0.62, color=_pick_signs(order["mu"]))
    _whiskers(ax, place, order["mu_star_low"], order["mu_star_high"])
    ax.plot(order["noise"], place, "d", color="white", markeredgecolor=INK, markersize=4.5)
    names = [f"{factor}{name_rise(results, factor, ', ')}  {number + 1}" for number, factor in enumerate(order.index)]
    ax.set_yticks(place, names, fontsize=8.5, color=INK)
    ax.set_ylim(len(order) - 0.4, -0.6)
    _clean(ax, title, f"mu* ({unit})")
    ax.grid(axis="x", color="#ececec", linewidth=0.8)


def _draw_spread(ax: Axes, order: pd.DataFrame, title: str, unit: str) -> None:
    x, y = order["mu_star"].to_numpy(), order["sigma"].to_numpy()
    top = 1.08 * max(float(np.nanmax([*x, *order["mu_star_high"].fillna(0.0)])), 1e-12)
    high = 1.1 * max(float(np.nanmax([*y, *order["sigma_high"].fillna(0.0)])), 0.05 * top)
    for ratio, style in ((1.0, "-"), (0.5, (0, (5, 2))), (0.1, (0, (1.5, 1.5)))):
        end = min(top, high / ratio)
        ax.plot([0, end], [0, ratio * end], color="#b9bdc2", linewidth=0.9, linestyle=style, zorder=0,
                label=f"sigma = {'' if ratio == 1 else f'{ratio:g} '}mu*")  # fmt: skip
    ax.hlines(y, order["mu_star_low"], order["mu_star_high"], color=FAINT, alpha=0.5, linewidth=1.0)
    ax.vlines(x, order["sigma_low"], order["sigma_high"], color=FAINT, alpha=0.5, linewidth=1.0)
    ax.scatter(x, y, s=26, color=_pick_signs(order["mu"]), zorder=3)
    named: list[tuple[float, float]] = []
    for number, (across, up) in enumerate(zip(x, y)):
        here = (across / top, up / high)
        if np.hypot(*here) > 0.1 and all(np.hypot(here[0] - a, here[1] - b) > 0.03 for a, b in named):  # else on each other
            named.append(here)
            ax.annotate(str(number + 1), (across, up), (4, 4), textcoords="offset points", fontsize=8.5, color=INK)
    ax.set_xlim(0, top)
    ax.set_ylim(0, high)
    _clean(ax, title, f"mu* ({unit})")
    ax.set_ylabel(f"sigma ({unit})", fontsize=9, color=FAINT)
    ax.grid(color="#f1f1f1", linewidth=0.8)
    ax.legend(fontsize=8, frameon=False, loc="upper left")


def _clean(ax: Axes, title: str, label: str) -> None:
    ax.set_title(title, fontsize=11, loc="left")
    ax.set_xlabel(label, fontsize=9, color=FAINT)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)


def prcc_sheet(results: StudyResults, tables: Tables, endpoint: str) -> Figure:
    """Return partial rank correlations with intervals."""
    order = rank_factors(tables, endpoint, "prcc")[:MOST_BARS]

    def draw(ax: Axes, held: pd.DataFrame, place: np.ndarray) -> None:
        ax.barh(place, held["prcc"], height=0.6, color=_pick_signs(held["prcc"]))
        _whiskers(ax, place, held["low"], held["high"])
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_xlim(-1.02, 1.02)
        ax.set_xticks([-1.0, -0.5, 0.0, 0.5, 1.0])

    names = [name_factor(results, factor) + name_rise(results, factor, "\n") for factor in order]
    figure = _bars(results, tables["prcc"], endpoint, order, draw, names, "partial rank correlation")
    _legend_signs(figure)
    write_title(figure, results, endpoint, "Partial rank correlation")
    explain(figure, results, "Each factor with the ranks of all others held; whiskers: 95 % interval.", len(order))
    return figure


def tornado_sheet(results: StudyResults, tables: Tables, endpoint: str) -> Figure:
    """Return the response at the low and the high end of each factor."""
    order = rank_factors(tables, endpoint, "tornado")[:MOST_BARS]

    def draw(ax: Axes, held: pd.DataFrame, place: np.ndarray) -> None:
        label = str(held["response"].iloc[0])
        middle = float(np.nanmean(average_replicates(results.response(endpoint, label)[results.independent])))
        for shift, name, colour in ((-0.17, "response_low", LOW), (0.17, "response_high", HIGH)):
            ax.barh(place + shift, held[name] - middle, left=middle, height=0.34, color=colour)
            half = held[f"{name}_half"]
            _whiskers(ax, place + shift, held[name] - half, held[name] + half)
        ax.axvline(middle, color=INK, linewidth=0.8)

    first = tables["tornado"].query("endpoint == @endpoint").groupby("factor").first()  # where it acts
    names = [name_factor(results, name, (first.loc[name, "value_low"], first.loc[name, "value_high"])) for name in order]
    figure = _bars(results, tables["tornado"], endpoint, order, draw, names, f"{endpoint} ({results.unit(endpoint)})")
    handles = [Patch(color=LOW, label="factor low"), Patch(color=HIGH, label="factor high")]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    write_title(figure, results, endpoint, "Tornado")
    words = "Means over the fifth of the points with the lowest and the highest values of a factor (at its lowest and "
    words += "highest value, if it has few), which stand under its name; all other factors vary. Whiskers: 95 % intervals. "
    words += "Line: mean of all points."
    explain(figure, results, words, len(order))
    return figure
