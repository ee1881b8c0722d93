"""What a run would need, before it is run: voxels, cells, ticks, memory, disk, and how fine the tick is."""

import math
import os
from pathlib import Path
from typing import Any

from niche_sim.errors import ResourceError

# Measured on runs of 1,600 voxels less their states: Python with the engine and its compiled code, as a worker of a study;
# and with tables, figures and report, before any niche. `python benchmarks/memory.py` holds all of this to real processes.
ENGINE_BYTES, INTERPRETER_BYTES = 385_000_000, 445_000_000
COMPILER_BYTES = 850 << 20  # peak while the engine is being compiled
# A row of the series: some 150 numbers, as Python's own and in copies while it is written (3,531 rows took 51 MB).
SERIES_ROW_BYTES = 14_400
# A voxel and snapshot of all cells, at 0.05 cells a voxel (181 snapshots of 200 x 200 voxels took 235 MB).
CELLS_BYTES = 33
# A voxel and picture: maps of 23 bytes and, at 0.05 cells a voxel, rows of cells, with the copies that writing takes; and on
# the disk. Measured on 200 pictures of 200 x 200 voxels (77), and in 2-D and 3-D with pictures days apart (7 to 9).
PICTURE_BYTES, PICTURE_STORED_BYTES = 80, 9
SNAPSHOT_RATIO = 0.4  # compressed share of rounded fields (measured on noisy fields)
FIGURE_BYTES = 11 << 20  # figures and report of a two-arm experiment
STATE_RATIO = 0.15  # the state is mostly empty rows and scratch space
BMU_CYCLE_H = 190.0 * 24.0  # as ten years of untreated bone have it
TICK_LIMIT = 0.5  # hazard times tick: events are late by half a tick, here a quarter of their mean wait

# At steady state, or relaxed by an exact exponential: no tick is too long for these.
_SOLVED = ("fields.", "secretion.", "macrophages.clear_", "macrophages.polarise_", "macrophages.relax_")


def _snapshots(interval_h: float | None, length_h: float, tick_h: float) -> int:
    if not interval_h:
        return 0
    steps, every = round(length_h / tick_h), max(1, round(interval_h / tick_h))
    return steps // every + 1 + (steps % every > 0)


def _count_pictures(experiment: Any) -> int:
    moments = experiment.record.pictures_h
    if isinstance(moments, float):
        return _snapshots(moments, experiment.length_h, experiment.tick_h)
    return len(moments)


def measure_state(experiment: Any) -> dict[str, Any]:
    """Return voxels, room for cells and BMUs, and the bytes of one state and of the lattice's tables."""
    from niche_sim.host import find_highest_activation, read_endocrine
    from niche_sim.initial import size_tables
    from niche_sim.lattice import build_world
    from niche_sim.scenes import build_scene
    from niche_sim.simulation import build_rates
    from niche_sim.state import allocate_state, flatten

    scene = build_scene(experiment.scene.plain(), experiment.seed)
    world = build_world(scene.bone.shape, scene.voxel_um, scene.periodic)
    drugs = experiment.host_drugs()
    rates = build_rates(experiment.parameters, drugs, experiment.switches)
    patient, endocrine = experiment.host_patient(), read_endocrine(experiment.parameters)
    sizes = size_tables(world, rates, scene.bone, find_highest_activation(patient, endocrine))
    # Pages of zeros cost nothing until they are touched, so this asks for sizes, not for memory.
    state = allocate_state(world, drugs=max(len(drugs), 1), **sizes)
    tables = world.neighbours.nbytes + world.reach.nbytes + world.around.nbytes
    return {
        "shape": [world.nz, world.ny, world.nx], "voxels": world.n, "cells": sizes["cells"],
        "bmus": sizes["bmus"],
        "state_bytes": sum(array.nbytes for array in flatten(state).values()), "lattice_bytes": tables,
    }  # fmt: skip


