"""Series as an ECharts option: a panel a series, a line an arm, thinned to what a screen can show."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR
from niche_sim.view.palette import DASHES, FAINT, INK, pick_arm
from niche_sim.view.series import DOTTED, SERIES, prepare_series, smooth

MOST_POINTS = 320
PANEL_PX = 168
DEFAULT = ("dormant", "cycling", "osteoclasts", "bone_change")
_TYPES = {DASHES[0]: "solid", DASHES[1]: "dashed", DASHES[2]: "dotted", DASHES[3]: [8, 2, 2, 2]}
_SOURCES = {
    "bone_change": ["bone_volume_fraction"], "resorption_k": ["resorption_um3_per_d"],
    "tgf_beta_fmol_per_L": ["tgf_beta_nmol_per_L"], "igf1_fmol_per_L": ["igf1_nmol_per_L"],
}  # fmt: skip
Rows = Any
"""Rows of the series of an arm: a DataFrame, or a sequence of mappings."""


def read_rows(rows: Rows, names: Sequence[str]) -> pd.DataFrame:
    """Return the prepared columns of one arm that some series need; a column that is not there is left out."""
    wanted = ["time_h", *(DOTTED[name] for name in names if name in DOTTED)]
    wanted += [column for name in names for column in _SOURCES.get(name, [name])]
    if isinstance(rows, pd.DataFrame):
        return prepare_series(rows[[column for column in dict.fromkeys(wanted) if column in rows]])
    held = [column for column in dict.fromkeys(wanted) if rows and column in rows[0]]
    frame = pd.DataFrame({column: [row[column] for row in rows] for column in held})
    return prepare_series(frame) if len(frame) else pd.DataFrame({"time_h": []})


def thin(times: np.ndarray, values: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Return indices of at most `most` points that draw the same line: first, last, lowest and highest of each stretch."""
    n = len(times)
    if n <= most:
        return np.arange(n)
    edges = np.linspace(0, n, max(2, most // 4) + 1).astype(int)[:-1]
    ends = np.append(edges[1:], n)
    whole = np.where(np.isfinite(values), values, 0.0)
    picked = [edges, ends - 1]
    for find in (np.argmin, np.argmax):
        picked.append(np.array([start + find(whole[start:end]) for start, end in zip(edges, ends)]))
    return np.unique(np.concatenate(picked))


def choose_unit(longest_h: float) -> tuple[float, str]:
    """Return the hours of a unit of the time axis, and its name."""
    return (HOURS_PER_YEAR, "yr") if longest_h >= 1.5 * HOURS_PER_YEAR else (HOURS_PER_DAY, "d")


def build_option(
    frames: Mapping[str, Rows], names: Sequence[str], now_h: float | None = None, *, columns: int = 1,
    end_h: float | None = None, arms: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the option of a chart; `unit` of a line is for `series.vue`.

    Parameters
    ----------
    frames : mapping of arm to DataFrame or list of rows
        Rows of the series, with `time_h`.
    names : sequence of str
        Of `niche_sim.view.series.SERIES`; those that are not recorded get an empty panel.
    now_h : float, optional
        Where a line marks the time shown.
    columns : int
        Panels beside each other.
    end_h : float, optional
        End of the time axis; that of the rows without.
    arms : sequence of str, optional
        All arms, for their colours; those of `frames` without.
    """
    known = {entry[0]: entry for entry in SERIES}
    prepared = {arm: read_rows(rows, names) for arm, rows in frames.items()}
    longest = max([end_h or 0.0, now_h or 0.0, *(float(f["time_h"].max()) for f in prepared.values() if len(f))])
    scale, unit = choose_unit(longest)
    order = list(arms or frames)
    panels = [known[name] for name in names]
    option: dict[str, Any] = {
        "animation": False, "textStyle": {"fontFamily": "Roboto, sans-serif", "color": INK},
        "tooltip": {"trigger": "axis", "confine": True, "transitionDuration": 0, "textStyle": {"fontSize": 12}},
        "legend": {"data": list(frames), "bottom": 0, "icon": "rect", "itemWidth": 18, "itemHeight": 3, "type": "scroll"},
        "title": [], "grid": [], "xAxis": [], "yAxis": [], "series": [],
    }  # fmt: skip
    for i, (name, heading, measure) in enumerate(panels):
        _add_panel(option, i, heading, measure, columns, longest / scale, unit if i + columns >= len(panels) else "", unit)
        for arm, frame in prepared.items():
            look = pick_arm(order.index(arm))
            if name in frame:
                option["series"].append(_draw(arm, frame, name, i, look, scale, name_unit(measure)))
            if DOTTED.get(name) in frame and frame[DOTTED[name]].any():
                option["series"].append(_draw(arm, frame, DOTTED[name], i, look, scale, "", dotted=True))
        if now_h is not None:
            option["series"].append(_mark(i, now_h / scale))
    return option


def measure_height(count: int, columns: int) -> int:
    """Return the height (px) of a chart with so many panels."""
    return max(1, -(-count // columns)) * PANEL_PX + 44


def _add_panel(
    option: dict[str, Any], i: int, heading: str, measure: str, columns: int, end: float, below: str, unit: str
) -> None:
    row, column = divmod(i, columns)
    left, width = 100.0 * column / columns, 100.0 / columns
    top = row * PANEL_PX
    ink = {"b": {"fontSize": 13, "fontWeight": 500, "color": INK}, "s": {"fontSize": 11, "color": FAINT}}
    option["title"].append(
        {"text": f"{{b|{heading}}}  {{s|{measure}}}", "left": f"{left + 0.5}%", "top": top, "textStyle": {"rich": ink}}
    )
    option["grid"].append(
        {"left": f"{left + 0.5}%", "width": f"{width - 3}%", "top": top + 32, "height": PANEL_PX - 46, "containLabel": True}
    )
    words = {"fontSize": 11, "color": FAINT}
    axis = {"type": "value", "gridIndex": i, "axisLabel": words, "axisTick": {"show": False}}
    x: dict[str, Any] = {
        "min": 0,
        "max": end or 1,
        "splitLine": {"show": False},
        "splitNumber": 4,
        "axisLine": {"onZero": False},
    }
    x |= {"name": below, "nameLocation": "middle", "nameGap": 20, "nameTextStyle": words}
    # The heading of the box under the mouse.
    x["axisPointer"] = {"label": {"formatter": f"{{value}} {unit}: {heading}", "precision": 2}}
    # An end that is no round number would be written out in full beside the last round one.
    option["xAxis"].append(axis | x | {"axisLabel": words | {"showMaxLabel": round(end, 2) == end}})
    lines = {"splitNumber": 3, "splitLine": {"lineStyle": {"color": "#eceef0"}}}
    option["yAxis"].append(axis | lines | ({} if heading == "Bone volume" else {"min": 0}))


def name_unit(measure: str) -> str:
    """Return the unit that a panel's measure begins with, such as "nmol/L" of "nmol/L, at recorded times"."""
    words = re.split("[;,]", measure)[0].strip()
    return "" if words == "0 to 1" else "%" if words.startswith("%") else words


def _draw(
    arm: str,
    frame: pd.DataFrame,
    name: str,
    i: int,
    look: Mapping[str, Any],
    scale: float,
    unit: str,
    *,
    dotted: bool = False,
) -> dict[str, Any]:
    values = smooth(frame, name).to_numpy(float)
    times = frame["time_h"].to_numpy(float) / scale
    kept = thin(times, values)
    # Five digits are more than a screen shows, and half the bytes.
    pairs = zip(times[kept].tolist(), values[kept].tolist())
    points = [[float(f"{t:.5g}"), None if math.isnan(y) else float(f"{y:.5g}")] for t, y in pairs]
    style = "dotted" if dotted else _TYPES[look["linestyle"]]
    line = {
        "type": "line", "id": f"{arm} {name}", "name": arm, "data": points, "xAxisIndex": i, "yAxisIndex": i,
        "showSymbol": len(points) == 1, "silent": True, "color": look["color"],
        "step": "end" if name.startswith(("dormant", "cycling")) else False,
        "lineStyle": {"width": 1 if dotted else 1.8, "type": style},
    }  # fmt: skip
    return line | ({"tooltip": {"show": False}} if dotted else {"unit": unit})


def _mark(i: int, now: float) -> dict[str, Any]:
    line = {"symbol": "none", "silent": True, "animation": False, "label": {"show": False}, "data": [{"xAxis": now}]}
    return {
        "type": "line", "id": f"now {i}", "data": [], "xAxisIndex": i, "yAxisIndex": i, "tooltip": {"show": False},
        "markLine": line | {"lineStyle": {"color": FAINT, "type": "dashed", "width": 1}},
    }  # fmt: skip
