"""The tables of a study: what became of its runs, means with intervals, noise apart from parameters, arms compared, indices.

Every table counts the runs behind each of its rows: planned, done, failed (tried three times) and missing (not run yet). All
intervals have 95 %.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from niche_sim.errors import InputError
from niche_sim.study import indices
from niche_sim.study.estimates import average_replicates, estimate_rows, find_interval, resample, square_error
from niche_sim.study.results import COUNTS, FAILED, StudyResults, count_runs, tell_counts
from niche_sim.study.trends import compare_ends

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
    top, bottom = average_replicates(above), average_replicates(below)
    ratio = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    spread = estimate_rows(above - ratio[:, None] * below)
    half = np.divide(spread["high"] - spread["mean"], bottom, out=np.full(len(top), np.nan), where=bottom > 0)
    return pd.DataFrame({"ratio": ratio, "ratio_low": ratio - half, "ratio_high": ratio + half})


def tabulate_contrasts(results: StudyResults) -> pd.DataFrame:
    """Return the difference and ratio of each arm to the reference, by point, over replicates of equal seed.

    Arms share every random draw, so differences are taken run by run; `values` is the number of such pairs. The ratio is one
    of means, NaN where the mean of the reference is not positive.
    """
    first = results.reference
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


ROUNDING = 1e-12  # a part of the variance that is smaller is none
SAMPLED = ("latin_hypercube", "sobol_sequence", "morris", "saltelli")
"""Designs whose points are a sample of a law; those of the others are just those points."""

# Noise apart from parameters ---------------------------------------------------------------------------------------------


def _components(counts: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the variance of points, of seeds and of what is left in each sample of points; shape (samples, 3)."""
    points, replicates = counts.sum(axis=1), y.shape[1]
    total = np.sum(counts @ y**2, axis=1)
    by_seed = counts @ y / points[:, None]
    mean = by_seed.mean(axis=1)
    correction = points * replicates * mean**2
    between = replicates * (counts @ y.mean(axis=1) ** 2) - correction
    seeds = points * (by_seed**2).sum(axis=1) - correction
    left = (total - correction - between - seeds) / ((points - 1) * (replicates - 1))
    of_points = (between / (points - 1) - left) / replicates
    of_seeds = (seeds / (replicates - 1) - left) / points
    parts = np.column_stack([of_points, of_seeds, left])
    return np.where(parts > ROUNDING * np.abs(parts).sum(axis=1, keepdims=True), parts, 0.0)


def split_variance(y: np.ndarray, cluster: np.ndarray | None = None, seed: int = 0) -> dict[str, float]:
    """Return how much of the variance between runs comes from parameters, and how much from chance.

    Replicate r has the same seed at every point, so a run is mean + point + seed + rest, all random (a crossed
    random-effects analysis of variance; estimates by the expected mean squares, none below 0). With replicates nested in
    points instead, chance that all points share would be taken off what parameters do.

    Parameters
    ----------
    y : ndarray, shape (points, replicates)
        Points that lack a replicate are left out and counted.
    cluster : ndarray of int, shape (points,), optional
        Points that hang together; the bootstrap draws these together. Each by itself if not given.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        variance_parameters; variance_seed, chance that all points share; variance_rest, chance of a run of its own;
        parameter_share of their sum with interval; points_complete. NaN with fewer than two replicates or complete points.
    """
    complete = np.isfinite(y).all(axis=1)
    held = y[complete]
    names = ("variance_parameters", "variance_seed", "variance_rest", "parameter_share", "share_low", "share_high")
    found: dict[str, float] = {**dict.fromkeys(names, np.nan), "points_complete": len(held)}
    if min(held.shape) < 2:
        return found
    held = held - held.mean()
    parts = _components(np.ones((1, len(held))), held)[0]
    found.update(zip(names, parts))
    total = float(parts.sum())
    if total > 0:
        groups = np.unique((np.arange(len(y)) if cluster is None else cluster)[complete], return_inverse=True)[1]
        samples = [_components(counts[:, groups], held) for counts in resample(groups.max() + 1, seed)]
        with np.errstate(invalid="ignore"):
            shares = [sample[:, :1] / sample.sum(axis=1, keepdims=True) for sample in samples]
        low, high = find_interval(shares, np.array([len(held)]))
        found.update(parameter_share=float(parts[0]) / total, share_low=float(low[0]), share_high=float(high[0]))
    return found


# Rows a response ---------------------------------------------------------------------------------------------------------


def _describe(results: StudyResults, endpoint: str, label: str, arms: tuple[str, ...]) -> dict[str, Any]:
    counts = count_runs(results.runs[results.runs["arm"].isin(arms)])
    return {"endpoint": endpoint, "unit": results.unit(endpoint), "response": label, **counts}