def count_processors() -> int:
    """Return the number of processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def find_memory() -> int:
    """Return the bytes of memory that this process may still take."""
    import psutil

    bounds = [psutil.virtual_memory().available]
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))  # of a container
    if limit.is_file() and used.is_file() and limit.read_text().strip().isdigit():
        bounds.append(int(limit.read_text()) - int(used.read_text()))
    if hasattr(psutil, "RLIMIT_AS"):
        soft = psutil.Process().rlimit(psutil.RLIMIT_AS)[0]
        bounds += [soft - psutil.Process().memory_info().vms] if soft > 0 else []
    return max(min(bounds), 0)


def forecast_memory(experiment: Any, threads: int | None = None) -> int:
    """Return the peak memory (bytes) of a run by arithmetic alone, before its scene is made."""
    from niche_sim.config.checks import count_voxels
    from niche_sim.config.schema import GeneratedScene

    if not isinstance(experiment.scene, GeneratedScene):
        return 0  # an image is in memory already when its size is known
    return INTERPRETER_BYTES + forecast_niche(experiment, count_voxels(experiment.scene), threads)


def forecast_niche(experiment: Any, voxels: int, threads: int | None = None) -> int:
    """Return what a run of so many voxels takes beside the interpreter, bytes."""
    from niche_sim.initial import LOG_ROWS, MOST_CELLS
    from niche_sim.lattice import build_world
    from niche_sim.state import allocate_state, flatten

    scene, drugs = experiment.scene, max(len(experiment.host_drugs()), 1)
    deep = len(getattr(scene, "size_um", (1, 1, 1))) == 3  # of an image the larger need

    def weigh(edge: int, cells: int) -> tuple[int, int]:
        world = build_world((edge if deep else 1, edge, edge), scene.voxel_um, True)
        state = allocate_state(world, cells=cells, bmus=1, sectors=1, claim=1, drugs=drugs, log=LOG_ROWS)
        tables = world.neighbours.nbytes + world.reach.nbytes + world.around.nbytes
        return sum(array.nbytes for array in flatten(state).values()) + tables, world.n

    (small, few), (large, more), (roomy, _) = weigh(8, 1), weigh(24, 1), weigh(8, 1001)
    state = small + (large - small) / (more - few) * voxels + (roomy - small) / 1000 * min(voxels, MOST_CELLS)
    return int(sum_niche(experiment, threads, voxels, state, 0))


def sum_niche(experiment: Any, threads: int | None, voxels: int, state: float, lattice: float) -> float:
    """Return what a run takes beside the interpreter, from the bytes of one state and of the lattice's tables."""
    arms, record = len(experiment.arms), experiment.record
    length_h, tick_h = experiment.length_h, experiment.tick_h
    # The start, one a running arm, and the final copy of each finished arm.
    states = 1 + min(threads or arms, arms) + arms
    fields = 16 * 7 * _snapshots(record.fields_h, length_h, tick_h)
    cells = CELLS_BYTES * _snapshots(record.cells_h, length_h, tick_h)
    pictures = PICTURE_BYTES * _count_pictures(experiment)
    series = SERIES_ROW_BYTES * _snapshots(record.series_h, length_h, tick_h)
    return lattice + state * states + arms * (voxels * (fields + cells + pictures) + series)


def check_memory(experiment: Any, threads: int | None = None) -> None:
    """Refuse a run that does not fit, before anything is allocated.

    Raises
    ------
    ResourceError
        It needs more memory than there is.
    """
    need, there = forecast_memory(experiment, threads), find_memory()
    if need > there:
        raise ResourceError(
            f"{experiment.name}: needs about {write_size(need)} of memory, {write_size(there)} are free; make scene.size "
            "smaller or scene.voxel larger, use --threads 1, or record fields and pictures less often"
        )


def list_hazards(parameters: Any) -> list[tuple[str, float]]:
    """Return name and value (1/h) of every hazard that is drawn tick by tick."""
    return [
        (name, entry.value)
        for name, entry in parameters.items()
        if entry.inside_unit == "1/h" and not name.startswith(_SOLVED)
    ]


def find_fastest(experiment: Any) -> tuple[str, float]:
    """Return the parameter with the largest hazard (1/h) among all arms, and that hazard."""
    fastest = ("none", 0.0)
    for arm in experiment.arms:
        on = experiment.arm_switches(arm)
        for name, hazard in list_hazards(experiment.arm_parameters(arm)):
            if on.get(name.partition(".")[0], True) and hazard > fastest[1]:
                fastest = (name, hazard)
    return fastest


