"""From the points of a study to its runs.

A run is one arm of one point with one seed. What it computes follows from its configuration, its seed and the sources of the
package: their hash is its key, so that runs which are the same (an arm that no factor touches) are run once. Runs that begin
from the same state have the same `spin_up`; they follow each other, and batches keep them together.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from niche_sim.config import ConfigError, Experiment, Problem, build_experiment
from niche_sim.config.assembly import replace_regimens
from niche_sim.config.checks import count_voxels
from niche_sim.config.drugs import DrugFile
from niche_sim.config.experiment import write_arm, write_model
from niche_sim.config.library import show_path
from niche_sim.config.schema import MOST_SEED, GeneratedScene
from niche_sim.errors import InputError
from niche_sim.kernel import hash_sources
from niche_sim.study.design import forecast_tables
from niche_sim.study.endpoints import is_brief
from niche_sim.study.places import find_keys, put
from niche_sim.study.spec import Batch, Endpoint, RunSpec, Study, hash_image, hash_plain
from niche_sim.study.table import place_row
from niche_sim.study.values import read_text

TICK_S, VOXEL_TICK_S, RUN_S = 3e-4, 3e-7, 0.01
"""Seconds of one core for a tick at all, for each of its voxels, and for a run or spin-up beside its ticks."""
QUIET, DEEP, SCENE_TICKS = 0.6, 2.5, 12
"""What a tick of bone alone is of one with tumour or drug, one in 3-D of one in 2-D, and how many take as long as the scene.

All measured in processor time (`python benchmarks/study_cost.py`; docs/studies.md says how good they are). Batches are sized
by them, so they are numbers of the program and not of a machine.
"""
LONGEST_BATCH_S, SHORTEST_BATCH_S, FEWEST_BATCHES = 20.0, 1.0, 200
SAY_EVERY_S, _MOST_SHARED = 5.0, 256
_MOST_SHOWN = 10
_TOGETHER = ("migration.",)
"""Parameters that the gate checks together with other keys; of all others it checks unit and range alone."""
_WHOLE = "100 yr"


@dataclass(frozen=True)
class _Base:
    """What all points of a study share: the experiment, before any factor, and where factors put their values.

    Attributes
    ----------
    experiment : Experiment
    mapping : dict
        The same as its file has it, without parameters.
    digest : str
        Hash of the values of its parameters.
    keys : tuple
        Of each factor its name and the keys that it moves.
    """

    experiment: Experiment
    mapping: dict[str, Any]
    digest: str
    keys: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]


@lru_cache(maxsize=4)
def _read_base(study: Study) -> _Base:
    experiment = build_experiment(study.experiment, study.name)
    mapping = {key: value for key, value in study.experiment.items() if key != "parameters"}
    scene = dict(mapping["scene"])
    if scene.get("seed") == mapping["seed"]:
        del scene["seed"]  # bone that is made with the seed of the run is made anew for each; a seed of its own stays
    mapping |= {"scene": scene, "record": choose_record(study.experiment["record"], study.endpoints)}
    keys = [(f.name, tuple(find_keys(place, experiment.parameters) for place in f.places)) for f in study.factors]
    digest = hash_plain({name: entry.value for name, entry in experiment.parameters.items()})
    experiment = build_experiment(mapping, study.name, given=experiment)
    return _Base(experiment, mapping, digest, tuple(keys))


def choose_record(record: Mapping[str, Any], endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return what runs record: the series alone, and of it start and end alone where no endpoint needs more."""
    series = _WHOLE if all(is_brief(endpoint) for endpoint in endpoints) else record["series"]
    return {"series": series, "events": False, "cells": False, "fields": False, "ledgers": False, "pictures": []}


def build_point(study: Study, row: Mapping[str, Any]) -> Experiment:
    """Return the experiment of one point, all arms; `row` has the text of every factor.

    Raises
    ------
    ConfigError
        The gate refuses it.
    """
    base = _read_base(study)
    moved = [
        (keys, value) for name, places in base.keys
        if (value := read_text(str(row[name])) if name in row else None) is not None  # one that is left out stays as it is
        for keys in places
    ]  # fmt: skip
    if all(_stands_alone(keys) for keys, _ in moved):
        with suppress(InputError):  # of which the gate says more
            return _change(base, moved)
    mapping = base.mapping
    for keys, value in moved:
        mapping = put(mapping, keys, value)
    # Drugs that no factor moves are known already: there are many numbers in them.
    drugs = {name: drug for name, drug in mapping["drugs"].items() if drug is not base.mapping["drugs"].get(name)}
    return build_experiment(mapping | {"drugs": drugs}, study.name, given=base.experiment)


