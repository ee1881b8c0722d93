"""Lesions: the fate of competent lesions, each one unit under the hazards of the place where it lies.

A dormant lesion wakes, by a route, and dies, by a cause, with hazards that are constant between visits. It has a unit
exponential level of its own for waking and one for dying, and each event comes when the integral of its hazard passes the
level, if it is the first: what lowers the hazards of waking only delays the same waking, whatever it does to death. Which
route or cause is a second draw, in proportion to the hazards of that interval.

A lesion that woke establishes with the chance that a branching process of one cell never dies out,
max(0, 1 - death / division). Then it grows as `imaging` has it, in a time of its own:
d tau = (division - death) / reference growth dt. It is detectable when tau first reaches the wait of imaging, and lost if
tau falls below that of its first cell before. A lesion that grows from the start has a tau that is uniform between its
first cell and the detectable size, as if such lesions had begun at a constant rate.

All is drawn at (key of the patient; number of the lesion and name, 0).
"""

from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd

from niche_sim.draws import draw_uniforms
from niche_sim.imaging import Imaging, draw_doubling, find_detectable, find_rate, find_scan, find_wait, grow
from niche_sim.kinds import N_DEATHS, OUTCOME_NAMES, S_SCATTER, WAKE_SPONTANEOUS, WAKE_SPROUTING

ROUTES = OUTCOME_NAMES[WAKE_SPONTANEOUS : WAKE_SPROUTING + 1]
CAUSES = tuple(name for name in OUTCOME_NAMES[:N_DEATHS] if name not in ("starvation", "tgf_beta", "tumour", "age"))
DORMANT, DIED, LOST, GROWING, DETECTED = "dormant", "died", "lost", "growing", "detected"
NOT_ESTABLISHED, SHRUNK = "not_established", "shrunk"  # causes of what is lost


class Place(NamedTuple):
    """What lesions of one site meet between visits; hazards in 1/h, constant in each of n intervals."""

    times_h: np.ndarray  # (n + 1,)
    wake: np.ndarray  # (len(ROUTES), n)
    death: np.ndarray  # (len(CAUSES), n), of dormant cells
    division: np.ndarray  # (n,), of a growing cell
    loss: np.ndarray  # (n,), death of a growing cell

    def find_clock(self, imaging: Imaging) -> np.ndarray:
        """Return the time of growth tau (h) that has passed by each of `times_h`."""
        return _integrate(self.times_h, (self.division - self.loss) / imaging.reference_growth)


def _integrate(times_h: np.ndarray, rate: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(rate * np.diff(times_h))])


def find_passage(start_h: Any, levels: Any, times_h: np.ndarray, hazard: np.ndarray) -> np.ndarray:
    """Return when (h) the integral of a hazard from `start_h` on passes each level; infinite if it does not.

    Parameters
    ----------
    start_h, levels : array
    times_h : array, shape (n + 1,)
    hazard : array, shape (n,)
        1/h in each interval.
    """
    passed = _integrate(times_h, hazard)
    wanted = np.interp(start_h, times_h, passed) + levels
    # Where nothing passes two edges are equal: the end of the interval before is meant, as with skeletal events.
    right = np.minimum(np.searchsorted(passed, wanted, side="left"), len(hazard))
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = times_h[right - 1] + (wanted - passed[right - 1]) / hazard[right - 1]
    return np.where(wanted <= passed[-1], reached, np.inf)


