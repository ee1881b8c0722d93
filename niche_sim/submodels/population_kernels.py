"""Kernels of the population without space: exact events one by one, or ticks with the engine's own competing draw."""

import math

import numpy as np

from niche_sim.draws import uniform_pair
from niche_sim.kernel import inner, kernel
from niche_sim.kinds import DIE_BASELINE, DIVIDE, EGRESS, SLEEP, WAKE_SPONTANEOUS
from niche_sim.processes.fates import choose_outcome

# Kinds of event; the order of COUNTS in population.py.
BIRTH, DEATH, DORMANT_DEATH, ASLEEP, AWAKE, EMIGRATION, IMMIGRATION, BATCH, STAGE = range(9)
EVENTS = 9
S_EVENT, S_CELL, S_ENTRY, S_BATCH_SIZE, S_MANY, S_MANY_BATCHES = 64, 65, 66, 67, 68, 69  # streams of this sub-model
FEW = 30.0  # arrivals of a tick in mean, up to which one draw is inverted

# Columns of `rates` (1/h): per cell but for the last two.
R_BIRTH, R_DEATH, R_DORMANT_DEATH, R_SLEEP, R_WAKE, R_EMIGRATION, R_IMMIGRATION, R_BATCH = range(8)


@inner
def _draw_batch(key, identity, number, mean, geometric):
    """Return the size of a batch: fixed, or geometric from 1 with that mean."""
    if not geometric or mean <= 1.0:
        return int(round(mean))
    u, _ = uniform_pair(key, identity, number, S_BATCH_SIZE)
    return 1 + int(math.floor(math.log(u) / math.log1p(-1.0 / mean)))


@inner
def _sum_cells(cells, dormant):
    total = 0
    for clone in range(cells.shape[0]):
        total += dormant[clone]
        for stage in range(cells.shape[1]):
            total += cells[clone, stage]
    return total


@inner
def _note(out, row, cells, dormant):
    cycling, asleep, clones = 0, 0, 0
    for clone in range(cells.shape[0]):
        own = 0
        for stage in range(cells.shape[1]):
            own += cells[clone, stage]
        cycling += own
        asleep += dormant[clone]
        clones += 1 if own + dormant[clone] > 0 else 0
    out[row, 0], out[row, 1], out[row, 2] = cycling, asleep, clones


@inner
def _pick(cells, dormant, rates, stages, mark):
    """Return clone, stage and event that `mark`, a share of the summed cell rates, falls on; stage -1 is dormant."""
    for clone in range(cells.shape[0]):
        for stage in range(stages):
            n = cells[clone, stage]
            if n == 0:
                continue
            for event, rate in (
                (STAGE, rates[R_BIRTH] * stages), (DEATH, rates[R_DEATH]), (ASLEEP, rates[R_SLEEP]),
                (EMIGRATION, rates[R_EMIGRATION]),
            ):  # fmt: skip
                mark -= n * rate
                if mark < 0.0:
                    return clone, stage, event
        mark -= dormant[clone] * rates[R_DORMANT_DEATH]
        if mark < 0.0:
            return clone, -1, DORMANT_DEATH
        mark -= dormant[clone] * rates[R_WAKE]
        if mark < 0.0:
            return clone, -1, AWAKE
    return -1, -1, -1


@inner
def _change(cells, dormant, clone, stage, event, stages, ends_in_death):
    """Carry out one event of a cell; return what it is counted as."""
    if event == AWAKE:
        dormant[clone] -= 1
        cells[clone, 0] += 1
        return AWAKE
    if event == DORMANT_DEATH:
        dormant[clone] -= 1
        return DORMANT_DEATH
    cells[clone, stage] -= 1
    if event == ASLEEP:
        dormant[clone] += 1
    elif event == STAGE:
        if stage + 1 < stages:
            cells[clone, stage + 1] += 1
            return STAGE
        if ends_in_death:
            return DEATH
        cells[clone, 0] += 2
        return BIRTH
    return event


@inner
def _change_one(cells, dormant, rates, stages, mark, ends_in_death):
    """Carry out the event of one cell that `mark` falls on; return its kind, -1 for none, and 1."""
    clone, stage, event = _pick(cells, dormant, rates, stages, mark)
    if clone < 0:
        return -1, 0
    return _change(cells, dormant, clone, stage, event, stages, ends_in_death), 1


@inner
def _enter(cells, size, kind):
    """Let `size` cells enter the first clone; return the kind and the size."""
    cells[0, 0] += size
    return kind, size


