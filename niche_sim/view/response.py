"""The figures of a study along its factors: the responses of its arms, and an emulator between the points."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from niche_sim.study.emulator import Emulator
from niche_sim.study.estimates import average_replicates
from niche_sim.study.results import StudyResults
from niche_sim.study.trends import trace_response
from niche_sim.view import palette
from niche_sim.view.common import tidy
from niche_sim.view.palette import FAINT, INK
from niche_sim.view.sensitivity import TOTAL, Tables, explain, name_factor, rank_factors, write_title

MOST_CURVES, MOST_DOTS = 12, 1000
FEW_IN_BAND = 4  # an interval of two or three values is so wide that it would hide the rest
LABEL_SHARE = 0.22  # of an axis, that a label takes


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


def pick_log_ticks(low: float, high: float) -> list[float]:
    """Return two to four numbers to label a logarithmic axis with, far enough from each other for their texts.

    Decades, else 1 and 3 or 1, 2 and 5 of each, where three of them lie in the range; else round numbers at equal distances.
    """
    least, most = low * (1.0 - 1e-9), high * (1.0 + 1e-9)
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    sets = [[float(f"{digit}e{decade}") for decade in decades for digit in digits] for digits in ((1,), (1, 3), (1, 2, 5))]
    sets += [[float(f"{tick:.10g}") for tick in MaxNLocator(bins, steps=[1, 2, 5, 10]).tick_values(low, high)]
             for bins in (3, 4, 6)]  # fmt: skip
    best: list[float] = []
    for ticks in sets:
        apart: list[float] = []
        for tick in ticks:
            far = not apart or math.log(tick / apart[-1]) >= LABEL_SHARE * math.log(most / least)
            if least <= tick <= most and far:
                apart.append(tick)
        best = apart if len(apart) > len(best) else best
        if len(best) > 2:
            break
    return best


def _finish(ax: Axes, results: StudyResults, factor: str, unit: str, log: tuple[float, float] | None) -> None:
    """Label the axes of a panel; `log` are the ends of a factor with a logarithmic axis."""
    tidy(ax, "", unit)
    ax.set_title("")
    ax.margins(x=0.03)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_locator(FixedLocator(pick_log_ticks(*log)))
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
        for number, arm in enumerate(results.arms):
            kept, look = results.independent & results.distinct(arm), palette.pick_arm(number)
            values, y = results.values(factor)[kept], results.response(endpoint, arm)[kept]
            if not results.reach(arm)[results.factors.index(factor)]:
                if np.isfinite(y).any():
                    ax.axhline(np.nanmean(average_replicates(y)), linewidth=1.0, **look)
                continue
            curve = trace_response(values, y)
            some = slice(None, None, math.ceil(len(values) / MOST_DOTS))
            dots = {"color": look["color"], "alpha": 0.25, "markersize": 3, "zorder": 0, "rasterized": True}
            ax.plot(values[some], average_replicates(y)[some], ".", **dots)
            band = {"where": curve["points"] >= FEW_IN_BAND, "color": look["color"], "alpha": 0.18, "linewidth": 0}
            ax.fill_between(curve["value"], curve["low"], curve["high"], **band)
            ax.plot(curve["value"], curve["mean"], marker="o", markersize=3.5, linewidth=1.6, **look)
        _finish(ax, results, factor, results.unit(endpoint), _find_log_ends(results, factor))
    _keep_to_dots(axes[0], results, endpoint)
    if len(results.arms) > 1:
        handles = [Line2D([], [], linewidth=3, label=f" {arm}", **palette.pick_arm(n)) for n, arm in enumerate(results.arms)]
        figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    write_title(figure, results, endpoint, "Responses")
    words = f"Dots: points (at most {MOST_DOTS:,}), means over replicates. Lines: means over an eighth of the "
    words += "points each (or at each of few values), all other factors varying; band: 95 % interval of that mean, "
    words += f"of {FEW_IN_BAND} points or more. Across a panel: an arm that the factor does not act on."
    explain(figure, results, words, len(order))
    return figure


def _keep_to_dots(ax: Axes, results: StudyResults, endpoint: str) -> None:
    """Fit the vertical axis to the points, between which all means lie; bands may go beyond."""
    means = [average_replicates(results.response(endpoint, arm)[results.independent]) for arm in results.arms]
    if not np.isfinite(means).any():
        return
    low, high = float(np.nanmin(means)), float(np.nanmax(means))
    room = 0.05 * (high - low) or 0.05 * abs(low) or 1.0
    ax.set_ylim(low - room, high + room)


def _find_log_ends(results: StudyResults, factor: str) -> tuple[float, float] | None:
    """Return the ends of a factor that has a logarithmic axis, else nothing."""
    about, values = next(held for held in results.study.factors if held.name == factor), results.values(factor)
    low, high = float(values.min()), float(values.max())
    return (low, high) if about.scale == "log" and high > low > 0 else None


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
        ends = (float(along[0]), float(along[-1])) if emulator.log[number] else None
        _finish(ax, results, emulator.factors[number], emulator.unit, ends)
    write_title(figure, results, emulator.endpoint, f"Emulator, {emulator.label}")
    words = f"Gaussian process through {len(emulator.y)} of {emulator.available} points. Along each factor, the others at "
    words += f"the dotted lines; band: 95 % interval of the mean. {emulator.tell_error()}"
    explain(figure, results, words, len(order))
    return figure


def _walk(emulator: Emulator, place: np.ndarray, number: int) -> np.ndarray:
    """Return points along one factor, the others at `place`."""
    along = np.tile(place, (60, 1))
    space = np.geomspace if emulator.log[number] else np.linspace
    along[:, number] = space(emulator.low[number], emulator.high[number], len(along))
    return along
