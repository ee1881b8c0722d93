"""The tables of a study: what became of its runs, means with intervals, noise apart from parameters, arms compared, indices.

Every table counts the runs behind each of its rows: planned, done, failed (tried three times) and missing (not run yet). All
intervals have 95 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from niche_sim.errors import InputError
from niche_sim.store.tables import unit_of
from niche_sim.study import indices
from niche_sim.study.indices import estimate_rows

DONE, FAILED, MISSING = "done", "failed", "missing"
COUNTS = ("planned", "done", "failed", "missing")
RANKED = ("table", "grid", "latin_hypercube", "sobol_sequence")  # designs whose points can be taken as independent


@dataclass(frozen=True)
class StudyResults:
    """A study with what it has computed so far.

    Attributes
    ----------
    study : Study
    design : DataFrame
        A row a point: point, each factor as a file writes it, and `<factor>.value`.
    runs : DataFrame
        A row a planned run: point, replicate, arm, key, status (done, failed, missing), error, and each endpoint.
    """

    study: Any
    design: pd.DataFrame
    runs: pd.DataFrame

    @property
    def endpoints(self) -> list[str]:
        """Names of the endpoints, in their order."""
        return [endpoint.name for endpoint in self.study.endpoints]

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in their order."""
        return list(self.study.arms)

    @property
    def factors(self) -> list[str]:
        """Names of the factors that vary, in their order."""
        return [factor.name for factor in self.study.factors]

    def values(self, factor: str) -> np.ndarray:
        """Return a factor at each point (its unit), or the number of its choice where these are no numbers."""
        found = pd.to_numeric(self.design[f"{factor}.value"], errors="coerce").to_numpy(float)
        if np.isfinite(found).all():
            return found
        return pd.factorize(self.design[factor])[0].astype(float)

    def matrix(self) -> np.ndarray:
        """Return all factors at all points, shape (points, factors)."""
        return np.column_stack([self.values(name) for name in self.factors])

    def unit(self, endpoint: str) -> str:
        """Return the unit of an endpoint: that of its column, hours for a time of first crossing."""
        about = next(held for held in self.study.endpoints if held.name == endpoint)
        return "h" if str(about.take).startswith("first") else unit_of(about.column)

    def response(self, endpoint: str, arm: str) -> np.ndarray:
        """Return an endpoint of an arm, shape (points, replicates), NaN where a run failed, is missing or has no value."""
        held = self.runs[(self.runs["arm"] == arm) & (self.runs["status"] == DONE)]
        found = np.full((len(self.design), int(self.study.replicates)), np.nan)
        place = np.searchsorted(self.design["point"], held["point"])
        values = held[endpoint].to_numpy(float)
        found[place, held["replicate"].to_numpy(int)] = np.where(np.isfinite(values), values, np.nan)
        return found


