"""Indices of global sensitivity, from the values of factors and a response at the points of a design.

A response is an array of points by replicates. A run that failed or is missing is NaN in it: only what needs that run is
left out, and each table says how many values it rests on. Replicates share their seeds between points (common random
numbers), so differences between points are taken replicate by replicate and averaged after that. Intervals have 95 %.
"""

import numpy as np
import pandas as pd
from scipy import stats

from niche_sim.bootstrap import average
from niche_sim.errors import InputError
from niche_sim.study.estimates import average_replicates, find_interval, mean_there, resample, square_error

NORMAL_95 = 1.959963984540054


# Morris ------------------------------------------------------------------------------------------------------------------


def _find_effects(x: np.ndarray, y: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the elementary effects and their squared errors, each of shape (trajectories, factors)."""
    factors = x.shape[1]
    length = factors + 1
    if len(x) == 0 or len(x) % length:
        raise InputError(f"Morris: {len(x)} points are no whole trajectories of {length}; the design has been changed")
    delta = levels / (2.0 * (levels - 1.0))
    start = np.arange(len(x)).reshape(-1, length)[:, :-1].ravel()
    change = x[start + 1] - x[start]
    if (np.count_nonzero(change, axis=1) > 1).any():
        raise InputError("Morris: two factors change in one step; the design has been changed")
    moved = np.flatnonzero(change.any(axis=1))  # rounding may leave a factor where it was
    factor = np.abs(change[moved]).argmax(axis=1)
    difference = y[start[moved] + 1] - y[start[moved]]
    sign = np.sign(change[moved, factor])
    effects = np.full((len(x) // length, factors), np.nan)
    errors = effects.copy()
    effects[moved // factors, factor] = sign * average_replicates(difference) / delta
    errors[moved // factors, factor] = square_error(difference) / delta**2
    return effects, errors


def _spread(counts: np.ndarray, effects: np.ndarray) -> np.ndarray:
    mean, square = average(counts, effects), average(counts, effects**2)
    number = counts @ np.isfinite(effects)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(np.maximum(square - mean**2, 0.0) * number / (number - 1.0))


def screen(x: np.ndarray, y: np.ndarray, levels: int, seed: int = 0) -> pd.DataFrame:
    """Return Morris' mean, mean of sizes and standard deviation of the elementary effects of each factor.

    An elementary effect is the change of the response when one factor moves by delta = levels / (2 (levels - 1)) of its
    range, over delta: the change over the whole range, were the response linear (Morris 1991; mu* of Campolongo et al.
    2007).

    Parameters
    ----------
    x : ndarray, shape (points, factors)
        Whole trajectories of factors + 1 points, in order.
    y : ndarray, shape (points, replicates)
    levels : int
        Of the grid that the trajectories step on.
    seed : int
        Of the bootstrap over trajectories.

    Returns
    -------
    DataFrame
        A row a factor: mu, mu_star and sigma with intervals; noise, the mu_star that replicates alone give a factor without
        effect (a normal mean of sizes, NaN with one replicate); effects, how many there are, of effects_planned.

    Raises
    ------
    InputError
        The points are no trajectories.
    """
    effects, errors = _find_effects(x, y, levels)
    once = np.ones((1, len(effects)))
    used = np.isfinite(effects).sum(axis=0)
    stars, sigmas = [], []
    for counts in resample(len(effects), seed):
        stars.append(average(counts, np.abs(effects)))
        sigmas.append(_spread(counts, effects))
    star_low, star_high = find_interval(stars, used)
    sigma_low, sigma_high = find_interval(sigmas, used)
    noise = [np.sqrt(2.0 / np.pi * mean_there(column)) for column in errors.T]
    return pd.DataFrame({
        "mu": average(once, effects)[0], "mu_star": average(once, np.abs(effects))[0], "mu_star_low": star_low,
        "mu_star_high": star_high, "sigma": _spread(once, effects)[0], "sigma_low": sigma_low, "sigma_high": sigma_high,
        "noise": noise, "effects": used, "effects_planned": len(effects),
    })  # fmt: skip


# Sobol -------------------------------------------------------------------------------------------------------------------


def _split_blocks(x: np.ndarray, second_order: bool) -> int:
    """Return the number of points in a block of Saltelli's design after checking that it is one.

    A block is A, A with factor i of B for each i (then B with factor i of A, for second order), B.
    """
    factors = x.shape[1]
    width = 2 * factors + 2 if second_order else factors + 2
    wrong = InputError("Sobol: the points are no blocks of Saltelli's design; the design has been changed")
    if len(x) == 0 or len(x) % width:
        raise wrong
    blocks = x.reshape(-1, width, factors)
    first, last = blocks[:, 0], blocks[:, -1]
    for i in range(factors):
        for number, base, other in ((1 + i, first, last), (1 + factors + i, last, first))[: 2 if second_order else 1]:
            mixed = base.copy()
            mixed[:, i] = other[:, i]
            if not np.array_equal(blocks[:, number], mixed):
                raise wrong
    return width


def _centre(y: np.ndarray, width: int) -> np.ndarray:
    """Return the mean responses by block, less their mean at A and B; shape (blocks, width)."""
    held = average_replicates(y).reshape(-1, width)
    return held - mean_there(held[:, [0, -1]].ravel())


def _estimate(
    counts: np.ndarray, a: np.ndarray, b: np.ndarray, ab: np.ndarray, ba: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first and total indices and the variance of the response in each sample of blocks."""
    both, values = np.hstack([counts, counts]), np.concatenate([a, b])[:, None]
    variance = average(both, values**2) - average(both, values) ** 2
    variance = np.where(variance > 0, variance, np.nan)
    first, total = b[:, None] * (ab - a[:, None]), (a[:, None] - ab) ** 2
    if ba is not None:  # the same with A and B exchanged
        counts = both
        first = np.concatenate([first, a[:, None] * (ba - b[:, None])])
        total = np.concatenate([total, (b[:, None] - ba) ** 2])
    return average(counts, first) / variance, average(counts, total) / (2.0 * variance), variance


def decompose(x: np.ndarray, y: np.ndarray, seed: int = 0, second_order: bool = False) -> pd.DataFrame:
    """Return first-order and total Sobol indices of each factor.

    The first order is by Saltelli et al. 2010 (their equation b of table 2), the total by Jansen 1999 (equation f); both of
    the mean over replicates; with second order, the mean of these and of the same with A and B exchanged. Sampling can
    take an index a little below 0 or above 1, which is shown as it is.

    Parameters
    ----------
    x : ndarray, shape (points, factors)
        Blocks of points: A, A with factor i of B for each i, B; before B also B with factor i of A if `second_order`.
    y : ndarray, shape (points, replicates)
    seed : int
        Of the bootstrap over blocks.
    second_order : bool

    Returns
    -------
    DataFrame
        A row a factor: first and total with intervals; noise, the part of total that is scatter between replicates (NaN with
        one replicate); blocks, how many were used, of blocks_planned.

    Raises
    ------
    InputError
        The points are no such blocks.
    """
    width = _split_blocks(x, second_order)
    held = _centre(y, width)
    a, b, ab = held[:, 0], held[:, -1], held[:, 1 : 1 + x.shape[1]]
    ba = held[:, 1 + x.shape[1] : -1] if second_order else None
    first, total, variance = _estimate(np.ones((1, len(held))), a, b, ab, ba)
    used = np.isfinite(b[:, None] * (ab - a[:, None])).sum(axis=0)
    firsts, totals = [], []
    for counts in resample(len(held), seed):
        one, all_orders, _ = _estimate(counts, a, b, ab, ba)
        firsts.append(one)
        totals.append(all_orders)
    (first_low, first_high), (total_low, total_high) = find_interval(firsts, used), find_interval(totals, used)
    cube = y.reshape(-1, width, y.shape[1])
    noise = [mean_there(square_error(cube[:, 1 + i] - cube[:, 0])) for i in range(x.shape[1])]
    return pd.DataFrame({
        "first": first[0], "first_low": first_low, "first_high": first_high, "total": total[0], "total_low": total_low,
        "total_high": total_high, "noise": np.array(noise) / (2.0 * variance[0]), "blocks": used,
        "blocks_planned": len(held),
    })  # fmt: skip


def decompose_pairs(x: np.ndarray, y: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Return the second-order Sobol index of each pair of factors: what they do together beyond what each does.

    By Saltelli 2002; as `decompose` with second order.

    Returns
    -------
    DataFrame
        A row a pair: one and other (numbers of factors), second with interval, blocks used, of blocks_planned.
    """
    factors = x.shape[1]
    held = _centre(y, _split_blocks(x, True))
    a, b, ab, ba = held[:, 0], held[:, -1], held[:, 1 : 1 + factors], held[:, 1 + factors : -1]
    one, other = np.triu_indices(factors, 1)
    product = 0.5 * (ba[:, one] * ab[:, other] + ba[:, other] * ab[:, one]) - (a * b)[:, None]

    def estimate(counts: np.ndarray) -> np.ndarray:
        first, _, variance = _estimate(counts, a, b, ab, ba)
        return average(counts, product) / variance - first[:, one] - first[:, other]

    used = np.isfinite(product).sum(axis=0)
    low, high = find_interval([estimate(counts) for counts in resample(len(held), seed)], used)
    second = estimate(np.ones((1, len(held))))[0]
    return pd.DataFrame({
        "one": one, "other": other, "second": second, "second_low": low, "second_high": high, "blocks": used,
        "blocks_planned": len(held),
    })  # fmt: skip


# Any design that fills its space -----------------------------------------------------------------------------------------


def _find_residuals(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return what linear regression on `others` leaves of each column."""
    return np.asarray(values - others @ np.linalg.lstsq(others, values, rcond=None)[0])


def correlate_ranks(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Return the partial rank correlation of the response with each factor, all other factors held.

    The correlation of what is left of the ranks of factor and response after linear regression on the ranks of all other
    factors (Marino et al. 2008). Its interval is Fisher's, with the variance 1.06 / (n - 3) of rank correlations
    (Fieller et al. 1957), n less one for each factor held.

    Parameters
    ----------
    x : ndarray, shape (points, factors)
    y : ndarray, shape (points, replicates)

    Returns
    -------
    DataFrame
        A row a factor: prcc, its interval, and the points used. NaN for a factor that does not vary by itself.

    Raises
    ------
    InputError
        There are too few points for the number of factors.
    """
    mean = average_replicates(y)
    used = np.isfinite(mean) & np.isfinite(x).all(axis=1)
    number, factors = int(used.sum()), x.shape[1]
    freedom = number - (factors - 1) - 3
    if freedom < 1:
        raise InputError(f"partial rank correlation: {factors} factors need {factors + 3} points or more, not {number}")
    ranks = stats.rankdata(np.column_stack([x[used], mean[used]]), axis=0)
    ranks = ranks - ranks.mean(axis=0)
    found = np.full(factors, np.nan)
    for i in range(factors):
        others = np.column_stack([np.ones(number), np.delete(ranks[:, :-1], i, axis=1)])
        mine, response = _find_residuals(ranks[:, [i, -1]], others).T
        size = np.linalg.norm(mine) * np.linalg.norm(response)
        if np.linalg.norm(mine) > 1e-9 * number**1.5 and np.linalg.norm(response) > 1e-9 * number**1.5:
            found[i] = np.clip(mine @ response / size, -1.0, 1.0)
    half = NORMAL_95 * np.sqrt(1.06 / freedom)
    with np.errstate(divide="ignore"):
        z = np.arctanh(found)
    return pd.DataFrame({"prcc": found, "low": np.tanh(z - half), "high": np.tanh(z + half), "points": number})
