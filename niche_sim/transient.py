"""A diffusing, decaying factor in time: the exponential of its rate matrix, never negative whatever the step.

Cell-centred finite volumes, one equation a voxel (second order in space):

    dc_v/dt = sum_faces e (c_w - c_v) - loss_v c_v + secretion_v,   e = D / dx^2 (a share of it into bone, or 0)

A fixed face adds 2 D / dx^2 to the loss and 2 D / dx^2 x its value to the secretion. Write dc/dt = A c + s. A one-step
implicit scheme that is non-negative for every step is at most of first order (Bolley and Crouzeix 1978), so the
exponential itself is taken, by uniformisation (Jensen 1953; Fox and Glynn 1988): with rate >= max |A_vv| the matrix
P = 1 + A / rate has no negative entry, and

    c(t) = sum_k Poisson(k; rate t) c_k,   c_0 = c(0),   c_{k+1} = P c_k + s / rate,
    integral of c over (0, t) = sum_k Pr(Poisson(rate t) > k) c_k / rate.

Every term is non-negative, so the result is, for any step. It is exact in time for sources that are constant within the
step; the Poisson weights are cut below 1e-20 of the greatest and made to sum to 1. What leaves a voxel through a
face enters the other, and the two sums above satisfy c(t) - c(0) = A integral + t s term by term, so a ledger made of
integrals closes to rounding. The work grows with rate x t; a field within 1e-12 of its steady state is held.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from niche_sim.kernel import kernel

MOST_MEAN = 1000.0  # most expected jumps of one pass: longer times are cut into equal passes
LAZINESS = 1.001  # rate above the largest diagonal, so that rounding cannot make an entry of P negative
SCRATCH_ROWS = 3
_CUT = 1e-20  # of the greatest weight
STEADY = 1e-12  # a field this near to its steady state, relative to its largest value, is held


class Transport(NamedTuple):
    """The rate matrix A of a lattice.

    Attributes
    ----------
    neighbours : ndarray of int32, shape (n, faces)
        Voxel behind each face; the voxel itself where nothing is exchanged.
    exchange : ndarray of float64, shape (n, faces), 1/h
        Equal from both sides of a face.
    loss : ndarray of float64, shape (n,), 1/h
        Decay, uptake and what fixed faces take.
    rate : float, 1/h
        Of uniformisation.
    """

    neighbours: np.ndarray
    exchange: np.ndarray
    loss: np.ndarray
    rate: float


def build_transport(neighbours: np.ndarray, exchange: np.ndarray, loss: np.ndarray) -> Transport:
    """Return the rate matrix; a neighbour of -1 means that nothing is exchanged."""
    missing = neighbours < 0
    own = np.arange(len(loss), dtype=np.int32)[:, None]
    closed = np.where(missing, 0.0, exchange)
    rate = LAZINESS * float((closed.sum(axis=1) + loss).max())
    table = np.ascontiguousarray(np.where(missing, own, neighbours).astype(np.int32))
    return Transport(table, np.ascontiguousarray(closed), np.ascontiguousarray(loss, dtype=np.float64), max(rate, 1e-9))


@kernel
def _change(c: Any, secretion: Any, neighbours: Any, exchange: Any, loss: Any, v: Any) -> Any:
    """Return dc/dt of voxel `v`, nmol/L/h."""
    here = c[v]
    change = secretion[v] - loss[v] * here
    for face in range(neighbours.shape[1]):
        change += exchange[v, face] * (c[neighbours[v, face]] - here)
    return change


@kernel
def advance(
    concentration: Any, integral: Any, secretion: Any, transport: Any, weights: Any, survivors: Any, scratch: Any
) -> None:
    """Move a field by the time that the weights stand for, in place.

    Parameters
    ----------
    concentration : ndarray of float64, shape (n,), nmol/L
    integral : ndarray of float64, shape (n,), nmol h/L
        The integral of the concentration over the time is added to it.
    secretion : ndarray of float64, shape (n,), nmol/L/h
        Constant over the time.
    transport : Transport
    weights, survivors : ndarray of float64, shape (k,)
        Of `weigh_jumps`.
    scratch : ndarray of float64, shape (SCRATCH_ROWS, n)
    """
    neighbours, exchange, loss, rate = transport.neighbours, transport.exchange, transport.loss, transport.rate
    n, pause = concentration.shape[0], 1.0 / rate
    result, now, then = scratch[0], scratch[1], scratch[2]
    for v in range(n):
        result[v], now[v] = 0.0, concentration[v]
    for k in range(weights.shape[0]):
        weight, survivor = weights[k], survivors[k] * pause
        for v in range(n):
            result[v] += weight * now[v]
            integral[v] += survivor * now[v]
            then[v] = now[v] + pause * _change(now, secretion, neighbours, exchange, loss, v)
        now, then = then, now
    for v in range(n):
        concentration[v] = result[v]


@kernel
def measure_change(concentration: Any, secretion: Any, transport: Any) -> Any:
    """Return the largest |dc/dt| (nmol/L/h) and the largest |c| (nmol/L)."""
    fastest, top = 0.0, 0.0
    for v in range(concentration.shape[0]):
        change = _change(concentration, secretion, transport.neighbours, transport.exchange, transport.loss, v)
        fastest, top = max(fastest, abs(change)), max(top, abs(concentration[v]))
    return fastest, top


@lru_cache(maxsize=64)
def weigh_jumps(mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Poisson probabilities of 0, 1, ... jumps and of more than 0, 1, ... jumps.

    The probabilities grow from the mode outwards, so that none underflows, and are divided by their sum.
    """
    mode = int(mean)
    # Ten standard deviations, and 30 for small means, leave out less than 1e-20.
    upper = np.cumprod(mean / np.arange(mode + 1, mode + 31 + int(10.0 * math.sqrt(mean))))
    lower = np.cumprod(np.arange(mode, 0, -1) / mean)
    kept = max(8, int((upper > _CUT).sum()))  # of a mean near 0 every power counts
    weights = np.concatenate([np.where(lower > _CUT, lower, 0.0)[::-1], [1.0], upper[:kept]])
    weights /= math.fsum(weights)
    survivors = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)
    return weights, survivors


def count_passes(transport: Transport, hours: float) -> int:
    """Return into how many equal passes a time is cut."""
    return max(1, math.ceil(transport.rate * hours / MOST_MEAN))


def advance_for(
    concentration: np.ndarray, integral: np.ndarray, secretion: np.ndarray, transport: Transport, hours: float,
    scratch: np.ndarray,
) -> int:  # fmt: skip
    """Move a field by a time during which its secretion is constant; arguments as `advance`.

    The distance to the steady state is at most max |dc/dt| / min loss, the bound of `niche_sim.fields`.

    Returns
    -------
    jumps : int
        Multiplications with P.
    """
    passes, jumps = count_passes(transport, hours), 0
    weights, survivors = weigh_jumps(transport.rate * hours / passes)
    least = float(transport.loss.min())
    for done in range(passes):
        fastest, top = measure_change(concentration, secretion, transport)
        if least > 0.0 and fastest <= STEADY * least * top:
            integral += concentration * (hours * (passes - done) / passes)
            break
        advance(concentration, integral, secretion, transport, weights, survivors, scratch)
        jumps += len(weights)
    return jumps