def predict_growth_bias(birth_h: float, death_h: float, tick_h: float) -> float:
    """Return the relative bias that a tick gives to the growth rate of a number of cells.

    A cell makes one draw a tick and its daughter none before the next, so a tick multiplies the mean by 1 + (b - d) / (b
    + d) (1 - exp(-(b + d) dt)) instead of exp((b - d) dt). Exits of single cells (waking, death) have no bias at the end
    of a tick: 1 - exp(-h dt) is their law. Nor has the mean square displacement.
    """
    total, net = birth_h + death_h, birth_h - death_h
    if total <= 0.0 or net == 0.0:
        return 0.0
    return math.log1p(net / total * -math.expm1(-total * tick_h)) / (net * tick_h) - 1.0


def predict_bias(parameters: Any, tick_h: float) -> dict[str, float]:
    """Return the relative bias of a tick by what it concerns; each is about halved by half the tick."""
    value = parameters.value
    return {
        "growth rate of cycling cells": predict_growth_bias(
            value("division.maximum_rate"), value("death.cycling_baseline"), tick_h
        ),
        "life of an osteoclast": 0.5 * tick_h / value("osteoclasts.lifespan"),
        "cycle of a BMU (fusion late)": 0.5 * tick_h / BMU_CYCLE_H,
    }  # fmt: skip


def estimate(experiment: Any, threads: int | None = None) -> dict[str, Any]:
    """Return what a run of `experiment` needs, as plain numbers.

    Parameters
    ----------
    experiment : Experiment
    threads : int, optional
        Arms that run side by side; all by default.
    """
    from niche_sim.kernel import is_compiled

    size = measure_state(experiment)
    arms = len(experiment.arms)
    record, length_h, tick_h = experiment.record, experiment.length_h, experiment.tick_h
    fields = 7 * size["voxels"] * _snapshots(record.fields_h, length_h, tick_h)
    pictures = size["voxels"] * _count_pictures(experiment) * PICTURE_STORED_BYTES
    state = size["state_bytes"]
    memory = INTERPRETER_BYTES + sum_niche(experiment, threads, size["voxels"], state, size["lattice_bytes"])
    memory = memory if is_compiled() else max(memory, COMPILER_BYTES)
    disk = int(arms * (SNAPSHOT_RATIO * 4 * fields + pictures + STATE_RATIO * state)) + FIGURE_BYTES
    name, hazard = find_fastest(experiment)
    ticks = round(length_h / tick_h)
    return {
        "name": experiment.name, "shape": size["shape"], "voxels": size["voxels"],
        "cell_ceiling": size["cells"], "bmu_ceiling": size["bmus"], "arms": arms, "ticks_per_arm": ticks,
        "ticks": ticks * arms + round(experiment.spin_up_h / tick_h), "memory_bytes": int(memory),
        "disk_bytes": disk, "tick_h": tick_h, "fastest_parameter": name, "fastest_hazard_per_h": hazard,
        "hazard_times_tick": hazard * tick_h, "hazard_times_tick_limit": TICK_LIMIT,
        "tick_bias": predict_bias(experiment.parameters, tick_h),
        "tick_is_fine": hazard * tick_h <= TICK_LIMIT * (1.0 + 1e-9),
    }  # fmt: skip


def write_size(count: float) -> str:
    """Return a number of bytes in words, e.g. 1.5 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000.0:
            return f"{count:.0f} {unit}"
        count /= 1000.0
    return f"{count:.1f} GB" if count < 1000.0 else f"{count:,.0f} GB"


def describe_plan(need: dict[str, Any]) -> list[str]:
    """Return the lines that tell a user what `estimate` found."""
    shape = " x ".join(str(k) for k in need["shape"])
    limit = need["hazard_times_tick_limit"]
    verdict = f"fine, at most {limit}" if need["tick_is_fine"] else f"above {limit}: late by half a tick"
    return [
        f"lattice    {shape} = {need['voxels']:,} voxels",
        f"room for   {need['cell_ceiling']:,} cells and {need['bmu_ceiling']:,} BMUs an arm",
        f"ticks      {need['ticks']:,} ({need['arms']} arms of {need['ticks_per_arm']:,} and the spin-up)",
        f"memory     about {write_size(need['memory_bytes'])}",
        f"disk       about {write_size(need['disk_bytes'])}",
        f"tick       {need['tick_h']:g} h; times the largest hazard, {need['fastest_parameter']}: "
        f"{need['hazard_times_tick']:.3g} ({verdict})",
        "bias of this tick, about halved by half of it:",
        *(f"           {what:<29} {100 * share:+.2g} %" for what, share in need["tick_bias"].items()),
    ]
