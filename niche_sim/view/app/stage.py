"""The stage: what the application shows, without any widget.

A living stage plays arms of one experiment in step, as matched twins, and branches them; a recorded one replays a result
without simulating. Both go forward, back, and tell what is where.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import mesa
import numpy as np
import pandas as pd

from niche_sim.config import Experiment, build_experiment
from niche_sim.config.editing import add_arm, cut_to, name_arm
from niche_sim.config.problems import ConfigError
from niche_sim.errors import InputError, NicheSimError
from niche_sim.kinds import (
    FIELD_NAMES,
    FREE,
    FULL,
    KIND_NAMES,
    MODE_NAMES,
    OSTEOCLAST,
    TRAIT_NAMES,
)
from niche_sim.lineage import follow
from niche_sim.player import Player, advance_all, collect_run, open_players
from niche_sim.simulation import Run
from niche_sim.store import Result, write_yaml
from niche_sim.units import convert
from niche_sim.view.common import name_time
from niche_sim.view.frame import OVERLAYS, CellTable, Frame, list_frames, read_frame, take_frame

MOST_SHOWN = 2
REACH = 2  # voxels from a click to the cell that is meant
PHASES = ("", "precursors gather", "resorption", "reversal", "formation")


class Mark(NamedTuple):
    """Something on the timeline of an arm: a checkpoint, a dose, a change, a beginning branch."""

    kind: str
    time_h: float
    text: str


class Stage(Protocol):
    """What the page asks of a stage; times are in ticks of the experiment."""

    experiment: Experiment
    shown: list[str]
    lock: Any

    @property
    def arms(self) -> list[str]:
        """Every arm that can be shown."""

    @property
    def tick(self) -> int:
        """Tick that is shown."""

    @property
    def last_tick(self) -> int:
        """Tick at which everything ends."""

    @property
    def living(self) -> bool:
        """Whether it simulates, or replays."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the lattice: planes, rows, columns."""

    def advance(self, ticks: int) -> bool:
        """Go on by that many ticks, or to the next recorded picture; return whether anything is left."""

    def seek(self, tick: int) -> None:
        """Go to a tick, or to the recorded picture before it."""

    def show(self, arms: Sequence[str]) -> None:
        """Show these arms, one or two, at the time that is shown now."""

    def frame(self, arm: str, overlay: str | None = None) -> Frame:
        """Return what an arm shows now."""

    def series(self, arm: str) -> pd.DataFrame:
        """Return the series of an arm: so far, or all that was recorded."""

    def events(self, arm: str) -> pd.DataFrame:
        """Return the events of an arm up to now."""

    def marks(self, arm: str) -> list[Mark]:
        """Return what is on the timeline of an arm."""

    def overlays(self) -> list[str]:
        """Return the overlays that can be shown."""

    def facts(self, arm: str, z: int, y: int, x: int) -> list[str]:
        """Return what is in a voxel, a line a thing."""


