"""The marrow aspirate: how many disseminated tumour cells a laboratory would count.

A patient has d tumour cells per 1e6 mononuclear cells (MNC) of marrow, log-normal between patients; a place of her marrow
has d g, g gamma of mean 1 and coefficient of variation c. Of v million MNC that are read of one place the count is

    Poisson(v (s d g + f)),  s the sensitivity of the stain, f false positive cells per 1e6 MNC,

so that of one patient it is negative binomial, of mean m + v f, variance m + v f + (c m)^2 with m = v s d, and

    P(no cell | d) = exp(-f sum_i v_i) prod_i (1 + c^2 s d v_i)^(-1 / c^2)  over places i.

Over patients this is averaged by Gauss-Hermite quadrature of log d. The density is drawn at (key of the patient; name, 0),
g and the count at (name of place and aliquot, step), by inversion: what lowers a density never raises a count.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from scipy.special import gammaincinv, gammaln, pdtr, roots_hermitenorm

from niche_sim.draws import draw_uniforms, normal
from niche_sim.kinds import S_SCATTER

_NODES, _WEIGHTS = roots_hermitenorm(120)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class Aspirate(NamedTuple):
    """The group `aspirate` of a parameter set; densities are cells per 1e6 MNC."""

    density_median: float
    density_cv: float
    site_cv: float
    sensitivity: float
    false_positives: float  # per 1e6 MNC
    volume_per_million: float  # L
    examined: float  # MNC of one aliquot


class Pair(NamedTuple):
    """Two results of one patient, over patients: shares of them."""

    first: float
    second: float
    both: float

    @property
    def either(self) -> float:
        """Share with at least one positive result."""
        return self.first + self.second - self.both

    @property
    def agreement(self) -> float:
        """Share with two equal results."""
        return 1.0 - self.first - self.second + 2.0 * self.both


def read_aspirate(parameters: Any) -> Aspirate:
    """Return the group `aspirate` of a parameter set."""
    group = parameters.group("aspirate")
    return Aspirate(**{name: float(group[name]) for name in Aspirate._fields})


def find_examined(volume: float, aspirate: Aspirate) -> float:
    """Return the millions of MNC that are read of an aspirate of `volume` L: what it yields, at most one aliquot."""
    return min(aspirate.examined / 1e6, volume / aspirate.volume_per_million)


def find_moments(density: Any, millions: float, aspirate: Aspirate) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the count of one place over places of patients of a density."""
    seen = millions * aspirate.sensitivity * np.asarray(density, dtype=float)
    mean = seen + millions * aspirate.false_positives
    return mean, mean + (aspirate.site_cv * seen) ** 2


def find_negative(density: Any, places: Sequence[float], aspirate: Aspirate) -> np.ndarray:
    """Return the probability that patients of a density have no cell in the given millions of MNC of each place."""
    found = np.full(np.shape(density), -aspirate.false_positives * sum(places))
    for millions in places:
        seen = millions * aspirate.sensitivity * np.asarray(density, dtype=float)
        square = aspirate.site_cv**2
        found -= np.log1p(square * seen) / square if square > 0 else seen
    return np.exp(found)


