"""The points of a study: what every factor is at each of them.

A sample of the unit cube, from scipy (Latin hypercube, Sobol sequence) or SALib (Morris, Saltelli), goes through the inverse
distribution function of each factor.
"""

import itertools
import math

import numpy as np
import pandas as pd
from scipy.stats import qmc

from niche_sim.config.problems import ConfigError, Problem
from niche_sim.errors import InputError, ResourceError
from niche_sim.plan import find_memory, write_size
from niche_sim.study.constraints import read_constraint, scale
from niche_sim.study.spec import Factor, Study
from niche_sim.study.table import read_table
from niche_sim.study.values import find_value, list_levels

MOST_VALUES = 10_000_000
"""Points times factors: a table of some gigabytes."""
MOST_RUNS = 10_000_000
POINT_BYTES, FACTOR_BYTES, PLANNED_BYTES = 400, 190, 1_400
"""Memory of the driver for a point, for each of its factors, and for a run that is planned: measured on 200,000 runs."""


def build_design(study: Study) -> pd.DataFrame:
    """Return the points of a study.

    The column `point` counts from 0; each factor has a column of texts as a file writes them, and a column ``NAME.value`` of
    floats in the unit of the factor (false is 0 and true 1; other words are their place in the list of values). The same
    study gives the same bytes.

    Raises
    ------
    ResourceError
        The design is larger than MOST_VALUES, MOST_RUNS or the memory; nothing has been allocated.
    InputError
        No point fulfils the constraints, or SALib is not installed.
    """
    check_size(study)
    if study.design.kind == "table":
        columns = read_table(study.design.table, study.factors)
    elif study.design.kind == "grid":
        columns = _cross(study)
    else:
        sample = sample_unit(study)
        columns = {f.name: [find_value(f, u) for u in sample[:, i]] for i, f in enumerate(study.factors)}
    frame = pd.DataFrame({"point": np.arange(len(next(iter(columns.values()))), dtype=np.int64)})
    for factor in study.factors:
        frame[factor.name] = pd.Series([text for text, _ in columns[factor.name]], dtype=object)
        frame[f"{factor.name}.value"] = np.array([value for _, value in columns[factor.name]], float)
    return _filter(study, frame)


def count_points(study: Study) -> int:
    """Return the number of points before constraints, by arithmetic alone; 0 of a table, which has as many as it has."""
    design, factors = study.design, len(study.factors)
    if design.kind == "table":
        return 0
    if design.kind == "grid":
        return math.prod(len(factor.values) or factor.levels for factor in study.factors)
    more = {"morris": factors + 1, "saltelli": (2 * factors if design.second_order else factors) + 2}
    return design.points * more.get(design.kind, 1)


def check_size(study: Study) -> None:
    """Refuse a design that is too large, before anything is allocated.

    Raises
    ------
    ResourceError
        It has more than MOST_VALUES values or MOST_RUNS runs, or its tables alone do not fit into the memory.
    """
    points = count_points(study)
    values, runs = points * len(study.factors), points * study.replicates * len(study.arms)
    if values > MOST_VALUES or runs > MOST_RUNS:
        each = f"{study.replicates} x {len(study.arms)}"
        raise ResourceError(
            f"{study.name}: the design has {points:,} points of {len(study.factors)} factors and {runs:,} runs "
            f"({each} a point); at most {MOST_VALUES:,} values and {MOST_RUNS:,} runs are possible. "
            "Take fewer `points` or `levels`"
        )
    need, there = forecast_tables(points, len(study.factors), points * study.replicates), find_memory()
    if need > there:
        raise ResourceError(
            f"{study.name}: the tables of {points:,} points need about {write_size(need)} of memory, {write_size(there)} "
            "are free. Take fewer `points` or `levels`"
        )


def forecast_tables(points: int, factors: int, planned: int) -> int:
    """Return the memory (bytes) of the design and of the index of planned runs, with what it takes to make them."""
    return points * (POINT_BYTES + FACTOR_BYTES * factors) + planned * PLANNED_BYTES


def sample_unit(study: Study) -> np.ndarray:
    """Return the sample behind a design that is drawn, shape (points before constraints, factors), from 0 to 1.

    Rows of `morris` and `saltelli` are in the order of SALib, which its analyses expect.
    """
    design, d = study.design, len(study.factors)
    if design.kind == "latin_hypercube":
        return qmc.LatinHypercube(d, rng=np.random.default_rng(design.seed)).random(design.points)
    if design.kind == "sobol_sequence":
        return qmc.Sobol(d, rng=np.random.default_rng(design.seed)).random(design.points)
    problem = {"num_vars": d, "names": [f.name for f in study.factors], "bounds": [[0.0, 1.0]] * d}
    try:
        from SALib.sample import morris, sobol  # seconds to import
    except ImportError:
        raise InputError(f"design.kind: {design.kind} needs SALib: pip install 'niche-sim[studies]'") from None
    if design.kind == "saltelli":
        return sobol.sample(problem, design.points, calc_second_order=design.second_order, seed=design.seed)
    found = morris.sample(problem, design.points, num_levels=design.levels, seed=design.seed)
    steps = design.levels - 1
    return np.round(found * steps) / steps  # sums of thirds end beside 1


def _cross(study: Study) -> dict[str, list[tuple[str, float]]]:
    """Return every combination of the values of all factors, the last factor fastest."""
    each = [list_levels(factor) for factor in study.factors]
    rows = list(itertools.product(*each))
    return {factor.name: [row[i] for row in rows] for i, factor in enumerate(study.factors)}


def _filter(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the points that fulfil the constraints, numbered anew."""
    units = list_units(study.factors)
    columns = {name: scale(frame[f"{name}.value"].to_numpy(), unit) for name, unit in units.items()}
    kept = np.ones(len(frame), bool)
    for text in study.constraints:
        kept &= read_constraint(text, units).holds(columns)
    if not kept.any():
        message = f"none of the {len(frame):,} points fulfils all constraints"
        raise ConfigError([Problem(study.name, None, None, "constraints", "range", message)])
    if kept.all():
        return frame
    frame = frame[kept].reset_index(drop=True)
    frame["point"] = np.arange(len(frame), dtype=np.int64)
    return frame


def list_units(factors: tuple[Factor, ...]) -> dict[str, str]:
    """Return the units of the factors whose values are numbers, by name."""
    return {factor.name: factor.unit for factor in factors if not math.isnan(factor.low)}
