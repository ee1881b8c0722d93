"""Motility alone: cells that hop on a lattice by the engine's own law of migration, empty or crowded.

A cell tries to hop to a face neighbour at the rate speed / voxel, so that alone and without taxis its mean square
displacement is speed voxel t = 2 d D t with D = speed voxel / (2 d). A tick is cut into rounds of at most half a try a
cell, made one after the other by a random rank: the law holds at any tick, and crowds stay uniform. With taxis a the
weight of a neighbour is exp(a (s' - s) / (s' + s)), s the signal, which here rises along x as 1 + x / length.
"""

import math
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from niche_sim.config import load_parameters
from niche_sim.config.quantity import choice, quantity, whole
from niche_sim.config.schema import DEFAULT_SWITCHES, is_whole
from niche_sim.draws import run_key
from niche_sim.host import Patient, build_forcing
from niche_sim.kinds import CXCL12, CYCLING, DTC, MOST_HOPS, MOST_ROUNDS
from niche_sim.lattice import World, build_world
from niche_sim.processes.migration import count_rounds
from niche_sim.schedule import Rates
from niche_sim.simulation import build_rates, host_at
from niche_sim.state import State, add_cell, allocate_state
from niche_sim.submodels.base import Mistakes, Progress, SubModel, Tables

MODEL = "motility"
SCHEME = "hops by hazards, in rounds, tried in the order of random ranks; as the process migration"

COLUMNS = {
    "displacement": {
        "time_h": ("h", "time"), "mean_square_um2": ("um2", "mean square displacement over cells and replicates"),
        "sem_um2": ("um2", "its standard error, over replicates where there are several"),
        "expected_um2": ("um2", "2 d D t, for a cell alone without taxis"),
        "mean_z_um": ("um", "mean displacement along z"), "mean_y_um": ("um", "along y"), "mean_x_um": ("um", "along x"),
        "sem_axis_um": ("um", "standard error of a mean displacement along one axis"),
    },
    "occupancy": {
        "z": ("voxel", "place"), "y": ("voxel", "place"), "x": ("voxel", "place"),
        "occupied": ("count", "replicates in which a cell is there at the end"),
        "expected": ("count", "replicates times cells over free voxels"),
    },
    "summary": {"quantity": ("name", "what"), "value": ("1", "its value, in the unit beside it"), "unit": ("name", "unit")},
}  # fmt: skip


class Spec(SubModel):
    """Cells that hop on a lattice."""

    voxels: list[Annotated[int, whole(1, 4096)]] = Field(min_length=1, max_length=3)
    voxel_um: Annotated[float, quantity("0.1 um", "1 mm", unit="um")] = Field(alias="voxel", default=20.0)
    boundary: Annotated[str, choice("periodic", "closed")] = "periodic"
    cells: Annotated[int, whole(1, 1_000_000)]
    obstacles: Annotated[float, quantity(0.0, 0.9)] = 0.0
    speed_um_h: Annotated[float, quantity("0 um/h", "1e4 um/h", unit="um/h")] = Field(alias="speed")
    taxis: Annotated[float, quantity(-100.0, 100.0)] = 0.0
    tick_h: Annotated[float, quantity("1 s", "24 h", unit="h")] = Field(alias="tick", default=6.0)
    length_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="length")
    every_h: Annotated[float, quantity("0 h", "100 yr", unit="h", above=True)] = Field(alias="every")
    replicates: Annotated[int, whole(1, 1_000_000)] = 1


def _shape(spec: Spec) -> tuple[int, int, int]:
    edges = [1] * (3 - len(spec.voxels)) + spec.voxels
    return edges[0], edges[1], edges[2]


def _barred_share(spec: Spec) -> int:
    """Return 2 in one dimension, where the engine's lattice has two more faces that lead nowhere; else 1."""
    return 2 if len(spec.voxels) == 1 else 1