def find_established(division: Any, loss: Any) -> np.ndarray:
    """Return the chance that the lesion of one growing cell never dies out: max(0, 1 - death / division)."""
    division, loss = np.asarray(division, dtype=float), np.asarray(loss, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(division > loss, 1.0 - loss / division, 0.0)


def choose(drawn: np.ndarray, hazards: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return which of the rows of `hazards` each draw falls on, in proportion to those of its interval `at`."""
    sums = np.cumsum(hazards, axis=0)[:, at]
    return np.minimum((drawn * sums[-1] >= sums).sum(axis=0), len(hazards) - 1)


def find_interval(time_h: Any, times_h: np.ndarray) -> np.ndarray:
    """Return the number of the interval that a time lies in; an edge belongs to the interval before it."""
    return np.clip(np.searchsorted(times_h, time_h, side="left") - 1, 0, len(times_h) - 2)


def find_first(start_h: np.ndarray, level: np.ndarray, times_h: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """Return when (h) a piecewise linear clock first reaches each level after `start_h`, from below; infinite if never.

    Parameters
    ----------
    start_h, level : array, shape (lesions,)
        The clock is below the level at the start.
    times_h, clock : array, shape (n + 1,)
    """
    there = (clock >= level[:, None]) & (times_h > start_h[:, None])
    right = np.maximum(np.where(there.any(axis=1), there.argmax(axis=1), 1), 1)
    begin = np.maximum(times_h[right - 1], start_h)
    low = np.interp(begin, times_h, clock)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.clip((level - low) / (clock[right] - low), 0.0, 1.0)
        found = begin + part * (times_h[right] - begin)
    return np.where(there.any(axis=1), found, np.inf)


def follow(lesions: pd.DataFrame, place: Place, imaging: Imaging) -> pd.DataFrame:
    """Return the lesions of one site with what became of them.

    Parameters
    ----------
    lesions : DataFrame
        Columns key (of the patient), lesion (its number), start_h, growing (from the start) and, of those, head (the share
        of the way from one cell to the detectable size that is behind them).
    place : Place
    imaging : Imaging

    Returns
    -------
    DataFrame
        With the columns doubling_h, fate, woke_h, route, died_h, cause, established, begin_h (of growth) and detectable_h
        added; times that do not come are NaN, and texts that do not apply are empty.
    """
    table = lesions.reset_index(drop=True)
    keys, numbers = table["key"].to_numpy(np.uint64), table["lesion"].to_numpy(np.int64)
    start, growing = table["start_h"].to_numpy(float), table["growing"].to_numpy(bool)
    draws = {
        name: draw_uniforms(keys, _address(name, numbers), 0, S_SCATTER)
        for name in ("wake", "route", "death", "cause", "establish")
    }  # fmt: skip
    wake, death = (
        np.where(growing, np.inf, find_passage(start, -np.log(draws[name]), place.times_h, hazards.sum(axis=0)))
        for name, hazards in (("wake", place.wake), ("death", place.death))
    )
    woke, died = np.isfinite(wake) & (wake <= death), np.isfinite(death) & (death < wake)
    at = find_interval(np.where(woke, wake, 0.0), place.times_h)
    chance = find_established(place.division[at], place.loss[at])
    established = growing | (woke & (draws["establish"] < chance))
    begin = np.where(growing, start, np.where(established, wake, np.nan))
    doubling = np.array([draw_doubling(key, number, imaging) for key, number in zip(keys, numbers)])
    detectable, shrunk = _grow(begin, table["head"].to_numpy(float), doubling, place, imaging)
    lost = woke & ~established
    table["doubling_h"], table["begin_h"] = doubling, begin
    table["fate"] = np.select(
        [died, lost | np.isfinite(shrunk), np.isfinite(detectable), established], [DIED, LOST, DETECTED, GROWING], DORMANT
    )
    routes = np.array(ROUTES)[choose(draws["route"], place.wake, at)]
    causes = np.array(CAUSES)[choose(draws["cause"], place.death, find_interval(np.where(died, death, 0.0), place.times_h))]
    table["woke_h"], table["route"] = np.where(woke, wake, np.nan), np.where(woke, routes, "")
    ended = np.select([died, lost, np.isfinite(shrunk)], [death, wake, shrunk], np.nan)
    table["died_h"] = ended
    table["cause"] = np.select([died, lost, np.isfinite(shrunk)], [causes, NOT_ESTABLISHED, SHRUNK], "")
    table["established"] = established
    table["detectable_h"] = np.where(np.isfinite(detectable), detectable, np.nan)
    return table


def _grow(
    begin: np.ndarray, head: np.ndarray, doubling: np.ndarray, place: Place, imaging: Imaging
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return when lesions become detectable, or shrink below one cell, whichever comes first; infinite if neither does."""
    grows = np.isfinite(begin)
    wait = _find_way(doubling, imaging)
    clock = place.find_clock(imaging)
    since = np.where(grows, begin, place.times_h[-1])
    origin = np.interp(since, place.times_h, clock) - head * wait
    up = find_first(since, origin + wait, place.times_h, clock)
    # Of the clock turned over; just below the first cell, so that a lesion of one cell is not lost at once.
    down = find_first(since, np.nextafter(-origin, np.inf), place.times_h, -clock)
    return np.where(grows & (up <= down), up, np.inf), np.where(grows & (down < up), down, np.inf)


def _find_way(doubling: np.ndarray, imaging: Imaging) -> np.ndarray:
    """Return the time (h) of growth from one cell to the detectable size."""
    return find_wait(1.0, find_detectable(imaging), find_rate(doubling, imaging), imaging)


def detect_lesions(followed: pd.DataFrame, imaging: Imaging, last_h: float) -> pd.DataFrame:
    """Return followed lesions with detected_h: the first scan that shows each, NaN if none does up to `last_h`."""
    found = [
        find_scan(at, key, number, imaging, last_h) if np.isfinite(at) else np.nan
        for at, key, number in zip(followed["detectable_h"], followed["key"].to_numpy(np.uint64), followed["lesion"])
    ]
    fate = followed["fate"].where((followed["fate"] != DETECTED) | np.isfinite(found), GROWING)
    return followed.assign(detected_h=np.array(found, dtype=float), fate=fate)


def count_cells(followed: pd.DataFrame, place: Place, imaging: Imaging) -> np.ndarray:
    """Return the cells of each growing lesion in the middle of each interval, 0 where it does not grow, (lesions, n)."""
    middle = 0.5 * (place.times_h[1:] + place.times_h[:-1])
    begin, ended = followed["begin_h"].to_numpy()[:, None], followed["died_h"].fillna(np.inf).to_numpy()[:, None]
    clock, doubling = place.find_clock(imaging), followed["doubling_h"].to_numpy()
    way = followed["head"].to_numpy() * _find_way(doubling, imaging)
    passed = np.interp(middle, place.times_h, clock) - np.interp(begin, place.times_h, clock) + way[:, None]
    alive = (begin <= middle) & (middle < ended)
    cells = grow(1.0, np.where(alive, passed, 0.0), find_rate(doubling, imaging)[:, None], imaging)
    return np.where(alive, cells, 0.0)


def draw_growing(keys: Any, numbers: Any, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which lesions grow from the start, a share of them, and how far each then is on its way to be detectable."""
    levels = [draw_uniforms(keys, _address(name, np.asarray(numbers)), 0, S_SCATTER) for name in ("growing", "head")]
    return levels[0] < share, levels[1]


def _address(name: str, numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.uint64) << np.uint64(32) | np.uint64(crc32(f"lesions.{name}".encode()))