@kernel
def run_exact(
    key, first, replicates, rates, stages, ends_in_death, batch, geometric, scheduled, initial, times, ceiling, cells,
    dormant, out, counts, marks,
):  # fmt: skip
    """Simulate replicates `first` to `first + replicates` event by event (Gillespie 1977).

    Parameters
    ----------
    key : uint64
        Key of the run; replicate and event number are the address of a draw.
    rates : ndarray of float64, shape (8,), 1/h
    stages : int
        Stages of the cycle, each left at `stages` times the birth rate.
    ends_in_death : bool
    batch, geometric : float, bool
        Size of a batch, fixed or the mean of a geometric law.
    scheduled : ndarray of float64, shape (batches, 2)
        Time (h) and size, by time.
    initial : ndarray of int64, shape (clones, 2)
        Cycling (stage 1) and dormant cells of each clone; clone 0 takes who enters later.
    times : ndarray of float64, shape (t,), h
    ceiling : int
        Most cells of a replicate.
    cells, dormant : ndarray of int64, shape (clones, stages) and (clones,)
        Scratch.
    out : ndarray of int64, shape (replicates, t, 3)
        Written: cycling, dormant, living clones.
    counts : ndarray of int64, shape (replicates, EVENTS)
        Written.
    marks : ndarray of float64, shape (replicates, 3)
        Written: time of the first event, its kind, time of extinction (h; NaN if none).

    Returns
    -------
    int
        -1, or the replicate that met the ceiling.
    """
    for r in range(replicates):
        replicate = first + r
        _begin(initial, cells, dormant, marks, r)
        now, number, row, plan = 0.0, 0, 0, 0
        while row < times.shape[0]:
            cycling, asleep = _totals(cells, dormant)
            per_cycling = rates[R_BIRTH] * stages + rates[R_DEATH] + rates[R_SLEEP] + rates[R_EMIGRATION]
            inside = cycling * per_cycling + asleep * (rates[R_DORMANT_DEATH] + rates[R_WAKE])
            total = inside + rates[R_IMMIGRATION] + rates[R_BATCH]
            u, which = uniform_pair(key, replicate, number, S_EVENT)
            number += 1
            due = now - math.log(u) / total if total > 0.0 else np.inf
            planned = scheduled[plan, 0] if plan < scheduled.shape[0] else np.inf
            then = min(due, planned)
            while row < times.shape[0] and times[row] < then:
                _note(out[r], row, cells, dormant)
                row += 1
            if row == times.shape[0]:
                break
            now = then
            if planned <= due:
                cells[0, 0] += int(scheduled[plan, 1])
                counts[r, BATCH] += int(scheduled[plan, 1])
                plan += 1
            else:
                mark = which * total
                if mark < inside:
                    kind, size = _change_one(cells, dormant, rates, stages, mark, ends_in_death)
                elif mark < inside + rates[R_IMMIGRATION]:
                    kind, size = _enter(cells, 1, IMMIGRATION)
                else:
                    kind, size = _enter(cells, _draw_batch(key, replicate, number, batch, geometric), BATCH)
                if kind < 0:
                    continue  # rounding: the mark fell on the very end
                counts[r, kind] += size
                if np.isnan(marks[r, 0]) and kind != STAGE:
                    marks[r, 0], marks[r, 1] = now, kind
            left = _sum_cells(cells, dormant)
            _mark_extinction(marks, r, left, now)
            if left > ceiling:
                return replicate
    return -1


@inner
def _begin(initial, cells, dormant, marks, r):
    for clone in range(cells.shape[0]):
        for stage in range(cells.shape[1]):
            cells[clone, stage] = 0
        cells[clone, 0] = initial[clone, 0]
        dormant[clone] = initial[clone, 1]
    marks[r, 0] = marks[r, 1] = marks[r, 2] = np.nan


@inner
def _totals(cells, dormant):
    cycling, asleep = 0, 0
    for clone in range(cells.shape[0]):
        asleep += dormant[clone]
        for stage in range(cells.shape[1]):
            cycling += cells[clone, stage]
    return cycling, asleep


@inner
def _mark_extinction(marks, r, left, now):
    if left == 0 and np.isnan(marks[r, 2]):
        marks[r, 2] = now
    elif left > 0:
        marks[r, 2] = np.nan  # who enters later begins again


@inner
def _join(replicate, k):
    """Return an address for the k-th thing of a replicate in one tick."""
    return (np.uint64(replicate) << np.uint64(32)) | np.uint64(k)


