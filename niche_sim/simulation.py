"""Run an experiment: one spin-up, then every arm from the same state with the same draws."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from niche_sim import observers
from niche_sim.draws import run_key
from niche_sim.drugs import build_effects
from niche_sim.errors import InputError, NumericalError, ResourceError
from niche_sim.host import Forcing, build_forcing
from niche_sim.initial import build_state, seed_tumour
from niche_sim.kernel import is_compiled
from niche_sim.kinds import (
    FAULT_BMUS_FULL,
    FAULT_CELLS_FULL,
    FAULT_LOG_FULL,
    FAULT_NONE,
    FAULT_TEXTS,
    FIELD_NAMES,
)
from niche_sim.lattice import World, build_world
from niche_sim.processes import diffusion
from niche_sim.regimens import list_doses
from niche_sim.scenes import build_scene
from niche_sim.schedule import PROCESSES, Host, Rates, Switches, Tick, advance
from niche_sim.state import State, copy_state, flatten

MOST_TICKS_A_CALL = 64  # keeps the event log short and an interruption prompt

Progress = Callable[..., None]


def _be_silent(event: str, **info: Any) -> None:
    """Report nothing."""


@dataclass
class ArmResult:
    """What one arm left: tables, fields and maps at their times, and the whole final state."""

    series: pd.DataFrame
    events: pd.DataFrame
    cells: pd.DataFrame
    fields: dict[str, np.ndarray]
    field_times_h: np.ndarray
    maps: dict[str, np.ndarray]
    map_times_h: np.ndarray
    final_hash_arrays: dict[str, np.ndarray]


@dataclass
class Run:
    """An experiment and the results of its arms."""

    experiment: Any
    arms: dict[str, ArmResult]
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def series(self) -> pd.DataFrame:
        """The series of all arms, one row an arm and recorded time."""
        return pd.concat([arm.series for arm in self.arms.values()], ignore_index=True)


def _pack(values: Any) -> Any:
    """Return a named tuple of numbers as one record: a single pointer in a compiled signature."""
    kinds = [(name, "?" if isinstance(value, bool) else "f8") for name, value in zip(values._fields, values)]
    return np.array([tuple(values)], dtype=kinds).view(np.recarray)[0]


def _pack_columns(values: Any) -> Any:
    """Return a named tuple of equally long arrays as one structured array."""
    table = np.zeros(len(values[0]), [(name, "f8") for name in values._fields]).view(np.recarray)
    for name, column in zip(values._fields, values):
        table[name] = column
    return table


def build_rates(parameters: Any, drugs: dict[str, Any], switches: dict[str, bool]) -> Rates:
    """Return the numbers of all processes from a parameter set, the drugs in use and the switches."""
    groups = {}
    for name in Rates._fields:
        if name in ("diffusion", "drugs", "switches"):
            continue
        group, kind = parameters.group(name), PROCESSES[name].Rates
        groups[name] = _pack(kind(**{key: float(group[key]) for key in kind._fields}))
    fields = parameters.group("fields")
    transport = diffusion.Rates(
        np.array([fields[f"{name}_diffusion"] for name in FIELD_NAMES]),
        np.array([fields[f"{name}_decay"] for name in FIELD_NAMES]),
        float(fields["bone_permeability"]), float(fields["tolerance"]),
    )  # fmt: skip
    effects = _pack_columns(build_effects(drugs))
    return Rates(**groups, diffusion=transport, drugs=effects, switches=_pack(Switches(**switches)))


def host_at(forcing: Forcing, i: int) -> Host:
    """Return the patient's state in row `i` of a forcing."""
    return Host(*(array[i] for array in forcing))


def raise_fault(state: State, world: World, hours: float, arm: str) -> None:
    """Raise what a kernel could only note down."""
    code, step, voxel, which = (int(k) for k in state.fault)
    if code == FAULT_NONE:
        return
    where = f"arm '{arm}', tick {step} ({step * hours / 24:.1f} d)"
    if code in (FAULT_CELLS_FULL, FAULT_BMUS_FULL, FAULT_LOG_FULL):
        room = {
            FAULT_CELLS_FULL: f"{len(state.cells)} cells", FAULT_BMUS_FULL: f"{len(state.bmus)} BMUs",
            FAULT_LOG_FULL: f"{len(state.log)} events",
        }[code]  # fmt: skip
        raise ResourceError(f"{where}: {FAULT_TEXTS[code]} ({room}); use a shorter run or a smaller patch")
    raise NumericalError(f"{where}: {FAULT_TEXTS[code]}: {FIELD_NAMES[which]} near voxel {voxel}")


def check_finite(state: State, hours: float, arm: str, step: int) -> None:
    """Stop a run whose fields are no longer finite, naming field, voxel and tick."""
    bad = ~np.isfinite(state.fields.concentration)
    if bad.any():
        which, voxel = (int(k[0]) for k in np.nonzero(bad))
        raise NumericalError(
            f"arm '{arm}', tick {step} ({step * hours / 24:.1f} d): {FIELD_NAMES[which]} is not finite at voxel {voxel}"
        )