def _stands_alone(keys: tuple[str, ...]) -> bool:
    """Whether the gate checks what is there by itself: most parameters, and courses."""
    if keys[0] == "override":
        return not keys[1].startswith(_TOGETHER)
    return keys[0] == "arms" and keys[2:3] == ("regimen",)


def _change(base: _Base, moved: list[tuple[tuple[str, ...], Any]]) -> Experiment:
    """Return the experiment with parameters and courses changed: a tenth of the time that the whole gate takes.

    Raises
    ------
    InputError
        They are not sound, or of a drug that the experiment has not.
    """
    parameters = base.experiment.parameters.override({keys[1]: value for keys, value in moved if keys[0] == "override"})
    regimens: dict[str, Any] = {}
    for keys, value in moved:
        if keys[0] == "arms":
            held = regimens.get(keys[1], base.mapping["arms"][keys[1]]["regimen"])
            regimens[keys[1]] = put(held, keys[3:], value)
    experiment = replace(base.experiment, parameters=parameters)
    return replace_regimens(experiment, regimens) if regimens else experiment


def take_run(point: Experiment, replicate: int, arm: str) -> Experiment:
    """Return one run of a point: one arm, with a seed of its own.

    Drugs of the other arms stay: nobody is given them, but all arms then begin from the very same state.
    """
    seed = (point.seed + replicate) % (MOST_SEED + 1)
    scene = point.scene
    if scene.seed == point.seed:
        scene = scene.model_copy(update={"seed": seed})
    return replace(point, seed=seed, scene=scene, arms={arm: point.arms[arm]})


def build_run(study: Study, design_row: Mapping[str, Any], replicate: int, arm: str) -> Experiment:
    """Return the experiment of one run."""
    return take_run(build_point(study, design_row), replicate, arm)


# ---------------------------------------------------------------- what a run is


class _Shared:
    """What was found of parts that points share, the very same objects; most of a point is that of the one before."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, ...], tuple[tuple[Any, ...], Any]] = {}

    def find(self, parts: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Return what `make` found of these parts before, or finds now."""
        key = tuple(map(id, parts))
        if key not in self._found:
            if len(self._found) > _MOST_SHARED:
                self._found.clear()
            self._found[key] = (parts, make())  # they are held, so that no other object comes to their number
        return self._found[key][1]


def _digest_niche(point: Experiment, base: _Base, shared: _Shared) -> str:
    """Return a hash of all that the state at time 0 follows from, but for seeds: of drugs, how many there are."""
    usual = base.experiment.parameters.entries
    moved = {  # few of hundreds: hashing all of them takes longer than all other checks
        name: entry.value for name, entry in point.parameters.entries.items()
        if entry is not usual[name] and entry.value != usual[name].value
    }  # fmt: skip
    parts = (point.scene, point.patient, point.population, point.switches)
    fixed = shared.find(parts, lambda: _digest_parts(point))
    return hash_plain([base.digest, moved, fixed, point.tick_h, point.spin_up_h, len(point.drugs)])


def _digest_parts(point: Experiment) -> str:
    """Return a hash of scene, patient, population and switches."""
    scene = {key: value for key, value in write_model(point.scene).items() if key not in ("seed", "name", "title", "note")}
    if "file" in scene:  # of an image it counts what it holds, not where it is
        scene["file"] = hash_image(Path(scene["file"]))
    return hash_plain([scene, point.patient.mapping, point.population.model_dump(), point.switches])


def _digest_drug(file: DrugFile, shared: _Shared) -> str:
    return str(shared.find((file,), lambda: hash_plain(file.mapping)))


def _digest_run(point: Experiment, niche: str, name: str, shared: _Shared) -> str:
    """Return a hash of all that one arm follows from, but for seeds; what differs in name only is the same."""
    arm = point.arms[name]
    written = shared.find((arm,), lambda: write_arm(arm))
    values = {key: point.parameters[key].replace(value).value for key, value in arm.override.items()}
    changed = {key: value for key, value in values.items() if value != point.parameters[key].value}
    switched = {key: value for key, value in arm.switches.items() if value != point.switches[key]}
    given = {course.drug: _digest_drug(point.drugs[course.drug], shared) for course in arm.regimen}
    return hash_plain([
        niche, point.length_h, point.record.series_h, changed, switched, written["regimen"], written.get("changes", []),
        given,
    ])  # fmt: skip


