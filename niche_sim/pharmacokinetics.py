"""Pharmacokinetics: how a dose moves through the body.

A dose enters a central compartment (plasma) directly, or through an absorbing site of which
only a fraction is absorbed; it exchanges with peripheral tissue, leaves by excretion, and reaches
bone irreversibly::

    absorbing --ka--> central <--Q_i--> peripheral_i        dA_c/dt = ka A_a + r(t) + sum_i Q_i (C_i - C)
                      central --CL_e--> excreted                        - (CL_e + CL_s) C,   C = A_c / V_c
                      central --CL_s--> skeleton

so the retained fraction is CL_s / (CL_e + CL_s) and AUC = F dose / (CL_e + CL_s). The system is linear and is
solved exactly between events with matrix exponentials; integrals over a tick are extra states, never sums.
Release from the skeleton belongs to the niche, not to the host.

Inside units: h, L, mg (dose), nmol (amounts), nmol/L.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from niche_sim.drugs import Array, Drug
from niche_sim.errors import InputError, NumericalError
from niche_sim.regimens import Dose, list_doses

_NMOL_G_PER_MG_MOL = 1e6  # nmol = 1e6 * mg / (g/mol)
_NODES = 16  # quadrature nodes a segment for saturating responses to a decaying concentration

# Moving states: absorbing, central, peripheral..., rate. Gained states (integrals), in this order:
_GAINED = ("skeleton", "excreted", "infused", "exposure")
_ABSORBING, CENTRAL, _RATE = 0, 1, -1


@lru_cache(maxsize=64)
def generator(drug: Drug) -> Array:
    """Return the matrix of dx/dt = M x (1/h); the rate state feeds plasma, so an infusion needs no special case."""
    n = 3 + len(drug.peripheral)
    matrix = np.zeros((n + len(_GAINED), n + len(_GAINED)))
    volume, rate = drug.central_volume, n - 1
    matrix[_ABSORBING, _ABSORBING] = -drug.absorption_rate
    matrix[CENTRAL, _ABSORBING] = drug.absorption_rate
    matrix[CENTRAL, CENTRAL] = -(drug.clearance_excretion + drug.clearance_skeleton) / volume
    for i, tissue in enumerate(drug.peripheral, start=2):
        matrix[CENTRAL, CENTRAL] -= tissue.clearance / volume
        matrix[i, CENTRAL] = tissue.clearance / volume
        matrix[CENTRAL, i] = tissue.clearance / tissue.volume
        matrix[i, i] = -tissue.clearance / tissue.volume
    matrix[CENTRAL, rate] = 1.0
    matrix[n, CENTRAL] = drug.clearance_skeleton / volume
    matrix[n + 1, CENTRAL] = drug.clearance_excretion / volume
    matrix[n + 2, rate] = 1.0
    matrix[n + 3, CENTRAL] = 1.0 / volume
    return matrix


class Trajectory(NamedTuple):
    """A drug followed over break points: what moves at each, what was gained before it, what was given."""

    breaks: Array  # (n,) h
    moving: Array  # (n, n_moving) just after the events at each break, nmol
    gained: Array  # (n, 4) gained in the segment that ends at each break
    given: Array  # (n,) nmol put into plasma or the absorbing site at once, at each break
    unabsorbed: Array  # (n,) nmol


def follow(drug: Drug, doses: Sequence[Dose], times_h: Array) -> Trajectory:
    """Follow the amounts of a drug over all doses and asked times."""
    from scipy.linalg import expm

    starts = np.array([dose.time_h for dose in doses])
    stops = np.array([dose.time_h + dose.infusion_h for dose in doses])
    breaks = np.unique(np.concatenate([starts, stops, times_h]))
    given, unabsorbed, absorbed, rate = _place(drug, doses, starts, stops, breaks)
    matrix = generator(drug)
    n = 3 + len(drug.peripheral)
    # Rounding the lengths (to 1e-9 h) lets one propagator serve all equal segments; a series makes up for the rest.
    exact = np.diff(breaks)
    lengths, which = np.unique(np.round(exact, 9), return_inverse=True)
    steps = [expm(matrix * length) for length in lengths]
    rest = exact - lengths[which]
    moving, gained = np.zeros((breaks.size, n)), np.zeros((breaks.size, len(_GAINED)))
    now = np.zeros(n)
    for i in range(breaks.size):
        if i > 0:
            after = steps[which[i - 1]][:, :n] @ now
            if rest[i - 1] != 0.0:
                slope = matrix @ after
                after += rest[i - 1] * (slope + 0.5 * rest[i - 1] * (matrix @ slope))
            now, gained[i] = after[:n], after[n:]
        now[_ABSORBING] += absorbed[i]
        now[CENTRAL] += given[i] - absorbed[i]
        now[_RATE] = rate[i]
        moving[i] = now
    if not np.isfinite(moving).all():
        raise NumericalError(f"pharmacokinetics of {drug.name} became invalid")
    return Trajectory(breaks, moving, gained, given, unabsorbed)


def _place(
    drug: Drug, doses: Sequence[Dose], starts: Array, stops: Array, breaks: Array
) -> tuple[Array, Array, Array, Array]:
    """Spread the doses over the break points: given at once, unabsorbed, absorbing (nmol), rate (nmol/h)."""
    given, unabsorbed, absorbed, rate, running = np.zeros((5, breaks.size))
    first, last = np.searchsorted(breaks, starts), np.searchsorted(breaks, stops)
    for dose, i, j in zip(doses, first, last):
        amount = _NMOL_G_PER_MG_MOL * dose.dose_mg / drug.molar_mass
        if dose.route != "iv":
            given[i] += drug.absorbed_fraction * amount
            absorbed[i] += drug.absorbed_fraction * amount
            unabsorbed[i] += (1.0 - drug.absorbed_fraction) * amount
        elif j > i:
            # The rate uses the break points themselves, so that the amount given is exact.
            rate[i:j] += amount / (breaks[j] - breaks[i])
            running[i:j] += 1
        else:
            given[i] += amount
    return given, unabsorbed, absorbed, np.where(running > 0, rate, 0.0)


def _sampled(course: Trajectory, times_h: Array) -> Array:
    return np.searchsorted(course.breaks, times_h)


def pharmacokinetics(drug: Drug, courses: Iterable[Any], times_h: Any, key: Any = 0) -> dict[str, Array]:
    """Amounts of a drug everywhere in the body at the asked times, just after any dose given then.

    Parameters
    ----------
    drug : Drug
    courses : iterable of Course
        Courses of other drugs are passed over. Doses may fall anywhere and before the first time.
    times_h : array_like (n,), h
    key : uint64
        Key of the run, where a course is taken with an adherence below 1.

    Returns
    -------
    dict of arrays (n,) unless said
        nmol: dosed, absorbing, plasma, peripheral (n, n_peripheral), skeleton, excreted, unabsorbed;
        concentration (total) and free, nmol/L; exposure, nmol h/L (the area under the total concentration).
        At every time dosed = absorbing + plasma + sum(peripheral) + skeleton + excreted + unabsorbed.

    Raises
    ------
    InputError
        The drug has no pharmacokinetics, or a course is not valid.
    """
    if not drug.has_kinetics:
        raise InputError(f"drug {drug.name} ({drug.drug_class}) has no pharmacokinetics")
    times = np.atleast_1d(np.asarray(times_h, dtype=np.float64))
    mine = [course for course in courses if course.drug == drug.name]
    doses = list_doses(mine, {drug.name: drug}, float(times.max()) + 1e-6, key)
    course = follow(drug, doses, times)
    at = _sampled(course, times)
    gained = dict(zip(_GAINED, np.cumsum(course.gained, axis=0)[at].T))
    moving = course.moving[at]
    unabsorbed = np.cumsum(course.unabsorbed)[at]
    concentration = moving[:, CENTRAL] / drug.central_volume
    return {
        "time_h": times,
        "dosed": np.cumsum(course.given)[at] + unabsorbed + gained["infused"],
        "absorbing": moving[:, _ABSORBING],
        "plasma": moving[:, CENTRAL],
        "peripheral": moving[:, 2:_RATE],
        "skeleton": gained["skeleton"],
        "excreted": gained["excreted"],
        "unabsorbed": unabsorbed,
        "concentration": concentration,
        "free": drug.free_fraction * concentration,
        "exposure": gained["exposure"],
    }


def _tick_of(course: Trajectory, edges: Array) -> tuple[Array, NDArray[np.int64]]:
    """Index of the segments that lie in the ticks, and the tick of each."""
    tick = np.searchsorted(edges, course.breaks[:-1], side="right") - 1
    inside = np.flatnonzero((tick >= 0) & (tick < edges.size - 1))
    return inside, tick[inside]


def sum_over_ticks(course: Trajectory, edges: Array, name: str) -> Array:
    """Return what was gained in each tick between `edges` (h): skeleton, excreted, infused (nmol) or exposure (nmol h/L)."""
    inside, tick = _tick_of(course, edges)
    gained = course.gained[inside + 1, _GAINED.index(name)]
    return np.bincount(tick, weights=np.maximum(gained, 0.0), minlength=edges.size - 1)


def mean_response(drug: Drug, course: Trajectory, edges: Array, half: float) -> Array:
    """Mean over each tick of C / (C + half), C the free plasma concentration, within segments.

    The response saturates while C falls a hundredfold inside a tick, so the mean concentration would make
    the answer depend on the tick; quadrature inside segments does not.
    """
    from scipy.linalg import expm

    matrix, n = generator(drug), course.moving.shape[1]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    place = ((nodes + 1.0) / 2.0) ** 2  # denser just after a dose
    weights = weights * (nodes + 1.0) / 2.0
    inside, tick = _tick_of(course, edges)
    lengths, which = np.unique(np.round(np.diff(course.breaks), 9)[inside], return_inverse=True)
    total = np.zeros(edges.size - 1)
    for i, length in enumerate(lengths):
        to_plasma = np.array([expm(matrix * length * u)[CENTRAL, :n] for u in place])
        rows = np.flatnonzero(which == i)
        amount = course.moving[inside[rows]] @ to_plasma.T
        free = drug.free_fraction * np.maximum(amount, 0.0) / drug.central_volume
        mean = (free / (free + half)) @ weights
        total += np.bincount(tick[rows], weights=mean * np.diff(course.breaks)[inside[rows]], minlength=total.size)
    return total / np.diff(edges)
