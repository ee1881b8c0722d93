"""The work of a study: from a batch of runs to one row a run, in whatever thread, process or machine it is called."""

import math
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from niche_sim.errors import InputError, Interrupted, NicheSimError
from niche_sim.study.endpoints import split_column
from niche_sim.study.spec import Batch, Endpoint, RunSpec, Study

if TYPE_CHECKING:
    from niche_sim.recorder import ArmResult
    from niche_sim.simulation import Plan
    from niche_sim.state import State

TRIES = 3
DONE, FAILED = "done", "failed"
IDENTITY = ("key", "point", "replicate", "arm", "status", "error")
"""Columns of the table of results before its endpoints."""

STOP: ContextVar[threading.Event | None] = ContextVar("STOP", default=None)
"""In a thread of an executor: an event that asks its run to end."""

_LONGEST_ERROR = 500


class Task(NamedTuple):
    """A batch on its way to a worker: with the points of the design that its runs are of, which a worker needs."""

    number: int
    runs: tuple[RunSpec, ...]
    name: str
    points: pd.DataFrame


def make_task(batch: Batch, design: pd.DataFrame) -> Task:
    """Return a batch with its points; point p is row p of a design."""
    return Task(batch.number, batch.runs, batch.name, design.iloc[sorted({run.point for run in batch.runs})])


@dataclass(frozen=True)
class Work:
    """What a worker is to do with every batch of a study; made by the driver, called by workers.

    Attributes
    ----------
    study : Study
    sources : str
        Hash of the driver's sources.
    versions : dict of str to str
        Of what can change a number, where the driver runs.
    """

    study: Study
    sources: str
    versions: dict[str, str]

    def __call__(self, task: Task) -> pd.DataFrame:
        """Return the rows of a batch.

        Raises
        ------
        InputError
            The worker has other sources or libraries than the driver: its numbers might be others.
        """
        check_versions(self.sources, self.versions, "the driver", "this worker")
        return run_batch(self.study, task)


def make_work(study: Study) -> Work:
    """Return the work of a study, with the versions at hand."""
    from niche_sim.kernel import hash_sources

    return Work(study, hash_sources(), list_versions())


def list_versions() -> dict[str, str]:
    """Return the versions of what can change a number of the table of results."""
    from niche_sim.store.manifest import list_versions as list_all

    return {name: version for name, version in list_all().items() if name not in ("zarr", "numcodecs", "matplotlib")}


_checked: dict[str, list[str]] = {}


def compare_versions(sources: str, versions: dict[str, str]) -> list[str]:
    """Return what differs from what is at hand, as `name theirs -> ours`."""
    from niche_sim.kernel import hash_sources

    if sources not in _checked:  # hashing every source takes longer than a short run
        ours = list_versions() | {"sources of niche_sim": hash_sources()}
        theirs = versions | {"sources of niche_sim": sources}
        names = sorted(set(ours) | set(theirs))
        _checked[sources] = [
            f"{name} {theirs.get(name, 'none')} -> {ours.get(name, 'none')}"
            for name in names if theirs.get(name) != ours.get(name)
        ]  # fmt: skip
    return _checked[sources]


def check_versions(sources: str, versions: dict[str, str], theirs: str, ours: str) -> None:
    """Refuse other sources or libraries than those at hand.

    Raises
    ------
    InputError
        Some differ; the message names them.
    """
    differing = compare_versions(sources, versions)
    if differing:
        raise InputError(f"versions differ between {theirs} and {ours}: {', '.join(differing)}; install the same on both")


def warm_engine() -> None:
    """Load the compiled engine, or compile it, by running one tick of a small niche."""
    from niche_sim.config import build_experiment
    from niche_sim.simulation import run_experiment

    tiny = {"scene": "trabecula_small", "patient": "postmenopausal", "arms": {"control": {}}}
    run_experiment(build_experiment(tiny | {"name": "warm", "time": {"length": "6 h", "spin_up": "6 h"}}))


def run_batch(study: Study, task: Task) -> pd.DataFrame:
    """Run a batch and return one row a run, in their order: IDENTITY and the endpoints.

    Runs that begin from the same state share it: it is computed once. What fails is tried TRIES times in all, then it is a
    row with the status `failed` and what went wrong, in one line. Nothing of a run is kept but its row.

    Raises
    ------
    Interrupted
        The executor asked for the end.
    """
    points = task.points.set_index("point", drop=False)
    rows: list[dict[str, Any]] = []
    for _, runs in groupby(task.runs, key=lambda run: run.spin_up):
        rows += _run_group(study, list(runs), points)
    return build_frame(study, rows)


