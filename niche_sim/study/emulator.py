"""An emulator: a smooth surface through the results of a study, to explore between its points within milliseconds.

A Gaussian process with a Matern kernel (nu 5/2), a length for each factor, and a term for noise (Rasmussen and Williams
2006), by scikit-learn, on the means over replicates. It knows nothing beyond the ranges of the study, and its error is
measured on points that it was not shown.
"""

import difflib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from niche_sim.errors import InputError
from niche_sim.study.estimates import average_replicates
from niche_sim.study.results import StudyResults
from niche_sim.study.summary import split_variance
from niche_sim.units import convert

MOST_POINTS = 500  # more would take minutes; a random part of them is taken
FOLDS = 10
NORMAL_95 = 1.959963984540054
POOR_Q2 = 0.5


@dataclass(frozen=True)
class Emulator:
    """A trained emulator of one response of a study.

    Attributes
    ----------
    endpoint, unit, label : str
        The endpoint, its unit, and whose it is: an arm, or the difference of two.
    factors : tuple of str
    low, high : ndarray
        Ends of each factor (its unit) between which it was trained.
    log : ndarray of bool
        Whether a factor is taken by its logarithm.
    x, y : ndarray
        Points (factors from 0 to 1) and the means over replicates that it was trained on.
    shared : float
        Half the 95 % interval of what the seeds do to all points alike; NaN where all have one seed: it is not known.
    available : int
        Points with a response, of which those of `x` were taken.
    rmse, q2, coverage : float
        Of points left out in turn: root mean square error, 1 less its square over the variance, and the share of them inside
        their 95 % intervals.
    model : GaussianProcessRegressor
    """

    endpoint: str
    unit: str
    label: str
    factors: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    log: np.ndarray
    x: np.ndarray
    y: np.ndarray
    shared: float
    available: int
    rmse: float
    q2: float
    coverage: float
    model: Any

    def predict(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the mean response at points (factors in their units, shape (points, factors)) with its 95 % interval."""
        mean, deviation = _predict(self.model, _scale(values, self.low, self.high, self.log), noisy=False)
        half = np.hypot(NORMAL_95 * deviation, np.nan_to_num(self.shared))
        return mean, mean - half, mean + half

    def tell_error(self) -> str:
        """Return the error on points left out in words."""
        told = f"Of points left out: RMSE {self.rmse:.3g} {self.unit}, Q2 {self.q2:.3f}, "
        one = " All points have one seed: intervals are for this seed." if np.isnan(self.shared) else ""
        return f"{told}{100 * self.coverage:.0f} % inside their 95 % intervals.{one}"

    def middle(self) -> np.ndarray:
        """Return the middle of each factor, in its unit; the geometric one of a factor on a logarithmic scale."""
        logs = np.exp(0.5 * np.log(np.where(self.log, self.low * self.high, 1.0)))
        return np.asarray(np.where(self.log, logs, 0.5 * (self.low + self.high)))


def _scale(values: np.ndarray, low: np.ndarray, high: np.ndarray, log: np.ndarray) -> np.ndarray:
    """Return factors from 0 to 1."""

    def turn(held: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(log, np.log(np.where(log, held, 1.0)), held))

    return (turn(values) - turn(low)) / (turn(high) - turn(low))


def _predict(model: Any, x: np.ndarray, noisy: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, of a point as computed if `noisy`, else of the mean response there."""
    mean, deviation = model.predict(x, return_std=True)
    noise = 0.0 if noisy else model.kernel_.k2.noise_level * model._y_train_std**2
    return mean, np.sqrt(np.maximum(deviation**2 - noise, 0.0))


def _fit(x: np.ndarray, y: np.ndarray, kernel: Any = None, seed: int = 0) -> Any:
    """Return a process fitted by maximum likelihood, from `kernel` on if one is given, else from several starts."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
        from threadpoolctl import threadpool_limits  # which comes with scikit-learn
    except ImportError:
        raise InputError('an emulator needs scikit-learn: pip install "niche_sim[studies]"') from None
    starts = 0 if kernel is not None else 2
    if kernel is None:
        smooth = Matern(np.ones(x.shape[1]), (0.05, 100.0), nu=2.5)
        kernel = ConstantKernel(1.0, (1e-2, 1e3)) * smooth + WhiteKernel(0.1, (1e-6, 10.0))
    model = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=starts, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(1):  # threads of the BLAS wait for each other on matrices so small
        warnings.simplefilter("ignore", ConvergenceWarning)  # of a length at its bound: a factor that does nothing
        return model.fit(x, y)


def _cross_validate(x: np.ndarray, y: np.ndarray, model: Any, seed: int) -> tuple[float, float, float]:
    """Return RMSE, Q2 and coverage of points left out; the process is fitted anew without each fold."""
    fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
    mean, deviation = np.empty(len(y)), np.empty(len(y))
    for number in range(FOLDS):
        out = fold == number
        mean[out], deviation[out] = _predict(_fit(x[~out], y[~out], model.kernel_, seed), x[out], noisy=True)
    error = y - mean
    rmse = float(np.sqrt(np.mean(error**2)))
    return rmse, 1.0 - rmse**2 / float(y.var()), float(np.mean(np.abs(error) <= NORMAL_95 * deviation))


def count_needed(factors: int) -> int:
    """Return the least number of points an emulator is trained on; ten a factor are usual (Loeppky et al. 2009)."""
    return max(2 * FOLDS, 3 * factors)


def train(results: StudyResults, endpoint: str, label: str, seed: int = 0) -> Emulator:
    """Train an emulator of an endpoint of an arm, or of its difference to the reference, and measure its error.

    Raises
    ------
    InputError
        No such endpoint, too few points, a response or no factor that varies, or scikit-learn is not installed.
    """
    results.check_endpoint(endpoint)
    about, acting, response = f"{endpoint}, {label}", results.reach(label), results.response(endpoint, label)
    if not acting.any():
        raise InputError(f"{about}: no factor of this study acts on it; there is nothing to emulate")
    factors = [factor for factor, acts in zip(results.study.factors, acting) if acts]
    mean = np.where(results.distinct(label), average_replicates(response), np.nan)
    unordered = ", ".join(factor.name for factor, known in zip(factors, results.ordered[acting]) if not known)
    if unordered:
        raise InputError(f"{unordered}: words have no order; an emulator needs factors of numbers, or of two words")
    values = results.matrix()[:, acting]
    low, high = values.min(axis=0), values.max(axis=0)
    varies = high > low
    if not varies.any():
        raise InputError("no factor of this study varies; there is nothing to emulate")
    if not varies.all():
        fixed = ", ".join(factor.name for factor, moves in zip(factors, varies) if not moves)
        raise InputError(f"{fixed}: has one value at all points; an emulator needs factors that vary")
    log = np.array([factor.scale == "log" for factor in factors]) & (low > 0)
    there = np.flatnonzero(np.isfinite(mean))
    needed = count_needed(len(low))
    if len(there) < needed:
        raise InputError(f"{about}: {len(there)} points have a value; an emulator of {len(low)} factors needs {needed}")
    if mean[there].max() == mean[there].min():
        raise InputError(f"{about}: is {mean[there][0]:g} at all points; there is nothing to emulate")
    taken = np.sort(np.random.default_rng(seed).permutation(there)[:MOST_POINTS])
    x, y = _scale(values[taken], low, high, log), mean[taken]
    model = _fit(x, y, seed=seed)
    rmse, q2, coverage = _cross_validate(x, y, model, seed)
    return Emulator(
        endpoint, results.unit(endpoint), label, tuple(factor.name for factor in factors), low, high, log, x, y,
        0.0 if results.own_seeds else _bound_seeds(response[there]), len(there), rmse, q2, coverage, model,
    )  # fmt: skip


def _bound_seeds(y: np.ndarray) -> float:
    """Return half the 95 % interval of what the seeds do to the means of all points alike; NaN of one seed."""
    replicates = y.shape[1]
    if replicates == 1:
        return float("nan")
    variance = split_variance(y)["variance_seed"]
    return float(np.nan_to_num(stats.t.ppf(0.975, replicates - 1) * np.sqrt(variance / replicates)))


def read_place(results: StudyResults, emulator: Emulator, text: str) -> np.ndarray:
    """Return the factors (their units) that "name=value, name=value" states, each other at its middle.

    Raises
    ------
    InputError
        No such factor, no such value, or one outside the range that the emulator was trained on.
    """
    place = emulator.middle()
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise InputError(f"--at: expected name=value, not {part!r}")
        if name not in emulator.factors:
            close = difflib.get_close_matches(name, emulator.factors, 1)
            remedy = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(emulator.factors)}"
            raise InputError(f"--at: no factor {name!r}; {remedy}")
        number = emulator.factors.index(name)
        place[number] = _read_value(results, name, value)
        low, high = emulator.low[number], emulator.high[number]
        if not low * (1 - 1e-12) <= place[number] <= high * (1 + 1e-12):
            unit = next(factor.unit for factor in results.study.factors if factor.name == name)
            ends = f"{low:g} to {high:g} {unit}".strip()
            raise InputError(f"--at: {name}={value} is outside {ends}, where the study has points; an emulator cannot tell")
    return place


def _read_value(results: StudyResults, name: str, text: str) -> float:
    factor = next(factor for factor in results.study.factors if factor.name == name)
    written = results.design[factor.name].astype(str)
    if (written == text).any():
        return float(results.values(factor.name)[(written == text).argmax()])
    try:
        return convert(text, factor.unit) / convert(f"1 {factor.unit}", factor.unit) if factor.unit else float(text)
    except ValueError:
        raise InputError(f"--at: {factor.name}: expected a number, not {text!r}") from None
    except InputError as error:
        raise InputError(f"--at: {factor.name}: {error}") from None