def _list_hops(spec: Spec) -> tuple[int, float]:
    """Return the rounds of a tick and the hops that a cell tries in one, in mean."""
    speed = _barred_share(spec) * spec.speed_um_h
    rounds = int(count_rounds(speed, spec.tick_h, spec.voxel_um))
    return rounds, speed * spec.tick_h / spec.voxel_um / rounds


def check(spec: Spec) -> Mistakes:
    """Return mistakes across keys."""
    found: Mistakes = []
    free = math.prod(spec.voxels) * (1.0 - spec.obstacles)
    if math.prod(spec.voxels) > 20_000_000:
        found.append((("voxels",), "are more than 20 million"))
    if math.prod(spec.voxels) * spec.replicates > 2e9:
        found.append((("replicates",), "times the voxels are more than 2e9"))
    if len(spec.voxels) > 1 and min(spec.voxels) < 2:
        found.append((("voxels",), "an axis has at least 2 voxels; leave out an axis of 1"))
    for key, hours in (("length", spec.length_h), ("every", spec.every_h)):
        if not is_whole(hours / spec.tick_h):
            found.append(((key,), f"is not a whole number of ticks of {spec.tick_h:g} h"))
    if (spec.length_h / spec.every_h + 2) * spec.replicates * spec.cells > 2e8:
        found.append((("every",), "gives more than 200 million recorded displacements"))
    if spec.cells > free:
        found.append((("cells",), f"do not fit into some {int(free)} free voxels"))
    if spec.boundary == "periodic" and any(1 < n <= 2 * _list_hops(spec)[0] for n in spec.voxels):
        least = 2 * _list_hops(spec)[0] + 1
        found.append((("voxels",), f"a periodic axis needs at least {least} voxels to follow cells round it"))
    if spec.taxis and spec.boundary == "periodic":
        found.append((("taxis",), "the signal rises along x, so the boundary must be closed"))
    if _list_hops(spec)[1] > MOST_HOPS:
        most = MOST_HOPS * MOST_ROUNDS * spec.voxel_um / spec.speed_um_h / _barred_share(spec)
        found.append((("tick",), f"is too long for this speed: at most {most:.3g} h"))
    if spec.length_h / spec.tick_h * spec.replicates * spec.cells > 1e11:
        found.append((("length",), "gives more than 1e11 steps of a cell"))
    return found


def _build_rates(spec: Spec) -> Rates:
    """Return the engine's rates with the speed and taxis of this file; their usual ranges do not hold here."""
    parameters = load_parameters("human")
    rates = build_rates(parameters, {}, DEFAULT_SWITCHES)
    record: Any = rates.migration
    record.tumour_speed, record.tumour_taxis = _barred_share(spec) * spec.speed_um_h, spec.taxis
    record.precursor_speed = record.macrophage_speed = 0.0
    return rates


def _place(spec: Spec, world: World, replicate: int) -> State:
    """Return a state with obstacles and cells at random places; the same obstacles in every replicate."""
    state = allocate_state(world, cells=spec.cells, bmus=1, sectors=1, claim=1, drugs=1, log=1)
    rng = np.random.Generator(np.random.Philox(spec.seed))
    blocked = rng.permutation(world.n)[: round(spec.obstacles * world.n)]
    state.voxels.is_bone[blocked] = 1
    free = np.flatnonzero(state.voxels.is_bone == 0)
    own = np.random.Generator(np.random.Philox([spec.seed, 1 + replicate]))
    for number, voxel in enumerate(own.permutation(free)[: spec.cells]):
        row = add_cell(state, 0, DTC, np.int64(voxel), np.uint64((replicate << 32) + number + 1), np.uint64(0), 0)
        state.cells["mode"][row] = CYCLING
    x = np.arange(world.n) % world.nx
    state.fields.concentration[CXCL12] = 1.0 + x / world.nx
    return state