class LivingStage(mesa.Model):
    """Arms of one experiment that run in step; a Mesa model whose step is `stride` ticks of every arm that is shown.

    Parameters
    ----------
    experiment : Experiment
    players : dict of str to Player
        As `open_players` returns them.
    stride : int
        Ticks a step.
    """

    living = True

    def __init__(self, experiment: Experiment, players: dict[str, Player], *, stride: int = 1) -> None:
        super().__init__(rng=int(experiment.seed))
        self.experiment, self.players, self.stride = experiment, players, stride
        self.shown = list(players)[:MOST_SHOWN]
        self.lock = threading.RLock()
        self.born: dict[str, tuple[str, int]] = {}  # arms that branched off: from which, at which tick
        self._drugs = list(next(iter(players.values())).run.plan.drugs)  # of the first experiment
        self._cut: list[tuple[dict[str, Any], dict[str, Any]]] = []  # arms as a shorter run has them, and whole

    @property
    def arms(self) -> list[str]:
        """Every arm, branches last."""
        return list(self.players)

    @property
    def tick(self) -> int:
        """Tick that is shown."""
        return self.players[self.shown[0]].step

    @property
    def last_tick(self) -> int:
        """Tick at which the experiment ends."""
        return self.players[self.shown[0]].steps

    @property
    def tick_h(self) -> float:
        """Length of a tick, h."""
        return float(self.experiment.tick_h)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the lattice: planes, rows, columns."""
        world = self.players[self.shown[0]].run.plan.world
        return world.nz, world.ny, world.nx

    @property
    def reached(self) -> int:
        """The last tick that any arm was run to."""
        return max(player.farthest for player in self.players.values())

    @property
    def known(self) -> int:
        """The last tick that all arms that are shown were run to."""
        return min(self.players[arm].farthest for arm in self.shown)

    def step(self) -> None:
        """Advance by `stride` ticks; `running` turns False at the end."""
        self.running = self.advance(self.stride)

    def advance(self, ticks: int) -> bool:
        """Advance the arms that are shown; return whether any tick is left."""
        with self.lock:
            advance_all([self.players[arm] for arm in self.shown], ticks)
            return self.tick < self.last_tick

    def seek(self, tick: int) -> None:
        """Go to a tick: from the nearest checkpoint before it."""
        with self.lock:
            for arm in self.shown:
                self.players[arm].seek(tick)
            self.running = self.tick < self.last_tick

    def show(self, arms: Sequence[str]) -> None:
        """Show these arms, one or two, at the time that is shown now."""
        with self.lock:
            tick = self.tick
            self.shown = list(arms)[:MOST_SHOWN] or self.shown[:1]
            for arm in self.shown:
                self.players[arm].seek(tick)

    # ------------------------------------------------------------ futures

    def adopt(self, arm: str, mapping: Mapping[str, Any]) -> str:
        """Let an arm go on as in `mapping`; where its future was seen already, a branch beside it does so instead.

        Parameters
        ----------
        arm : str
        mapping : mapping
            The resolved experiment with this arm changed from now on, as `niche_sim.config.editing` makes it.

        Returns
        -------
        str
            The arm that changes: `arm`, or the new branch.

        Raises
        ------
        InputError
            There are too many arms, or the arm would have another past.
        """
        with self.lock:
            target, arms = arm, dict(mapping["arms"])
            if self.players[arm].farthest > self.tick:
                target = name_arm(mapping, arm)
                arms = arms | {arm: self.experiment.resolved()["arms"][arm], target: arms[arm]}
            self._continue(build_experiment(dict(mapping) | {"arms": arms}), arm, target)
            return target

    def branch(self, arm: str) -> str:
        """Add an arm that shares the past of `arm` and shall have another future; return its name.

        Raises
        ------
        InputError
            There are too many arms.
        """
        with self.lock:
            before = set(self.experiment.arms)
            added = add_arm(self.experiment.resolved(), arm)
            if added.mapping is None:
                raise InputError("; ".join(added.mistakes.values()))
            name = next(name for name in added.mapping["arms"] if name not in before)
            self._continue(build_experiment(added.mapping), arm, name)
            return name

    def _continue(self, experiment: Experiment, arm: str, target: str) -> None:
        """Let every arm go on in `experiment`, `target` from where `arm` is now, and show the two beside each other."""
        now = self.tick
        changed = self.players[arm].fork(experiment, target)
        # The others are the same in the new experiment, but for columns of drugs that it may add.
        moved = {name: changed if name == target else player.move(experiment) for name, player in self.players.items()}
        self.players = moved | {target: changed}
        self.experiment = experiment
        if target != arm:
            self.born[target] = (arm, now)
            self.shown = [arm, target]
        self.running = self.tick < self.last_tick

    def check_length(self, length: str) -> str:
        """Return what is wrong with another length of the experiment, or nothing."""
        try:
            length_h = convert(length, "h")
            if length_h < max(self.reached, 1) * self.tick_h:
                return f"{length}: the arms have been run to {name_time(self.reached * self.tick_h)} already"
            self._end_at(length_h)
        except ConfigError as error:
            return "; ".join(dict.fromkeys(problem.message for problem in error.problems))
        except InputError as error:
            return str(error)
        return ""

    def _end_at(self, length_h: float) -> tuple[Experiment, dict[str, Any]]:
        """Return the experiment with another end, and its arms with what begins after that end.

        What an earlier, shorter end left out of an arm comes back, unless the arm was changed since.
        """
        mapping = self.experiment.resolved()
        arms = {arm: next((all_ for cut, all_ in self._cut if cut == held), held) for arm, held in mapping["arms"].items()}
        return build_experiment(cut_to(mapping | {"arms": arms}, length_h, self.arms)), arms

    def extend(self, length: str) -> None:
        """Give the experiment another end, not before now.

        Raises
        ------
        InputError
            It is no time, or one that has passed; see `check_length`.
        """
        with self.lock:
            fault = self.check_length(length)
            if fault:
                raise InputError(fault)
            experiment, arms = self._end_at(convert(length, "h"))
            held = experiment.resolved()["arms"]
            self._cut += [(held[arm], arms[arm]) for arm in self.arms if held[arm] != arms[arm]]
            self.players = {name: player.move(experiment) for name, player in self.players.items()}
            self.experiment, self.running = experiment, True

    # ------------------------------------------------------------ what is seen

    def frame(self, arm: str, overlay: str | None = None) -> Frame:
        """Return what an arm shows now."""
        player = self.players[arm]
        with player.lock:
            run = player.run
            return take_frame(player.state, run.rates, run.plan.world, arm=arm, time_h=run.time_h, overlay=overlay)

    def series(self, arm: str) -> pd.DataFrame:
        """Return the series of an arm so far."""
        return self.players[arm].series

    def events(self, arm: str) -> pd.DataFrame:
        """Return the events of an arm so far."""
        return self.players[arm].events

    def marks(self, arm: str) -> list[Mark]:
        """Return checkpoints, doses, changes and the beginning of an arm."""
        player = self.players[arm]
        found = [Mark("checkpoint", step * self.tick_h, "checkpoint") for step in player.timeline.steps]
        doses = player.run.list_doses()
        for row in doses.itertuples() if len(doses) else ():
            found.append(Mark("dose" if row.event == "dose" else "missed", float(row.time_h), str(row.cause)))
        for change in player.experiment.arms[arm].changes:
            found.append(Mark("change", change.at_h, ", ".join([*change.override, *change.switches])))
        if arm in self.born:
            mother, tick = self.born[arm]
            found.append(Mark("branch", tick * self.tick_h, f"branched off {mother}"))
        return found

    def overlays(self) -> list[str]:
        """Return every overlay."""
        return list(OVERLAYS)

    def facts(self, arm: str, z: int, y: int, x: int) -> list[str]:
        """Return what is in a voxel: tissue, fields, suitability, drug, BMU, cell."""
        player = self.players[arm]
        with player.lock:
            world, state = player.run.plan.world, player.state
            v = (z * world.ny + y) * world.nx + x
            voxel = state.voxels[v]
            lines = _tell_tissue(int(voxel.mineral) / FULL, bool(voxel.sinusoid), float(voxel.suitability))
            if voxel.owner >= 0:
                phase = int(state.bmus.phase[voxel.owner])
                lines.append(f"BMU: {PHASES[phase]}" if phase != FREE else "BMU")
            area = max(int(voxel.exposed), 1) * world.face_um2 * world.surface_factor
            for column, drug in enumerate(player.run.plan.drugs):
                amount = float(state.drug[column, v])
                if amount > 0:
                    where = f"{amount / area:.3g} fmol/µm² on its surface" if voxel.exposed else f"{amount:.3g} fmol buried"
                    lines.append(f"{drug}: {where}")
            if not voxel.is_bone and not voxel.sinusoid:
                lines += _tell_fields(state.fields.concentration[:, v])
            if voxel.occupant >= 0:
                cell = state.cells[voxel.occupant]
                lines.insert(0, _tell_cell(
                    int(cell.kind), int(cell["mode"]), int(cell.trait), int(cell.ident), int(cell.clone),
                    (player.step - int(cell.born)) * self.tick_h, int(cell.nuclei),
                ))  # fmt: skip
            return lines

    # ------------------------------------------------------------ what is taken along

    def write_experiment(self) -> str:
        """Return the YAML whose run ends in the state that is shown, for the arms that are shown."""
        return write_yaml(cut_to(self.experiment.resolved(), self.tick * self.tick_h, self.shown))

    def collect(self) -> tuple[Run, Experiment]:
        """Return the arms that are shown as the finished run of the experiment that ends now, see `write_experiment`."""
        with self.lock:
            experiment = build_experiment(cut_to(self.experiment.resolved(), self.tick * self.tick_h, self.shown))
            players = [self.players[arm].fork(experiment, arm) for arm in self.shown]
            if list(players[0].run.plan.drugs) != self._drugs:
                # A drug came on the way; a run that knows it from the start has a ledger of it from the start.
                players = [player.restart() for player in players]
                advance_all(players, self.tick)
                return collect_run(experiment, players), experiment
            for player in players:
                # The last tick again, now as the end of the run, where everything is recorded.
                player.seek(player.timeline.steps[-2])
                player.advance(self.tick - player.step)
            return collect_run(experiment, players), experiment


class RecordedStage:
    """A result that is replayed picture by picture.

    Parameters
    ----------
    result : Result
    """

    living = False

    def __init__(self, result: Result) -> None:
        self.result, self.lock = result, threading.RLock()
        mapping = dict(result.experiment_mapping)
        mapping["arms"] = {arm: mapping["arms"][arm] for arm in result.arms}  # in order: stored, they are by name
        self.experiment = build_experiment(mapping, str(result.directory / "view"))  # images lie beside
        self._times = {arm: list_frames(result, arm) for arm in result.arms}
        self._ticks = sorted({round(float(t) / self.experiment.tick_h) for times in self._times.values() for t in times})
        if not self._ticks:
            raise InputError(f"{result.directory}: no pictures were recorded, so nothing can be replayed")
        self.shown = result.arms[:MOST_SHOWN]
        self._place = 0

    @property
    def arms(self) -> list[str]:
        """The arms of the result."""
        return list(self.result.arms)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the lattice: planes, rows, columns."""
        _, nz, ny, nx = self.result.maps(self.shown[0], "mineral").shape
        return nz, ny, nx

    @property
    def tick(self) -> int:
        """Tick of the picture that is shown."""
        return self._ticks[self._place]

    @property
    def last_tick(self) -> int:
        """Tick of the last picture."""
        return self._ticks[-1]

    @property
    def tick_h(self) -> float:
        """Length of a tick, h."""
        return float(self.experiment.tick_h)

    def advance(self, ticks: int) -> bool:
        """Go to the first picture that is at least `ticks` on, or to the last."""
        with self.lock:
            later = [place for place, tick in enumerate(self._ticks) if tick >= self.tick + ticks]
            self._place = later[0] if later else len(self._ticks) - 1
            return self._place < len(self._ticks) - 1

    def seek(self, tick: int) -> None:
        """Go to the last picture at or before a tick."""
        with self.lock:
            self._place = max([place for place, at in enumerate(self._ticks) if at <= tick], default=0)

    def show(self, arms: Sequence[str]) -> None:
        """Show these arms, one or two."""
        self.shown = list(arms)[:MOST_SHOWN] or self.shown[:1]

    def frame(self, arm: str, overlay: str | None = None) -> Frame:
        """Return the picture of an arm that is shown."""
        times = self._times[arm] / self.tick_h
        index = int(np.flatnonzero(np.round(times) <= self.tick)[-1])
        return read_frame(self.result, arm, index, overlay=overlay)

    def series(self, arm: str) -> pd.DataFrame:
        """Return the whole series of an arm."""
        series = self.result.series
        return series[series["arm"] == arm] if len(series) else series

    def events(self, arm: str) -> pd.DataFrame:
        """Return the events of an arm up to the picture."""
        events = self.result.events
        return events[(events["arm"] == arm) & (events["step"] <= self.tick)] if len(events) else events

    def marks(self, arm: str) -> list[Mark]:
        """Return pictures, doses and changes."""
        found = [Mark("checkpoint", tick * self.tick_h, "picture") for tick in self._ticks]
        events = self.result.events
        doses = events[(events["arm"] == arm) & events["event"].isin(["dose", "dose_missed"])] if len(events) else events
        for row in doses.itertuples() if len(doses) else ():
            found.append(Mark("dose" if row.event == "dose" else "missed", float(row.time_h), str(row.cause)))
        for change in self.experiment.arms[arm].changes:
            found.append(Mark("change", change.at_h, ", ".join([*change.override, *change.switches])))
        return found

    def overlays(self) -> list[str]:
        """Return the overlays that were recorded."""
        arm = self.shown[0]
        known = {*self.result.map_names(arm), *self.result.field_names(arm)}
        return [name for name in OVERLAYS if name in known]

    def facts(self, arm: str, z: int, y: int, x: int) -> list[str]:
        """Return what was recorded of a voxel."""
        frame = self.frame(arm)
        known = set(self.result.map_names(arm))
        lines = _tell_tissue(
            float(frame.maps["mineral"][z, y, x]), bool(frame.maps["sinusoid"][z, y, x]),
            float(self._map(arm, "suitability")[z, y, x]) if "suitability" in known else float("nan"),
        )  # fmt: skip
        for name, unit in (("drug_surface", "fmol/µm² on its surface"), ("drug_buried", "fmol/µm² buried")):
            amount = float(self._map(arm, name)[z, y, x]) if name in known else 0.0
            if amount > 0:
                lines.append(f"drug: {amount:.3g} {unit}")
        cells = frame.cells
        for row in np.flatnonzero((cells.z == z) & (cells.y == y) & (cells.x == x)):
            lines.insert(0, _tell_cell(
                int(cells.kind[row]), int(cells.mode[row]), int(cells.trait[row]), int(cells.ident[row]),
                int(cells.clone[row]), None, 0,
            ))  # fmt: skip
        return lines

    def _map(self, arm: str, name: str) -> np.ndarray:
        return self.frame(arm, name).maps[name]

    def simulate(self, progress: Callable[..., None] | None = None) -> LivingStage:
        """Return a living stage of the same experiment at the tick that is shown: it is computed again, bit for bit."""
        stage = open_stage(self.experiment, progress=progress)
        stage.show(self.shown)
        stage.seek(self.tick)
        return stage


