"""Statistics of a trial from a table of time, event and arm.

Survival is Kaplan and Meier's with Greenwood's variance and log-log limits (scipy.stats.ecdf); arms are compared by the
log-rank test (scipy.stats.logrank) and by Cox's proportional hazards with Efron's treatment of ties (lifelines). The
restricted mean is the area under the curve up to a horizon.
"""

import csv
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from niche_sim.errors import InputError

COLUMNS = ("time", "event", "arm")
MOST_BYTES = 200 << 20
NORMAL_95 = 1.959963984540054


def _fail(path: Path, line: int | None, message: str) -> InputError:
    return InputError(f"{path}{'' if line is None else f':{line}'}: {message}")


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return each row of a file with the number of its line."""
    try:
        if not path.is_file():
            raise _fail(path, None, "no such file" if not path.exists() else "is not a plain file; expected a CSV file")
        if path.stat().st_size > MOST_BYTES:
            raise _fail(path, None, f"has more than {MOST_BYTES:,} bytes")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = list(reader.fieldnames or [])
            missing = [name for name in COLUMNS if name not in names]
            if missing:
                there = f"; the first line has {', '.join(names)}" if names else "; the file is empty"
                raise _fail(path, 1, f"no column {', '.join(missing)}: expected time,event,arm{there}")
            if any(names.count(name) > 1 for name in COLUMNS):
                raise _fail(path, 1, "a column is there twice")
            return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError:
        raise _fail(path, None, "not UTF-8; save the file as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise _fail(path, None, f"cannot be read: {error}") from None


def read_trial(path: Path) -> pd.DataFrame:
    """Return the columns time, event and arm of a CSV file, one row a patient.

    Raises
    ------
    InputError
        With the line: a column is missing, a time is negative or no number, an event is not 0 or 1, an arm has no name.
    """
    path = Path(path)
    rows = []
    for line, row in _read_rows(path):
        try:
            time = float(row["time"])
        except (TypeError, ValueError):
            time = math.nan
        if not 0 <= time < math.inf:
            raise _fail(path, line, f"time: expected a number of at least 0, not '{row['time']}'")
        if row["event"] not in ("0", "1"):
            raise _fail(path, line, f"event: expected 1 (it happened) or 0 (censored), not '{row['event']}'")
        if not (row["arm"] or "").strip():
            raise _fail(path, line, "arm: expected the name of an arm")
        rows.append((time, int(row["event"]), row["arm"].strip()))
    if not rows:
        raise _fail(path, None, "holds no patient")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def estimate_survival(time: np.ndarray, event: np.ndarray) -> pd.DataFrame:
    """Return survival at each time at which something happened, with Greenwood's standard error and 95 % log-log limits."""
    data = stats.CensoredData(uncensored=time[event == 1], right=time[event == 0])
    times = np.unique(time)
    died = np.array([np.count_nonzero((time == t) & (event == 1)) for t in times])
    at_risk = np.array([np.count_nonzero(time >= t) for t in times])
    curve = stats.ecdf(data).sf
    survival = curve.evaluate(times)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(died / (at_risk * (at_risk - died)))
        error = np.where(survival > 0, survival * np.sqrt(greenwood), np.nan)
        spread = np.sqrt(greenwood) / np.log(survival)
        low, high = survival ** np.exp(-NORMAL_95 * spread), survival ** np.exp(NORMAL_95 * spread)
    known = (survival > 0) & (survival < 1)
    return pd.DataFrame({
        "time": times, "at_risk": at_risk, "events": died,
        "censored": [np.count_nonzero((time == t) & (event == 0)) for t in times], "survival": survival,
        "standard_error": error, "lower_95": np.where(known, low, np.nan), "upper_95": np.where(known, high, np.nan),
    })  # fmt: skip


def _first_at_most(times: np.ndarray, values: np.ndarray, level: float) -> float:
    below = np.flatnonzero(values <= level)
    return float(times[below[0]]) if len(below) else math.nan


def find_restricted_mean(curve: pd.DataFrame, horizon: float) -> tuple[float, float]:
    """Return the area under a survival curve up to a horizon and its standard error (Klein and Moeschberger 2003, 4.5)."""
    times, survival = curve["time"].to_numpy(), curve["survival"].to_numpy()
    inside = times < horizon
    edges = np.concatenate([[0.0], times[inside], [horizon]])
    heights = np.concatenate([[1.0], survival[inside]])
    areas = heights * np.diff(edges)
    after = areas[::-1].cumsum()[::-1][1:]  # area from each time to the horizon
    died, at_risk = curve["events"].to_numpy()[inside], curve["at_risk"].to_numpy()[inside]
    left = at_risk > died
    variance = float((after[left] ** 2 * died[left] / (at_risk[left] * (at_risk[left] - died[left]))).sum())
    return float(areas.sum()), math.sqrt(variance)


