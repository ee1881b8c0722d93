"""Players: arms that are run by hand, forward, back to any tick, and into another future.

A run is deterministic, so going back means: take the last checkpoint before that time and run on from it. What comes
out is the same, bit for bit, as if one had never gone further. A fork is another arm that shares the past of this one.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numcodecs import Blosc

from niche_sim.errors import InputError
from niche_sim.kernel import is_compiled, is_temporary
from niche_sim.recorder import ArmResult, stack
from niche_sim.simulation import ArmRun, Plan, Run, Saved, make_plan, spin_up
from niche_sim.state import State, copy_state, fit_drugs, flatten, rebuild

FIRST_INTERVAL_H = 7 * 24.0
MEMORY = 256 << 20  # bytes of checkpoints an arm
_CODEC = Blosc(cname="lz4", clevel=1, shuffle=Blosc.BITSHUFFLE)


class Timeline:
    """Checkpoints of one arm in memory; every second one goes, and the interval doubles, when they would be too many.

    Parameters
    ----------
    every : int
        Ticks between checkpoints at first.
    most_bytes : int
    """

    def __init__(self, every: int, most_bytes: int = MEMORY) -> None:
        self.every, self.most_bytes = max(1, every), most_bytes
        self._kept: dict[int, tuple[tuple[str, ...], dict[str, Any], Saved]] = {}

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints, ascending."""
        return sorted(self._kept)

    @property
    def bytes(self) -> int:
        """Memory of the checkpoints' states."""
        return sum(len(part[0]) for _, packed, _ in self._kept.values() for part in packed.values())

    def keep(self, saved: Saved, drugs: Sequence[str]) -> None:
        """Keep a checkpoint of a state with columns for `drugs`."""
        packed = {name: (_CODEC.encode(np.ascontiguousarray(a)), a.dtype, a.shape) for name, a in saved.arrays.items()}
        self._kept[saved.step] = (tuple(drugs), packed, replace(saved, arrays={}))
        while self.bytes > self.most_bytes and len(self._kept) > 2:
            self.every *= 2
            last = max(self._kept)
            self._kept = {step: entry for step, entry in self._kept.items() if step % self.every == 0 or step == last}

    def find(self, step: int) -> tuple[Saved, tuple[str, ...]]:
        """Return the last checkpoint at or before `step`, and the drugs of its columns."""
        drugs, packed, saved = self._kept[max(s for s in self._kept if s <= step)]
        arrays = {name: np.frombuffer(_CODEC.decode(part), dtype).reshape(s) for name, (part, dtype, s) in packed.items()}
        return replace(saved, arrays=arrays), drugs

    def fork(self, step: int) -> "Timeline":
        """Return a timeline that shares the checkpoints up to `step`."""
        other = Timeline(self.every, self.most_bytes)
        other._kept = {s: entry for s, entry in self._kept.items() if s <= step}
        return other