def _digest_plan(point: Experiment, niche: str, shared: _Shared) -> str:
    """Return a hash of what runs have in common that one `simulation.Plan` serves: the niche, and the drugs as they are."""
    return hash_plain([niche, {name: _digest_drug(file, shared) for name, file in point.drugs.items()}])


def _seal(digest: str, seed: int, scene_seed: int | None) -> str:
    return hashlib.sha256(f"{digest}:{seed}:{scene_seed}:{_sources()}".encode()).hexdigest()


@lru_cache(maxsize=1)
def _sources() -> str:
    return hash_sources()


# ---------------------------------------------------------------- all points


@dataclass(frozen=True)
class Points:
    """What is known of every point before anything runs; lists by point.

    Attributes
    ----------
    spin_ups : list of str
        What of the state at time 0, and of drugs, does not follow from seeds, as a hash.
    arms : list of tuple of str
        The same of each arm's run.
    seeds : list of tuple
        Seed of the experiment, and that of its scene if it has one of its own.
    voxels : list of int
    spin_up_s, run_s : list of float
        Predicted seconds of a spin-up and of an arm.
    """

    spin_ups: list[str]
    arms: list[tuple[str, ...]]
    seeds: list[tuple[int, int | None]]
    voxels: list[int]
    spin_up_s: list[float]
    run_s: list[float]


def survey_points(study: Study, design: pd.DataFrame, say: Callable[[str], None] = lambda text: None) -> Points:
    """Pass every point through the gate.

    Parameters
    ----------
    say : callable, optional
        Takes a line every few seconds.

    Raises
    ------
    ConfigError
        The gate refuses some; the message has their numbers.
    """
    points, problems, refused, base = Points([], [], [], [], [], []), [], 0, _read_base(study)
    said, shared = time.monotonic(), _Shared()
    for number, row in enumerate(iterate_rows(study, design)):
        if time.monotonic() - said > SAY_EVERY_S:
            said = time.monotonic()
            say(f"{number:,} of {len(design):,} points checked")
        try:
            point = build_point(study, row)
        except ConfigError as error:
            refused += 1
            if refused <= _MOST_SHOWN:
                problems += [_tell_point(study, row, problem) for problem in error.problems]
            continue
        niche = _digest_niche(point, base, shared)
        own = None if point.scene.seed == point.seed else point.scene.seed
        voxels = _count_voxels(point)
        points.spin_ups.append(_digest_plan(point, niche, shared))
        points.arms.append(tuple(_digest_run(point, niche, arm, shared) for arm in study.arms))
        points.seeds.append((point.seed, own))
        points.voxels.append(voxels)
        spin_up_s, run_s = _predict_cost(point, voxels)
        points.spin_up_s.append(spin_up_s)
        points.run_s.append(run_s)
    if refused > _MOST_SHOWN:
        more = f"{refused:,} of {len(design):,} points that were tried are refused, {_MOST_SHOWN} are told"
        problems.append(Problem(study.name, None, None, "points", "range", more))
    if problems:
        raise ConfigError(problems)
    return points


def _predict_cost(point: Experiment, voxels: int) -> tuple[float, float]:
    """Return the seconds of one core for a spin-up, scene included, and for an arm; a row of the series is a quiet tick."""
    tick_s = TICK_S + VOXEL_TICK_S * voxels
    lively = point.population.dormant_dtc or point.population.cycling_dtc or any(a.regimen for a in point.arms.values())
    deep = DEEP if len(getattr(point.scene, "size_um", ())) == 3 else 1.0
    ticks, rows = point.length_h / point.tick_h, point.length_h / (point.record.series_h or math.inf)
    spin_up_s = RUN_S + tick_s * (SCENE_TICKS + deep * QUIET * point.spin_up_h / point.tick_h)
    return spin_up_s, RUN_S + tick_s * (deep * ticks * (1.0 if lively else QUIET) + rows * QUIET)


