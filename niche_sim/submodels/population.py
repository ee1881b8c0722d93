"""A population of cells without space: birth, death, immigration, emigration, batches, dormancy, staged cycles, clones.

Cycling cells divide at `birth` (through `cycle_stages` stages, so that the cycle time is Erlang distributed), die, fall
asleep, or leave; dormant cells wake or die; cells enter one by one or in batches. `exact` draws event after event (Gillespie
1977); `tick` is the law of the engine: every cell makes one competing-risk draw a tick, p = 1 - exp(-h dt), so that the bias
of a tick can be seen. Draws are addressed by replicate and event (or cell and tick): any replicate can be had alone.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from niche_sim.config.quantity import choice, flag, quantity, whole
from niche_sim.config.schema import Strict
from niche_sim.draws import run_key
from niche_sim.errors import ResourceError
from niche_sim.kinds import N_OUTCOMES
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables

MODEL = "population"
SCHEME = "exact: Gillespie's direct method; tick: one competing-risk draw a cell and tick"
COUNTS = ("births", "deaths", "dormant_deaths", "sleeps", "wakes", "emigrations", "immigrants", "batch_cells", "stages")
FIRST = ("birth", "death", "dormant_death", "sleep", "wake", "emigration", "immigration", "batch")
RATES = ("birth", "death", "dormant_death", "sleep", "wake", "emigration", "immigration", "batch")
_RATE = quantity("0 /h", "1e6 /h", unit="1/h")
MOST_STEPS = 3e10
_PART = 2_500  # replicates a thread takes at a time

COLUMNS = {
    "moments": {
        "time_h": ("h", "time"), "state": ("name", "cycling, dormant, total or clones"),
        "mean": ("cells", "over replicates"),
        "variance": ("cells2", "over replicates, unbiased"), "sem": ("cells", "standard error of the mean"),
        "least": ("cells", "smallest"), "most": ("cells", "largest"), "share_zero": ("1", "replicates with none"),
    },
    "histogram": {
        "time_h": ("h", "time"), "total": ("cells", "cycling and dormant"), "replicates": ("count", "that have this total"),
    },
    "replicates": {
        "replicate": ("count", "number from 0"), "cycling": ("cells", "at the end"), "dormant": ("cells", "at the end"),
        "clones": ("count", "living at the end"), "first_event_time_h": ("h", "of the first event but a change of stage"),
        "first_event": ("name", ", ".join(FIRST)), "extinction_time_h": ("h", "when the last cell went; empty if none"),
        **dict.fromkeys(COUNTS, ("count", "events so far")),
    },
}  # fmt: skip


class RatesModel(Strict):
    """Rates of events: of each cell, but for immigration and batch, which are of the population."""

    birth: Annotated[float, _RATE] = 0.0
    death: Annotated[float, _RATE] = 0.0
    dormant_death: Annotated[float, _RATE] = 0.0
    sleep: Annotated[float, _RATE] = 0.0
    wake: Annotated[float, _RATE] = 0.0
    emigration: Annotated[float, _RATE] = 0.0
    immigration: Annotated[float, _RATE] = 0.0
    batch: Annotated[float, _RATE] = 0.0


class BatchModel(Strict):
    """Cells of one batch: a fixed number, or a geometric one (from 1) of that mean."""

    size: Annotated[float, quantity(1.0, 1e6)] = 1.0
    law: Annotated[str, choice("fixed", "geometric")] = "fixed"


class ScheduledModel(Strict):
    """Cells that enter together at a time."""

    time_h: Annotated[float, quantity("0 h", "100 yr", unit="h")] = Field(alias="time")
    size: Annotated[int, whole(1, 1_000_000)]


class InitialModel(Strict):
    """Cells at time 0; with `clones`, each founds a clone of its own."""

    cycling: Annotated[int, whole(0, 1_000_000)] = 0
    dormant: Annotated[int, whole(0, 1_000_000)] = 0
    clones: Annotated[bool, flag()] = False


class Spec(SubModel):
    """A population of cells without space."""

    rates: RatesModel = RatesModel()
    cycle_stages: Annotated[int, whole(1, 200)] = 1
    at_cycle_end: Annotated[str, choice("divide", "die")] = "divide"
    batches: BatchModel = BatchModel()
    scheduled: list[ScheduledModel] = Field(default=[], max_length=10_000)
    initial: InitialModel = InitialModel()
    replicates: Annotated[int, whole(1, 1_000_000)] = 1000
    method: Annotated[str, choice("exact", "tick")] = "exact"
    tick_h: Annotated[float, quantity("1 s", "30 d", unit="h")] = Field(alias="tick", default=6.0)
    length_h: Annotated[float, quantity("0 h", "1000 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "1000 yr", unit="h", above=True)] = Field(alias="every")
    ceiling: Annotated[int, whole(1, 2**31 - 1)] = 1_000_000
    histogram: Annotated[bool, flag()] = True


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    found: Mistakes = []
    rows = spec.length_h / spec.every_h + 2
    if rows * spec.replicates > 2e8:
        found.append((("every",), "gives more than 200 million recorded numbers; record less often or run fewer replicates"))
    if spec.initial.clones and spec.initial.cycling + spec.initial.dormant > 10_000:
        found.append((("initial", "clones"), "at most 10,000 cells can found clones of their own"))
    if spec.method == "tick" and spec.length_h / spec.tick_h > 1e8:
        found.append((("tick",), "gives more than 100 million ticks"))
    if spec.batches.law == "fixed" and spec.batches.size % 1:
        found.append((("batches", "size"), "a fixed size is a whole number of cells; law: geometric takes any mean"))
    steps = forecast_steps(spec)
    if steps > MOST_STEPS:
        found.append((("replicates",), f"ask for some {steps:.0e} events, more than {MOST_STEPS:.0e}; ask for fewer"))
    return found


def forecast_steps(spec: Spec) -> float:
    """Return about how many steps of the kernel a run takes: events, or draws of cells in ticks, by the mean numbers."""
    rates, initial = spec.rates, spec.initial
    entering = rates.immigration + rates.batch * spec.batches.size
    net = rates.birth * (1 if spec.at_cycle_end == "divide" else -1) - rates.death - rates.emigration
    times = np.linspace(0.0, spec.length_h, 201)
    with np.errstate(over="ignore"):
        grown = np.exp(net * times)
        fed = entering * (times if net == 0.0 else np.expm1(net * times) / net)
        cells = (initial.cycling + initial.dormant) * np.maximum(grown, 1.0 if initial.dormant else 0.0) + fed
    cells = np.minimum(cells + sum(batch.size for batch in spec.scheduled), spec.ceiling)
    life = float(np.trapezoid(cells, times))
    sizes = max(initial.cycling + initial.dormant if initial.clones else 1, 1) * spec.cycle_stages
    if spec.method == "tick":
        return spec.replicates * (life / spec.tick_h + spec.length_h / spec.tick_h * (1 + 0.2 * sizes))
    leaving = rates.birth * spec.cycle_stages + rates.death + rates.sleep + rates.emigration
    events = life * max(leaving, rates.dormant_death + rates.wake) + (rates.immigration + rates.batch) * spec.length_h
    return spec.replicates * (events + 1.0) * (1.0 + 0.2 * sizes)


def _found_clones(initial: InitialModel) -> np.ndarray:
    """Return cycling and dormant cells of each clone; the first takes who enters later, and all without clones."""
    if not initial.clones:
        return np.array([[initial.cycling, initial.dormant]], np.int64)
    rows = [[0, 0]] + [[1, 0]] * initial.cycling + [[0, 1]] * initial.dormant
    return np.array(rows, np.int64)


def _simulate(spec: Spec, times: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers (replicates, t, 3), event counts and marks of every replicate."""
    from niche_sim.submodels.population_kernels import EVENTS, run_exact, run_ticks

    key, initial = run_key(spec.seed), _found_clones(spec.initial)
    rates = np.array([getattr(spec.rates, name) for name in RATES])
    plan = np.array(sorted((s.time_h, float(s.size)) for s in spec.scheduled)).reshape(-1, 2)
    out = np.zeros((spec.replicates, len(times), 3), np.int64)
    counts, marks = np.zeros((spec.replicates, EVENTS), np.int64), np.zeros((spec.replicates, 3))

    def work(first: int) -> int:
        last = min(first + _PART, spec.replicates)
        cells, dormant = np.zeros((len(initial), spec.cycle_stages), np.int64), np.zeros(len(initial), np.int64)
        shared: tuple[Any, ...] = (
            key, first, last - first, rates, spec.cycle_stages, spec.at_cycle_end == "die", spec.batches.size,
            spec.batches.law == "geometric", plan, initial, times, spec.ceiling, cells, dormant, out[first:last],
            counts[first:last], marks[first:last],
        )  # fmt: skip
        if spec.method == "exact":
            return int(run_exact(*shared))
        before = np.zeros((len(initial), spec.cycle_stages + 1), np.int64)
        return int(run_ticks(*shared, spec.tick_h, before, np.zeros(N_OUTCOMES)))

    parts = range(0, spec.replicates, _PART)
    with ThreadPoolExecutor() as pool:
        for done, full in enumerate(pool.map(work, parts), start=1):
            if full >= 0:
                raise ResourceError(f"population: replicate {full} met the ceiling of {spec.ceiling:,} cells; raise ceiling")
            progress(done / len(parts))
    return out, counts, marks


