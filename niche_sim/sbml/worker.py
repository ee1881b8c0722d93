"""Solves one model in SBML for `solving.py`: a task on standard input, its numbers on standard output.

It runs as a script, in a process of its own: a model of a stranger is compiled to machine code here, and may neither take
more time or memory than it is given, nor end the program that asked.
"""

import json
import os
import sys
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

RELATIVE, ABSOLUTE = 1e-10, 1e-12  # tolerances; the absolute one of the smallest amount at the start
MOST_STEPS = 100_000  # between two recorded times
_CHUNK = 50_000  # rows that the library gives at once
_CLOSE = 1e-8  # largest share by which a last Newton step may still move a state at rest
_FLAT = 1e-10  # size of a change of rates, relative to the largest, that counts as none
_LONG = 100.0  # times the length of the course that are waited for a steady state


def _limit_memory(most_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    ceiling = resource.getrlimit(resource.RLIMIT_AS)[1]
    if ceiling == resource.RLIM_INFINITY or ceiling > most_bytes:
        with suppress(ValueError, OSError):  # a system that does not limit addresses
            resource.setrlimit(resource.RLIMIT_AS, (most_bytes, ceiling))


def _load(task: dict[str, Any]) -> Any:
    import roadrunner

    roadrunner.Logger.disableLogging()
    runner = roadrunner.RoadRunner(task["sbml"])
    least = min((abs(v) for v in _get_states(runner, task) if v), default=1.0)
    settings = {"relative_tolerance": RELATIVE, "absolute_tolerance": ABSOLUTE * min(least, 1.0)}
    for name, value in (settings | {"maximum_num_steps": MOST_STEPS}).items():
        runner.integrator.setValue(name, value)
    return runner


def _get_states(runner: Any, task: dict[str, Any]) -> np.ndarray:
    return np.array([runner.getValue(selection) for selection, _, _ in task["states"]], dtype=np.float64)


def _put_states(runner: Any, task: dict[str, Any], values: np.ndarray) -> None:
    for (selection, _, _), value in zip(task["states"], values):
        runner.setValue(selection, float(value))


def _find_rates(runner: Any, task: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Return the rate of change of each state, in its own unit, with the states at `values`."""
    _put_states(runner, task, values)
    parts = [(runner.getValue(rate), runner.getValue(volume) if volume else 1.0) for _, rate, volume in task["states"]]
    return np.array([rate / volume for rate, volume in parts])


class _Rest(NamedTuple):
    """Where all rates vanish, the rates there, and whether the rates leave some of it open."""

    values: np.ndarray
    rates: np.ndarray
    is_open: bool


def _search_rest(runner: Any, task: dict[str, Any], start: np.ndarray) -> _Rest | None:
    """Return a state near `start` at which all rates vanish, or None; steps are of least length."""
    from scipy.optimize import least_squares

    scale = np.maximum(np.abs(start), 1e-9 * max(np.abs(start).max(initial=0.0), 1e-9))

    def scaled(u: np.ndarray) -> np.ndarray:
        return _find_rates(runner, task, u * scale) / scale

    lowest = np.where(start >= 0.0, 0.0, -np.inf)
    try:
        found = least_squares(scaled, start / scale, "3-point", (lowest, np.inf), xtol=1e-15, ftol=1e-15, gtol=1e-15)
    except ValueError:  # rates that are no numbers
        return None
    slopes, u = found.jac, found.x
    for _ in range(2):
        u = u + np.linalg.lstsq(slopes, -scaled(u), rcond=_FLAT)[0]
    rest = scaled(u)
    last, _, _, sizes = np.linalg.lstsq(slopes, -rest, rcond=_FLAT)
    # A step of no length is no proof where the rates do not depend on the states: they must be small themselves.
    close = np.abs(last).max() <= _CLOSE * np.abs(u).max() and np.abs(rest).max() <= _CLOSE * np.abs(slopes).max()
    if not close or (u < lowest - _CLOSE).any():
        return None
    return _Rest(u * scale, rest * scale, bool(sizes.min() <= _FLAT * sizes.max()))


def _find_rest(runner: Any, task: dict[str, Any]) -> _Rest | None:
    """Return the steady state that the starting values lead to, or None.

    What the rates leave open (a bone mass, the sum of a closed cycle) depends on the way there: the course is then waited
    for, and the search only polishes its end.
    """
    start = _get_states(runner, task)
    found = _search_rest(runner, task, start)
    if found is None or (found.is_open and not np.allclose(found.values, start, rtol=_CLOSE, atol=0.0)):
        _put_states(runner, task, start)
        try:
            runner.simulate(times=[0.0, _LONG * task["times"][-1]])
            found = _search_rest(runner, task, _get_states(runner, task))
        except RuntimeError:  # it grows without bound
            found = None
        runner.resetToOrigin()
    _put_states(runner, task, start)
    return found


def _follow(runner: Any, task: dict[str, Any]) -> np.ndarray:
    """Return what is asked for at the recorded times, shape (times, outputs)."""
    times = np.array(task["times"])
    runner.timeCourseSelections = task["outputs"]
    values = np.empty((len(times), len(task["outputs"])))
    for begin, end, held in task["pieces"]:
        usual = {name: runner.getValue(name) for name in held}
        for name, value in held.items():
            runner.setValue(name, value)
        inside = np.flatnonzero((times >= begin) & (times <= end) if begin == 0.0 else (times > begin) & (times <= end))
        asked = np.unique(np.concatenate([[begin], times[inside], [end]]))
        rows = [np.asarray(runner.simulate(times=part.tolist())) for part in _split(asked)]
        whole = np.concatenate([rows[0], *(row[1:] for row in rows[1:])])
        values[inside] = whole[np.searchsorted(asked, times[inside])]
        for name, value in usual.items():
            runner.setValue(name, value)
    return values


def _split(times: np.ndarray) -> list[np.ndarray]:
    """Return pieces of rising times, each beginning where the last one ended."""
    return [times[i : i + _CHUNK + 1] for i in range(0, len(times) - 1, _CHUNK)]


def solve(task: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray]:
    """Return what is to be said and the course (times, outputs)."""
    none = np.empty((0, len(task["outputs"])))
    try:
        runner = _load(task)
    except Exception as error:  # of any kind: it is a stranger's model in another's library
        return {"failed": "load", "message": str(error)}, none
    rest = _find_rest(runner, task) if task["steady"] or task["from_rest"] else None
    if rest is None and (task["steady"] or task["from_rest"]):
        return {"failed": "steady", "message": ""}, none
    if rest is not None and task["from_rest"]:
        _put_states(runner, task, rest.values)
    try:
        values = _follow(runner, task)
    except RuntimeError as error:
        return {"failed": "course", "message": f"{error} (at {runner.model.getTime():.6g} in its time)"}, none
    said = {} if rest is None else {"steady": rest.values.tolist(), "rates": rest.rates.tolist()}
    return said, values


def main() -> None:
    """Answer with one line of JSON, then the numbers."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the library prints is no answer
    task = json.load(sys.stdin)
    _limit_memory(task["most_bytes"])
    said, values = solve(task)
    answer.write(json.dumps(said | {"shape": values.shape}).encode() + b"\n" + values.tobytes())
    answer.close()
    os._exit(0)  # the library's own end is slow, and may crash after a model that it could not read


if __name__ == "__main__":
    main()