def match_runs(planned: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row a planned run with what was found of it; equal keys are one run, computed once and shared.

    Parameters
    ----------
    planned : DataFrame
        point, replicate, arm, key of every run of the study.
    rows : DataFrame
        key, status, error and endpoints of the runs that have been computed.
    """
    held = rows.drop(columns=["point", "replicate", "arm", "number"], errors="ignore").drop_duplicates("key")
    runs = planned.merge(held, on="key", how="left")
    runs["status"] = runs["status"].fillna(MISSING)
    return runs


def count_runs(runs: pd.DataFrame) -> dict[str, int]:
    """Return how many runs are planned, done, failed and missing."""
    found = runs["status"].value_counts()
    return {"planned": len(runs), **{name: int(found.get(name, 0)) for name in COUNTS[1:]}}


def tell_counts(counts: Mapping[str, int]) -> str:
    """Return the counts of runs in words."""
    lost = "".join(f", {counts[name]:,} {name}" for name in (FAILED, MISSING) if counts[name])
    return f"{counts['planned']:,} runs planned, {counts['done']:,} done{lost or ', none failed'}"


def find_reference(results: StudyResults, reference: str | None) -> str:
    """Return the arm that others are compared with, the first by default.

    Raises
    ------
    InputError
        There is no such arm.
    """
    if reference is not None and reference not in results.arms:
        raise InputError(f"--reference: no arm '{reference}'; there is {', '.join(results.arms)}")
    return reference or results.arms[0]


def list_responses(results: StudyResults, endpoint: str, reference: str | None = None) -> dict[str, tuple[str, ...]]:
    """Return what is analysed of an endpoint: each arm, and each other arm less the reference; by label the arms in it."""
    first = find_reference(results, reference)
    others = [arm for arm in results.arms if arm != first]
    return {**{arm: (arm,) for arm in results.arms}, **{f"{arm} − {first}": (arm, first) for arm in others}}


def read_response(results: StudyResults, endpoint: str, arms: tuple[str, ...]) -> np.ndarray:
    """Return an endpoint of an arm, or the matched difference of two (same point, same seed); shape (points, replicates)."""
    found = [results.response(endpoint, arm) for arm in arms]
    return found[0] if len(found) == 1 else found[0] - found[1]


# Rows a point ------------------------------------------------------------------------------------------------------------


def _count_by_point(results: StudyResults, arms: tuple[str, ...]) -> pd.DataFrame:
    """Return the counts of runs of these arms together at each point."""
    held = results.runs[results.runs["arm"].isin(arms)]
    table = pd.crosstab(held["point"], held["status"]).reindex(results.design["point"], fill_value=0)
    table = table.reindex(columns=list(COUNTS[1:]), fill_value=0)
    table.insert(0, "planned", table.sum(axis=1))
    return table.reset_index(drop=True)


def tabulate_points(results: StudyResults) -> pd.DataFrame:
    """Return mean, standard deviation over replicates and interval of each endpoint, by point and arm.

    `values` is the number of runs the mean rests on; a run that is done may have none (a time of what never happened).
    """
    parts = []
    for endpoint in results.endpoints:
        for arm in results.arms:
            estimate = estimate_rows(results.response(endpoint, arm))
            head = _head(results, endpoint, arm=arm)
            parts.append(pd.concat([results.design, head, _count_by_point(results, (arm,)), estimate], axis=1))
    return pd.concat(parts, ignore_index=True)


def _head(results: StudyResults, endpoint: str, **names: str) -> pd.DataFrame:
    rows = range(len(results.design))
    return pd.DataFrame({**names, "endpoint": endpoint, "unit": results.unit(endpoint)}, index=rows)


def _estimate_ratio(treated: np.ndarray, control: np.ndarray) -> pd.DataFrame:
    """Return the ratio of means over matched replicates, its interval by the delta method with their covariance."""
    matched = np.isfinite(treated) & np.isfinite(control)
    above, below = (np.where(matched, values, np.nan) for values in (treated, control))
    top, bottom = indices.average_replicates(above), indices.average_replicates(below)
    ratio = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    spread = estimate_rows(above - ratio[:, None] * below)
    half = np.divide(spread["high"] - spread["mean"], bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    return pd.DataFrame({"ratio": ratio, "ratio_low": ratio - half, "ratio_high": ratio + half})


def tabulate_contrasts(results: StudyResults, reference: str | None = None) -> pd.DataFrame:
    """Return the difference and ratio of each arm to the reference, by point, over replicates of equal seed.

    Arms share every random draw, so differences are taken run by run; `values` is the number of such pairs. The ratio is one
    of means, NaN where the mean of the reference is not positive.
    """
    first = find_reference(results, reference)
    parts = []
    for endpoint in results.endpoints:
        control = results.response(endpoint, first)
        for arm in (name for name in results.arms if name != first):
            treated = results.response(endpoint, arm)
            estimate = estimate_rows(treated - control).rename(columns={"mean": "difference"})
            head = _head(results, endpoint, arm=arm, reference=first)
            counts = _count_by_point(results, (arm, first))
            parts.append(pd.concat([results.design, head, counts, estimate, _estimate_ratio(treated, control)], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


# Noise apart from parameters ---------------------------------------------------------------------------------------------


def _components(counts: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the variance of points, of seeds and of what is left in each sample of points; shape (samples, 3)."""
    points, replicates = y.shape
    total = np.sum(counts @ y**2, axis=1)
    by_seed = counts @ y / points
    mean = by_seed.mean(axis=1)
    correction = points * replicates * mean**2
    between = replicates * (counts @ y.mean(axis=1) ** 2) - correction
    seeds = points * (by_seed**2).sum(axis=1) - correction
    left = (total - correction - between - seeds) / ((points - 1) * (replicates - 1))
    of_points = (between / (points - 1) - left) / replicates
    of_seeds = (seeds / (replicates - 1) - left) / points
    return np.asarray(np.maximum(np.column_stack([of_points, of_seeds, left]), 0.0))


def split_variance(y: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return how much of the variance between runs comes from parameters, and how much from chance.

    Replicate r has the same seed at every point, so a run is mean + point + seed + rest, all random (a crossed
    random-effects analysis of variance; estimates by the expected mean squares, none below 0). With replicates nested in
    points instead, chance that all points share would be taken off what parameters do.

    Parameters
    ----------
    y : ndarray, shape (points, replicates)
        Points that lack a replicate are left out and counted.
    seed : int
        Of the bootstrap over points.

    Returns
    -------
    dict
        variance_parameters; variance_seed, chance that all points share; variance_rest, chance of a run of its own;
        parameter_share of their sum with interval; points_complete. NaN with fewer than two replicates or complete points.
    """
    held = y[np.isfinite(y).all(axis=1)]
    names = ("variance_parameters", "variance_seed", "variance_rest", "parameter_share", "share_low", "share_high")
    found: dict[str, float] = {**dict.fromkeys(names, np.nan), "points_complete": len(held)}
    if min(held.shape) < 2:
        return found
    held = held - held.mean()
    parts = _components(np.ones((1, len(held))), held)[0]
    found.update(zip(names, parts))
    total = float(parts.sum())
    if total > 0:
        samples = [_components(counts, held) for counts in indices.resample(len(held), seed)]
        with np.errstate(invalid="ignore"):
            shares = [sample[:, :1] / sample.sum(axis=1, keepdims=True) for sample in samples]
        low, high = indices.find_interval(shares, np.array([len(held)]))
        found.update(parameter_share=float(parts[0]) / total, share_low=float(low[0]), share_high=float(high[0]))
    return found


# Rows a response ---------------------------------------------------------------------------------------------------------


def _describe(results: StudyResults, endpoint: str, label: str, arms: tuple[str, ...]) -> dict[str, Any]:
    counts = count_runs(results.runs[results.runs["arm"].isin(arms)])
    return {"endpoint": endpoint, "unit": results.unit(endpoint), "response": label, **counts}


def tabulate_responses(results: StudyResults, reference: str | None = None) -> pd.DataFrame:
    """Return mean over points with interval, and the split of the variance, of each endpoint by arm and by difference."""
    rows = []
    for endpoint in results.endpoints:
        for label, arms in list_responses(results, endpoint, reference).items():
            y = read_response(results, endpoint, arms)
            over = estimate_rows(indices.average_replicates(y)[None, :]).rename(columns={"values": "points"}).iloc[0]
            split = split_variance(y, results.study.design.seed)
            rows.append({**_describe(results, endpoint, label, arms), **over, **split})
    return pd.DataFrame(rows).astype({"points": int, "points_complete": int})


def tabulate_indices(results: StudyResults, reference: str | None = None) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the tables of indices that the design allows (morris, sobol, prcc; always tornado), and why one is not there.

    A row an endpoint, response (an arm, or the difference of two) and factor.
    """
    design, x = results.study.design, results.matrix()
    parts: dict[str, list[pd.DataFrame]] = {}
    notes: list[str] = []
    for endpoint in results.endpoints:
        for label, arms in list_responses(results, endpoint, reference).items():
            y = read_response(results, endpoint, arms)
            found = {"tornado": indices.compare_ends(x, y)}
            if design.kind == "morris":
                found["morris"] = indices.screen(x, y, design.levels, design.seed)
            elif design.kind == "saltelli":
                found["sobol"] = indices.decompose(x, y, design.seed, design.second_order)
            elif design.kind in RANKED:
                try:
                    found["prcc"] = indices.correlate_ranks(x, y)
                except InputError as error:
                    notes.append(f"{endpoint}, {label}: {error}")
            about = _describe(results, endpoint, label, arms)
            for name, table in found.items():
                parts.setdefault(name, []).append(_lead(table, about, factor=results.factors))
            if design.kind == "saltelli" and design.second_order:
                pairs = indices.decompose_pairs(x, y, design.seed)
                names = {place: [results.factors[number] for number in pairs.pop(place)] for place in ("one", "other")}
                parts.setdefault("sobol_pairs", []).append(_lead(pairs, about, **names))
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}, notes


def _lead(table: pd.DataFrame, about: Mapping[str, Any], **named: Sequence[str]) -> pd.DataFrame:
    """Put what a table is about, the names of factors and the counts of runs before its columns."""
    names = {name: about[name] for name in ("endpoint", "unit", "response")}
    head = pd.DataFrame({**names, **named, **{name: about[name] for name in COUNTS}})
    return pd.concat([head, table], axis=1)


def tabulate_runs(results: StudyResults) -> pd.DataFrame:
    """Return the counts of runs by arm."""
    return pd.DataFrame([{"arm": arm, **count_runs(results.runs[results.runs["arm"] == arm])} for arm in results.arms])


def list_failures(results: StudyResults) -> pd.DataFrame:
    """Return the runs that failed, with their errors and factors."""
    failed = results.runs[results.runs["status"] == FAILED]
    names = ["point", "replicate", "arm", "key", "error"]
    return failed[names].merge(results.design[["point", *results.factors]], on="point", how="left")


def summarise(results: StudyResults, reference: str | None = None) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return all tables of a study by name, and notes on what could not be computed.

    Raises
    ------
    InputError
        No run is done yet, or the reference is no arm.
    """
    find_reference(results, reference)
    counts = count_runs(results.runs)
    if not counts["done"]:
        raise InputError(f"there is nothing to summarise yet: {tell_counts(counts)}")
    tables, notes = tabulate_indices(results, reference)
    tables = {
        "runs": tabulate_runs(results), "failures": list_failures(results),
        "responses": tabulate_responses(results, reference), **tables, "points": tabulate_points(results),
        "contrasts": tabulate_contrasts(results, reference),
    }  # fmt: skip
    return {name: table for name, table in tables.items() if len(table) or name == "failures"}, notes
