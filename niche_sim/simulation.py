"""Run an experiment: one spin-up, then every arm from the same state with the same draws."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from niche_sim.draws import run_key
from niche_sim.drugs import build_effects, read_bone_laws, read_cell_laws
from niche_sim.errors import InputError, Interrupted
from niche_sim.guards import check_finite, check_tick, raise_fault
from niche_sim.host import FMOL_PER_NMOL, Forcing, build_forcing, find_highest_activation, read_body
from niche_sim.initial import build_state, clear_switched_off, seed_tumour
from niche_sim.kernel import is_compiled, is_temporary
from niche_sim.kinds import FIELD_NAMES
from niche_sim.lattice import World, build_world
from niche_sim.ledgers import share_of_doses
from niche_sim.markers import read_markers
from niche_sim.processes import diffusion
from niche_sim.recorder import ArmResult, Before, Recorder, Segment, stack
from niche_sim.regimens import Course, Dose, schedule_doses
from niche_sim.scenes import build_scene
from niche_sim.schedule import PROCESSES, Host, Rates, Switches, Tick, advance
from niche_sim.state import State, clear_records, copy_state, flatten, rebuild
from niche_sim.surface import measure_surface

MOST_TICKS_A_CALL = 64  # keeps the event log short and an interruption prompt
PROMPT_VOXELS = 1_000_000  # voxel-ticks of one kernel call on a large lattice, about a second
SPIN_UP = "spin-up"

Progress = Callable[..., None]


def _be_silent(event: str, **info: Any) -> None:
    """Report nothing."""


@dataclass
class Saved:
    """One arm at a checkpoint: the whole state, where the series stands, and the record so far."""

    step: int
    arrays: dict[str, np.ndarray]
    before: Before | None
    segments: list[Segment]


class Keeper(Protocol):
    """Keeps checkpoints of the arms of one run (and of its spin-up)."""

    def list_steps(self, last: int) -> set[int]:
        """Return the steps up to `last` at which a checkpoint is due."""

    def load(self, arm: str) -> Saved | None:
        """Return the last sound checkpoint of an arm, or None."""

    def save(self, arm: str, saved: Saved) -> None:
        """Keep a checkpoint."""


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

    @property
    def events(self) -> pd.DataFrame:
        """The events of all arms, one row an event."""
        return stack([arm.events for arm in self.arms.values()])

    @property
    def length_h(self) -> float:
        """How long every arm ran, h."""
        return float(self.experiment.length_h)


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
    effects = _pack_columns(build_effects(drugs, read_bone_laws(parameters), read_cell_laws(parameters)))
    return Rates(**groups, diffusion=transport, drugs=effects, switches=_pack(Switches(**switches)))


def host_at(forcing: Forcing, i: int) -> Host:
    """Return the patient's state in row `i` of a forcing."""
    return Host(*(array[i] for array in forcing))


def list_phases(experiment: Any, name: str) -> list[tuple[int, Any, dict[str, bool]]]:
    """Return the step from which each set of parameters and switches of an arm holds: its own, then its changes in time."""
    arm = experiment.arms[name]
    parameters, switches = experiment.arm_parameters(name), experiment.switches | dict(arm.switches)
    listed = [(0, parameters, switches)]
    for change in sorted(getattr(arm, "changes", ()), key=lambda change: change.at_h):
        parameters, switches = parameters.override(change.override), switches | dict(change.switches)
        listed.append((round(change.at_h / experiment.tick_h), parameters, switches))
    return listed


def take_doses(experiment: Any, name: str, host_key: Any) -> list[tuple[Dose, bool]]:
    """Return the doses of an arm that are due while dosing is on, each with whether the patient of a key takes it."""
    phases = list_phases(experiment, name)
    scheduled = schedule_doses(experiment.arms[name].regimen, experiment.host_drugs(), experiment.length_h, host_key)
    return [
        (dose, taken) for dose, taken in scheduled
        if [on for step, _, on in phases if step * experiment.tick_h <= dose.time_h][-1]["dosing"]
    ]  # fmt: skip


def list_courses(doses: Iterable[tuple[Dose, bool]]) -> list[Course]:
    """Return the doses that were taken as courses of one dose each."""
    return [Course(d.drug, d.dose_mg, None, d.time_h, None, d.route, d.infusion_h) for d, taken in doses if taken]


