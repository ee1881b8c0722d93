"""The recorder of one arm: it collects what is to be recorded, and cuts it into segments that a checkpoint can keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from niche_sim import ledgers, observers, turnover
from niche_sim.kinds import FIELD_NAMES
from niche_sim.lattice import World
from niche_sim.markers import Markers
from niche_sim.state import State, clear_records, flatten


@dataclass
class ArmResult:
    """What one arm left: tables, fields and maps at their times, and the whole final state."""

    series: pd.DataFrame
    events: pd.DataFrame
    bmus: pd.DataFrame
    cells: pd.DataFrame
    ledgers: pd.DataFrame
    fields: dict[str, np.ndarray]
    field_times_h: np.ndarray
    maps: dict[str, np.ndarray]
    map_times_h: np.ndarray
    final_hash_arrays: dict[str, np.ndarray]


class Before(NamedTuple):
    """What rates of the next row of the series are counted from: tally and risk at the step of the last row."""

    tally: np.ndarray
    risk: np.ndarray
    step: int


@dataclass
class Segment:
    """What was recorded between two checkpoints; together the segments of an arm are its record."""

    series: pd.DataFrame = field(default_factory=pd.DataFrame)
    events: pd.DataFrame = field(default_factory=pd.DataFrame)
    bmus: pd.DataFrame = field(default_factory=pd.DataFrame)
    cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    ledgers: pd.DataFrame = field(default_factory=pd.DataFrame)
    fields: np.ndarray = field(default_factory=lambda: np.zeros((0, len(FIELD_NAMES), 0)))  # (t, fields, n)
    maps: dict[str, np.ndarray] = field(default_factory=dict)  # (t, nz, ny, nx) each


class Recorder:
    """Collects the streams of one arm; switching one on or off never touches the state."""

    def __init__(
        self, world: World, record: Any, hours: float, steps: int, drugs: Sequence[str], origin: np.ndarray, markers: Markers
    ):
        """`drugs` names the columns of the state; counters count from the tally `origin`."""
        self.world, self.hours, self.drugs, self.origin, self.markers = world, hours, drugs, origin, markers
        self.doses: dict[int, Mapping[str, Mapping[str, float]]] = {}  # what doses left in the body, by step
        self.segments: list[Segment] = []
        self.want_events = bool(record.events)
        self.at = {
            "series": list_steps(record.series_h, hours, steps), "cells": list_steps(record.cells_h, hours, steps),
            "fields": list_steps(record.fields_h, hours, steps), "ledgers": list_steps(record.ledgers_h, hours, steps),
            "maps": list_moments(record.pictures_h, hours, steps),
        }  # fmt: skip
        self._due: set[int] = set().union(*self.at.values())
        self.before: Before | None = None
        self._clear()

    def _clear(self) -> None:
        self.series: list[dict] = []
        self.events: list[pd.DataFrame] = []
        self.bmus: list[pd.DataFrame] = []
        self.cells: list[pd.DataFrame] = []
        self.ledgers: list[pd.DataFrame] = []
        self.fields: list[np.ndarray] = []
        self.maps: list[dict[str, np.ndarray]] = []

    def restore(self, segments: Sequence[Segment], before: Before | None) -> None:
        """Go back to a record so far; what came after it is forgotten."""
        self.segments, self.before = list(segments), before
        self._clear()

    def list_stops(self, first: int, last: int) -> set[int]:
        """Return the steps after `first` and up to `last` at which something is recorded."""
        if last == first + 1:
            return self._due & {last}  # asked at every tick of an arm that is watched
        return {step for step in self._due if first < step <= last}

    def drain(self, state: State) -> None:
        """Take the events of the last interval out of the log, and the BMUs that ended out of their table."""
        rows = int(state.log_count[0])
        if self.want_events and rows:
            self.events.append(observers.list_events(state.log[:rows].copy(), self.world, self.hours))
        ended = int(state.finished_count[0])
        if ended:
            self.bmus.append(turnover.list_bmus(state.finished[:ended], self.world, self.hours))
        clear_records(state)

    def record(self, state: State, step: int, plasma: float, rates: Any) -> None:
        """Record every stream that is due at `step`; `rates` are those of the tick that ended there."""
        time_h = step * self.hours
        if step == 0 and self.want_events:
            self.events.append(observers.list_events(observers.list_seeds(state, self.world), self.world, self.hours))
        if step in self.at["series"]:
            before = self.before or Before(state.tally.copy(), state.risk.copy(), step)
            ticks = step - before.step
            row = observers.observe(state, rates, self.world, before.tally, ticks, self.hours, plasma, self.origin)
            row |= observers.measure_risk(state.risk - before.risk)
            mineral = observers.measure_mineral(state, self.world, step, self.hours, self.markers)
            self.series.append({"step": step, "time_h": time_h} | row | mineral)
            self.before = Before(state.tally.copy(), state.risk.copy(), step)
        if step in self.at["cells"] or step in self.at["maps"]:
            self.cells.append(observers.list_cells(state, self.world, step, self.hours))
        if step in self.at["ledgers"]:
            entries = pd.DataFrame(ledgers.list_ledgers(state, rates, self.world, self.drugs, self.doses.get(step, {})))
            entries.insert(0, "time_h", time_h)
            entries.insert(0, "step", step)
            self.ledgers.append(entries)
        if step in self.at["fields"]:
            self.fields.append(state.fields.concentration.copy())
        if step in self.at["maps"]:
            self.maps.append(observers.draw_maps(state, rates, self.world))

    def cut(self) -> Segment:
        """Return what was recorded since the last cut, and keep it as a segment of the record."""
        fields = np.array(self.fields) if self.fields else np.zeros((0, len(FIELD_NAMES), self.world.n))
        maps = {name: np.stack([m[name] for m in self.maps]) for name in self.maps[0]} if self.maps else {}
        segment = Segment(
            pd.DataFrame(self.series), stack(self.events), stack(self.bmus), stack(self.cells), stack(self.ledgers),
            fields, maps,
        )  # fmt: skip
        self.segments.append(segment)
        self._clear()
        return segment

    def result(self, arm: str, doses: pd.DataFrame, state: State) -> ArmResult:
        """Return the whole record of `arm`, with its doses among the events."""
        self.cut()
        shape = (-1, self.world.nz, self.world.ny, self.world.nx)
        events = stack([*(part.events for part in self.segments), doses] if self.want_events else [])
        if len(events):
            events = events.sort_values("step", kind="stable").reset_index(drop=True)
        stacked = _join([part.fields for part in self.segments])
        fields = {name: stacked[:, f].reshape(shape) for f, name in enumerate(FIELD_NAMES)} if len(stacked) else {}
        drawn = [part.maps for part in self.segments if part.maps]
        maps = {name: _join([part[name] for part in drawn]) for name in drawn[0]} if drawn else {}
        return ArmResult(
            series=_with_arm(arm, stack([part.series for part in self.segments])), events=_with_arm(arm, events),
            bmus=_with_arm(arm, stack([part.bmus for part in self.segments])),
            cells=_with_arm(arm, stack([part.cells for part in self.segments])),
            ledgers=_with_arm(arm, stack([part.ledgers for part in self.segments])), fields=fields,
            field_times_h=np.array(sorted(self.at["fields"])) * self.hours, maps=maps,
            map_times_h=np.array(sorted(self.at["maps"])) * self.hours,
            final_hash_arrays={name: array.copy() for name, array in flatten(state).items()},
        )  # fmt: skip


def list_steps(interval_h: float | None, hours: float, steps: int) -> set[int]:
    """Return the steps, from 0 to `steps`, at which something recorded every `interval_h` is due."""
    if not interval_h:
        return set()
    return set(range(0, steps + 1, max(1, round(interval_h / hours)))) | {steps}


def list_moments(moments: float | Sequence[float], hours: float, steps: int) -> set[int]:
    """Return the steps up to `steps` of a list of times (h), or of the interval between them."""
    if isinstance(moments, float):
        return list_steps(moments, hours, steps)
    return {round(time / hours) for time in moments if round(time / hours) <= steps}


def stack(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one below the other, empty ones left out."""
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return snapshots one after the other; those of one segment as they are, for they can be large."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _with_arm(arm: str, frame: pd.DataFrame) -> pd.DataFrame:
    if len(frame.columns) == 0:  # a stream that is off still is a table
        frame = pd.DataFrame({"step": np.zeros(0, "i8"), "time_h": np.zeros(0)})
    frame.insert(0, "arm", pd.Series([arm] * len(frame), dtype=object))
    return frame
