"""The niche as a Mesa model: a window onto the engine's arrays for notebooks, data collection and Mesa's visualisation.

Mesa steps the engine and never holds it: a step is one tick of the compiled kernel, cells become agents only when asked
for, and Mesa's random generators are there for the user's own analyses; the engine draws by address and never uses them.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import mesa
import numpy as np
import pandas as pd
from mesa.agent import AgentSet

from niche_sim.config import Experiment, build_experiment, load_experiment
from niche_sim.errors import InputError
from niche_sim.kinds import DTC, KIND_NAMES, MODE_NAMES, OSTEOCLAST, TRAIT_NAMES
from niche_sim.lattice import World, split_index
from niche_sim.observers import count_cells
from niche_sim.player import open_players
from niche_sim.simulation import Run
from niche_sim.units import convert


class Cell(mesa.Agent):
    """A cell at one tick, read only: values are those of the tick in which it was asked for.

    Attributes
    ----------
    unique_id : int
        Identity, the same in every arm, table and tick.
    kind, state, trait : str
        `state` and `trait` of tumour cells, empty for others.
    pos : tuple of int
        Voxel (x, y), or (x, y, z) in three dimensions.
    clone, parent : int
    age_h : float
    nuclei : int
        Of an osteoclast.
    polarisation : float
        Of a macrophage, 0 inflammatory to 1 supportive.
    """

    kind = ""

    def __init__(self, model: "NicheModel", values: Mapping[str, Any]) -> None:
        # Not Agent.__init__: registered agents would pin their model in memory, one entry a cell and tick.
        self.__dict__.update(values, model=model)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a cell is a read-only view: {name} cannot be set; the engine changes cells in `model.step()`")

    def remove(self) -> None:
        """Refuse: only the engine removes cells.

        Raises
        ------
        AttributeError
        """
        raise AttributeError("a cell is a read-only view and cannot be removed; the engine changes cells in `model.step()`")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.unique_id} {' '.join(filter(None, (self.state, self.trait)))} at {self.pos}>"


class TumourCell(Cell):
    """A disseminated tumour cell."""

    kind = "dtc"


class Precursor(Cell):
    """A precursor of osteoclasts."""

    kind = "precursor"


class Osteoclast(Cell):
    """An osteoclast."""

    kind = "osteoclast"


class Osteoblast(Cell):
    """An osteoblast."""

    kind = "osteoblast"


class Macrophage(Cell):
    """A macrophage."""

    kind = "macrophage"


CELL_TYPES: tuple[type[Cell], ...] = (TumourCell, Precursor, Osteoclast, Osteoblast, Macrophage)
assert tuple(kind.kind for kind in CELL_TYPES) == KIND_NAMES


class NicheModel(mesa.Model):
    """One arm of an experiment as a Mesa model.

    Parameters
    ----------
    experiment : str, mapping or Experiment
        Name of a shipped experiment, path of a file, its content, or one that was loaded.
    arm : str, optional
        The first by default.
    seed : int, optional
        Replaces the seed of the experiment.
    rng : int, optional
        The same as `seed`, as newer Mesa spells it.
    settings : mapping of dotted name to value, optional
        Replaces values of the experiment, as `--set` does.
    reporters : mapping of name to callable, optional
        Model reporters collected every tick beside the time and the counts of cells; each gets the model.
    agent_reporters : mapping, optional
        As `mesa.DataCollector` takes them; they make an agent of every cell at every tick, which is slow.

    Attributes
    ----------
    datacollector : mesa.DataCollector
    player : niche_sim.player.Player
        The arm itself: its state and checkpoints. `seek` a `fork` of it: the data collector knows no way back.

    Raises
    ------
    InputError
        The experiment or the arm is not valid.

    Examples
    --------
    >>> model = NicheModel("e00_zoledronate_niche", arm="zoledronate", seed=7)  # doctest: +SKIP
    >>> model.run_for("30 d")  # doctest: +SKIP
    >>> model.agents_by_type[TumourCell].get("age_h")  # doctest: +SKIP
    >>> model.datacollector.get_model_vars_dataframe()  # doctest: +SKIP
    """

    def __init__(
        self, experiment: Any = "e00_zoledronate_niche", *, arm: str | None = None, seed: int | None = None,
        rng: int | None = None, settings: Mapping[str, Any] | None = None,
        reporters: Mapping[str, Callable[["NicheModel"], Any]] | None = None,
        agent_reporters: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        if seed is not None and rng is not None:
            raise InputError("give seed or rng, not both: they are the same")
        loaded = _load(experiment, seed if rng is None else rng, settings)
        super().__init__(rng=int(loaded.seed))
        name = next(iter(loaded.arms)) if arm is None else arm
        self.player = open_players(loaded, [name])[name]
        self._views: tuple[int, list[Cell], AgentSet | None] = (-1, [], None)
        counts = {name: _count(name) for name in count_cells(self.player.state)}
        self.datacollector = mesa.DataCollector(
            model_reporters={"time_h": "time_h", **counts, **(reporters or {})}, agent_reporters=dict(agent_reporters or {})
        )
        self.datacollector.collect(self)

    # ------------------------------------------------------------ stepping

    def step(self) -> None:
        """Run one tick; `running` turns False at the end of the experiment, after which nothing happens."""
        if self.player.advance(1):
            self.datacollector.collect(self)
        self.running = self.player.step < self.player.steps

    def run_for(self, duration: str | float) -> None:
        """Step through a time with its unit ("30 d"), or through a number of ticks.

        Raises
        ------
        InputError
            It is no time, or not a whole number of ticks.
        """
        ticks = convert(duration, "h") / self.player.tick_h if isinstance(duration, str) else float(duration)
        if not 0 <= ticks < float("inf") or abs(ticks - round(ticks)) > 1e-6:
            raise InputError(f"{duration!r}: expected a whole number of ticks of {self.player.tick_h:g} h, 0 or more")
        for _ in range(round(ticks)):
            if not self.running:
                return
            self.step()

    @property
    def time_h(self) -> float:
        """Time reached, h."""
        return self.player.time_h

    @property
    def experiment(self) -> Experiment:
        """The experiment, checked and resolved."""
        return self.player.experiment

    @property
    def arm(self) -> str:
        """The arm that runs."""
        return self.player.arm

    # ------------------------------------------------------------ what is there

    @property
    def agents(self) -> AgentSet:
        """Every living cell as a read-only view, made anew when first asked for after a tick."""
        step, _, found = self._views
        if step != self.player.step or found is None:
            cells = _list_cells(self)
            found = AgentSet(cells, random=self.random)
            self._views = (self.player.step, cells, found)  # an AgentSet holds its agents weakly
        return found

    @agents.setter
    def agents(self, agents: Any) -> None:
        raise AttributeError("the cells of a niche are the engine's; `agents` cannot be set")

    @property
    def agents_by_type(self) -> dict[type, AgentSet]:
        """The cells by kind; a kind without cells has an empty set."""
        agents = self.agents
        return {kind: agents.select(agent_type=kind) for kind in CELL_TYPES}

    @property
    def agent_types(self) -> list[type]:
        """The kinds of cells."""
        return list(CELL_TYPES)

    def select(self, kind: str, state: str | None = None) -> AgentSet:
        """Return the cells of a kind such as "osteoclast", tumour cells ("dtc") also by state.

        Raises
        ------
        InputError
            There is no such kind or state.
        """
        if kind not in KIND_NAMES or (state is not None and (kind != "dtc" or state not in MODE_NAMES)):
            known = f"kinds are {', '.join(KIND_NAMES)}; states of dtc are {', '.join(MODE_NAMES)}"
            raise InputError(f"no cells '{kind}'{f' {state}' if state else ''}; {known}")
        return self.agents.select(lambda cell: cell.kind == kind and state in (None, cell.state))

    @cached_property
    def grid(self) -> mesa.space.MultiGrid:
        """The lattice as Mesa's visualisation takes it, in two dimensions.

        Raises
        ------
        AttributeError
            The lattice has three dimensions, which Mesa's grids do not draw.
        """
        world = self.player.run.plan.world
        if world.nz > 1:
            raise AttributeError("Mesa draws lattices of two dimensions; `niche-sim view` shows three")
        return _Grid(self, world)

    @property
    def series(self) -> pd.DataFrame:
        """What the experiment records in time, one row a recorded time: the whole set of observables."""
        return self.player.series

    @property
    def events(self) -> pd.DataFrame:
        """The events so far, one row an event."""
        return self.player.events

    def hash(self) -> str:
        """Return the hash of the run so far; at its end that of `niche-sim hash` for an experiment with this arm alone."""
        from niche_sim.store import hash_run

        return hash_run(Run(self.experiment, {self.arm: self.player.result()}))

    def close(self) -> None:
        """Let go of the arrays at once; Mesa's wrapper of `step` would otherwise keep them until a garbage collection."""
        for name in ("step", "_user_step", "player", "datacollector", "_views", "grid"):
            self.__dict__.pop(name, None)