def iterate_rows(study: Study, design: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the point and the texts of its factors, row by row."""
    names = ["point", *(factor.name for factor in study.factors)]
    for values in zip(*(design[name] for name in names)):
        yield dict(zip(names, values))


def _tell_point(study: Study, row: Mapping[str, Any], problem: Problem) -> Problem:
    moved = [f for f in study.factors if any(place in problem.path for place in f.places)] or list(study.factors[:6])
    values = ", ".join(f"{factor.name} {row[factor.name]}" for factor in moved)
    message = f"{problem.path}: {problem.message}" if problem.path else problem.message
    if study.design.kind == "table":
        names = ", ".join(factor.name for factor in moved)
        return place_row(show_path(Path(study.design.table)), row["point"], names, problem.code, f"{message} ({values})")
    return Problem(study.name, None, None, f"point {row['point']} ({values})", problem.code, message)


def _count_voxels(point: Experiment) -> int:
    if isinstance(point.scene, GeneratedScene):
        return count_voxels(point.scene)
    return _measure_image(hash_image(Path(point.scene.file)), tuple(point.scene.plain().items()))


@lru_cache(maxsize=64)
def _measure_image(content: str, scene: tuple[tuple[str, Any], ...]) -> int:
    from niche_sim.scenes import load_mask

    return int(load_mask(dict(scene)).size)


# ---------------------------------------------------------------- runs and batches


def iterate_runs(study: Study, design: pd.DataFrame, points: Points | None = None) -> Iterator[RunSpec]:
    """Yield every run, those of one spin-up one after the other: by first point, then replicate, point and arm.

    Parameters
    ----------
    points : Points, optional
        As `survey_points` returns them, if they are at hand.
    """
    points = survey_points(study, design) if points is None else points
    together: dict[tuple, list[int]] = {}
    for point, (spin_up, seeds) in enumerate(zip(points.spin_ups, points.seeds)):
        together.setdefault((spin_up, seeds), []).append(point)
    arms, each = study.arms, study.replicates * len(study.arms)
    for (spin_up, (first, own)), members in together.items():
        for replicate in range(study.replicates):
            seed = (first + replicate) % (MOST_SEED + 1)
            scene_seed = seed if own is None else own
            start = _seal(spin_up, seed, scene_seed)
            for point in members:
                for i, arm in enumerate(arms):
                    number = point * each + replicate * len(arms) + i
                    yield RunSpec(number, point, replicate, arm, _seal(points.arms[point][i], seed, scene_seed), start)


def list_batches(study: Study, design: pd.DataFrame, points: Points | None = None) -> Iterator[Batch]:
    """Yield the batches of a study: every key once, runs of one spin-up together.

    A batch is some seconds of work by prediction, less where the whole study is short, so that there are batches enough for
    many workers. The prediction knows no machine and no worker: batches, and so files of a study, are the same everywhere.
    """
    points = survey_points(study, design) if points is None else points
    target = choose_batch_s(study, points)
    runs: list[RunSpec] = []
    filled, number = 0.0, 0
    for group, cost in _cut_groups(study, design, points, target):
        if runs and filled + cost > target:
            yield _name_batch(number, runs)
            runs, filled, number = [], 0.0, number + 1
        runs += group
        filled += cost
    if runs:
        yield _name_batch(number, runs)


def choose_batch_s(study: Study, points: Points) -> float:
    """Return the predicted seconds of work of a batch: at most 20, less to have 200 batches, at least 1."""
    total = study.replicates * (sum(points.spin_up_s) + len(study.arms) * sum(points.run_s))
    return min(LONGEST_BATCH_S, max(SHORTEST_BATCH_S, total / FEWEST_BATCHES))


def _cut_groups(
    study: Study, design: pd.DataFrame, points: Points, target: float
) -> Iterator[tuple[list[RunSpec], float]]:
    """Yield runs of one spin-up with their cost, its own included; cut where that is worth another spin-up."""
    seen: set[bytes] = set()
    group: list[RunSpec] = []
    cost = 0.0
    for run in iterate_runs(study, design, points):
        key = bytes.fromhex(run.key)
        if key in seen:
            continue
        seen.add(key)
        begin_s, run_s = points.spin_up_s[run.point], points.run_s[run.point]
        full = cost + run_s > max(target, 5.0 * begin_s)
        same_point = bool(group) and (run.point, run.replicate) == (group[-1].point, group[-1].replicate)
        if group and (run.spin_up != group[-1].spin_up or (full and not same_point)):
            yield group, cost
            group, cost = [], 0.0
        cost += run_s + (0.0 if group else begin_s)
        group.append(run)
    if group:
        yield group, cost


def _name_batch(number: int, runs: list[RunSpec]) -> Batch:
    digest = hashlib.sha256("".join(run.key for run in runs).encode()).hexdigest()
    return Batch(number, tuple(runs), f"{number:06d}-{digest[:16]}")


# ---------------------------------------------------------------- what it takes

ROW_BYTES, VALUE_BYTES, BATCH_BYTES = 90, 9, 8_000
DRIVER_BYTES = 326_000_000
"""Of the process that drives a study whose runs are in other processes, with their helper and without points; measured."""


def forecast_memory(
    study: Study, design: pd.DataFrame, jobs: int, points: Points, *, together: bool = False
) -> dict[str, int]:  # fmt: skip
    """Return the peak memory (bytes) of the `driver` of a study, and of each `worker` with its largest run.

    Parameters
    ----------
    jobs : int
        Runs side by side.
    together : bool
        Whether they are in threads of the driver; there are no workers then.
    """
    from niche_sim import plan

    widest = max(range(len(points.voxels)), key=lambda i: (points.voxels[i], points.run_s[i]))
    run = build_run(study, design.iloc[widest].to_dict(), 0, study.arms[0])
    niche = plan.forecast_niche(run, points.voxels[widest], 1)
    tables = forecast_tables(len(design), len(study.factors), len(design) * len(study.arms) * study.replicates)
    if together:
        return {"driver": plan.INTERPRETER_BYTES + tables + jobs * niche, "worker": 0}
    return {"driver": DRIVER_BYTES + tables, "worker": plan.ENGINE_BYTES + niche}


def estimate(
    study: Study, design: pd.DataFrame, jobs: int = 1, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Return what a study needs, as plain numbers: points, runs, batches, hours of one core and of `jobs`, bytes.

    `say` is as in `survey_points`.

    Raises
    ------
    ConfigError
        The gate refuses some points.
    """
    points = survey_points(study, design, say)
    batches, unique, seconds = 0, 0, 0.0
    for batch in list_batches(study, design, points):
        starts = {run.spin_up: points.spin_up_s[run.point] for run in batch.runs}
        seconds += sum(starts.values()) + sum(points.run_s[run.point] for run in batch.runs)
        batches, unique = batches + 1, unique + len(batch.runs)
    row, memory = ROW_BYTES + VALUE_BYTES * len(study.endpoints), forecast_memory(study, design, jobs, points)
    return {
        "name": study.name, "kind": study.design.kind, "factors": len(study.factors), "points": len(design),
        "arms": len(study.arms), "replicates": study.replicates,
        "runs": len(design) * len(study.arms) * study.replicates, "unique_runs": unique, "batches": batches,
        "core_hours": seconds / 3600.0, "jobs": jobs, "hours": seconds / 3600.0 / min(jobs, batches),
        "memory_bytes": memory["driver"] + min(jobs, batches) * memory["worker"], "driver_bytes": memory["driver"],
        "worker_bytes": memory["worker"],
        "disk_bytes": int(unique * row + batches * BATCH_BYTES + design.memory_usage(index=False).sum() // 2),
    }  # fmt: skip


def describe_estimate(need: Mapping[str, Any]) -> list[str]:
    """Return the lines that tell a user what `estimate` found."""
    from niche_sim.plan import write_size

    same = need["runs"] - need["unique_runs"]
    return [
        f"design     {need['kind']}: {need['points']:,} points of {need['factors']} factors",
        f"runs       {need['runs']:,} ({need['arms']} arms, {need['replicates']} replicates)"
        + (f", of which {same:,} are the same as others and run once" if same else ""),
        f"batches    {need['batches']:,}",
        f"time       about {_write_hours(need['core_hours'])} of one core, {_write_hours(need['hours'])} on {need['jobs']}",
        f"memory     about {write_size(need['memory_bytes'])}: {write_size(need['driver_bytes'])}, and "
        f"{write_size(need['worker_bytes'])} for each of {min(need['jobs'], need['batches'])} workers",
        f"disk       about {write_size(need['disk_bytes'])}",
    ]


def _write_hours(hours: float) -> str:
    if hours < 1.0:
        return f"{math.ceil(hours * 60)} min"
    return f"{hours:.1f} h" if hours < 48.0 else f"{hours / 24.0:.1f} d"