def build_frame(study: Study, rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns and types of every table of results of a study."""
    names = [endpoint.name for endpoint in study.endpoints]
    frame = pd.DataFrame(list(rows), columns=[*IDENTITY, *names])
    return frame.astype({"point": "int64", "replicate": "int64"} | dict.fromkeys(names, "float64"))


def fail_batch(study: Study, task: Task, error: Exception) -> pd.DataFrame:
    """Return the rows of a batch of which nothing came back."""
    return build_frame(study, [_write_row(run, FAILED, tell(error)) for run in task.runs])


def tell(error: Exception) -> str:
    """Return an error in one line."""
    said = str(error) if isinstance(error, NicheSimError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split()).encode(errors="replace").decode()[:_LONGEST_ERROR]


def _write_row(run: RunSpec, status: str, error: str = "") -> dict[str, Any]:
    return dict(zip(IDENTITY, (run.key, run.point, run.replicate, run.arm, status, error)))


def _run_group(study: Study, runs: list[RunSpec], points: pd.DataFrame) -> list[dict[str, Any]]:
    """Run what begins from the same state."""
    shared: list[tuple[Plan, State]] = []
    failures: list[Exception] = []

    def start(experiment: Any) -> tuple["Plan", "State"]:
        from niche_sim.simulation import make_plan, spin_up

        if len(failures) == TRIES:
            raise failures[-1]
        if not shared:
            try:
                plan = make_plan(experiment)
                shared.append((plan, spin_up(plan, _listen())))
            except Interrupted:
                raise
            except Exception as error:
                failures.append(error)
                raise
        return shared[0]

    def run_one(run: RunSpec) -> dict[str, float]:
        from niche_sim.simulation import run_arm
        from niche_sim.study.runs import build_run

        experiment = build_run(study, points.loc[run.point].to_dict(), run.replicate, run.arm)
        plan, state = start(experiment)
        own = replace(plan, experiment=experiment, steps=round(experiment.length_h / experiment.tick_h))
        return measure(run_arm(own, run.arm, state, _listen()), study.endpoints)

    return [_try(run, run_one) for run in runs]


def _listen() -> Callable[..., None]:
    """Return a progress that ends the run when the executor asks for it."""
    stop = STOP.get()

    def report(event: str, **info: Any) -> None:
        if stop is not None and stop.is_set():
            raise Interrupted("stopped")

    return report


def _try(run: RunSpec, run_one: Callable[[RunSpec], dict[str, float]]) -> dict[str, Any]:
    said = ""
    for _ in range(TRIES):
        try:
            return _write_row(run, DONE) | run_one(run)
        except Interrupted:
            raise
        except Exception as error:
            said = tell(error)
    return _write_row(run, FAILED, said)


def measure(result: "ArmResult", endpoints: Iterable[Endpoint]) -> dict[str, float]:
    """Return the endpoints of an arm.

    `end` and `start` are the last and first row of the series, `change` their difference; `mean`, `min`, `max` and `sum` go
    over the rows that have a number; `log10_mean` is the decimal logarithm of their mean, NaN if that is not positive;
    `first_above(x)` and `first_below(x)` are the time (h) of the first such row, or NaN.
    """
    times = result.series["time_h"].to_numpy()
    return {end.name: _take(end, times, _add(result.series, end.column)) for end in endpoints}


def _add(series: pd.DataFrame, column: str) -> np.ndarray:
    """Return the sum of the columns of an endpoint, row by row, in their order."""
    first, *others = (series[name].to_numpy(dtype=float) for name in split_column(column))
    return sum(others, first)


def _take(endpoint: Endpoint, times: np.ndarray, values: np.ndarray) -> float:
    take, level = endpoint.take, endpoint.argument
    if take in ("first_above", "first_below"):
        assert level is not None
        met = values > level if take == "first_above" else values < level
        return float(times[met][0]) if met.any() else float("nan")
    if take in ("end", "start"):
        return float(values[-1 if take == "end" else 0])
    if take == "change":
        return float(values[-1] - values[0])
    there = values[np.isfinite(values)]
    if not len(there):
        return float("nan")
    if take in ("min", "max"):
        return float(there.min() if take == "min" else there.max())
    total = math.fsum(there)  # exact: numpy adds in an order that depends on the processor
    if take == "log10_mean":
        return round(math.log10(total / len(there)), 12) if total > 0.0 else float("nan")  # the last bits are the library's
    return total / len(there) if take == "mean" else total