def _load(experiment: Any, seed: int | None, settings: Mapping[str, Any] | None) -> Experiment:
    if isinstance(experiment, str):
        return load_experiment(experiment, sets=dict(settings or {}), seed=seed)
    if settings:
        raise InputError("settings replace values of an experiment given by name or file; write them into the mapping")
    mapping = dict(experiment.resolved() if isinstance(experiment, Experiment) else experiment)
    return build_experiment(mapping if seed is None else mapping | {"seed": seed})


def _count(name: str) -> Callable[[NicheModel], int]:
    """Return a reporter of one count; Mesa hands the model to plain functions only."""

    def read(model: NicheModel) -> int:
        return count_cells(model.player.state)[name]

    return read


class _Grid(mesa.space.MultiGrid):
    """The lattice for Mesa's drawing functions: its size, and the cells of now; nothing can be placed on it."""

    def __init__(self, model: NicheModel, world: World) -> None:
        super().__init__(world.nx, world.ny, world.periodic)
        self._model = model

    @property
    def agents(self) -> AgentSet:
        """The cells of now."""
        return self._model.agents


def _list_cells(model: NicheModel) -> list[Cell]:
    """Return a view of every living cell, in order of identity."""
    player = model.player
    with player.lock:
        state, world, step = player.state, player.run.plan.world, player.step
        n = int(state.living[0])
        table = np.array(state.cells[:n])
    table = table[np.argsort(table["ident"], kind="stable")]
    place = split_index(table["voxel"], world)
    axes = ("x", "y", "z") if world.nz > 1 else ("x", "y")
    where = list(zip(*(place[axis].tolist() for axis in axes)))
    columns = {name: table[name].tolist() for name in ("ident", "parent", "clone", "kind", "mode", "trait", "born")}
    cells = []
    for k, (kind, pos) in enumerate(zip(columns["kind"], where)):
        tumour, trait = kind == DTC, columns["trait"][k]
        cells.append(CELL_TYPES[kind](model, {
            "unique_id": columns["ident"][k], "parent": columns["parent"][k], "clone": columns["clone"][k], "pos": pos,
            "state": MODE_NAMES[columns["mode"][k]] if tumour else "",
            "trait": "+".join(name for bit, name in TRAIT_NAMES.items() if trait & bit) if tumour else "",
            "age_h": (step - columns["born"][k]) * player.tick_h,
            "nuclei": int(table["nuclei"][k]) if kind == OSTEOCLAST else 0,
            "polarisation": float(table["polarisation"][k]),
        }))  # fmt: skip
    return cells