@inner
def _poisson(mean, u, key, replicate, step, stream):
    """Return a Poisson number: by inversion of the draw `u`, or where many arrive by counting the waits between them."""
    if mean <= 0.0:
        return 0
    k = 0
    if mean <= FEW:
        term = math.exp(-mean)
        total = term
        while u > total and term > 0.0:
            k += 1
            term *= mean / k
            total += term
        return k
    waited = 0.0
    while True:
        a, b = uniform_pair(key, _join(replicate, k // 2), step, stream)
        waited -= math.log(a if k % 2 == 0 else b)
        if waited > mean:
            return k
        k += 1


@inner
def _tick_cells(key, replicate, step, rates, stages, ends_in_death, hours, hazards, cells, dormant, before, counts, r):
    """Let every cell that was there at the start of the tick make one competing draw; return the last kind of event."""
    cell, last = 0, -1
    for clone in range(cells.shape[0]):
        for stage in range(-1, stages):
            n = before[clone, stage + 1]
            if n == 0:
                continue
            for k in range(hazards.shape[0]):
                hazards[k] = 0.0
            if stage < 0:
                hazards[DIE_BASELINE], hazards[WAKE_SPONTANEOUS] = rates[R_DORMANT_DEATH], rates[R_WAKE]
            else:
                hazards[DIE_BASELINE], hazards[DIVIDE] = rates[R_DEATH], rates[R_BIRTH] * stages
                hazards[SLEEP], hazards[EGRESS] = rates[R_SLEEP], rates[R_EMIGRATION]
            for _ in range(n):
                a, b = uniform_pair(key, _join(replicate, cell), step, S_CELL)
                cell += 1
                outcome = choose_outcome(hazards, hours, a, b)
                event = -1
                if outcome == DIVIDE:
                    event = STAGE
                elif outcome == DIE_BASELINE:
                    event = DORMANT_DEATH if stage < 0 else DEATH
                elif outcome == WAKE_SPONTANEOUS:
                    event = AWAKE
                elif outcome == SLEEP:
                    event = ASLEEP
                elif outcome == EGRESS:
                    event = EMIGRATION
                if event >= 0:
                    last = _change(cells, dormant, clone, stage, event, stages, ends_in_death)
                    counts[r, last] += 1
    return last


@kernel
def run_ticks(
    key, first, replicates, rates, stages, ends_in_death, batch, geometric, scheduled, initial, times, ceiling, cells,
    dormant, out, counts, marks, hours, before, hazards,
):  # fmt: skip
    """Simulate replicates in ticks of `hours`, as the engine does: one competing-risk draw a cell and tick.

    As `run_exact`; a time is recorded at the end of the last tick that is not after it. `before`, shape
    (clones, stages + 1), and `hazards`, shape (N_OUTCOMES,), are scratch.
    """
    for r in range(replicates):
        replicate = first + r
        _begin(initial, cells, dormant, marks, r)
        step, row, plan = 0, 0, 0
        while row < times.shape[0]:
            while row < times.shape[0] and times[row] < (step + 1) * hours - 1e-9 * hours:
                _note(out[r], row, cells, dormant)
                row += 1
            if row == times.shape[0]:
                break
            for clone in range(cells.shape[0]):
                before[clone, 0] = dormant[clone]
                for stage in range(stages):
                    before[clone, stage + 1] = cells[clone, stage]
            last = _tick_cells(
                key, replicate, step, rates, stages, ends_in_death, hours, hazards, cells, dormant, before, counts, r
            )
            u, v = uniform_pair(key, replicate, step, S_ENTRY)
            entered = _poisson(rates[R_IMMIGRATION] * hours, u, key, replicate, step, S_MANY)
            cells[0, 0] += entered
            counts[r, IMMIGRATION] += entered
            last = IMMIGRATION if entered > 0 else last
            for k in range(_poisson(rates[R_BATCH] * hours, v, key, replicate, step, S_MANY_BATCHES)):
                size = _draw_batch(key, _join(replicate, k), step, batch, geometric)
                cells[0, 0] += size
                counts[r, BATCH] += size
                last = BATCH
            while plan < scheduled.shape[0] and scheduled[plan, 0] <= (step + 1) * hours:
                cells[0, 0] += int(scheduled[plan, 1])
                counts[r, BATCH] += int(scheduled[plan, 1])
                plan += 1
            step += 1
            if last >= 0 and last != STAGE and np.isnan(marks[r, 0]):
                marks[r, 0], marks[r, 1] = step * hours, last
            left = _sum_cells(cells, dormant)
            _mark_extinction(marks, r, left, step * hours)
            if left > ceiling:
                return replicate
    return -1