class Player:
    """One arm that is run by hand.

    Parameters
    ----------
    plan : Plan
    arm : str
    start : State
        The niche at time 0.
    memory : int
        Bytes that its checkpoints may take.

    Attributes
    ----------
    arm : str
    timeline : Timeline
    farthest : int
        The last tick that was run to.
    lock : RLock
        Held while the state changes; hold it to read the state from another thread.
    """

    def __init__(self, plan: Plan, arm: str, start: State, *, memory: int = MEMORY) -> None:
        self.arm, self.lock, self._start = arm, threading.RLock(), start
        self.timeline = Timeline(round(FIRST_INTERVAL_H / plan.hours), memory)
        self.run, self.farthest = ArmRun(plan, arm, start), 0
        self._past: tuple[int, pd.DataFrame] = (-1, pd.DataFrame())
        self._keep()

    @property
    def experiment(self) -> Any:
        """The experiment that the arm is part of."""
        return self.run.plan.experiment

    @property
    def state(self) -> State:
        """The niche as it is now."""
        return self.run.state

    @property
    def step(self) -> int:
        """Ticks done."""
        return self.run.done

    @property
    def steps(self) -> int:
        """Ticks of the whole run."""
        return self.run.plan.steps

    @property
    def tick_h(self) -> float:
        """Length of a tick, h."""
        return self.run.plan.hours

    @property
    def time_h(self) -> float:
        """Time reached, h."""
        return self.run.time_h

    def advance(self, ticks: int = 1) -> int:
        """Run `ticks` ticks, fewer at the end of the run; return how many.

        Raises
        ------
        NumericalError
            A field did not converge or is not finite.
        ResourceError
            A table of cells, BMUs or events is full.
        """
        with self.lock:
            before = self.step
            last = min(before + ticks, self.steps)
            if last == before + 1:
                self.run.tick()
                self._keep_if_due()
            elif last > before:
                due = set(range(0, last + 1, self.timeline.every))
                for stop in self.run.list_stops(last, due):
                    self.run.advance_to(stop)
                    self._keep_if_due()
            self.farthest = max(self.farthest, self.step)
            return self.step - before

    def seek(self, step: int) -> None:
        """Go to a step, back or forward: from the last checkpoint before it, or from here where that is nearer."""
        with self.lock:
            step = min(max(step, 0), self.steps)
            known = max(s for s in self.timeline.steps if s <= step)
            if step < self.step or known > self.step:
                self._restore(known)
            self.advance(step - self.step)

    def fork(self, experiment: Any, arm: str) -> "Player":
        """Return another arm, in this state at this time, whose future is that of `arm` in `experiment`.

        The experiment must be one that runs like this up to now, as `config.editing` makes them.

        Raises
        ------
        InputError
            Scene, seed, tick or patient differ.
        """
        with self.lock:
            old = self.experiment
            same = ("seed", "tick_h", "spin_up_h", "scene", "patient", "population")
            different = [name for name in same if getattr(experiment, name) != getattr(old, name)]
            if different:
                raise InputError(f"another future cannot have another {different[0].removesuffix('_h')}: start a new run")
            plan = replace(
                self.run.plan, experiment=experiment, drugs=experiment.host_drugs(),
                steps=round(experiment.length_h / experiment.tick_h),
            )  # fmt: skip
            drugs = list(self.run.plan.drugs), list(plan.drugs)
            other: Player = object.__new__(Player)
            other.arm, other.lock = arm, threading.RLock()
            other._start = rebuild(fit_drugs(flatten(self._start), *drugs))
            other.timeline, other._past, other.farthest = self.timeline.fork(self.step), (-1, pd.DataFrame()), self.step
            saved = self.run.save()
            other.run = ArmRun(plan, arm, other._start, replace(saved, arrays=fit_drugs(saved.arrays, *drugs)))
            other._keep()
            return other

    def move(self, experiment: Any) -> "Player":
        """Return this arm in an experiment that is the same for it, but for its length, or for drugs of other arms."""
        with self.lock:
            moved = self.fork(experiment, self.arm)
            moved.timeline, moved.farthest = self.timeline, self.farthest
            return moved

    def restart(self) -> "Player":
        """Return this arm at time 0, with nothing recorded yet."""
        return Player(self.run.plan, self.arm, copy_state(self._start), memory=self.timeline.most_bytes)

    @property
    def series(self) -> pd.DataFrame:
        """The series so far, one row a recorded time."""
        with self.lock:
            recorder = self.run.recorder
            if self._past[0] != len(recorder.segments):
                self._past = (len(recorder.segments), stack([part.series for part in recorder.segments]))
            return stack([self._past[1], pd.DataFrame(recorder.series)])

    @property
    def events(self) -> pd.DataFrame:
        """The events so far, one row an event, with the doses that were due."""
        with self.lock:
            recorder = self.run.recorder
            recorder.drain(self.state)
            doses = self.run.list_doses()
            doses = doses[doses["time_h"] < self.time_h] if len(doses) else doses
            frame = stack([*(part.events for part in recorder.segments), *recorder.events, doses])
            return frame.sort_values("step", kind="stable").reset_index(drop=True) if len(frame) else frame

    def result(self) -> ArmResult:
        """Return the record so far and the state, as the end of a run leaves them."""
        with self.lock:
            self.run.recorder.drain(self.state)
            return self.run.result()

    def _keep(self) -> None:
        self.timeline.keep(self.run.save(), list(self.run.plan.drugs))

    def _keep_if_due(self) -> None:
        if self.step % self.timeline.every == 0 and self.step not in self.timeline.steps:
            self.run.recorder.drain(self.state)
            self._keep()

    def _restore(self, step: int) -> None:
        saved, drugs = self.timeline.find(step)
        plan = self.run.plan
        self._past = (-1, pd.DataFrame())
        self.run.go_to(replace(saved, arrays=fit_drugs(saved.arrays, drugs, list(plan.drugs))))


def open_players(
    experiment: Any, arms: Sequence[str] | None = None, *, progress: Callable[..., None] | None = None, memory: int = MEMORY
) -> dict[str, Player]:
    """Return a player for each arm, all at time 0 of one niche.

    Parameters
    ----------
    experiment : Experiment
    arms : sequence of str, optional
        All by default.
    progress : callable, optional
        As in `run_experiment`; told of compiling and of the spin-up.
    memory : int
        Bytes of checkpoints an arm.

    Raises
    ------
    InputError
        There is no such arm; the scene or the population is impossible.
    """
    wanted = list(experiment.arms) if arms is None else list(arms)
    for name in wanted:
        if name not in experiment.arms:
            raise InputError(f"no arm '{name}'; there is {', '.join(experiment.arms)}")
    plan = make_plan(experiment)
    if progress and not is_compiled():
        progress("compiling", temporary=is_temporary())
    start = spin_up(plan, progress) if progress else spin_up(plan)
    return {name: Player(plan, name, copy_state(start), memory=memory) for name in wanted}


def advance_all(players: Sequence[Player], ticks: int) -> None:
    """Run several players side by side, each in a thread of its own; the results do not depend on it."""
    if len(players) == 1:
        players[0].advance(ticks)
        return
    with ThreadPoolExecutor(max_workers=len(players)) as pool:
        for future in [pool.submit(player.advance, ticks) for player in players]:
            future.result()


def collect_run(experiment: Any, players: Sequence[Player]) -> Run:
    """Return what players recorded as a run of `experiment`."""
    return Run(experiment, {player.arm: player.result() for player in players})