def average_points(
    y: np.ndarray, cluster: np.ndarray, rest: float, *, sampled: bool, own_seeds: bool
) -> dict[str, float]:
    """Return mean and standard deviation over points, and the interval of the mean.

    The variance of the mean is the sum of what choosing the points does (of clusters of points, where they are a sample) and
    of what the seeds do, which all points share: that between the means of the replicates. What is left, chance of each
    run, is in both, and is taken off once. The interval is Student's with the degrees of freedom of Satterthwaite (1946).
    With one replicate what seeds do is not known, and there is no interval.

    Parameters
    ----------
    y : ndarray, shape (points, replicates)
    cluster : ndarray of int, shape (points,)
        Points that were drawn together.
    rest : float
        The variance that is left, of `split_variance`; NaN if that is not known.
    sampled : bool
        Whether points are a sample of a law; if not, the mean is one over just these points.
    own_seeds : bool
        Whether points have seeds of their own, which is then part of how they differ.
    """
    mean = average_replicates(y)
    there, complete = np.isfinite(mean), np.isfinite(y).all(axis=1)
    over, replicates = estimate_rows(mean[None, :]).iloc[0], y.shape[1]
    groups = pd.Series(mean[there]).groupby(cluster[there]).mean().to_numpy()
    parts = []
    if (sampled or own_seeds) and len(groups) > 1:
        parts.append((square_error(groups[None, :])[0], len(groups) - 1))
    if not own_seeds:
        by_seed = y[complete].mean(axis=0) if complete.any() else np.full(replicates, np.nan)
        parts.append((square_error(by_seed[None, :])[0], replicates - 1))
    total, freedom = sum(part for part, _ in parts) if parts else np.nan, 1.0
    if total > 0:
        freedom = total**2 / sum(part**2 / number for part, number in parts)
        if len(parts) == 2 and np.isfinite(rest):
            total = max(total - rest / (complete.sum() * replicates), *(part for part, _ in parts))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(total)
    return {
        "points": int(over["values"]), "mean": over["mean"], "sd": over["sd"], "low": over["mean"] - half,
        "high": over["mean"] + half,
    }  # fmt: skip


def tabulate_responses(results: StudyResults) -> pd.DataFrame:
    """Return mean over points with interval, and the split of the variance, of each endpoint by arm and by difference."""
    rows, kind = [], results.study.design.kind
    for endpoint in results.endpoints:
        for label, arms in results.responses.items():
            y, cluster = results.response(endpoint, label), results.cluster
            if kind not in ("morris", "saltelli"):  # of which trajectories and blocks count, not points
                once = results.distinct(label)
                y, cluster = y[once], cluster[once]
            own = results.own_seeds
            split = split_variance(y[:, :1] if own else y, cluster, results.study.design.seed)
            means = average_points(y, cluster, split["variance_rest"], sampled=kind in SAMPLED, own_seeds=own)
            rows.append({**_describe(results, endpoint, label, arms), **means, **split})
    return pd.DataFrame(rows).astype({"points": int, "points_complete": int})


def tabulate_indices(results: StudyResults) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the tables of indices that the design allows, and why one is not there.

    Morris of trajectories, sobol of a Saltelli design; prcc and tornado of points that were drawn independently. A row an
    endpoint, response (an arm, or the difference of two) and factor.
    """
    design, x = results.study.design, results.matrix()
    parts: dict[str, list[pd.DataFrame]] = {}
    words = ", ".join(name for name, known in zip(results.factors, results.ordered) if not known)
    notes = [f"{words}: words have no order, so that rank correlations and tornado leave them out."] if words else []
    if results.study.replicates == 1 and not results.own_seeds:
        notes.append("All points have one seed: what it does to all alike is not known, so that means have no interval.")
    for endpoint in results.endpoints:
        for label, arms in results.responses.items():
            y, ordered = results.response(endpoint, label), results.ordered & results.reach(label)
            apart = results.independent & results.distinct(label)
            if not np.isfinite(y).any():
                notes.append(f"{endpoint}, {label}: no run has a value.")
            found = {}
            if apart.any() and ordered.any():
                found["tornado"] = _write_ends(results, _spread_out(compare_ends(x[apart][:, ordered], y[apart]), ordered))
            if design.kind == "morris":
                found["morris"] = indices.screen(x, y, design.levels, design.seed)
            elif design.kind == "saltelli":
                found["sobol"] = indices.decompose(x, y, design.seed, design.second_order)
            if np.isfinite(y[apart]).any() and ordered.any():
                try:
                    found["prcc"] = _spread_out(indices.correlate_ranks(x[apart][:, ordered], y[apart]), ordered)
                except InputError as error:
                    notes.append(f"{endpoint}, {label}: {error}.")
            about = _describe(results, endpoint, label, arms)
            for name, table in found.items():
                parts.setdefault(name, []).append(_lead(table, about, factor=results.factors))
            if design.kind == "saltelli" and design.second_order:
                pairs = indices.decompose_pairs(x, y, design.seed)
                names = {place: [results.factors[number] for number in pairs.pop(place)] for place in ("one", "other")}
                parts.setdefault("sobol_pairs", []).append(_lead(pairs, about, **names))
    return {name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}, notes


def _spread_out(table: pd.DataFrame, ordered: np.ndarray) -> pd.DataFrame:
    """Return a table of the ordered factors with empty rows for the others."""
    return table.set_index(np.flatnonzero(ordered)).reindex(range(len(ordered))).fillna({"points": 0})


def _write_ends(results: StudyResults, table: pd.DataFrame) -> pd.DataFrame:
    """Return a tornado with both ends of each factor as texts too: a word, or a number with its unit."""
    held = [(results.find_words(factor.name), factor.unit) for factor in results.study.factors]
    texts = {
        f"end_{end}": [
            "" if np.isnan(value) else words.get(value, f"{value:.6g} {unit}".rstrip())
            for (words, unit), value in zip(held, table[f"value_{end}"].tolist())
        ]
        for end in ("low", "high")
    }
    return table.assign(**texts)


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


def summarise(results: StudyResults) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return all tables of a study by name, and notes on what could not be computed.

    Raises
    ------
    InputError
        No run is done yet.
    """
    counts = count_runs(results.runs)
    if not counts["done"]:
        raise InputError(f"there is nothing to summarise yet: {tell_counts(counts)}")
    tables, notes = tabulate_indices(results)
    tables = {
        "runs": tabulate_runs(results), "failures": list_failures(results),
        "responses": tabulate_responses(results), **tables, "points": tabulate_points(results),
        "contrasts": tabulate_contrasts(results),
    }  # fmt: skip
    return {name: table for name, table in tables.items() if len(table) or name == "failures"}, notes