def list_densities(aspirate: Aspirate, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return densities of patients and their weights; `share` is what is left of the density of every patient."""
    return share * aspirate.density_median * np.exp(_find_width(aspirate) * _NODES), _WEIGHTS


def _find_width(aspirate: Aspirate) -> float:
    return math.sqrt(math.log1p(aspirate.density_cv**2))


def find_positivity(places: Sequence[float], aspirate: Aspirate, share: float = 1.0) -> float:
    """Return the share of patients with a cell in the given millions of MNC of each place."""
    densities, weights = list_densities(aspirate, share)
    return 1.0 - float(weights @ find_negative(densities, places, aspirate))


def list_aliquots(millions: float) -> list[list[float]]:
    """Return the millions read at two places after one, two and three aliquots; the third is a pool of both places."""
    return [[millions], [millions, millions], [1.5 * millions, 1.5 * millions]]


def compare_sides(millions: float, aspirate: Aspirate, share: float = 1.0) -> Pair:
    """Return how two places of a patient, aspirated together, agree."""
    one, two = (find_positivity([millions] * n, aspirate, share) for n in (1, 2))
    return Pair(one, one, 2.0 * one - two)


def compare_times(places: Sequence[float], aspirate: Aspirate, shares: tuple[float, float]) -> Pair:
    """Return how the results of a patient at two times agree, with what is left of her density at each; new punctures."""
    (first, weights), (second, _) = (list_densities(aspirate, share) for share in shares)
    negative = [find_negative(densities, places, aspirate) for densities in (first, second)]
    neither = float(weights @ (negative[0] * negative[1]))
    one, two = (1.0 - float(weights @ part) for part in negative)
    return Pair(one, two, one + two - 1.0 + neither)


def find_counts(millions: float, aspirate: Aspirate, most: int, share: float = 1.0) -> np.ndarray:
    """Return the share of patients with 0 to `most` cells in one aliquot of one place."""
    densities, weights = list_densities(aspirate, share)
    counts = np.arange(most + 1)
    seen = (millions * aspirate.sensitivity * densities)[:, None]
    false = _find_poisson(np.array([[millions * aspirate.false_positives]]), counts)[0]
    return np.convolve(weights @ _find_binomial(seen, aspirate.site_cv, counts), false)[: most + 1]


def _find_poisson(mean: np.ndarray, counts: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(counts > 0, counts * np.log(mean), 0.0)
    return np.exp(power - mean - gammaln(counts + 1.0))


def _find_binomial(mean: np.ndarray, cv: float, counts: np.ndarray) -> np.ndarray:
    """Return the negative binomial probabilities of `counts`, shape (means, counts)."""
    if cv == 0.0:
        return _find_poisson(mean, counts)
    shape = 1.0 / cv**2
    ways = gammaln(counts + shape) - gammaln(shape) - gammaln(counts + 1.0)
    return np.exp(ways + counts * np.log(mean / (mean + shape)) - shape * np.log1p(mean / shape))


def draw_density(key: Any, aspirate: Aspirate) -> float:
    """Return the density of the patient of a key."""
    drawn = normal(key, _address("density"), 0, S_SCATTER)
    return aspirate.density_median * math.exp(_find_width(aspirate) * drawn)


def draw_site(key: Any, place: str, step: Any, aspirate: Aspirate) -> np.ndarray:
    """Return the density at a place relative to the patient's own; of one puncture, so that another step is another one."""
    drawn = draw_uniforms(key, _address(f"site.{place}"), step, S_SCATTER)
    if aspirate.site_cv == 0.0:
        return np.ones_like(drawn)
    shape = 1.0 / aspirate.site_cv**2
    return np.asarray(gammaincinv(shape, drawn) / shape)


def draw_count(
    density: Any, key: Any, place: str, step: Any, millions: float, aspirate: Aspirate, *, aliquot: int = 1
) -> np.ndarray:  # fmt: skip
    """Return the cells counted in `millions` of MNC of an aliquot of a place, in patients of a density.

    Parameters
    ----------
    density : float or array
        Of a patient at that time, cells per 1e6 MNC.
    key : uint64 or array
        Key of the patient; density, key and step broadcast together.
    place : str
        E.g. ``"left"``; names the draw.
    step : int or array
        When.
    millions : float
    aspirate : Aspirate
    aliquot : int
        Another one of the same puncture has the same site, but its own count.
    """
    local = density * draw_site(key, place, step, aspirate)
    mean = millions * (aspirate.sensitivity * local + aspirate.false_positives)
    return invert_poisson(draw_uniforms(key, _address(f"count.{place}.{aliquot}"), step, S_SCATTER), mean)


def _address(name: str) -> np.uint64:
    return np.uint64(crc32(f"aspirate.{name}".encode()))


def invert_poisson(level: Any, mean: Any) -> np.ndarray:
    """Return the smallest counts whose distribution function reaches `level`, by bisection."""
    level, mean = np.broadcast_arrays(np.asarray(level, dtype=float), np.asarray(mean, dtype=float))
    low = np.full(level.shape, -1, dtype=np.int64)
    high = np.where(pdtr(0.0, mean) >= level, 0, 1)
    while np.any(short := pdtr(high, mean) < level):
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    while np.any(apart := high - low > 1):
        middle = (low + high) // 2
        reached = pdtr(middle, mean) >= level
        low, high = np.where(apart & ~reached, middle, low), np.where(apart & reached, middle, high)
    return high
