"""Dissemination: how many lesions a patient has, where, and how the tumour cells that a needle finds go with them.

A patient of d tumour cells (DTCs) per 1e6 marrow cells has M d / 1e6 of them in her M marrow cells. Few are competent to
found a lesion. Those in bone are Poisson of mean

    L(d) z,   L(d) = share M D / 1e6 (d / D)^exponent,  D the mean density of patients,

z her frailty: gamma of mean 1 and coefficient of variation c; those outside bone are Poisson of `outside_ratio` L(d) z. So
counts at a density are negative binomial, of variance m + (c m)^2, and of patients whose lesions come to an end with a
chance q each

    P(none) = (1 + c^2 q L)^(-1 / c^2).

Ordinary DTCs are more fragile than competent ones: of the density there is left

    exp(-integral of (fragility x m + p) dt),

p the hazard of death of dormant cells in the niche from chemotherapy, which asks for the cycle of a cell, and both rest; m
that from all other causes. All is drawn at (key of the patient; name, 0): what lowers a mean only takes lesions away.
"""

from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from scipy.special import gammaincinv

from niche_sim.aspirate import Aspirate, invert_poisson
from niche_sim.draws import draw_uniforms
from niche_sim.kinds import S_SCATTER

BONE, OUTSIDE = 0, 1
SITES = ("bone", "outside")
_PER_DENSITY = 1e-6  # DTCs in a marrow cell at a density of 1


class Dissemination(NamedTuple):
    """The group `dissemination` of a parameter set."""

    marrow_cells: float
    competent_share: float
    count_exponent: float
    lesions_cv: float
    outside_ratio: float
    growing_share: float
    fragility: float


def read_dissemination(parameters: Any) -> Dissemination:
    """Return the group `dissemination` of a parameter set."""
    group = parameters.group("dissemination")
    return Dissemination(**{name: float(group[name]) for name in Dissemination._fields})


def find_mean_density(aspirate: Aspirate) -> float:
    """Return the mean over patients of the density, cells per 1e6 marrow cells."""
    return aspirate.density_median * float(np.sqrt(1.0 + aspirate.density_cv**2))


def find_lesions(density: Any, spread: Dissemination, aspirate: Aspirate) -> np.ndarray:
    """Return the mean number of competent lesions in bone of patients of a density and frailty 1."""
    usual = find_mean_density(aspirate)
    cells = spread.marrow_cells * _PER_DENSITY * usual
    return np.asarray(spread.competent_share * cells * (np.asarray(density, dtype=float) / usual) ** spread.count_exponent)


def find_free(lesions: Any, chance: float, spread: Dissemination) -> np.ndarray:
    """Return the share of patients none of whose lesions comes to an end that each comes to with a chance.

    Parameters
    ----------
    lesions : array
        Mean number of lesions at frailty 1.
    chance : float
    spread : Dissemination
    """
    passed, square = chance * np.asarray(lesions, dtype=float), spread.lesions_cv**2
    return np.asarray(np.exp(-(np.log1p(square * passed) / square if square > 0 else passed)))


def draw_frailties(keys: Any, spread: Dissemination) -> np.ndarray:
    """Return the frailty of the patient of each key."""
    drawn = draw_uniforms(keys, _address("frailty"), 0, S_SCATTER)
    if spread.lesions_cv == 0.0:
        return np.ones_like(drawn)
    shape = 1.0 / spread.lesions_cv**2
    return np.asarray(gammaincinv(shape, drawn) / shape)


def draw_lesions(densities: Any, keys: Any, spread: Dissemination, aspirate: Aspirate) -> np.ndarray:
    """Return the competent lesions of patients in bone and outside bone, shape (patients, 2).

    Parameters
    ----------
    densities : array
        At diagnosis, cells per 1e6 marrow cells.
    keys : array of uint64
        Keys of the patients.
    spread : Dissemination
    aspirate : Aspirate
    """
    mean = find_lesions(densities, spread, aspirate) * draw_frailties(keys, spread)
    levels = [draw_uniforms(keys, _address(f"lesions.{site}"), 0, S_SCATTER) for site in SITES]
    return np.stack([invert_poisson(level, ratio * mean) for level, ratio in zip(levels, (1.0, spread.outside_ratio))], -1)


def find_left(times_h: Any, death: Any, alike: Any, spread: Dissemination) -> np.ndarray:
    """Return what is left of the density of DTCs at `times_h`, the first of which is that of the whole density.

    Parameters
    ----------
    times_h : array, shape (n + 1,)
        Ends of intervals, h.
    death, alike : array, shape (n,)
        Mean hazards (1/h) in each interval of death of dormant cells: from what fragile cells die of sooner, and from what
        kills them alike, chemotherapy.
    spread : Dissemination
    """
    hazard = spread.fragility * np.asarray(death, dtype=float) + alike
    return np.asarray(np.exp(-np.concatenate([[0.0], np.cumsum(hazard * np.diff(times_h))])))


def _address(name: str) -> np.uint64:
    return np.uint64(crc32(f"dissemination.{name}".encode()))
