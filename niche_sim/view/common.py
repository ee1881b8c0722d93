"""What all figures share: labels of times and regimens, the style, titles and legends."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from niche_sim.store import Result
from niche_sim.view import palette
from niche_sim.view.palette import FAINT, INK

HOURS_PER_DAY, HOURS_PER_YEAR = 24.0, 8766.0
STYLE = {
    "svg.hashsalt": "niche_sim", "svg.fonttype": "path", "pdf.fonttype": 42, "text.parse_math": False,
    "font.family": "DejaVu Sans", "font.size": 10,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": "#9a9ea3", "axes.linewidth": 0.8,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.titleweight": "bold",
    "axes.formatter.use_mathtext": False, "figure.facecolor": "white", "savefig.facecolor": "white",
}  # fmt: skip


def name_number(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, without exponent from 0.0001 to a million: 0.00125, 3,200, 2.5e+07."""
    short = f"{value:.{digits}g}"
    return f"{Decimal(short):,f}" if 1e-4 <= abs(value) < 1e6 else short


def name_time(hours: float) -> str:
    """Return a short label of a time: hours below a day, days below 300 d, years above."""
    if 0 < hours < 24:
        return f"{hours:.3g} h"
    if hours < 300 * HOURS_PER_DAY:
        return f"{hours / HOURS_PER_DAY:.4g} d"
    return f"{hours / HOURS_PER_YEAR:.3g} yr"


def name_moment(hours: float) -> str:
    """Return a time as the heading of a picture."""
    number, unit = name_time(hours).split()
    words = {"h": "hour", "d": "day", "yr": "year"}
    return "start" if hours == 0 else f"{number} {words[unit]}{'' if number == '1' else 's'}"


def name_span(text: Any) -> str:
    """Return a time as resolved ("672 h") in the largest unit that suits."""
    words = str(text).split()
    return name_time(float(words[0])) if len(words) == 2 and words[1] == "h" else str(text)


def describe_regimen(courses: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the courses of an arm in words, such as "zoledronate 4 mg iv every 28 d"."""
    parts = []
    for course in courses or ():
        part = f"{course.get('drug', 'drug')} {course.get('dose', '')} {course.get('route', '')}".strip()
        part += f" every {name_span(course['interval'])}" if course.get("interval") else " once"
        part += f" from {name_span(course['start'])}" if not str(course.get("start", "0 h")).startswith("0") else ""
        part += f" until {name_span(course['until'])}" if course.get("until") else ""
        part += f", {course['doses']} doses" if course.get("doses", 1) > 1 else ""
        part += f", again every {name_span(course['cycle'])}" if course.get("cycle") else ""
        part += f", each taken with probability {course['adherence']:g}" if "adherence" in course else ""
        part += f", without dose {', '.join(map(str, course['missed']))}" if course.get("missed") else ""
        parts.append(part)
    return "; then ".join(parts) or "no drug"


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` letters, cut after a whole word."""
    return text if len(text) <= most else text[: most - 1].rsplit(" ", 1)[0].rstrip(",;") + " …"


def list_regimens(result: Result) -> dict[str, str]:
    """Return the regimen of each arm in words."""
    arms = result.experiment_mapping.get("arms") or {}
    return {arm: describe_regimen((arms.get(arm) or {}).get("regimen")) for arm in result.arms}


def find_voxel_um(result: Result) -> float:
    """Return the edge of a voxel (um) as the resolved scene states it."""
    return float(str(result.experiment_mapping["scene"]["voxel"]).split()[0])


def choose_bar_um(across_um: float) -> float | None:
    """Return the round length (um) of a scale bar on a patch so wide, None if even the shortest is too long."""
    fits = [length for length in (20, 50, 100, 200, 500, 1000, 2000) if length <= 0.3 * across_um]
    return float(fits[-1]) if fits else None


def middle(volume: np.ndarray) -> np.ndarray:
    """Return the middle plane of a stack."""
    return volume[volume.shape[0] // 2]


def tidy(ax: Axes, title: str, unit: str) -> None:
    """Give a panel its title and, below it, the unit of its vertical axis; take away what is not read."""
    ax.set_title(title, fontsize=11, loc="left", pad=18)
    ax.set_ylabel(unit, fontsize=8.5, color=FAINT, rotation=0, ha="left", va="bottom")
    ax.yaxis.set_label_coords(0, 1.035)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#ececec", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.margins(x=0.01)


def legend_arms(figure: Figure, result: Result, arms: Sequence[str]) -> None:
    """Name the arms and their regimens above a figure."""
    regimens = list_regimens(result)
    lines = [Line2D([], [], linewidth=3, **palette.pick_arm(result.arms.index(arm))) for arm in arms]
    labels = [f" {arm} ({shorten(regimens[arm], 110)})" for arm in arms]  # the blank keeps a name that begins with _
    room = int(9.0 * figure.get_figwidth()) // max(len(label) + 6 for label in labels)  # about 9 letters an inch
    columns = max(1, min(len(arms), room))
    figure.legend(lines, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=11)