class _Recorder:
    """Collects the streams of one arm; switching one on or off never touches the state."""

    def __init__(self, world: World, record: Any, hours: float, steps: int):
        self.world, self.hours = world, hours
        self.series: list[dict] = []
        self.events: list[pd.DataFrame] = []
        self.cells: list[pd.DataFrame] = []
        self.fields: list[np.ndarray] = []
        self.maps: list[dict[str, np.ndarray]] = []
        self.want_events = bool(record.events)
        self.at = {
            "series": _steps_every(record.series_h, hours, steps), "cells": _steps_every(record.cells_h, hours, steps),
            "fields": _steps_every(record.fields_h, hours, steps),
            "maps": {round(t / hours) for t in record.pictures_h if round(t / hours) <= steps},
        }  # fmt: skip
        self.before: tuple[np.ndarray, int] | None = None

    def stops(self, first: int, last: int) -> list[int]:
        """Return the sorted steps at which the kernel must pause between `first` and `last`."""
        wanted = set().union(*self.at.values()) | {last} | set(range(first, last, MOST_TICKS_A_CALL))
        return sorted(step for step in wanted if first < step <= last)

    def drain(self, state: State) -> None:
        """Take the events of the last interval out of the log."""
        rows = int(state.log_count[0])
        if self.want_events and rows:
            self.events.append(observers.list_events(state.log[:rows].copy(), self.world, self.hours))
        state.log_count[0] = 0
        state.log[:rows] = 0

    def record(self, state: State, step: int, plasma: float) -> None:
        """Record every stream that is due at `step`."""
        time_h = step * self.hours
        if step in self.at["series"]:
            tally, since = self.before or (state.tally.copy(), step)
            row = observers.observe(state, self.world, tally, (step - since) * self.hours, plasma)
            self.series.append({"step": step, "time_h": time_h} | row)
            self.before = (state.tally.copy(), step)
        if step in self.at["cells"] or step in self.at["maps"]:
            self.cells.append(observers.list_cells(state, self.world, step, self.hours))
        if step in self.at["fields"]:
            self.fields.append(state.fields.concentration.copy())
        if step in self.at["maps"]:
            self.maps.append(observers.draw_maps(state, self.world))

    def result(self, arm: str, doses: pd.DataFrame, state: State) -> ArmResult:
        """Return the collected tables of `arm`."""
        shape = (-1, self.world.nz, self.world.ny, self.world.nx)
        events = _stack([*self.events, doses] if self.want_events else [])
        if len(events):
            events = events.sort_values("step", kind="stable").reset_index(drop=True)
        stacked = np.array(self.fields)
        fields = {name: stacked[:, f].reshape(shape) for f, name in enumerate(FIELD_NAMES)} if self.fields else {}
        maps = {name: np.stack([m[name] for m in self.maps]) for name in self.maps[0]} if self.maps else {}
        return ArmResult(
            series=_with_arm(arm, pd.DataFrame(self.series)), events=_with_arm(arm, events),
            cells=_with_arm(arm, _stack(self.cells)), fields=fields,
            field_times_h=np.array(sorted(self.at["fields"])) * self.hours, maps=maps,
            map_times_h=np.array(sorted(self.at["maps"])) * self.hours,
            final_hash_arrays={name: array.copy() for name, array in flatten(state).items()},
        )  # fmt: skip


def _steps_every(interval_h: float | None, hours: float, steps: int) -> set[int]:
    if not interval_h:
        return set()
    return set(range(0, steps + 1, max(1, round(interval_h / hours)))) | {steps}


def _stack(frames: list[pd.DataFrame]) -> pd.DataFrame:
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _with_arm(arm: str, frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame.columns) == 0:
        return frame
    frame.insert(0, "arm", arm)
    return frame


