"""What the interactive charts of a report show, as plain lists that become JSON."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from niche_sim.store import Result
from niche_sim.store.tables import unit_of
from niche_sim.view import palette
from niche_sim.view.cohort import PANELS, prepare_marker
from niche_sim.view.common import HOURS_PER_DAY, HOURS_PER_YEAR, describe_regimen, list_regimens
from niche_sim.view.fate import CURVES, sum_columns
from niche_sim.view.series import DOTTED, DRUG_COLUMNS, SERIES, SMOOTH_DAYS, smooth, split_arms, time_axis
from niche_sim.view.tumour import PANELS as TUMOUR_PANELS

MOST_POINTS = 1000  # of a line: what a screen can show
DIGITS = 5
COUNTED = ("dormant", "cycling")  # drawn as steps
KEYS = ("arm", "step", "time_h")  # columns that are no quantity


def _list(values: Any) -> list[float | int | None]:
    """Return numbers with few digits for JSON; what is no number is None."""
    rounded = (float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None for value in np.asarray(values, float))
    return [int(value) if value is not None and value.is_integer() else value for value in rounded]


def list_arms(names: Sequence[str], regimens: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return name, regimen, colour and dash (pixels; empty for a full line) of each arm."""
    looks = [palette.pick_arm(number) for number in range(len(names))]
    dashes = [[] if look["linestyle"] == "-" else [2.0 * part for part in look["linestyle"][1]] for look in looks]
    return [
        {"name": name, "regimen": regimens[name], "colour": look["color"], "dash": dash}
        for name, look, dash in zip(names, looks, dashes)
    ]


def _thin(frame: pd.DataFrame) -> pd.DataFrame:
    kept = np.unique(np.linspace(0, len(frame) - 1, min(len(frame), MOST_POINTS)).round().astype(int))
    return frame.iloc[kept]