def _describe_arm(name: str, curve: pd.DataFrame, horizon: float) -> dict[str, Any]:
    times = curve["time"].to_numpy()
    mean, error = find_restricted_mean(curve, horizon)
    return {
        "arm": name, "patients": int(curve["at_risk"].iloc[0]), "events": int(curve["events"].sum()),
        "median": _first_at_most(times, curve["survival"].to_numpy(), 0.5),
        "median_lower_95": _first_at_most(times, curve["lower_95"].to_numpy(), 0.5),
        "median_upper_95": _first_at_most(times, curve["upper_95"].to_numpy(), 0.5),
        "restricted_mean": mean, "restricted_mean_standard_error": error, "horizon": horizon,
    }  # fmt: skip


def fit_cox(frame: pd.DataFrame, arm: str) -> dict[str, float]:
    """Return the log hazard ratio of `arm` against the other, with standard error, limits and p (Efron's ties).

    Raises
    ------
    InputError
        lifelines is not installed, or the ratio does not exist: no event in one arm.
    """
    try:
        from lifelines import CoxPHFitter
        from lifelines.exceptions import ConvergenceError, ConvergenceWarning
    except ImportError:
        raise InputError('hazard ratios need lifelines: pip install "niche_sim[trials]", or give --no-cox') from None
    if frame.loc[frame["arm"] == arm, "event"].sum() == 0 or frame.loc[frame["arm"] != arm, "event"].sum() == 0:
        raise InputError(f"arm '{arm}': there is no hazard ratio where one arm has no event; give --no-cox")
    data = pd.DataFrame({"time": frame["time"], "event": frame["event"], "arm": (frame["arm"] == arm).astype(float)})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)  # of a ratio that runs off to nothing or to infinity
            fit = CoxPHFitter().fit(data, "time", "event", fit_options={"precision": 1e-12})
    except (ConvergenceError, ConvergenceWarning):
        message = "there is no finite hazard ratio: the arms do not overlap in time"
        raise InputError(f"arm '{arm}': {message}; give --no-cox") from None
    row = fit.summary.loc["arm"]
    return {
        "hazard_ratio": float(np.exp(row["coef"])), "lower_95": float(np.exp(row["coef"] - NORMAL_95 * row["se(coef)"])),
        "upper_95": float(np.exp(row["coef"] + NORMAL_95 * row["se(coef)"])), "log_hazard_ratio": float(row["coef"]),
        "standard_error": float(row["se(coef)"]), "p": float(row["p"]),
    }  # fmt: skip


def _compare(frame: pd.DataFrame, arm: str, reference: str, cox: bool) -> dict[str, Any]:
    pair = frame[frame["arm"].isin([arm, reference])]
    groups = [pair[pair["arm"] == name] for name in (reference, arm)]
    data = [stats.CensoredData(uncensored=g["time"][g["event"] == 1], right=g["time"][g["event"] == 0]) for g in groups]
    tested = stats.logrank(data[0], data[1])
    row = {"arm": arm, "reference": reference, "logrank_chi2": float(tested.statistic**2), "logrank_p": float(tested.pvalue)}
    return row | (fit_cox(pair, arm) if cox else {})


def analyse(
    frame: pd.DataFrame, reference: str | None = None, horizon: float | None = None, cox: bool = True
) -> dict[str, pd.DataFrame]:
    """Return the tables survival (by arm and time), arms, and comparison (each arm against the reference).

    Parameters
    ----------
    frame : DataFrame
        Columns time, event (0 or 1) and arm.
    reference : str, optional
        The arm that others are compared with; the first of the file by default.
    horizon : float, optional
        Of the restricted mean; by default the shortest of the longest times of the arms.
    cox : bool
        Whether to estimate hazard ratios.

    Raises
    ------
    InputError
        An unknown reference, a horizon outside the data, or no hazard ratio.
    """
    if not frame["event"].any():
        raise InputError("no event happened in any arm: there is nothing to estimate")
    names = list(dict.fromkeys(frame["arm"]))
    reference = names[0] if reference is None else reference
    if reference not in names:
        raise InputError(f"--reference: no arm '{reference}'; there is {', '.join(names)}")
    longest = float(frame.groupby("arm")["time"].max().min())
    horizon = longest if horizon is None else horizon
    if not 0 < horizon <= longest:
        raise InputError(f"--horizon: {horizon:g} is not above 0 and at most {longest:g}, where an arm is last seen")
    curves = {
        name: estimate_survival(rows["time"].to_numpy(), rows["event"].to_numpy())
        for name, rows in frame.groupby("arm", sort=False)
    }
    survival = pd.concat([curve.assign(arm=name) for name, curve in curves.items()], ignore_index=True)
    survival = survival[["arm", *[column for column in survival if column != "arm"]]]
    arms = pd.DataFrame([_describe_arm(str(name), curve, horizon) for name, curve in curves.items()])
    others = [name for name in names if name != reference]
    return {
        "survival": survival, "arms": arms,
        "comparison": pd.DataFrame([_compare(frame, name, reference, cox) for name in others]),
    }  # fmt: skip