def open_stage(experiment: Experiment, *, progress: Callable[..., None] | None = None) -> LivingStage:
    """Return a living stage of an experiment at time 0.

    Raises
    ------
    InputError
        The scene or the population is impossible.
    """
    return LivingStage(experiment, open_players(experiment, progress=progress))


# ---------------------------------------------------------------- cells


def find_cell(cells: CellTable, z: int, y: int, x: int, shape: tuple[int, ...]) -> int | None:
    """Return the identity of the cell nearest to a voxel, tumour cells first; None if there is none within REACH.

    Parameters
    ----------
    cells : CellTable
    z, y, x : int
    shape : tuple of int
        Of the lattice; distances are taken around its edges.
    """
    near = np.abs(cells.z - z) == 0
    away = np.zeros(len(cells.ident))
    for found, at, size in ((cells.y, y, shape[1]), (cells.x, x, shape[2])):
        apart = np.abs(found - at)
        away = np.maximum(away, np.minimum(apart, size - apart))
    rows = np.flatnonzero(near & (away <= REACH))
    if not len(rows):
        return None
    order = np.lexsort((cells.ident[rows], cells.kind[rows] != 0, away[rows]))
    return int(cells.ident[rows[order[0]]])


def find_row(cells: CellTable, ident: int) -> int | None:
    """Return the row of a living cell, None if it is gone."""
    rows = np.flatnonzero(cells.ident == np.uint64(ident))
    return int(rows[0]) if len(rows) else None