def _chart(title: str, unit: str, lines: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return {"title": title, "unit": unit, "lines": lines, **options}


def _draw_series(frames: Mapping[int, pd.DataFrame], kept: Mapping[int, pd.Index], name: str) -> list[dict[str, Any]]:
    lines = []
    for arm, frame in frames.items():
        parts = [("main", smooth(frame, name))]
        parts += [("raw", frame[name])] if name in SMOOTH_DAYS else []
        dotted = DOTTED.get(name, "")
        parts += [("dotted", frame[dotted])] if dotted in frame and frame[dotted].any() else []
        lines += [{"arm": arm, "role": role, "values": _list(values.loc[kept[arm]])} for role, values in parts]
    return lines


def _list_columns(frames: Mapping[int, pd.DataFrame], recorded: Sequence[str]) -> dict[str, Any]:
    """Return every recorded quantity by arm; of one that never changes in an arm the value alone."""
    columns = {}
    for name in recorded:
        values = [_list(frame[name]) for frame in frames.values()]
        columns[name] = {"unit": unit_of(name), "values": [held[:1] if len(set(held)) == 1 else held for held in values]}
    return columns


def chart_result(result: Result) -> dict[str, Any]:
    """Return times, arms, charts of the main series and of the fates, and every other column of the series of a run."""
    split = split_arms(result)
    if not split:
        return {}
    scale, unit = time_axis(split)
    frames = {result.arms.index(arm): frame for arm, frame in split.items()}
    kept = {arm: _thin(frame).index for arm, frame in frames.items()}
    thin = {arm: frame.loc[kept[arm]] for arm, frame in frames.items()}
    everything = pd.concat(thin.values())
    charts = []
    for name, title, measure in SERIES:
        if name not in everything or not everything[name].notna().any() or (
            name in DRUG_COLUMNS and not everything[name].max() > 0
        ):  # fmt: skip
            continue
        log = 1e-4 * float(everything[name].max()) if name == "plasma_nmol_per_L" else 0.0
        zero = name != "bone_change" and not name.startswith("suitability")
        charts.append(_chart(title, measure, _draw_series(frames, kept, name), steps=name in COUNTED, zero=zero, log=log))
    fates = []
    for title, start in CURVES if "dtc_births" in everything else ():
        lines = [{"arm": arm, "role": "main", "values": _list(sum_columns(frame, start))} for arm, frame in thin.items()]
        fates.append(_chart(f"Tumour cells: {title.lower()}", "events so far", lines, steps=True, zero=True, log=0.0))
    numeric = [str(name) for name in result.series if name not in KEYS and result.series[name].dtype.kind in "iuf"]
    return {
        "x": _list(next(iter(thin.values()))["time_h"] / scale), "unit": unit,
        "arms": list_arms(result.arms, list_regimens(result)), "charts": charts, "fates": fates,
        "columns": _list_columns(thin, numeric),
    }  # fmt: skip


def _stack(last: pd.Series, parts: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    named = [{"label": label, "count": int(last.get(column, 0)), "colour": colour} for label, column, colour in parts]
    return [part for part in named if part["count"]]


def count_fates(result: Result) -> list[dict[str, Any]]:
    """Return the bars of what happened to tumour cells until the end: a title, and by arm its parts with their counts."""
    ends = {arm: frame.iloc[-1] for arm, frame in split_arms(result).items() if "dtc_births" in frame}
    bars = []
    for title, parts in (("Woke, by route", palette.WAKES), ("Died, by cause", palette.DEATHS)):
        stacks = {arm: _stack(last, parts) for arm, last in ends.items()}
        totals = {arm: sum(part["count"] for part in stack) for arm, stack in stacks.items()}
        if any(totals.values()):
            seen = {part["label"] for stack in stacks.values() for part in stack}
            arms = [{"arm": arm, "number": result.arms.index(arm), "parts": stack, "total": totals[arm]}
                    for arm, stack in stacks.items()]  # fmt: skip
            key = [(label, colour) for label, _, colour in parts if label in seen]
            bars.append({"title": title, "arms": arms, "top": max(totals.values()), "key": key})
    return bars


def _spread(
    held: pd.DataFrame, times: np.ndarray, arms: Sequence[str], find: Callable[[pd.DataFrame], pd.DataFrame]
) -> list[dict[str, Any]]:
    """Return a line with its band an arm; `find` gives low, main and high by time."""
    lines = []
    for number, arm in enumerate(arms):
        shares = find(held[held["arm"] == arm]).reindex(times)
        lines += [{"arm": number, "role": role, "values": _list(shares[role])} for role in ("main", "low", "high")]
    return lines


def _quantiles(held: pd.DataFrame) -> pd.DataFrame:
    shares = held.groupby("time_h")["shown"].quantile([0.25, 0.5, 0.75]).unstack()
    return shares.set_axis(["low", "main", "high"], axis=1) if len(shares) else pd.DataFrame(columns=["low", "main", "high"])


def chart_cohort(cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Return times, arms and charts of a cohort: markers (median, middle half), tumours (mean, 95 % interval)."""
    about, markers = cohort["manifest"], cohort["markers"]
    tables = [markers, *([cohort["tumour_summary"]] if "tumours" in cohort else [])]
    times = np.unique(np.concatenate([table["time_h"].to_numpy() for table in tables]))
    scale, unit = (HOURS_PER_YEAR, "years") if times[-1] >= 1.5 * HOURS_PER_YEAR else (HOURS_PER_DAY, "days")
    arms, options = about["arms"], {"steps": False, "log": 0.0}
    charts = []
    for name, title, measure in PANELS:
        lines = _spread(prepare_marker(markers, name), times, arms, _quantiles)
        charts.append(_chart(title, measure, lines, zero=name in ("ctx", "ntx", "p1np"), **options))
    for name, title, measure, factor in TUMOUR_PANELS if "tumours" in cohort else ():
        table = cohort["tumour_summary"]
        held = table[table["quantity"] == name].set_index("time_h")

        def find(part: pd.DataFrame, factor: float = factor) -> pd.DataFrame:
            return factor * part[["low", "mean", "high"]].rename(columns={"mean": "main"})

        charts.append(_chart(title, measure, _spread(held, times, arms, find), zero=True, **options))
    regimens = {arm: describe_regimen((about["configuration"]["arms"].get(arm) or {}).get("regimen")) for arm in arms}
    return {"x": _list(times / scale), "unit": unit, "arms": list_arms(arms, regimens), "charts": charts, "fates": [],
            "columns": {}}  # fmt: skip
