"""One field in time: from event to event by the exponential of `niche_sim.transient`, with a ledger at each record."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from niche_sim.errors import NumericalError
from niche_sim.submodels.base import Progress
from niche_sim.submodels.fields_check import MOST_WORK, count_jumps
from niche_sim.submodels.fields_lattice import (
    Grid,
    changes_in_time,
    check_work,
    read_initial,
    read_release,
    read_secretion,
    sum_amount,
)
from niche_sim.submodels.fields_spec import FieldsModel
from niche_sim.transient import SCRATCH_ROWS, STEADY, Transport, advance_for, build_transport

TERMS = ("initial", "secreted", "released", "decayed", "taken_up", "crossed_boundary", "total")
"""Terms of the ledger; initial + secreted + released = decayed + taken_up + crossed_boundary + total."""


_ROUNDINGS = 12.0


class Course(NamedTuple):
    """What a run in time gives.

    Attributes
    ----------
    times_h : ndarray of float64, shape (records,)
    fields : ndarray of float64, shape (records, kept), nmol/L
        A record at the time of a release includes it.
    ledger : ndarray of float64, shape (records, len(TERMS)), fmol
    throughput : ndarray of float64, shape (records,), fmol
        All that came in: initial, secreted, released, entered through fixed faces.
    jumps : int
    last : ndarray of float64, shape (n,), nmol/L
        The field at the end.
    bound : float, nmol/L
        On the largest error against the exact exponential; NaN where a formula changes with t.
    """

    times_h: np.ndarray
    fields: np.ndarray
    ledger: np.ndarray
    throughput: np.ndarray
    jumps: int
    last: np.ndarray
    bound: float


def list_records(spec: FieldsModel) -> np.ndarray:
    """Return the recorded times (h): 0, those asked for, and the end."""
    time = spec.time
    assert time is not None
    if time.times_h is not None:
        return np.unique([0.0, *time.times_h, time.length_h])
    assert time.every_h is not None
    count = math.floor(time.length_h / time.every_h * (1.0 + 1e-12))
    regular = time.every_h * np.arange(count + 1)
    # A last multiple that rounding puts beside the end is the end.
    return np.append(regular[regular < time.length_h * (1.0 - 1e-12)], time.length_h)


def list_edges(spec: FieldsModel, records: np.ndarray) -> np.ndarray:
    """Return the times between which sources are constant (h)."""
    time = spec.time
    assert time is not None
    events = [t for s in spec.sources for t in (s.start_h, s.until_h) if t is not None]
    events += [r.time_h for r in spec.releases]
    steps = np.arange(math.floor(time.length_h / time.step_h) + 1) * time.step_h if time.step_h is not None else [0.0]
    edges = np.unique(np.concatenate([records, steps, np.array(events, dtype=np.float64)]))
    return edges[edges <= time.length_h]


class _Secretion:
    """Secretion within a piece of time: what is constant is added up once for each set of active sources."""

    def __init__(self, spec: FieldsModel, grid: Grid):
        self.spec, self.grid = spec, grid
        self.active: tuple[int, ...] = (-1,)
        self.constant = np.zeros(grid.n)

    def between(self, start: float, end: float) -> np.ndarray:
        """Return nmol/L/h, shape (n,); formulas with t at the middle of the piece."""
        spec = self.spec
        on = [i for i, s in enumerate(spec.sources) if s.start_h <= start and (s.until_h is None or end <= s.until_h)]
        moving = [i for i in on if changes_in_time(spec.sources[i])]
        fixed = tuple(i for i in on if i not in moving)
        if fixed != self.active:
            self.active, self.constant = fixed, self._sum(fixed, 0.0)
        return self.constant + self._sum(tuple(moving), 0.5 * (start + end)) if moving else self.constant

    def _sum(self, chosen: tuple[int, ...], t: float) -> np.ndarray:
        total = np.zeros(self.grid.n)
        for i in chosen:
            total += read_secretion(self.spec, self.grid, i, t)
        return total


def _walk(spec: FieldsModel, edges: np.ndarray) -> Iterator[tuple[float, float, list[int]]]:
    """Yield start and end of each piece and the releases at its start; the last piece is empty."""
    order = sorted(range(len(spec.releases)), key=lambda i: spec.releases[i].time_h)
    place = 0
    for start, end in zip(edges, np.append(edges[1:], edges[-1])):
        due = []
        while place < len(order) and spec.releases[order[place]].time_h <= start:
            due.append(order[place])
            place += 1
        yield float(start), float(end), due


class _Books:
    """The ledger so far (fmol), from integrals of the field and of secretion over time since it was last closed."""

    def __init__(self, grid: Grid, decay: float, initial: np.ndarray):
        self.grid, self.decay, self.top = grid, decay, 0.0
        self.terms = dict.fromkeys(TERMS, 0.0)
        self.terms["initial"] = self._amount(initial)
        self.throughput = self._amount(np.abs(initial))
        self.integral, self.secreted, self.hours = np.zeros(grid.n), np.zeros(grid.n), 0.0

    def _amount(self, values: np.ndarray) -> float:
        return sum_amount(self.grid, values)

    def release(self, added: np.ndarray) -> None:
        """Note an amount that appeared at once."""
        self.terms["released"] += self._amount(added)
        self.throughput += self._amount(added)

    def close(self, field: np.ndarray) -> list[float]:
        """Return the terms, now that the field is this."""
        grid, terms, integral = self.grid, self.terms, self.integral
        crossed = grid.face_loss * integral - self.hours * grid.face_gain
        terms["secreted"] += self._amount(self.secreted)
        terms["decayed"] += self.decay * self._amount(integral)
        terms["taken_up"] += self._amount(grid.uptake * integral)
        terms["crossed_boundary"] += self._amount(crossed)
        terms["total"] = self._amount(field)
        self.throughput += self._amount(np.abs(self.secreted)) + self._amount(np.maximum(0.0, -crossed))
        integral[:], self.secreted[:], self.hours = 0.0, 0.0, 0.0
        return [terms[name] for name in TERMS]


def find_closure(ledger: np.ndarray) -> np.ndarray:
    """Return gains less losses less total of each row, fmol; 0 but for rounding."""
    return ledger[:, :3].sum(axis=1) - ledger[:, 3:].sum(axis=1)


def run_in_time(spec: FieldsModel, grid: Grid, kept: np.ndarray, progress: Progress) -> Course:
    """Return the field in the `kept` voxels at the recorded times, and its ledger.

    Raises
    ------
    NumericalError
        A value is no longer finite.
    ResourceError
        The run needs more work than allowed.
    """
    records = list_records(spec)
    edges = list_edges(spec, records)
    loss = spec.decay_h + grid.uptake + grid.face_loss
    transport = build_transport(grid.neighbours, grid.exchange, loss)
    check_work(grid.n * count_jumps(spec, transport.rate, float(loss.min())), MOST_WORK)
    c, secretion = read_initial(spec, grid), _Secretion(spec, grid)
    books, scratch = _Books(grid, spec.decay_h, c), np.empty((SCRATCH_ROWS, grid.n))
    fields: list[np.ndarray] = []
    rows: list[list[float]] = []
    through: list[float] = []
    jumps = 0
    for start, end, due in _walk(spec, edges):
        for i in due:
            added = read_release(spec, grid, i)
            c += added
            books.release(added)
        if start == records[len(rows)]:
            fields.append(c[kept])
            rows.append(books.close(c))
            through.append(books.throughput)
        if end > start:
            jumps += _advance(c, secretion.between(start, end), transport, books, (start, end), scratch)
        progress(end / float(edges[-1]))
    # A jump rounds each voxel by a few units of the last place, and no entry of the matrix enlarges an error.
    bound = (STEADY + _ROUNDINGS * 2.0**-53 * jumps) * books.top
    if any(changes_in_time(source) for source in spec.sources):
        bound = np.nan
    return Course(records, np.array(fields), np.array(rows), np.array(through), jumps, c, bound)


def _advance(
    c: np.ndarray, secretion: np.ndarray, transport: Transport, books: _Books, piece: tuple[float, float],
    scratch: np.ndarray,
) -> int:  # fmt: skip
    """Move the field through a piece of time, in place, and note it in the ledger; return the work."""
    hours = piece[1] - piece[0]
    books.top = max(books.top, float(np.abs(c).max()))
    jumps = advance_for(c, books.integral, secretion + books.grid.face_gain, transport, hours, scratch)
    books.secreted += hours * secretion
    books.hours += hours
    books.top = max(books.top, float(np.abs(c).max()))
    if not np.isfinite(c).all():
        v = int(np.flatnonzero(~np.isfinite(c))[0])
        raise NumericalError(f"concentration: not finite in voxel {v} within {piece[0]:g} to {piece[1]:g} h")
    return jumps