class _Lived(NamedTuple):
    """What `follow` reads of a run."""

    arms: list[str]
    events: pd.DataFrame
    length_h: float


def tell_life(stage: Stage, arm: str, ident: int) -> list[str]:
    """Return the life of a tumour cell so far in sentences; of another cell what it is."""
    events = stage.events(arm)
    lived = _Lived([arm], events, stage.tick * float(stage.experiment.tick_h))
    try:
        return str(follow(lived, arm, cell=ident)).splitlines()
    except NicheSimError:
        cells = stage.frame(arm).cells
        row = find_row(cells, ident)
        if row is None:
            return [f"cell {ident} is not in this arm at this time"]
        kind = KIND_NAMES[int(cells.kind[row])]
        return [f"{kind} {ident}, in voxel ({cells.x[row]}, {cells.y[row]}, {cells.z[row]}); lives of tumour cells are told"]


def _tell_cell(kind: int, mode: int, trait: int, ident: int, clone: int, age_h: float | None, nuclei: int) -> str:
    name = KIND_NAMES[kind]
    words = [f"{MODE_NAMES[mode]} DTC" if name == "dtc" else name, str(ident)]
    text = " ".join(words)
    if name == "dtc":
        text += f", lesion of clone {clone}"
        traits = [label for bit, label in TRAIT_NAMES.items() if trait & bit]
        text += f", {' and '.join(traits)}" if traits else ""
    if kind == OSTEOCLAST and nuclei:
        text += f", {nuclei} nuclei"
    return text + (f", {name_time(max(age_h, 0.0))} old" if age_h is not None else "")


def _tell_tissue(mineral: float, sinusoid: bool, suitability: float) -> list[str]:
    if sinusoid:
        return ["sinusoid"]
    if mineral >= 0.5:
        return [f"bone, {100 * mineral:.0f} % of a full voxel"]
    lines = ["marrow" + (f", {100 * mineral:.0f} % bone" if mineral > 0 else "")]
    return lines + ([f"niche suitability {suitability:.2f}"] if np.isfinite(suitability) else [])


def _tell_fields(concentration: np.ndarray) -> list[str]:
    """Return the concentrations in a marrow voxel in one line."""
    parts = []
    for name, value in zip(FIELD_NAMES, concentration):
        if value > 0:
            parts.append(f"{OVERLAYS[name].label} {_say_concentration(float(value))}")
    return [", ".join(parts)] if parts else []


def _say_concentration(nmol_per_l: float) -> str:
    for unit, factor in (("nmol/L", 1.0), ("pmol/L", 1e3), ("fmol/L", 1e6)):
        if nmol_per_l * factor >= 0.1:
            return f"{nmol_per_l * factor:.3g} {unit}"
    return f"{nmol_per_l * 1e9:.2g} amol/L"