def follow_host(experiment: Any, name: str, host_key: Any) -> Forcing:
    """Return what the patient of a key does to her niches in each tick of an arm."""
    courses, steps = list_courses(take_doses(experiment, name, host_key)), round(experiment.length_h / experiment.tick_h)
    body = read_body(experiment.arm_parameters(name))
    return build_forcing(
        courses, experiment.host_drugs(), experiment.host_patient(), steps, float(experiment.tick_h), body=body
    )  # fmt: skip


def _list_dose_events(doses: Iterable[tuple[Dose, bool]], tick_h: float) -> pd.DataFrame:
    """Return the doses that were due as events; those not taken are `dose_missed`."""
    rows = [
        {
            "step": int(dose.time_h // tick_h), "time_h": dose.time_h, "event": "dose" if taken else "dose_missed",
            "cause": dose.drug,
            "kind": "dose", "ident": np.uint64(0), "parent": np.uint64(0), "clone": 0,
            "z": np.int32(-1), "y": np.int32(-1), "x": np.int32(-1), "place": "",
            "tgf_beta_nmol_per_L": np.nan, "suitability": np.nan,
        }
        for dose, taken in doses
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _advance_to(state: State, rates: Rates, world: World, forcing: Forcing, clock: tuple, start: int, stop: int) -> None:
    """Advance from row `start` to row `stop` of the forcing; `clock` is (hours, key, first step, arm)."""
    hours, key, first, arm = clock
    advance(state, rates, world, forcing, hours, key, first, start, stop - start)
    raise_fault(state, world, hours, arm)


@dataclass
class Plan:
    """What all arms of an experiment share."""

    experiment: Any
    world: World
    key: Any
    host_key: Any  # of the patient, who may have several niches
    scene: Any
    patient: Any
    drugs: dict[str, Any]
    steps: int
    spin_steps: int

    @property
    def hours(self) -> float:
        return float(self.experiment.tick_h)


def make_plan(experiment: Any, host_key: Any = None) -> Plan:
    """Return what all arms of an experiment share: scene, lattice, patient, drugs, keys."""
    scene = build_scene(experiment.scene.plain(), experiment.seed)
    world = build_world(scene.bone.shape, scene.voxel_um, scene.periodic)
    if not 0 < scene.bone.sum() < scene.bone.size:
        raise InputError("scene: a niche needs both bone and marrow")
    key = run_key(experiment.seed)
    return Plan(
        experiment, world, key, key if host_key is None else host_key, scene, experiment.host_patient(),
        experiment.host_drugs(),
        round(experiment.length_h / experiment.tick_h), round(experiment.spin_up_h / experiment.tick_h),
    )  # fmt: skip


def _list_stops(first: int, last: int, stride: int, *others: set[int]) -> list[int]:
    """Return the sorted steps at which the kernel pauses between `first` and `last`; pauses never change the run."""
    wanted = set().union(*others) | {last} | set(range(0, last, stride))
    return sorted(step for step in wanted if first < step <= last)


def _stride(world: World) -> int:
    """Return the ticks of one kernel call: short enough that an interruption finds its way in within a second."""
    return max(1, min(MOST_TICKS_A_CALL, PROMPT_VOXELS // world.n))


def spin_up(plan: Plan, progress: Progress = _be_silent, keeper: Keeper | None = None) -> State:
    """Return the niche at time 0: remodelled without tumour and drug for the spin-up time, then seeded with tumour."""
    rows = max(plan.spin_steps, 1)
    first = -plan.spin_steps
    body = read_body(plan.experiment.parameters)
    forcing = build_forcing([], plan.drugs, plan.patient, rows, plan.hours, first * plan.hours, body)
    rates = build_rates(plan.experiment.parameters, plan.drugs, plan.experiment.switches)
    check_tick(rates, plan.world, plan.hours)
    saved = keeper.load(SPIN_UP) if keeper else None
    if saved is None:
        tick = Tick(first - 1, plan.hours, plan.key)
        state = build_state(
            plan.world, plan.scene, rates, host_at(forcing, 0), tick, max(len(plan.drugs), 1),
            find_highest_activation(plan.patient, body.endocrine),
        )  # fmt: skip
    else:
        state = rebuild(saved.arrays)
    done = saved.step if saved else 0
    progress("start", arm=SPIN_UP, total_h=plan.spin_steps * plan.hours)
    clock = (plan.hours, plan.key, first, SPIN_UP)
    due = keeper.list_steps(plan.spin_steps) if keeper else set()
    for stop in _list_stops(done, plan.spin_steps, _stride(plan.world), due):
        _advance_to(state, rates, plan.world, forcing, clock, done, stop)
        check_finite(state, plan.hours, SPIN_UP, first + stop)
        clear_records(state)
        done = stop
        if keeper and stop in due:
            keeper.save(SPIN_UP, Saved(stop, flatten(state), None, []))
        progress("advance", arm=SPIN_UP, time_h=stop * plan.hours)
    progress("done", arm=SPIN_UP)
    state.share[0] = measure_surface(state, plan.world)
    population = plan.experiment.population
    wanted = int(population.dormant_dtc) + int(population.cycling_dtc)
    found = seed_tumour(state, plan.world, plan.key, int(population.dormant_dtc), int(population.cycling_dtc))
    if found < wanted:
        raise InputError(
            f"population: {wanted} tumour cells do not fit, there are {found} places on resting bone and beside vessels; "
            "ask for fewer or take a larger scene"
        )
    return state


def _list_rates(plan: Plan, name: str) -> list[tuple[int, Rates]]:
    """Return the rates of an arm, each with the step from which they hold."""
    return [
        (step, build_rates(parameters, plan.drugs, switches))
        for step, parameters, switches in list_phases(plan.experiment, name)
    ]


def _plasma_from_bone(plan: Plan, state: State, share: float) -> float:
    """Return the free concentration (nmol/L) of drug that left bone; `share` is fmol in the niche per nmol in the body."""
    volumes = [drug.free_fraction / drug.central_volume for drug in plan.drugs.values()]
    return float(state.body[: len(volumes), 0] @ np.array(volumes)) / share if volumes else 0.0


class ArmRun:
    """One arm while it runs: its state, what drives it, and what it has recorded so far.

    Parameters
    ----------
    plan : Plan
    name : str
        The arm.
    start : State
        The niche at time 0; copied.
    saved : Saved, optional
        Where to go on, instead of at time 0.

    Attributes
    ----------
    state : State
    done : int
        Ticks done.
    recorder : Recorder
    forcing : Forcing
    """

    def __init__(self, plan: Plan, name: str, start: State, saved: Saved | None = None) -> None:
        self.plan, self.name = plan, name
        self._phases = _list_rates(plan, name)
        self._scheduled = take_doses(plan.experiment, name, plan.host_key)
        courses, parameters = list_courses(self._scheduled), plan.experiment.arm_parameters(name)
        body = read_body(parameters)
        self.forcing = build_forcing(courses, plan.drugs, plan.patient, plan.steps, plan.hours, body=body)
        for _, held in self._phases:
            check_tick(held, plan.world, plan.hours)
        self.recorder = Recorder(
            plan.world, plan.experiment.record, plan.hours, plan.steps, list(plan.drugs), start.tally.copy(),
            read_markers(parameters),
        )  # fmt: skip
        self._share = float(start.share[0]) / body.surface_area * FMOL_PER_NMOL
        due = sorted(self.recorder.at["ledgers"])
        doses = share_of_doses(plan.drugs, courses, [step * plan.hours for step in due], self._share)
        self.recorder.doses = dict(zip(due, doses))
        self.state, self.done = copy_state(start), 0
        if saved is None:
            self.recorder.record(self.state, 0, 0.0, self.rates)
        else:
            self.go_to(saved)

    def go_to(self, saved: Saved) -> None:
        """Go on from a checkpoint instead."""
        self.state, self.done = rebuild(saved.arrays), saved.step
        self.recorder.restore(saved.segments, saved.before)

    @property
    def rates(self) -> Rates:
        """The rates of the next tick."""
        return [held for step, held in self._phases if step <= self.done][-1]

    @property
    def time_h(self) -> float:
        """Time reached, h."""
        return self.done * self.plan.hours

    def list_stops(self, last: int, *others: set[int]) -> list[int]:
        """Return the steps up to `last` at which the arm pauses: records, changes, guards, and `others`."""
        wanted = self.recorder.list_stops(self.done, last), {step for step, _ in self._phases}, *others
        return _list_stops(self.done, last, _stride(self.plan.world), *wanted)

    def advance_to(self, stop: int) -> None:
        """Run to `stop`, at most the next of `list_stops`, and record what is due there."""
        rates = self._run_to(stop)
        check_finite(self.state, self.plan.hours, self.name, stop)
        self.recorder.drain(self.state)
        self.recorder.record(self.state, stop, self.plasma, rates)

    def tick(self) -> None:
        """Run one tick; guard and record only where `list_stops` would pause."""
        stop = self.done + 1
        plan, recorded = self.plan, self.recorder.list_stops(self.done, stop)
        if recorded or stop % _stride(plan.world) == 0 or stop == plan.steps:
            self.advance_to(stop)
        else:
            self._run_to(stop)

    def _run_to(self, stop: int) -> Rates:
        rates, plan = self.rates, self.plan
        clear_switched_off(self.state, rates.switches)
        clock = (plan.hours, plan.key, 0, self.name)
        _advance_to(self.state, rates, plan.world, self.forcing, clock, self.done, stop)
        self.done = stop
        return rates

    @property
    def plasma(self) -> float:
        """Free drug in plasma in the tick that ended, nmol/L: from doses, and from bone that let some go."""
        if self.done == 0:
            return 0.0
        return float(self.forcing.plasma[self.done - 1].sum()) + _plasma_from_bone(self.plan, self.state, self._share)

    def save(self) -> Saved:
        """Return a checkpoint; its arrays are the state's own."""
        self.recorder.cut()
        return Saved(self.done, flatten(self.state), self.recorder.before, list(self.recorder.segments))

    def list_doses(self) -> pd.DataFrame:
        """Return the doses of the arm as events."""
        return _list_dose_events(self._scheduled, self.plan.hours)

    def result(self) -> ArmResult:
        """Return the record of the arm and its state."""
        return self.recorder.result(self.name, self.list_doses(), self.state)


def run_arm(
    plan: Plan, name: str, start: State, progress: Progress = _be_silent, keeper: Keeper | None = None
) -> ArmResult:
    """Run one arm from a copy of `start`, or from its last checkpoint."""
    run = ArmRun(plan, name, start, keeper.load(name) if keeper else None)
    progress("start", arm=name, total_h=plan.steps * plan.hours)
    saves = keeper.list_steps(plan.steps) if keeper else set()
    try:
        for stop in run.list_stops(plan.steps, saves):
            run.advance_to(stop)
            if keeper and (stop in saves or stop == plan.steps):
                keeper.save(name, run.save())
            progress("advance", arm=name, time_h=run.time_h)
    except Interrupted:
        if keeper and run.done:
            keeper.save(name, run.save())
        raise
    progress("done", arm=name)
    return run.result()


def run_experiment(
    experiment: Any, *, threads: int = 1, progress: Progress | None = None, keeper: Keeper | None = None,
    host_key: Any = None,
) -> Run:  # fmt: skip
    """Run every arm of an experiment.

    Parameters
    ----------
    experiment : Experiment
        As `load_experiment` or `build_experiment` returns it.
    threads : int
        Arms run side by side; the results do not depend on it.
    progress : callable, optional
        Called as progress(event, **info) with the events compiling, start, advance and done.
    keeper : Keeper, optional
        Keeps checkpoints, and gives back the last one of each arm.
    host_key : uint64, optional
        Key of the patient, with which doses are taken or missed; by default that of the niche.

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
    Interrupted
        `progress` asked for the end; the keeper, if any, holds every arm.
    """
    report = progress or _be_silent
    began = time.perf_counter()
    plan = make_plan(experiment, host_key)
    if not is_compiled():
        report("compiling", temporary=is_temporary())
    start = spin_up(plan, report, keeper)
    ready = time.perf_counter()
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        futures = {name: pool.submit(run_arm, plan, name, start, report, keeper) for name in experiment.arms}
        arms = {name: future.result() for name, future in futures.items()}
    done = time.perf_counter()
    return Run(experiment, arms, {"spin_up_s": ready - began, "arms_s": done - ready, "total_s": done - began})