def run(spec: Spec, progress: Progress) -> Tables:
    """Return displacement over time, occupancy at the end, and a summary."""
    from niche_sim.submodels.motility_kernels import move_cells

    world = build_world(_shape(spec), spec.voxel_um, spec.boundary == "periodic")
    rates, key = _build_rates(spec), run_key(spec.seed)
    host = host_at(build_forcing([], {}, Patient((0.0,)), 1, spec.tick_h), 0)
    ticks = max(1, round(spec.length_h / spec.tick_h))
    marks = np.unique(np.append(np.arange(0, ticks, max(1, round(spec.every_h / spec.tick_h))), ticks))
    ways = np.zeros((len(marks), spec.replicates, spec.cells, 3), np.int32)
    occupied = np.zeros(world.n, np.int64)
    for replicate in range(spec.replicates):
        state, way = _place(spec, world, replicate), np.zeros((spec.cells, 3), np.int64)
        for i, (start, stop) in enumerate(zip(marks[:-1], marks[1:]), start=1):
            move_cells(state, rates, world, host, spec.tick_h, key, start, stop - start, way)
            ways[i, replicate] = way
        occupied[state.voxels.occupant >= 0] += 1
        progress((replicate + 1) / spec.replicates)
    displacement = _measure(spec, marks * spec.tick_h, ways * spec.voxel_um)
    expected = spec.replicates * spec.cells / (world.n - round(spec.obstacles * world.n))
    places = np.unravel_index(np.arange(world.n), _shape(spec))
    occupancy = pd.DataFrame(dict(zip("zyx", places)) | {"occupied": occupied, "expected": expected})
    summary = _summarise(spec, displacement, occupied, expected)
    return {"displacement": displacement, "occupancy": occupancy, "summary": summary}


def _measure(spec: Spec, times: np.ndarray, ways: np.ndarray) -> pd.DataFrame:
    square = (ways**2).sum(axis=3)
    several = spec.replicates > 1
    parts = square.mean(axis=2) if several else square[:, 0]
    sem = parts.std(axis=1, ddof=1) / math.sqrt(parts.shape[1]) if parts.shape[1] > 1 else np.full(len(times), np.nan)
    mean = ways.mean(axis=(1, 2))
    count = spec.replicates * spec.cells
    return pd.DataFrame({
        "time_h": times, "mean_square_um2": square.mean(axis=(1, 2)), "sem_um2": sem,
        "expected_um2": spec.speed_um_h * spec.voxel_um * times,
        "mean_z_um": mean[:, 0], "mean_y_um": mean[:, 1], "mean_x_um": mean[:, 2],
        "sem_axis_um": np.sqrt(square.mean(axis=(1, 2)) / len(spec.voxels) / count),
    })  # fmt: skip


def _summarise(spec: Spec, displacement: pd.DataFrame, occupied: np.ndarray, expected: float) -> pd.DataFrame:
    """Return D, its estimate, and the chi-square of occupancy against uniform (free voxels; occupied or not).

    With the number of cells fixed the sum has a mean of free voxels, hence the factor that makes it that of a chi-square.
    """
    dimensions = len(spec.voxels)
    last = displacement.iloc[-1]
    rng = np.random.Generator(np.random.Philox(spec.seed))
    free = np.ones(len(occupied), bool)
    free[rng.permutation(len(occupied))[: round(spec.obstacles * len(occupied))]] = False
    share = expected / spec.replicates
    spread = expected * (1.0 - share)
    chi2 = float(((occupied[free] - expected) ** 2).sum() / spread) if spread > 0 else math.nan
    chi2 *= (free.sum() - 1) / free.sum()
    rows = [
        ("diffusion_expected", spec.speed_um_h * spec.voxel_um / (2 * dimensions), "um2/h"),
        ("diffusion_found", float(last["mean_square_um2"]) / (2 * dimensions * float(last["time_h"])), "um2/h"),
        ("rounds_per_tick", float(_list_hops(spec)[0]), "1"), ("free_voxels", float(free.sum()), "1"),
        ("occupancy_chi2", chi2, "1"), ("occupancy_degrees_of_freedom", float(free.sum() - 1), "1"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["quantity", "value", "unit"])