def _list_dose_events(regimen: Iterable[Any], drugs: dict[str, Any], length_h: float, tick_h: float) -> pd.DataFrame:
    rows = [
        {
            "step": int(dose.time_h // tick_h), "time_h": dose.time_h, "event": "dose", "cause": dose.drug,
            "kind": "dose", "ident": np.uint64(0), "parent": np.uint64(0), "clone": 0,
            "z": np.int32(-1), "y": np.int32(-1), "x": np.int32(-1),
        }
        for dose in list_doses(regimen, drugs, length_h)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _advance_to(state: State, rates: Rates, world: World, forcing: Forcing, clock: tuple, start: int, stop: int) -> None:
    """Advance from row `start` to row `stop` of the forcing; `clock` is (hours, key, first step, arm)."""
    hours, key, first, arm = clock
    advance(state, rates, world, forcing, hours, key, first, start, stop - start)
    raise_fault(state, world, hours, arm)


@dataclass
class _Plan:
    """What all arms of an experiment share."""

    experiment: Any
    world: World
    key: Any
    scene: Any
    patient: Any
    drugs: dict[str, Any]
    steps: int
    spin_steps: int

    @property
    def hours(self) -> float:
        return float(self.experiment.tick_h)


def _plan(experiment: Any) -> _Plan:
    scene = build_scene(experiment.scene.plain(), experiment.seed)
    world = build_world(scene.bone.shape, scene.voxel_um, scene.periodic)
    if not 0 < scene.bone.sum() < scene.bone.size:
        raise InputError("scene: a niche needs both bone and marrow")
    return _Plan(
        experiment, world, run_key(experiment.seed), scene, experiment.host_patient(), experiment.host_drugs(),
        round(experiment.length_h / experiment.tick_h), round(experiment.spin_up_h / experiment.tick_h),
    )  # fmt: skip


def spin_up(plan: _Plan, progress: Progress = _be_silent) -> State:
    """Return the niche at time 0: remodelled without tumour and drug for the spin-up time, then seeded with tumour."""
    rows = max(plan.spin_steps, 1)
    first = -plan.spin_steps
    forcing = build_forcing([], plan.drugs, plan.patient, rows, plan.hours, first * plan.hours)
    rates = build_rates(plan.experiment.parameters, plan.drugs, plan.experiment.switches)
    tick = Tick(first - 1, plan.hours, plan.key)
    state = build_state(plan.world, plan.scene, rates, host_at(forcing, 0), tick, max(len(plan.drugs), 1))
    progress("start", arm="spin-up", total_h=plan.spin_steps * plan.hours)
    clock = (plan.hours, plan.key, first, "spin-up")
    for start in range(0, plan.spin_steps, MOST_TICKS_A_CALL):
        stop = min(start + MOST_TICKS_A_CALL, plan.spin_steps)
        _advance_to(state, rates, plan.world, forcing, clock, start, stop)
        state.log_count[0] = 0
        progress("advance", arm="spin-up", time_h=stop * plan.hours)
    progress("done", arm="spin-up")
    state.log[:] = 0
    population = plan.experiment.population
    wanted = int(population.dormant_dtc) + int(population.cycling_dtc)
    found = seed_tumour(state, plan.world, plan.key, int(population.dormant_dtc), int(population.cycling_dtc))
    if found < wanted:
        raise InputError(f"population: {wanted} tumour cells do not fit, the patch has {found} places for them")
    return state


def run_arm(plan: _Plan, name: str, start: State, progress: Progress = _be_silent) -> ArmResult:
    """Run one arm from a copy of `start`."""
    experiment, arm = plan.experiment, plan.experiment.arms[name]
    state = copy_state(start)
    forcing = build_forcing(arm.regimen, plan.drugs, plan.patient, plan.steps, plan.hours)
    rates = build_rates(experiment.arm_parameters(name), plan.drugs, experiment.switches | dict(arm.switches))
    recorder = _Recorder(plan.world, experiment.record, plan.hours, plan.steps)
    progress("start", arm=name, total_h=plan.steps * plan.hours)
    recorder.record(state, 0, 0.0)
    done = 0
    for stop in recorder.stops(0, plan.steps):
        _advance_to(state, rates, plan.world, forcing, (plan.hours, plan.key, 0, name), done, stop)
        check_finite(state, plan.hours, name, stop)
        recorder.drain(state)
        recorder.record(state, stop, float(forcing.plasma[stop - 1].sum()))
        done = stop
        progress("advance", arm=name, time_h=stop * plan.hours)
    progress("done", arm=name)
    doses = _list_dose_events(arm.regimen, plan.drugs, experiment.length_h, plan.hours)
    return recorder.result(name, doses, state)


def run_experiment(experiment: Any, *, threads: int = 1, progress: Progress | None = None) -> Run:
    """Run every arm of an experiment.

    Parameters
    ----------
    experiment : Experiment
        As `load_experiment` or `build_experiment` returns it.
    threads : int
        Arms run side by side; the results do not depend on it.
    progress : callable, optional
        Called as progress(event, **info) with the events compiling, start, advance and done.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        The scene or the population is impossible.
    NumericalError
        A field did not converge or is not finite.
    ResourceError
        A table of cells, BMUs or events is full.
    """
    report = progress or _be_silent
    began = time.perf_counter()
    plan = _plan(experiment)
    if not is_compiled():
        report("compiling")
    start = spin_up(plan, report)
    ready = time.perf_counter()
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        futures = {name: pool.submit(run_arm, plan, name, start, report) for name in experiment.arms}
        arms = {name: future.result() for name, future in futures.items()}
    done = time.perf_counter()
    return Run(experiment, arms, {"spin_up_s": ready - began, "arms_s": done - ready, "total_s": done - began})