def run(spec: Spec, progress: Progress) -> Tables:
    """Return moments over replicates, the distribution of totals, and each replicate's end.

    Raises
    ------
    ResourceError
        A replicate met the ceiling of cells.
    """
    times = np.unique(np.append(np.arange(0.0, spec.length_h, spec.every_h), spec.length_h))
    out, counts, marks = _simulate(spec, times, progress)
    tables = {"moments": _measure(times, out), "replicates": _list_replicates(out, counts, marks)}
    if spec.histogram:
        tables["histogram"] = _count(times, out)
    return tables


def _measure(times: np.ndarray, out: np.ndarray) -> pd.DataFrame:
    states = {"cycling": out[..., 0], "dormant": out[..., 1], "total": out[..., 0] + out[..., 1], "clones": out[..., 2]}
    frames = []
    for state, values in states.items():
        variance = values.var(axis=0, ddof=1) if len(values) > 1 else np.full(len(times), np.nan)
        frames.append(pd.DataFrame({
            "time_h": times, "state": state, "mean": values.mean(axis=0), "variance": variance,
            "sem": np.sqrt(variance / len(values)), "least": values.min(axis=0), "most": values.max(axis=0),
            "share_zero": (values == 0).mean(axis=0),
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def _count(times: np.ndarray, out: np.ndarray) -> pd.DataFrame:
    frames = []
    for i, time_h in enumerate(times):
        totals, replicates = np.unique(out[:, i, 0] + out[:, i, 1], return_counts=True)
        frames.append(pd.DataFrame({"time_h": time_h, "total": totals, "replicates": replicates}))
    return pd.concat(frames, ignore_index=True)


def _list_replicates(out: np.ndarray, counts: np.ndarray, marks: np.ndarray) -> pd.DataFrame:
    kinds = np.array([*FIRST, ""])
    first = np.where(np.isnan(marks[:, 1]), len(FIRST), np.nan_to_num(marks[:, 1])).astype(int)
    ends = {name: out[:, -1, i] for i, name in enumerate(("cycling", "dormant", "clones"))}
    return pd.DataFrame({
        "replicate": np.arange(len(out)), **ends, "first_event_time_h": marks[:, 0], "first_event": kinds[first],
        "extinction_time_h": marks[:, 2], **dict(zip(COUNTS, counts.T)),
    })  # fmt: skip
