"""Fit of the aspirate to published sampling, and checks that nothing was fitted to.

Usage: python benchmarks/aspirate_calibration.py

Fitted: density_median, density_cv and site_cv, to the places and aliquots of 97 patients (marrow_sampling2003) and to the
share of patients who are positive in 2e6 MNC (braun2005, hartkopf2021), its error from the difference of the two.
Not fitted: counts and agreement after chemotherapy (synnestvedt2012); what it leaves of the density is one stated number.
A gamma law between patients is fitted beside the log-normal one of the model.
"""

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import gammaincinv

from niche_sim.aspirate import (
    Aspirate,
    compare_sides,
    compare_times,
    find_counts,
    find_positivity,
    list_aliquots,
    read_aspirate,
)
from niche_sim.config import load_parameters

MILLIONS = 2.0
BOTH, ONE, THIRD, NONE = 21, 25, 6, 45  # of 97 patients: positive at both places, at one, in the pool only, never
POOLED, POOLED_ERROR = 0.2895, 0.0165  # mean of 27.3 and 30.6 %, and its standard error
AFTER = 0.087  # positive after chemotherapy
LOSS_PER_YEAR = 0.43  # at which control patients became negative (solomayer2012)


def change(aspirate: Aspirate, logs: np.ndarray) -> Aspirate:
    """Return the aspirate with other median, CV of density and CV of sites."""
    median, density_cv, site_cv = np.exp(logs)
    return aspirate._replace(density_median=median, density_cv=density_cv, site_cv=site_cv)


def find_loss(aspirate: Aspirate) -> float:
    """Return minus the logarithm of the likelihood."""
    sides = compare_sides(MILLIONS, aspirate)
    three = find_positivity(list_aliquots(MILLIONS)[2], aspirate)
    chances = [sides.both, sides.either - sides.both, three - sides.either, 1.0 - three]
    if min(chances) <= 0.0:
        return np.inf
    return float(-np.dot([BOTH, ONE, THIRD, NONE], np.log(chances)) + 0.5 * ((sides.first - POOLED) / POOLED_ERROR) ** 2)


def fit(aspirate: Aspirate, start: list[float], site_cv: float | None = None) -> tuple[Aspirate, float]:
    """Return the best aspirate, at a given CV of sites if any, and its loss."""
    fixed = [] if site_cv is None else [np.log(site_cv)]

    def loss(logs: np.ndarray) -> float:
        return find_loss(change(aspirate, np.append(logs, fixed)))

    options = {"xatol": 1e-5, "fatol": 1e-8, "maxiter": 5000}
    found = minimize(loss, np.log(start[: 3 - len(fixed)]), method="Nelder-Mead", options=options)
    return change(aspirate, np.append(found.x, fixed)), float(found.fun)


def print_fit(aspirate: Aspirate) -> None:
    """Print the best fit, and how well other CVs of sites do."""
    best, least = fit(aspirate, [0.1, 5.0, 0.7])
    print("| site_cv | density_median | density_cv | mean density | loss above the best |\n|---|---|---|---|---|")
    for site_cv in (None, 0.1, 0.3, 0.5, 0.7, 1.0, 1.2, 1.4):
        found, loss = (best, least) if site_cv is None else fit(aspirate, [0.1, 5.0], site_cv)
        mean = found.density_median * np.sqrt(1.0 + found.density_cv**2)
        label = f"{found.site_cv:.2f}" + (" (best)" if site_cv is None else "")
        print(f"| {label} | {found.density_median:.3f} | {found.density_cv:.1f} | {mean:.2f} | {loss - least:.2f} |")
    print(f"\nloss of the shipped numbers above the best: {find_loss(aspirate) - least:.3f}")


def count_positive(aspirate: Aspirate, share: float) -> list[float]:
    """Return the share of patients who are positive, and of these with at least two and three cells."""
    none, one, two = find_counts(MILLIONS, aspirate, 2, share)
    return [1.0 - none, (1.0 - none - one) / (1.0 - none), (1.0 - none - one - two) / (1.0 - none)]


def write(numbers: list[float]) -> str:
    """Return shares in per cent."""
    return ", ".join(f"{100 * number:.1f}" for number in numbers)


def print_checks(aspirate: Aspirate, shares: tuple[float, ...] = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05)) -> None:
    """Print what was fitted and what was not, beside what was published."""
    sides = compare_sides(MILLIONS, aspirate)
    curve = [find_positivity(places, aspirate) for places in list_aliquots(MILLIONS)]
    print(f"\nfitted: positive in 1, 2, 3 aliquots {write(curve)} % (34.5, 47.4, 53.6; of one 27.3 to 30.6)")
    print(f"both places of 46 positive at any: {46 * sides.both / sides.either:.1f} (21)")
    print(f"2e6 MNC, half from each place: {write([find_positivity([MILLIONS / 2] * 2, aspirate)])} %")
    kept = float(np.exp(brentq(lambda x: count_positive(aspirate, np.exp(x))[0] - AFTER, -7.0, 0.0)))
    print("\nnot fitted, % (published after chemotherapy: 8.7 positive; of these 28.8, 12.8; 86.5)")
    print("| density left | positive | >= 2 | >= 3 | equal half a year on |\n|---|---|---|---|---|")
    for share in (*shares, kept):
        found = [*count_positive(aspirate, share), compare_times([MILLIONS], aspirate, (share, share)).agreement]
        print(f"| {share:.3f} | {write(found).replace(', ', ' | ')} |")
    later = kept * np.exp(-0.5 * LOSS_PER_YEAR)
    pair = compare_times([MILLIONS], aspirate, (kept, later))
    print(f"\n{kept:.3f}, then half a year at a loss of {LOSS_PER_YEAR} a year:")
    print(f"positive, equal {write([pair.second, pair.agreement])} % (7.6, 86.5)")
    print(f"of these with 2, 3 or more: {write(count_positive(aspirate, later)[1:])} % (47.0, 25.3)")


def list_gamma(aspirate: Aspirate, share: float = 1.0, cells: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Return densities that are gamma between patients, and their weights; the median of the law stands for its mean."""
    shape = 1.0 / aspirate.density_cv**2
    levels = (np.arange(cells) + 0.5) / cells
    return share * aspirate.density_median * gammaincinv(shape, levels) / shape, np.full(cells, 1.0 / cells)


def with_gamma(act: Callable[[], None]) -> None:
    """Do something with a gamma law between patients."""
    with patch("niche_sim.aspirate.list_densities", list_gamma):
        act()


def compare_gamma(aspirate: Aspirate) -> None:
    """Print the same of a gamma law."""
    best, loss = fit(aspirate, [0.4, 1.7, 0.4])
    print(f"\ngamma between patients: mean {best.density_median:.3f}, CV {best.density_cv:.2f}, site_cv {best.site_cv:.2f}")
    print(f"loss {loss:.3f}")
    print_checks(best, ())


if __name__ == "__main__":
    shipped = read_aspirate(load_parameters("human"))
    print_fit(shipped)
    print(f"loss of the best {fit(shipped, [0.1, 5.0, 0.7])[1]:.3f}")
    print_checks(shipped)
    with_gamma(lambda: compare_gamma(shipped))
